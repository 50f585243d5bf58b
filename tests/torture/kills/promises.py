"""What the writers of one log were told, and whether it holds: the checker of the series of kills.

It reads the rows of the log, whichever database they are in, and believes nothing else: fsck recomputes the
tree, every acknowledged entry must be at its index, and every head that anybody saw must be a beginning.
`test_kills.py` shows it logs that drop an acknowledged entry, and logs that fork.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from threading import Lock

from tests.torture.oracle import INCONSISTENT, LOST, Finding

from touchplate.log.fsck import check_log
from touchplate.log.storage.rows import TreeRows
from touchplate.verify.checkpoints import UnverifiedCheckpoint
from touchplate.verify.policy import Policy


@dataclass
class Acknowledged:
    """Answers of one log, from the threads of its writers."""

    indexes: dict[bytes, int] = field(default_factory=dict)
    """What was sent (a packed entry, or the leaf of a raw tree) → the index that was answered."""
    heads: set[UnverifiedCheckpoint] = field(default_factory=set)
    """Every head that was shown to anybody."""
    broken: list[Finding] = field(default_factory=list)
    """What contradicted an earlier answer while the log ran."""
    _lock: Lock = field(default_factory=Lock)

    def told(self, sent: bytes, index: int) -> None:
        """The log said that `sent` is at `index`."""
        with self._lock:
            if self.indexes.setdefault(sent, index) != index:
                text = f"an entry was at index {self.indexes[sent]}, now at {index}"
                self.broken.append(Finding(INCONSISTENT, text))

    def saw(self, head: UnverifiedCheckpoint) -> None:
        """The log showed this head."""
        with self._lock:
            self.heads.add(head)

    def note(self, kind: str, text: str) -> None:
        """Something else that may not be."""
        with self._lock:
            self.broken.append(Finding(kind, text))

    @property
    def count(self) -> int:
        """Entries that were acknowledged, each once."""
        return len(self.indexes)


def check(rows: TreeRows, policy: Policy | None, told: Acknowledged) -> Iterator[Finding]:
    """Everything that is wrong with a log of which this was told. `policy`: None for a raw tree."""
    # First: what was answered after this line may not be in what is read below it.
    with told._lock:
        indexes, heads = dict(told.indexes), set(told.heads)
        yield from told.broken
        told.broken.clear()
    size = rows.head()[0]
    for ahead in sorted(head.size for head in heads if head.size > size):
        yield Finding(INCONSISTENT, f"the log has {size} entries, and showed a head of {ahead}")
    past = [head for head in heads if head.size <= size]
    for found in check_log(rows, policy=policy, against=past).findings:
        yield Finding(INCONSISTENT, f"fsck: {found}")
    yield from _check_entries(rows, size, indexes, is_raw=policy is None)


def _check_entries(
    rows: TreeRows, size: int, indexes: dict[bytes, int], *, is_raw: bool
) -> Iterator[Finding]:
    stored = rows.leaves(0, size)
    places: dict[bytes, int] = {}
    for index, (data, packed) in stored.items():
        held = (data if is_raw else packed) or b""
        if places.setdefault(held, index) != index:
            yield Finding(INCONSISTENT, f"the entry at index {index} is also at {places[held]}")
    for sent, index in indexes.items():
        if places.get(sent) != index:
            where = f"at {places[sent]}" if sent in places else "nowhere"
            yield Finding(LOST, f"the entry that was acknowledged at index {index} is {where}")
