"""Proofs out of memory are those of the definition, at every size around the ends of tiles."""

from collections.abc import Callable
from functools import partial

import pytest
from tests.log.support import raw_entries
from tests.reference import path, proof

from touchplate.log.growth import Edge, grow
from touchplate.log.trillian import nodes
from touchplate.log.trillian.nodes import CachedHashes, MissingError, NodeCache, interior
from touchplate.verify.proofs import HashReader, prove_consistency, prove_inclusion
from touchplate.verify.rfc6962 import HASH_SIZE, node_hash
from touchplate.verify.tiles import TILE_WIDTH, Tile

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


def ask(
    cache: NodeCache, tree: int, size: int, tiles: Tiles, prove: Callable[[HashReader], list[bytes]]
) -> list[bytes]:
    """A proof, with the tiles that are missing read once, as the service does."""
    reader = CachedHashes(cache, tree, size, nothing)
    try:
        return prove(reader)
    except MissingError as error:
        reader.add({tile: tiles(tile) for tile in error.tiles})
        return prove(reader)


def nothing(_: Tile) -> None:
    """Nothing is at hand."""


@pytest.mark.parametrize("most", [1, 2, 1000])
@pytest.mark.parametrize("sizes", [SIZES, SIZES[::-1]], ids=["growing", "older ones later"])
def test_every_proof_is_the_definitions(most: int, sizes: tuple[int, ...]) -> None:
    cache, tiles = NodeCache(most), Tiles()
    for size in sizes:
        for index in {0, 1, size // 2, size - 1} & set(range(size)):
            found = ask(cache, 1, size, tiles, partial(prove_inclusion, index=index, size=size))
            assert found == path(index, LEAVES[:size])
        for old in {1, size // 3, size - 1, size} & set(range(1, size + 1)):
            found = ask(cache, 1, size, tiles, partial(prove_consistency, old_size=old, new_size=size))
            assert found == proof(old, LEAVES[:size])
    assert len(cache) <= most


def test_what_is_in_memory_is_not_read_again_and_trees_are_kept_apart() -> None:
    cache, tiles = NodeCache(), Tiles()
    first = ask(cache, 1, 700, tiles, lambda reader: prove_inclusion(reader, 5, 700))
    asked = tiles.asked
    assert prove_inclusion(CachedHashes(cache, 1, 700, nothing), 5, 700) == first
    # What a larger tree has in memory serves a smaller one, too.
    assert prove_inclusion(CachedHashes(cache, 1, 699, nothing), 5, 699) == path(5, LEAVES[:699])
    assert tiles.asked == asked
    with pytest.raises(MissingError) as info:
        prove_inclusion(CachedHashes(cache, 2, 700, nothing), 5, 700)
    assert info.value.tiles == [Tile(0, 0, 256), Tile(1, 0, 2), Tile(0, 2, 188)]


def test_a_tile_at_hand_is_taken_and_kept() -> None:
    cache, tiles = NodeCache(), Tiles()
    expected = path(5, LEAVES[:200])
    assert prove_inclusion(CachedHashes(cache, 1, 200, tiles), 5, 200) == expected
    assert tiles.asked == 1
    assert prove_inclusion(CachedHashes(cache, 1, 200, nothing), 5, 200) == expected


def test_only_what_is_new_in_a_growing_tile_is_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed: list[bytes] = []

    def counted(left: bytes, right: bytes) -> bytes:
        hashed.append(left)
        return node_hash(left, right)

    monkeypatch.setattr(nodes, "node_hash", counted)
    data = b"".join(entry.leaf_hash for entry in ENTRIES[:TILE_WIDTH])
    cache, key = NodeCache(), (1, 0, 0)
    for width in (1, 2, 3, 100, 101, 255, 256, 90):
        levels = cache.grow(key, data[: width * HASH_SIZE])
    assert len(hashed) == TILE_WIDTH - 2  # each node above the leaves and below the root, once
    assert levels == interior(data)


def test_a_tile_of_another_history_replaces_what_was_kept() -> None:
    one, other = (
        b"".join(node_hash(bytes([first]), bytes([number])) for number in range(256)) for first in (1, 2)
    )
    for before, after in ((4, 8), (8, 8), (8, 4), (256, 256)):
        cache, key = NodeCache(), (1, 0, 0)
        cache.grow(key, one[: before * HASH_SIZE])
        assert cache.grow(key, other[: after * HASH_SIZE]) == interior(other[: after * HASH_SIZE])


class Opened:
    """A tree that is open."""


def test_a_tree_that_is_opened_again_is_another_one() -> None:
    cache = NodeCache()
    first, second = Opened(), Opened()
    assert cache.number(first) == cache.number(first)
    assert cache.number(first) != cache.number(second)
    gone = cache.number(second)
    del second
    assert cache.number(Opened()) not in (cache.number(first), gone)


def test_the_tile_that_was_not_used_for_longest_goes() -> None:
    cache = NodeCache(2)
    keys = [(1, 0, number) for number in range(3)]
    data = bytes(HASH_SIZE)
    cache.grow(keys[0], data)
    cache.grow(keys[1], data)
    assert cache.get(keys[0])[0] == data
    cache.grow(keys[2], data)
    assert [cache.get(key)[0] for key in keys] == [data, b"", data]


def test_interior_nodes_are_pairs_and_an_odd_last_one_has_none() -> None:
    a, b, c = (bytes([number]) * HASH_SIZE for number in range(3))
    levels = interior(a + b + c)
    assert levels[:3] == (a + b + c, node_hash(a, b), b"")
    assert len(levels) == 8
