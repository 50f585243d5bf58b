"""Hashes of subtrees in memory, so that a proof costs neither a query nor a hash.

A tile stores its lowest level only, and a proof asks for nodes above it. So with each tile its seven levels
of interior nodes are kept, for unfinished tiles too: those are named by their width, and never change either.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from threading import Lock

from touchplate.verify.proofs import Node
from touchplate.verify.rfc6962 import HASH_SIZE, node_hash
from touchplate.verify.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, tile_width

MAX_TILES = 2_048
"""Tiles in memory, over all trees: 16 KB each with their interior nodes, 33 MB in all."""

Levels = tuple[bytes, ...]
"""The hashes of complete subtrees in a tile, level by level, the leaves' first."""

Key = tuple[int, Tile]
"""Number of a tree in the database, and a tile of it."""


class MissingError(LookupError):
    """A tile is not in memory."""


class NodeCache:
    """The tiles that were used last. Safe from any thread."""

    def __init__(self, most: int = MAX_TILES) -> None:
        self._most = most
        self._tiles: OrderedDict[Key, Levels] = OrderedDict()  # under _lock
        self._lock = Lock()

    def __len__(self) -> int:
        return len(self._tiles)

    def get(self, key: Key) -> Levels | None:
        """A tile, if it is here."""
        with self._lock:
            found = self._tiles.get(key)
            if found is not None:
                self._tiles.move_to_end(key)
            return found

    def put(self, key: Key, levels: Levels) -> None:
        """Keep a tile, and forget the one that was not used for longest."""
        with self._lock:
            self._tiles[key] = levels
            self._tiles.move_to_end(key)
            while len(self._tiles) > self._most:
                self._tiles.popitem(last=False)


class CachedHashes:
    """A `HashReader` (verify.proofs) of one tree at one size."""

    def __init__(self, cache: NodeCache, tree: int, size: int, fetch: Callable[[Tile], bytes] | None) -> None:
        """`fetch` reads a tile that is not in memory; None: raise MissingError instead."""
        self._cache = cache
        self._tree = tree
        self._size = size
        self._fetch = fetch

    def read_hashes(self, nodes: Sequence[Node]) -> list[bytes]:
        """Hashes of complete subtrees within the size."""
        return [self._read(level, index) for level, index in nodes]

    def _read(self, level: int, index: int) -> bytes:
        tile_level, height = divmod(level, TILE_HEIGHT)
        tile_index, first = divmod(index << height, TILE_WIDTH)
        tile = Tile(tile_level, tile_index, tile_width(tile_level, tile_index, self._size))
        hashes = self._levels(tile)[height]
        start = (first >> height) * HASH_SIZE
        return hashes[start : start + HASH_SIZE]

    def _levels(self, tile: Tile) -> Levels:
        key = (self._tree, tile)
        levels = self._cache.get(key)
        if levels is None:
            if self._fetch is None:
                raise MissingError(f"{tile} is not in memory")
            levels = interior(self._fetch(tile))
            self._cache.put(key, levels)
        return levels


def interior(hashes: bytes) -> Levels:
    """All levels of a tile below its root, from its stored hashes; an odd last one has no parent yet."""
    levels = [hashes]
    for _ in range(TILE_HEIGHT - 1):
        pair = 2 * HASH_SIZE
        below = levels[-1]
        levels.append(
            b"".join(
                node_hash(below[at : at + HASH_SIZE], below[at + HASH_SIZE : at + pair])
                for at in range(0, len(below) - pair + 1, pair)
            )
        )
    return tuple(levels)
