"""Who may write what: the check that every envelope passes before it reaches the sequencer.

1. the envelope has its one form (entry format 3)
2. a key of the admission list made the signature: found by trying, since an envelope names no key; and it is
listed for an index such as the next, whatever it says
3. the payload is a strict in-toto Statement v1 about files, with a predicate that is known and parses
4. that key is listed for this kind of statement, these ecosystems and this builder, at that index

Whoever accepts does this, in its own thread: the sequencer never verifies a signature. Readers do not rely on
it; they check each entry against their own trust file.
"""

from collections.abc import Callable, Iterable

from touchplate.log.errors import AdmissionError
from touchplate.log.ports import PackedEntry, pack
from touchplate.verify.dsse import PAYLOAD_TYPE, Envelope, pae, parse_envelope
from touchplate.verify.entry import Entry, assemble_entry, pack_entry
from touchplate.verify.errors import SignatureError, VerifyError, shown
from touchplate.verify.keys import StatementKey, check_signature_form
from touchplate.verify.statements import Predicate, Provenance, Statement, parse_predicate, parse_statement
from touchplate.verify.trust import AdmissionList, TrustedKey

Admitted = Callable[[Entry, PackedEntry, Statement, Predicate], None]
"""Is told of an entry all of whose checks have passed, and of what they have parsed."""


class Admission:
    """An admission list in use. Safe from any thread."""

    def __init__(
        self, listed: AdmissionList, next_index: Callable[[], int], admitted: Admitted | None = None
    ) -> None:
        """`next_index` tells the tree's size; what waits in the sequencer may push an entry a little beyond
        it. `admitted` is told of every entry that passes."""
        self._admitted = admitted
        self._next_index = next_index
        self._recent = b""  # SHA-256 of an SPKI; a guess: threads may overwrite each other's
        self.follow(listed)

    def follow(self, listed: AdmissionList) -> None:
        """From now on this is the list: peers may agree on another one while they run."""
        # Two steps, each whole. An entry admitted between them is checked again when its block is made.
        self._listed = listed
        self._keys = {block.key.spki_sha256: block.key for block in listed.keys}

    def admit(self, envelope: bytes, hint: bytes | None = None) -> PackedEntry:
        """Check a bare envelope; returns what the sequencer takes. `hint`: SHA-256 of the SPKI that signed.

        Raises AdmissionError: `malformed`, `too-large`, `high-s` and other forms, `unknown-key`,
        `bad-signature`, `unknown-predicate`, `wrong-kind`, `wrong-ecosystem`, `wrong-builder`, `wrong-index`.
        """
        try:
            parsed = parse_envelope(envelope)
            key = self._find_key(parsed, hint)
            # Before the statement: whoever asks only whether his key counts sends none.
            blocks, next_index = self._listed.find(key.spki), self._next_index()
            check_range(blocks, next_index)
            statement = parse_statement(parsed.payload)
            predicate = parse_predicate(statement)
            entry = assemble_entry(envelope, parsed, key)
        except AdmissionError:
            raise
        except VerifyError as error:
            raise AdmissionError(str(error), reason=error.reason) from error
        builder = predicate.builder if isinstance(predicate, Provenance) else None
        check_permission(blocks, statement, builder, next_index)
        packed = pack(entry, pack_entry(entry))
        if self._admitted is not None:
            self._admitted(entry, packed, statement, predicate)
        return packed

    def _find_key(self, envelope: Envelope, hint: bytes | None) -> StatementKey:
        """The listed key that made the signature."""
        message = pae(PAYLOAD_TYPE, envelope.payload)
        if hint is not None:
            named = self._keys.get(hint)
            if named is None:
                raise AdmissionError(
                    f"the key {hint.hex()} is not on this log's admission list", reason="unknown-key"
                )
            named.verify(envelope.signature, message)
            return named
        keys = self._keys
        # Whoever wrote last mostly writes next; each miss costs a signature check.
        recent = keys.get(self._recent)
        if recent is not None and _is_by(recent, envelope.signature, message):
            return recent
        for key in _of_form(keys.values(), envelope.signature):
            if key is not recent and _is_by(key, envelope.signature, message):
                self._recent = key.spki_sha256
                return key
        raise AdmissionError(
            f"none of the {len(keys)} keys of this log's admission list made this signature",
            reason="unknown-key",
        )


def _is_by(key: StatementKey, signature: bytes, message: bytes) -> bool:
    """Whether `key` made the signature; not when it is of another form than that key's are."""
    try:
        key.verify(signature, message)
    except SignatureError:
        return False
    return True


def _of_form(keys: Iterable[StatementKey], signature: bytes) -> list[StatementKey]:
    """The keys that could have made a signature of this form. If none could, says what is wrong with the
    form."""
    listed = list(keys)
    refused: dict[str, SignatureError] = {}
    for algorithm in {key.algorithm for key in listed}:
        try:
            check_signature_form(algorithm, signature)
        except SignatureError as error:
            refused[algorithm] = error
    candidates = [key for key in listed if key.algorithm not in refused]
    if not candidates and refused:
        # What is no Ed25519 signature by its length is an ECDSA one, and that check says which rule it broke.
        raise refused.get("p256") or refused["ed25519"]
    return candidates


def check_permission(
    blocks: Iterable[TrustedKey], statement: Statement, builder: str | None, next_index: int
) -> None:
    """Check that one of a key's `blocks` allows this statement at `next_index`.

    Raises AdmissionError with the reason of the last rule that left no block standing.
    """
    kind = statement.kind
    left = [block for block in blocks if block.kind == kind]
    if not left:
        raise AdmissionError(
            f"this key may not write {shown(statement.predicate_type)}: that takes a {kind}'s key",
            reason="wrong-kind",
        )
    if kind != "administrator":
        needed = {subject.uri.ecosystem for subject in statement.subjects}
        left = [block for block in left if needed.issubset(block.ecosystems)]
        if not left:
            raise AdmissionError(
                f"this key is not listed for {', '.join(sorted(needed))}", reason="wrong-ecosystem"
            )
    if builder is not None:
        left = [block for block in left if block.builder == builder]
        if not left:
            raise AdmissionError(
                f"this key is not listed for the builder {shown(builder)}", reason="wrong-builder"
            )
    check_range(left, next_index)


def check_range(blocks: Iterable[TrustedKey], next_index: int) -> None:
    """Check that one of a key's `blocks` counts at `next_index`. Raises AdmissionError `wrong-index`."""
    if not any(block.covers(next_index) for block in blocks):
        raise AdmissionError(
            f"this key is not listed for index {next_index}, which comes next", reason="wrong-index"
        )
