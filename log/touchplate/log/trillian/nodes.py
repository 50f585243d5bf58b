"""Hashes of subtrees in memory, so that a proof costs neither a query nor a hash.

A tile stores its lowest level only, and a proof asks for nodes above it. So with each tile its seven levels
of interior nodes are kept. The hash of a complete subtree never changes, whatever the tree's size: an
unfinished tile is kept under the same name while it grows, and only what is new in it is hashed.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from weakref import WeakKeyDictionary

from touchplate.verify.proofs import Node
from touchplate.verify.rfc6962 import HASH_SIZE, node_hash
from touchplate.verify.tiles import TILE_HEIGHT, Tile, tile_width

MAX_TILES = 2_048
"""Tiles in memory, over all trees: 16 KB each with their interior nodes, 33 MB in all."""

Levels = tuple[bytes, ...]
"""The hashes of complete subtrees in a tile, level by level, the leaves' first."""

Key = tuple[int, int, int]
"""Number of an open tree (never that of another one, see `NodeCache.number`), level of a tile, its index."""

NONE: Levels = (b"",) * TILE_HEIGHT


class MissingError(LookupError):
    """Some tiles are not in memory, or not in the width that is needed."""

    def __init__(self, tiles: Sequence[Tile]) -> None:
        super().__init__(f"not in memory: {', '.join(map(str, tiles))}")
        self.tiles = tiles


class NodeCache:
    """The tiles that were used last. For one thread."""

    def __init__(self, most: int = MAX_TILES) -> None:
        self._most = most
        self._tiles: OrderedDict[Key, Levels] = OrderedDict()
        self._numbers: WeakKeyDictionary[object, int] = WeakKeyDictionary()
        self._next = count()

    def __len__(self) -> int:
        return len(self._tiles)

    def number(self, tree: object) -> int:
        """Of an open tree. One that is closed and opened again is another one: its database may have gone
        back meanwhile, which only an open tree notices."""
        if (number := self._numbers.get(tree)) is None:
            number = self._numbers[tree] = next(self._next)
        return number

    def get(self, key: Key) -> Levels:
        """A tile as far as it is here."""
        found = self._tiles.get(key)
        if found is None:
            return NONE
        self._tiles.move_to_end(key)
        return found

    def grow(self, key: Key, hashes: bytes) -> Levels:
        """Keep a tile whose stored hashes are (or begin with) these, and forget the one that was not used for
        longest.

        What contradicts the tile that is here replaces it as a whole: the database went back meanwhile.
        """
        levels = self.get(key)
        both = min(len(hashes), len(levels[0]))
        contradicts = hashes[:both] != levels[0][:both]
        if contradicts or len(hashes) > len(levels[0]):
            levels = self._tiles[key] = interior(hashes, NONE if contradicts else levels)
            while len(self._tiles) > self._most:
                self._tiles.popitem(last=False)
        return levels


class CachedHashes:
    """A `HashReader` (verify.proofs) of one tree at one size."""

    def __init__(
        self, cache: NodeCache, tree: int, size: int, at_hand: Callable[[Tile], bytes | None]
    ) -> None:
        """`at_hand`: the bytes of a tile that somebody else has in memory."""
        self._cache = cache
        self._tree = tree
        self._size = size
        self._at_hand = at_hand
        self._own: dict[Key, Levels] = {}  # stay, whatever the cache forgets

    def add(self, tiles: Mapping[Tile, bytes]) -> None:
        """Take tiles that were missing."""
        for tile, hashes in tiles.items():
            key = (self._tree, tile.level, tile.index)
            self._own[key] = self._cache.grow(key, hashes)

    def read_hashes(self, nodes: Sequence[Node]) -> list[bytes]:
        """Hashes of complete subtrees within the size. Raises MissingError."""
        found, missing, own = [], dict[Key, None](), self._own
        for level, index in nodes:
            tile_level, height = divmod(level, TILE_HEIGHT)
            inside = TILE_HEIGHT - height  # bits of an index of this height that count within a tile
            tile_index = index >> inside
            start = (index - (tile_index << inside)) * HASH_SIZE
            key = (self._tree, tile_level, tile_index)
            levels = own.get(key)
            if levels is None:
                levels = own[key] = self._cache.get(key)
            node = levels[height][start : start + HASH_SIZE]
            if len(node) != HASH_SIZE:
                node = self._from_hand(key)[height][start : start + HASH_SIZE]
                if len(node) != HASH_SIZE:
                    missing[key] = None
            found.append(node)
        if missing:
            raise MissingError([self._tile(key) for key in missing])
        return found

    def _from_hand(self, key: Key) -> Levels:
        hashes = self._at_hand(self._tile(key))
        if hashes is None:
            return NONE
        levels = self._own[key] = self._cache.grow(key, hashes)
        return levels

    def _tile(self, key: Key) -> Tile:
        _, level, index = key
        return Tile(level, index, tile_width(level, index, self._size))


def interior(hashes: bytes, known: Levels = NONE) -> Levels:
    """All levels of a tile below its root, from its stored hashes; an odd last one has no parent yet.

    `known`: the levels of a narrower form of the same tile.
    """
    pair = 2 * HASH_SIZE
    levels = [hashes]
    for old in known[1:]:
        below = levels[-1]
        new = [
            node_hash(below[at : at + HASH_SIZE], below[at + HASH_SIZE : at + pair])
            for at in range(2 * len(old), len(below) - pair + 1, pair)
        ]
        levels.append(old + b"".join(new))
    return tuple(levels)
