"""Tile coordinates, paths and bytes, and hashes read out of tiles."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests import reference
from tests.simtiles import tiles_from

from touchplate.verify.errors import MalformedError, ProofError
from touchplate.verify.proofs import prove_consistency, prove_inclusion, root_of
from touchplate.verify.rfc6962 import leaf_hash
from touchplate.verify.tiles import (
    FULL_TILE_BYTES,
    MAX_LEAF_DATA,
    BundleCoord,
    Tile,
    TileReader,
    entries_path,
    envelopes_path,
    format_entry_bundle,
    format_envelope_bundle,
    parse_entry_bundle,
    parse_envelope_bundle,
    parse_tile,
    parse_tile_path,
    tile_path,
    tile_width,
    tiles_of,
)

PATHS = [
    (Tile(0, 0), "tile/0/000"),
    (Tile(0, 1234067), "tile/0/x001/x234/067"),
    (Tile(63, 5, 255), "tile/63/005.p/255"),
    (Tile(1, 1000, 1), "tile/1/x001/000.p/1"),
    (BundleCoord("entries", 273, 112), "tile/entries/273.p/112"),
    (BundleCoord("envelopes", 1234067), "tile/envelopes/x001/x234/067"),
]


def format_path(coord: Tile | BundleCoord) -> str:
    if isinstance(coord, Tile):
        return tile_path(coord)
    return (entries_path if coord.kind == "entries" else envelopes_path)(coord.index, coord.width)


@pytest.mark.parametrize(("coord", "path"), PATHS)
def test_paths_are_those_of_tlog_tiles(coord: Tile | BundleCoord, path: str) -> None:
    assert format_path(coord) == path
    assert parse_tile_path(path) == coord


@given(
    st.sampled_from([0, 1, 7, 63, "entries", "envelopes"]),
    st.integers(0, 2**55 - 1),
    st.integers(1, 256),
)
def test_every_path_is_read_back(kind: int | str, index: int, width: int) -> None:
    if isinstance(kind, int):
        assert parse_tile_path(tile_path(Tile(kind, index, width))) == Tile(kind, index, width)
    elif kind == "entries":
        assert parse_tile_path(entries_path(index, width)) == BundleCoord("entries", index, width)
    else:
        assert parse_tile_path(envelopes_path(index, width)) == BundleCoord("envelopes", index, width)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "checkpoint",
        "tile/0",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/000",
        "tile/0/001/x234",
        "tile/0/x1/234",
        "tile/0/000.p/0",
        "tile/0/000.p/01",
        "tile/0/000.p/256",
        "tile/0/000.p/999",
        "tile/0/000.p/",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/entries/../000",
        "tile/data/000",
        "tile/0/٠٠٠",
        "tile/0/" + "x999/" * 6 + "999",
        "tile/0/" + "x000/" * 2000 + "000",
    ],
)
def test_refuses_other_spellings_of_a_path(path: str) -> None:
    with pytest.raises(MalformedError):
        parse_tile_path(path)


def test_a_tree_of_256_has_a_full_tile_and_one_hash_above() -> None:
    assert list(tiles_of(256)) == [Tile(0, 0), Tile(1, 0, 1)]


def test_a_tree_of_70000_has_the_tiles_that_the_format_names() -> None:
    tiles = list(tiles_of(70_000))
    assert tiles[:274] == [Tile(0, i) for i in range(273)] + [Tile(0, 273, 112)]
    assert tiles[274:] == [Tile(1, 0), Tile(1, 1, 17), Tile(2, 0, 1)]


def test_an_empty_tree_has_no_tiles() -> None:
    assert list(tiles_of(0)) == []


@given(st.integers(0, 200_000), st.integers(0, 70_000))
def test_growing_writes_exactly_the_tiles_that_differ(old: int, more: int) -> None:
    before = set(tiles_of(old))
    assert list(tiles_of(old + more, old)) == [tile for tile in tiles_of(old + more) if tile not in before]


@given(st.integers(1, 200_000))
def test_tile_width_agrees_with_the_list_of_tiles(size: int) -> None:
    for tile in tiles_of(size):
        assert tile_width(tile.level, tile.index, size) == tile.width
    assert tile_width(0, size // 256 + 1, size) == 0


@pytest.mark.parametrize("size", [1, 2, 7, 255, 256, 257, 600])
def test_hashes_out_of_tiles_are_those_of_the_definition(size: int) -> None:
    leaves = [f"leaf {i}".encode() for i in range(size)]
    tiles = tiles_from([leaf_hash(data) for data in leaves])
    reader = TileReader(tiles.__getitem__, size)
    assert reader.size == size
    assert root_of(reader, size) == reference.mth(leaves)
    for index in {0, size // 2, size - 1}:
        assert prove_inclusion(reader, index, size) == reference.path(index, leaves)
        assert prove_consistency(reader, index + 1, size) == reference.proof(index + 1, leaves)


def test_reader_refuses_nodes_outside_the_tree() -> None:
    tiles = tiles_from([leaf_hash(b"x")] * 5)
    reader = TileReader(tiles.__getitem__, 5)
    for node in [(0, 5), (1, 2), (3, 0), (-1, 0), (0, -1)]:
        with pytest.raises(ProofError, match="not a complete subtree"):
            reader.read_hashes([node])


def test_reader_refuses_a_tile_of_a_wrong_length() -> None:
    with pytest.raises(MalformedError, match="bytes"):
        TileReader(lambda _tile: b"\x00" * 33, 5).read_hashes([(0, 0)])


def test_tile_bytes_are_hashes_and_nothing_else() -> None:
    data = bytes(range(256)) * 32
    assert len(data) == FULL_TILE_BYTES
    assert b"".join(parse_tile(data, 256)) == data
    for bad in (data[:-1], data + b"\x00", b""):
        with pytest.raises(MalformedError):
            parse_tile(bad, 256)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=8))
def test_entry_bundles_are_read_back(leaves: list[bytes]) -> None:
    data = format_entry_bundle(leaves)
    assert parse_entry_bundle(data, len(leaves)) == leaves


def packed(envelope: bytes, key: bytes) -> bytes:
    return len(envelope).to_bytes(4, "big") + envelope + len(key).to_bytes(2, "big") + key


@given(st.lists(st.tuples(st.binary(max_size=40), st.binary(min_size=1, max_size=9)), min_size=1, max_size=8))
def test_envelope_bundles_are_read_back(entries: list[tuple[bytes, bytes]]) -> None:
    parts = [packed(envelope, key) for envelope, key in entries]
    assert parse_envelope_bundle(format_envelope_bundle(parts), len(parts)) == parts


def test_refuses_every_truncation_and_extra_byte_of_bundles() -> None:
    entries = format_entry_bundle([b"one", b"", b"three"])
    envelopes = format_envelope_bundle([packed(b"one", b"k"), packed(b"two", b"kk")])
    for data, parse, width in ((entries, parse_entry_bundle, 3), (envelopes, parse_envelope_bundle, 2)):
        for bad in [data[:cut] for cut in range(len(data))] + [data + b"\x00"]:
            with pytest.raises(MalformedError):
                parse(bad, width)
        for wrong in (width - 1, width + 1):
            with pytest.raises(MalformedError):
                parse(data, wrong)


def test_refuses_a_withheld_entry() -> None:
    with pytest.raises(MalformedError, match="withheld") as caught:
        parse_envelope_bundle(packed(b"one", b"k") + packed(b"", b""), 2)
    assert caught.value.reason == "withheld"


def test_refuses_a_leaf_that_its_length_cannot_tell() -> None:
    format_entry_bundle([b"\x00" * MAX_LEAF_DATA])
    with pytest.raises(MalformedError, match="longer than 65535"):
        format_entry_bundle([b"\x00" * (MAX_LEAF_DATA + 1)])
