"""How a tree grows: the hashes of new leaves in, changed tiles and the new root out. Pure.

Every interior node is hashed once, level by level, and full tiles fall out on the way (tlog-tiles: the
entries of a tile at level l are the roots of complete subtrees of 256^l leaves).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from touchplate.verify.rfc6962 import EMPTY_ROOT, HASH_SIZE, node_hash
from touchplate.verify.tiles import FULL_TILE_BYTES, TILE_HEIGHT, TILE_WIDTH, Tile


@dataclass(frozen=True, slots=True)
class Edge:
    """The right edge of a tree: all that is needed to append to it. Immutable; growing makes a new one.

    odd[h]      the complete subtree of 2^h leaves that nothing stands beside yet; None where bit h of size is
    0 partial[l]  the bytes of the unfinished tile of level l, empty when there is none
    """

    size: int = 0
    odd: tuple[bytes | None, ...] = ()
    partial: tuple[bytes, ...] = ()

    def root(self) -> bytes:
        """RFC 6962 2.1: the Merkle tree hash of all leaves."""
        root: bytes | None = None
        for subtree in self.odd:
            if subtree is not None:
                root = subtree if root is None else node_hash(subtree, root)
        return EMPTY_ROOT if root is None else root


@dataclass(frozen=True, slots=True)
class Growth:
    """A batch applied to an edge. `tiles`: full ones are final, partial ones replace their shorter form."""

    edge: Edge
    tiles: dict[Tile, bytes]


def grow(edge: Edge, leaf_hashes: Sequence[bytes]) -> Growth:
    """Append leaves (RFC 6962 leaf hashes, 32 bytes each) to the tree whose edge is `edge`."""
    odd, partial = list(edge.odd), list(edge.partial)
    tiles: dict[Tile, bytes] = {}
    nodes, height = list(leaf_hashes), 0
    while nodes:
        if height % TILE_HEIGHT == 0:
            level = height // TILE_HEIGHT
            if level == len(partial):
                partial.append(b"")
            first = edge.size >> height >> TILE_HEIGHT  # the tile that `partial[level]` is the beginning of
            partial[level] = _cut(tiles, level, first, partial[level] + b"".join(nodes))
        if height == len(odd):
            odd.append(None)
        waiting = odd[height]
        if waiting is not None:
            nodes.insert(0, waiting)
        odd[height] = nodes.pop() if len(nodes) % 2 else None
        nodes = _pair(nodes)
        height += 1
    return Growth(Edge(edge.size + len(leaf_hashes), tuple(odd), tuple(partial)), tiles)


def _cut(tiles: dict[Tile, bytes], level: int, first: int, data: bytes) -> bytes:
    """Put the tiles of `data` into `tiles`; returns the bytes of the unfinished one."""
    for offset in range(0, len(data), FULL_TILE_BYTES):
        chunk = data[offset : offset + FULL_TILE_BYTES]
        tiles[Tile(level, first + offset // FULL_TILE_BYTES, len(chunk) // HASH_SIZE)] = chunk
    return data[len(data) - len(data) % FULL_TILE_BYTES :]


def _pair(nodes: list[bytes]) -> list[bytes]:
    return [node_hash(nodes[i], nodes[i + 1]) for i in range(0, len(nodes), 2)]


def edge_tiles(size: int) -> list[Tile]:
    """The unfinished tiles of a tree of `size` leaves, one per level that has one."""
    tiles, level = [], 0
    while size >> (TILE_HEIGHT * level):
        full, width = divmod(size >> (TILE_HEIGHT * level), TILE_WIDTH)
        if width:
            tiles.append(Tile(level, full, width))
        level += 1
    return tiles


def edge_of(size: int, partial: dict[int, bytes]) -> Edge:
    """The edge of a stored tree from the bytes of its unfinished tiles, by level.

    Precondition: the keys are the levels of `edge_tiles(size)`, and each value has that tile's width.
    """
    odd: list[bytes | None] = []
    unfinished: list[bytes] = []
    level = 0
    while size >> (TILE_HEIGHT * level):
        data = partial.get(level, b"")
        unfinished.append(data)
        nodes = [data[i : i + HASH_SIZE] for i in range(0, len(data), HASH_SIZE)]
        for _ in range(TILE_HEIGHT):
            odd.append(nodes.pop() if len(nodes) % 2 else None)
            nodes = _pair(nodes)
        level += 1
    return Edge(size, tuple(odd), tuple(unfinished))
