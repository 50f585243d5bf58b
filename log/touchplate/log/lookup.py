"""Where a leaf hash stands: the index behind it, without a table for it.

A second table of random keys would double what each entry costs to write. The hashes are there already, in
the tiles of level 0, in order. Of each, four bytes are kept in memory (4 MB for a million entries), read from
the tiles at the first question and from new ones at each later one; a place that fits is then looked at in
its tile.
"""

from threading import Lock

from touchplate.log.errors import NotFoundError
from touchplate.log.ports import Tree
from touchplate.verify.rfc6962 import HASH_SIZE
from touchplate.verify.tiles import TILE_WIDTH, Tile, tile_width

PREFIX_BYTES = 4
"""Bytes kept of each hash: of a million leaves, one in four thousand questions meets a wrong place first."""


class LeafLookup:
    """Finds leaf hashes in one tree. Safe from any thread; blocks on storage."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._lock = Lock()
        self._prefixes = bytearray()  # under _lock

    def find(self, leaf_hash: bytes) -> int:
        """The first index at which this leaf hash (32 bytes) stands. Raises NotFoundError."""
        with self._lock:
            self._read_on()
            place = -1
            while (place := self._prefixes.find(leaf_hash[:PREFIX_BYTES], place + 1)) >= 0:
                index, inside = divmod(place, PREFIX_BYTES)
                if not inside and self._hash(index) == leaf_hash:
                    return index
            size = len(self._prefixes) // PREFIX_BYTES
        raise NotFoundError(f"no leaf of this tree of {size} entries has the hash {leaf_hash.hex()}")

    def _read_on(self) -> None:
        size = self._tree.head().size
        while (known := len(self._prefixes) // PREFIX_BYTES) < size:
            number, offset = divmod(known, TILE_WIDTH)
            hashes = self._tree.read_tile(Tile(0, number, tile_width(0, number, size)))
            for at in range(offset * HASH_SIZE, len(hashes), HASH_SIZE):
                self._prefixes += hashes[at : at + PREFIX_BYTES]

    def _hash(self, index: int) -> bytes:
        number, offset = divmod(index, TILE_WIDTH)
        return self._tree.read_tile(Tile(0, number, offset + 1))[-HASH_SIZE:]
