"""Finds the entries about one file in a log, by reading all of it: no index has to be believed.

What is found is put into a proof bundle (bundle format 6), as a node would make it, so that a reader who does
not trust any node can make his own from the log or a mirror of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from touchplate.verify.bundle import MAX_BUNDLE_ENTRIES, Artifact, Bundle, BundleEntry
from touchplate.verify.client import LogClient
from touchplate.verify.entry import Entry
from touchplate.verify.errors import MalformedError, NotFoundError, VerifyError
from touchplate.verify.files import FileDigests
from touchplate.verify.purl import PackageURL
from touchplate.verify.statements import COMPARISON_TYPE, Comparison, parse_predicate, parse_statement
from touchplate.verify.steps import check_entry_trust
from touchplate.verify.trust import TrustFile
from touchplate.verify.values import value

MAX_FOUND = 10_000
"""Entries about one file that a search keeps: far more than anybody writes; at most 640 MiB of envelopes."""

_ESCAPE = b"\\u"  # in a payload that has one, a digest may be spelt in other ways than its hex digits


@value
class Found:
    """An entry that names the file; `packages`: what it calls these bytes."""

    index: int
    entry: Entry
    packages: tuple[PackageURL, ...]


def search_log(
    client: LogClient, sha256: str, progress: Callable[[int], None] = lambda done: None
) -> list[Found]:
    """As `find_entries`; raises NotFoundError, too, when there is none."""
    found = find_entries(client, sha256, progress)
    if not found:
        raise NotFoundError(f"no entry of the log (size {client.head.size}) is about {sha256}")
    return found


def find_entries(
    client: LogClient, sha256: str, progress: Callable[[int], None] = lambda done: None
) -> list[Found]:
    """All entries of `client.head` about the file with this SHA-256 (lower-case hex), by index.

    Also the provenance that a comparison about it names by identity: such a comparison counts only together
    with that (step 5 of the end-to-end check). `progress` is told how many entries were read. Raises what
    `LogClient.entries` raises: a log that cannot be read whole was not searched.
    """
    found = {}
    named: set[bytes] = set()
    for index, entry in client.entries():
        packages, identity = _about(entry, sha256)
        if packages:
            found[index] = Found(index, entry, packages)
            if len(found) > MAX_FOUND:
                raise VerifyError(
                    f"more than {MAX_FOUND} entries are about {sha256}: "
                    "name some of them with `touchplate prove --index`",
                    reason="too-many-entries",
                )
        if identity is not None:
            named.add(identity)
        progress(index + 1)
    missing = named - {each.entry.identity for each in found.values()}
    for index, entry in client.entries() if missing else ():
        if entry.identity in missing:
            found[index] = Found(index, entry, ())
            missing.remove(entry.identity)
        if not missing:
            break
        progress(index + 1)
    return [found[index] for index in sorted(found)]


def _about(entry: Entry, sha256: str) -> tuple[tuple[PackageURL, ...], bytes | None]:
    """What an entry calls the file, and the identity of the provenance that it names beside."""
    payload = entry.payload
    if sha256.encode() not in payload and _ESCAPE not in payload:
        return (), None
    try:
        statement = parse_statement(payload)
        packages = tuple(each.uri for each in statement.subjects if each.sha256 == sha256)
        predicate = (
            parse_predicate(statement) if packages and statement.predicate_type == COMPARISON_TYPE else None
        )
    except MalformedError:  # a statement that no reader takes: it says nothing about any file
        return (), None
    if isinstance(predicate, Comparison) and predicate.provenance is not None:
        return packages, bytes.fromhex(predicate.provenance)
    return packages, None


def choose_package(found: Iterable[Found]) -> PackageURL:
    """The one package that all entries call the file. Raises VerifyError (`no-package`) when there are
    several, or none."""
    packages = {str(package): package for each in found for package in each.packages}
    if len(packages) != 1:
        raise VerifyError(
            f"these bytes are attested as {', '.join(sorted(packages)) or 'no package'}; "
            "say with --package which it should be",
            reason="no-package",
        )
    return next(iter(packages.values()))


def make_bundle(client: LogClient, found: Sequence[Found], file: FileDigests, package: PackageURL) -> Bundle:
    """The proof bundle of these entries under `client.head`: at most 64, ascending. Raises as `inclusion`."""
    head = client.head
    entries = tuple(
        BundleEntry(each.index, each.entry.envelope, each.entry.spki, tuple(client.inclusion(each.index)))
        for each in sorted(found, key=lambda one: one.index)
    )
    artifact = Artifact(package, package.file_name, file.size, file.digests)
    return Bundle(artifact, head.note.encode(), entries)


def most_useful(found: Sequence[Found], trust: TrustFile | None, package: PackageURL) -> list[Found]:
    """As many as a bundle takes: those that the trust file believes first, of these those about `package`,
    and one of each signer before others.

    So nobody crowds out what counts by logging much; nor do a hundred packages that hold the same bytes, as
    empty jars do, crowd out each other. `trust`: None when only a policy was given.
    """
    times: dict[tuple[bytes, bool], int] = {}
    ranked = []
    for each in found:
        is_other = not _is_about(each, package)
        signer = (each.entry.spki, is_other)
        times[signer] = times.get(signer, 0) + 1
        ranked.append((not _is_believed(each, trust), is_other, times[signer], each.index, each))
    return [each for *_, each in sorted(ranked, key=lambda rank: rank[:4])[:MAX_BUNDLE_ENTRIES]]


def _is_about(found: Found, package: PackageURL) -> bool:
    """Whether it speaks of the file as `package`; of a provenance of other bytes, of those bytes."""
    if found.packages:
        return package in found.packages
    try:
        return any(each.uri == package for each in parse_statement(found.entry.payload).subjects)
    except MalformedError:
        return False


def _is_believed(found: Found, trust: TrustFile | None) -> bool:
    if trust is None:
        return False
    try:
        check_entry_trust(found.index, found.entry, trust)
    except VerifyError:
        return False
    return True


def named_by(client: LogClient, index: int, sha256: str) -> Found:
    """The entry at `index`, with what it calls the file with this SHA-256, if anything. Raises as `entry`."""
    entry = client.entry(index)
    return Found(index, entry, _about(entry, sha256)[0])
