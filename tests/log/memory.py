"""A `Tree` in memory: small, literal, and able to fail before or after the effect of a write."""

from collections.abc import Mapping, Sequence
from typing import Literal

from tests.reference import mth

from touchplate.log.errors import CheckpointError, NotFoundError, RequestError, StorageFailedError
from touchplate.log.ports import Head, PackedEntry, Sequenced, Sign
from touchplate.verify.rfc6962 import EMPTY_ROOT
from touchplate.verify.tiles import TILE_WIDTH, Tile

Failure = Literal["before", "after"]


class MemoryTree:
    """The port without a database. `fail` says how the next write ends."""

    def __init__(self) -> None:
        self.entries: list[PackedEntry] = []
        self.batches: list[int] = []  # sizes, for tests about batching
        self.fail: Failure | None = None
        self._known: dict[bytes, int] = {}
        self._head = Head(0, EMPTY_ROOT, None)
        self._checkpoint_size = 0
        self._decided: bytes | None = None

    def head(self) -> Head:
        return self._head

    def apply(
        self, entries: Sequence[PackedEntry], sign: Sign | None = None, decided: bytes | None = None
    ) -> list[Sequenced]:
        failure, self.fail = self.fail, None
        if failure == "before":
            raise StorageFailedError("failing before the effect")
        known, added, results = dict(self._known), list(self.entries), []
        for entry in entries:
            index = known.get(entry.identity)
            results.append(Sequenced(len(added) if index is None else index, duplicate=index is not None))
            if index is None:
                known[entry.identity] = len(added)
                added.append(entry)
        if len(added) > len(self.entries):
            root, checkpoint = mth([entry.leaf_data for entry in added]), self._head.checkpoint
            if sign is not None:
                checkpoint = sign(len(added), root)
                self._checkpoint_size = len(added)
            self._known, self.entries, self._head = known, added, Head(len(added), root, checkpoint)
        self._decided = self._decided if decided is None else decided
        self.batches.append(len(entries))
        if failure == "after":
            raise StorageFailedError("failing after the effect")
        return results

    def decided(self) -> bytes | None:
        return self._decided

    def store_checkpoint(self, size: int, checkpoint: bytes) -> None:
        failure, self.fail = self.fail, None
        if failure == "before":
            raise StorageFailedError("failing before the effect")
        if not self._checkpoint_size <= size <= self._head.size:
            raise CheckpointError(f"the checkpoint of size {size} goes back or ahead")
        self._checkpoint_size = size
        self._head = Head(self._head.size, self._head.root, checkpoint)
        if failure == "after":
            raise StorageFailedError("failing after the effect")

    def _range(self, start: int, end: int) -> Sequence[PackedEntry]:
        if not 0 <= start <= end <= self._head.size:
            raise NotFoundError(f"entries {start} to {end} are not in a tree of size {self._head.size}")
        return self.entries[start:end]

    def read_leaf_data(self, start: int, end: int) -> list[bytes]:
        return [entry.leaf_data for entry in self._range(start, end)]

    def read_packed(self, start: int, end: int) -> list[bytes]:
        return [entry.packed for entry in self._range(start, end)]

    def read_tile(self, tile: Tile) -> bytes:
        span = 256**tile.level if 0 <= tile.level < 64 else 0
        first = tile.index * TILE_WIDTH
        inside = 0 < tile.width <= TILE_WIDTH and tile.index >= 0
        if not span or not inside or (first + tile.width) * span > self._head.size:
            raise NotFoundError(f"{tile} is not in a tree of size {self._head.size}")
        leaves = [entry.leaf_data for entry in self.entries]
        return b"".join(mth(leaves[n * span : (n + 1) * span]) for n in range(first, first + tile.width))

    def find_identities(self, identities: Sequence[bytes]) -> Mapping[bytes, int]:
        if any(len(identity) != 32 for identity in identities):
            raise RequestError("an identity has 32 bytes")
        return {identity: self._known[identity] for identity in identities if identity in self._known}

    def close(self) -> None:
        return None
