"""What can be said of a packed entry without any state: form, signature, statement. Pure.

The verdict depends on the bytes alone, so it may be remembered: an entry that was checked when it came in
(CheckTx) need not be checked again when it stands in a block. What depends on the state (is the key listed,
for this index; is the entry there already) is asked each time, by the machine.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from touchplate.log.errors import AdmissionError
from touchplate.log.peers.changes import Change, read_change
from touchplate.log.ports import PackedEntry, pack
from touchplate.verify.entry import Entry, pack_entry, parse_packed, verify_entry
from touchplate.verify.errors import VerifyError
from touchplate.verify.statements import Predicate, Provenance, Statement, parse_predicate, parse_statement

REMEMBERED_BYTES = 32 * 1024 * 1024
"""Packed bytes of the entries whose verdict is kept: what may wait at one peer (8,192 entries of 2 KiB) and
what is on its way into blocks. Twice as much memory. What waits longer is checked twice."""


@dataclass(frozen=True, slots=True)
class CheckedEntry:
    """A well-formed entry whose key made its signature, and what the rules have to know about it.

    `statement`: without its predicate. `change`: what it approves, when it is an administrator's.
    """

    entry: PackedEntry
    spki: bytes
    statement: Statement
    builder: str | None
    change: Change | None = None


Check = Callable[[bytes], CheckedEntry]
"""`check_packed`, or something that remembers what it said."""


def check_packed(packed: bytes) -> CheckedEntry:
    """Check a packed entry. Raises AdmissionError with the reason of the first rule that it breaks."""
    try:
        entry = parse_packed(packed)
        verify_entry(entry)
        statement = parse_statement(entry.payload)
        predicate = parse_predicate(statement)
    except VerifyError as error:
        raise AdmissionError(str(error), reason=error.reason) from error
    assert pack_entry(entry) == packed  # its only form
    return _describe(entry, pack(entry, packed), statement, predicate)


def _describe(entry: Entry, packed: PackedEntry, statement: Statement, predicate: Predicate) -> CheckedEntry:
    builder = predicate.builder if isinstance(predicate, Provenance) else None
    change = read_change(entry.payload, statement, predicate)
    # Kept for thousands of entries; nothing asks for the predicate any more.
    bare = Statement(statement.subjects, statement.predicate_type, {}, statement.log)
    return CheckedEntry(packed, entry.spki, bare, builder, change)


class RememberedChecks:
    """`check_packed` that remembers good entries by the SHA-256 of their bytes. Safe from any thread."""

    def __init__(self, max_bytes: int = REMEMBERED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._good: OrderedDict[bytes, CheckedEntry] = OrderedDict()  # oldest use first; under _lock
        self._bytes = 0  # under _lock

    def __call__(self, packed: bytes) -> CheckedEntry:
        """See `check_packed`."""
        digest = hashlib.sha256(packed).digest()
        with self._lock:
            if (known := self._good.get(digest)) is not None:
                self._good.move_to_end(digest)
                return known
        checked = check_packed(packed)
        self._keep(digest, checked)
        return checked

    def admitted(self, entry: Entry, packed: PackedEntry, statement: Statement, predicate: Predicate) -> None:
        """An entry that was admitted here: admission has checked everything that `check_packed` does."""
        checked = _describe(entry, packed, statement, predicate)
        self._keep(hashlib.sha256(packed.packed).digest(), checked)

    def _keep(self, digest: bytes, checked: CheckedEntry) -> None:
        with self._lock:
            if digest not in self._good:
                self._good[digest] = checked
                self._bytes += len(checked.entry.packed)
            while self._bytes > self._max_bytes:
                _, oldest = self._good.popitem(last=False)
                self._bytes -= len(oldest.entry.packed)
