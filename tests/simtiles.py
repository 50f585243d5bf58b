"""All tiles of a small tree, computed the plain way: level by level, from a list of leaf hashes."""

from __future__ import annotations

from collections.abc import Sequence

from touchplate.verify.rfc6962 import node_hash
from touchplate.verify.tiles import TILE_HEIGHT, TILE_WIDTH, Tile, tiles_of


def tiles_from(leaf_hashes: Sequence[bytes]) -> dict[Tile, bytes]:
    """The bytes of every tile of the tree with these leaf hashes."""
    levels = [list(leaf_hashes)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])
    tiles = {}
    for tile in tiles_of(len(leaf_hashes)):
        row = levels[tile.level * TILE_HEIGHT]
        begin = tile.index * TILE_WIDTH
        tiles[tile] = b"".join(row[begin : begin + tile.width])
    return tiles
