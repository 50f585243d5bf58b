"""Proofs out of memory are those of the definition, at every size around the ends of tiles."""

import pytest
from tests.log.support import raw_entries
from tests.reference import path, proof

from touchplate.log.growth import Edge, grow
from touchplate.log.trillian.nodes import CachedHashes, MissingError, NodeCache, interior
from touchplate.verify.proofs import prove_consistency, prove_inclusion
from touchplate.verify.rfc6962 import HASH_SIZE, node_hash
from touchplate.verify.tiles import Tile

SIZES = (1, 2, 3, 7, 255, 256, 257, 300, 511, 512, 513, 700)
ENTRIES = raw_entries(max(SIZES))
LEAVES = [entry.leaf_data for entry in ENTRIES]


class Tiles:
    """The tiles of the whole tree; `asked` counts."""

    def __init__(self) -> None:
        self.asked = 0
        grown = grow(Edge(), [entry.leaf_hash for entry in ENTRIES]).tiles
        self._tiles = {(tile.level, tile.index): data for tile, data in grown.items()}

    def __call__(self, tile: Tile) -> bytes:
        self.asked += 1
        data = self._tiles[tile.level, tile.index][: tile.width * HASH_SIZE]
        assert len(data) == tile.width * HASH_SIZE
        return data


@pytest.mark.parametrize("most", [1, 1000])
def test_every_proof_is_the_definitions(most: int) -> None:
    cache, tiles = NodeCache(most), Tiles()
    for size in SIZES:
        reader = CachedHashes(cache, 1, size, tiles)
        for index in {0, 1, size // 2, size - 1} & set(range(size)):
            assert prove_inclusion(reader, index, size) == path(index, LEAVES[:size])
        for old in {1, size // 3, size - 1, size} & set(range(1, size + 1)):
            assert prove_consistency(reader, old, size) == proof(old, LEAVES[:size])
    assert len(cache) <= most


def test_what_is_in_memory_is_not_read_again_and_trees_are_kept_apart() -> None:
    cache, tiles = NodeCache(), Tiles()
    first = prove_inclusion(CachedHashes(cache, 1, 700, tiles), 5, 700)
    asked = tiles.asked
    assert prove_inclusion(CachedHashes(cache, 1, 700, None), 5, 700) == first
    assert tiles.asked == asked
    with pytest.raises(MissingError):
        prove_inclusion(CachedHashes(cache, 2, 700, None), 5, 700)


def test_the_tile_that_was_not_used_for_longest_goes() -> None:
    cache = NodeCache(2)
    tiles = [(1, Tile(0, number)) for number in range(3)]
    cache.put(tiles[0], ())
    cache.put(tiles[1], ())
    assert cache.get(tiles[0]) is not None
    cache.put(tiles[2], ())
    assert [cache.get(tile) is not None for tile in tiles] == [True, False, True]


def test_interior_nodes_are_pairs_and_an_odd_last_one_has_none() -> None:
    a, b, c = (bytes([number]) * HASH_SIZE for number in range(3))
    levels = interior(a + b + c)
    assert levels[:3] == (a + b + c, node_hash(a, b), b"")
    assert len(levels) == 8
