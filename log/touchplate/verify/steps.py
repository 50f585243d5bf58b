"""Steps 3 to 5 of the end-to-end check: what one entry must pass before it counts for a file.

    3  envelope, SPKI and signature form; leaf rebuilt from envelope and key; inclusion at its index
    4  (a) key in the trust file  (b) signature  (c) strict payload, Statement v1, known predicate type
       (d) key listed for this kind, ecosystem and index  (e) provenance: its builder is the key's, its schema
    5  schema of the predicate; one subject is this file by sha256 and, by uri, the package asked for

Each step raises RefusedError with its number. `check` turns that into a warning: a failing entry counts for
nothing, and never refuses the others. The gate takes the same steps over the entries of its index.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from touchplate.verify.checkpoints import Checkpoint
from touchplate.verify.entry import Entry, make_entry, verify_entry
from touchplate.verify.errors import RefusedError, VerifyError, shown
from touchplate.verify.files import FileDigests
from touchplate.verify.proofs import check_inclusion
from touchplate.verify.purl import PackageURL
from touchplate.verify.statements import (
    PROVENANCE_TYPE,
    Predicate,
    Provenance,
    Statement,
    Subject,
    parse_predicate,
    parse_statement,
)
from touchplate.verify.trust import TrustedKey, TrustFile
from touchplate.verify.values import value


@value
class TrustedEntry:
    """An entry that passed step 4: signed by a key that the reader trusts for such a statement at this index.

    `provenance` is parsed when the statement is one (4e); other predicates are parsed in step 5.
    """

    index: int
    entry: Entry
    operator: str
    statement: Statement
    provenance: Provenance | None = None


@contextmanager
def at_step(step: int) -> Iterator[None]:
    """Whatever fails inside is refused at `step`, with the reason that it failed for."""
    try:
        yield
    except RefusedError:
        raise
    except VerifyError as error:
        raise RefusedError(step, error.reason, str(error)) from error


def check_entry_form(
    checkpoint: Checkpoint, index: int, envelope: bytes, spki: bytes, proof: Sequence[bytes]
) -> Entry:
    """Step 3: the entry of an envelope and a key, proved to stand at `index`. Raises RefusedError."""
    with at_step(3):
        entry = make_entry(envelope, spki)
        check_inclusion(checkpoint, index, entry.leaf_hash, proof)
    return entry


def check_entry_trust(index: int, entry: Entry, trust: TrustFile) -> TrustedEntry:
    """Step 4: the statement of an entry, believed as far as its signer goes. Raises RefusedError."""
    with at_step(4):
        listed = trust.find(entry.spki)
        if not listed:  # 4a
            fingerprint = entry.key.spki_sha256.hex()
            raise RefusedError(4, "unknown-key", f"its key ({fingerprint}) is not in the trust file")
        verify_entry(entry)  # 4b
        statement = parse_statement(entry.payload)  # 4c
        if statement.kind == "unknown":
            raise RefusedError(
                4, "unknown-predicate", f"its predicate type {shown(statement.predicate_type)} is unknown"
            )
        blocks = _listed_for(listed, statement, index)  # 4d
        provenance = _check_provenance(statement, blocks)  # 4e
    return TrustedEntry(index, entry, blocks[0].operator, statement, provenance)


def check_entry_subject(trusted: TrustedEntry, file: FileDigests, package: PackageURL) -> Predicate:
    """Step 5: the predicate of an entry that speaks of this file as this package. Raises RefusedError."""
    with at_step(5):
        predicate = parse_trusted_predicate(trusted)
        _check_named(subjects_of(trusted, file), file, package)
    return predicate


def parse_trusted_predicate(trusted: TrustedEntry) -> Predicate:
    """The predicate of a trusted entry, its schema checked (part of step 5). Raises RefusedError."""
    with at_step(5):
        return trusted.provenance or parse_predicate(trusted.statement)


def subjects_of(trusted: TrustedEntry, file: FileDigests) -> list[Subject]:
    """The subjects with this file's sha256; RefusedError `wrong-artifact` for none (part of step 5)."""
    same = [subject for subject in trusted.statement.subjects if subject.sha256 == file.sha256]
    if not same:
        named = ", ".join(subject.sha256 for subject in trusted.statement.subjects[:2])
        raise RefusedError(5, "wrong-artifact", f"it speaks of other bytes ({named}), not of {file.sha256}")
    return same


def _listed_for(listed: Sequence[TrustedKey], statement: Statement, index: int) -> Sequence[TrustedKey]:
    """4d: the blocks of a key that let it make this statement at this index."""
    of_kind = [block for block in listed if block.kind == statement.kind]
    if not of_kind:
        raise RefusedError(
            4,
            "wrong-kind",
            f"its key is listed as {listed[0].kind}, and a {statement.kind} makes such statements",
        )
    ecosystems = {subject.uri.ecosystem for subject in statement.subjects}
    if statement.kind != "administrator":
        of_ecosystem = [block for block in of_kind if ecosystems <= set(block.ecosystems)]
        if not of_ecosystem:
            names = ", ".join(sorted(ecosystems))
            raise RefusedError(4, "wrong-ecosystem", f"its key is not listed for {names}")
        of_kind = of_ecosystem
    covering = [block for block in of_kind if block.covers(index)]
    if not covering:
        raise RefusedError(4, "out-of-range", f"its key does not count at index {index}")
    return covering


def _check_provenance(statement: Statement, blocks: Sequence[TrustedKey]) -> Provenance | None:
    """4e: `builder.id` is one listed for the key; all else as statement format 4."""
    if statement.predicate_type != PROVENANCE_TYPE:
        return None
    predicate = parse_predicate(statement)
    assert isinstance(predicate, Provenance)  # its type says so
    if predicate.builder not in {block.builder for block in blocks}:
        raise RefusedError(
            4, "wrong-builder", f"its builder {shown(predicate.builder)} is not the one listed for its key"
        )
    return predicate


def _check_named(subjects: Sequence[Subject], file: FileDigests, package: PackageURL) -> None:
    named = [subject for subject in subjects if subject.uri == package]
    if not named:
        raise RefusedError(
            5, "wrong-package", f"it speaks of these bytes as {subjects[0].uri}, not as {package}"
        )
    for subject in named:
        differing = file.differing(subject.digests)
        if differing:
            raise RefusedError(
                5, "wrong-digest", f"its sha256 is right, its {', '.join(differing)} is another file's"
            )
