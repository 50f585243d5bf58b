"""What a log should be, in the words of RFC 6962: a list of leaves, and the literal definition over them."""

from functools import cache

from tests import reference
from tests.log.support import record_envelope, signed_entry

from touchplate.log.ports import PackedEntry


@cache
def envelope(number: int) -> bytes:
    """The envelope of statement `number`, the same in one run."""
    return record_envelope(number)


@cache
def entry(number: int) -> PackedEntry:
    """The entry of that envelope."""
    return signed_entry(number)


class Model:
    """The log that a client was told of: which statement stands where, and nothing else."""

    def __init__(self) -> None:
        self.order: list[int] = []

    @property
    def size(self) -> int:
        return len(self.order)

    @property
    def fresh(self) -> int:
        """The first statement that the log has never seen."""
        return max(self.order, default=-1) + 1

    def add(self, number: int) -> tuple[int, bool]:
        """(index, whether it was there before): the answer that the log owes for a statement."""
        if number in self.order:
            return self.order.index(number), True
        self.order.append(number)
        return self.size - 1, False

    def leaves(self, size: int | None = None) -> list[bytes]:
        """The leaf data of the first `size` entries (all)."""
        return [entry(number).leaf_data for number in self.order[:size]]

    def root(self, size: int | None = None) -> bytes:
        return reference.mth(self.leaves(size))

    def inclusion(self, index: int, size: int) -> list[bytes]:
        return reference.path(index, self.leaves(size))

    def consistency(self, old: int, new: int) -> list[bytes]:
        return reference.proof(old, self.leaves(new)) if old else []

    def tile(self, level: int, index: int, width: int) -> bytes:
        """tlog-tiles: entry n of level l is the root of the n-th full subtree of 256^l leaves."""
        span, leaves = 256**level, self.leaves()
        first = index * 256
        return b"".join(
            reference.mth(leaves[at * span : (at + 1) * span]) for at in range(first, first + width)
        )

    def entry_bundle(self, index: int, width: int) -> bytes:
        leaves = self.leaves()[index * 256 : index * 256 + width]
        return b"".join(len(leaf).to_bytes(2, "big") + leaf for leaf in leaves)

    def envelope_bundle(self, index: int, width: int) -> bytes:
        numbers = self.order[index * 256 : index * 256 + width]
        return b"".join(entry(number).packed for number in numbers)
