"""Growing a tree: tiles and roots against the literal definition, for every way of cutting a batch."""

import pytest
from tests.log.support import raw_entries
from tests.reference import mth
from tests.simtiles import tiles_from

from touchplate.log.growth import Edge, edge_of, edge_tiles, grow
from touchplate.verify.tiles import Tile, tiles_of

LEAVES = [entry.leaf_data for entry in raw_entries(70_000)]
HASHES = [entry.leaf_hash for entry in raw_entries(70_000)]


def test_every_root_up_to_300_one_leaf_at_a_time() -> None:
    edge = Edge()
    assert edge.root() == mth([])
    for size in range(1, 301):
        edge = grow(edge, [HASHES[size - 1]]).edge
        assert edge.size == size
        assert edge.root() == mth(LEAVES[:size])


@pytest.mark.parametrize("first", [0, 1, 200, 255, 256, 257, 511, 512])
@pytest.mark.parametrize("count", [0, 1, 2, 56, 255, 256, 257, 600])
def test_writes_exactly_the_tiles_that_change(first: int, count: int) -> None:
    edge = grow(Edge(), HASHES[:first]).edge
    growth = grow(edge, HASHES[first : first + count])
    complete = tiles_from(HASHES[: first + count])
    assert growth.tiles == {tile: complete[tile] for tile in tiles_of(first + count, since=first)}
    assert growth.edge.root() == mth(LEAVES[: first + count])


def test_has_the_tiles_of_tlog_tiles_for_70000_leaves() -> None:
    edge = Edge()
    tiles: dict[Tile, bytes] = {}
    for start in range(0, 70_000, 4096):
        growth = grow(edge, HASHES[start : min(start + 4096, 70_000)])
        edge = growth.edge
        tiles |= growth.tiles
    complete = tiles_from(HASHES)
    # tlog-tiles: 273 full tiles of level 0, 0/273.p/112, 1/000, 1/001.p/17, 2/000.p/1
    assert len(complete) == 277
    assert {tile: tiles[tile] for tile in complete} == complete


@pytest.mark.parametrize("size", [0, 1, 2, 3, 255, 256, 257, 511, 512, 65_535, 65_536, 65_537, 70_000])
def test_edge_comes_back_from_its_unfinished_tiles(size: int) -> None:
    growth = grow(Edge(), HASHES[:size])
    partial = {tile.level: growth.tiles[tile] for tile in edge_tiles(size)}
    assert all(tile.width < 256 for tile in edge_tiles(size))
    again = edge_of(size, partial)
    assert again.root() == growth.edge.root()
    assert grow(again, HASHES[size : size + 300]).tiles == grow(growth.edge, HASHES[size : size + 300]).tiles


def test_growing_leaves_the_old_edge_as_it_was() -> None:
    edge = grow(Edge(), HASHES[:300]).edge
    before = (edge.size, edge.odd, edge.partial)
    grow(edge, HASHES[300:900])
    assert (edge.size, edge.odd, edge.partial) == before
