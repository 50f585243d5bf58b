"""Questions about many keys: tiles and leaf hashes, on both databases."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.log.test_storage import rows_read
from tests.postgres import Server

from touchplate.base.postgresql import parse_address, postgresql_engine
from touchplate.base.sql import sqlite_engine
from touchplate.log.errors import CorruptTreeError, NotFoundError
from touchplate.log.storage.raw import RawTree
from touchplate.log.storage.raw_rows import MAX_PROOFS, RawEntry
from touchplate.log.storage.registry import LOG, Registry, TreeFields
from touchplate.log.storage.sql import open_tree
from touchplate.verify.rfc6962 import leaf_hash
from touchplate.verify.tiles import Tile, tiles_of

FIELDS = TreeFields(2**40, 1, LOG, "", "", None, 0, 0, 0)
SIZE = 700


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    if request.param == "sqlite":
        engine = sqlite_engine(tmp_path / "log.sqlite")
    else:
        engine = postgresql_engine(parse_address(request.getfixturevalue("database")))
    yield engine
    engine.dispose()


def make_tree(engine: Engine) -> RawTree:
    open_tree(engine, "log.example.org")
    tree = RawTree(engine, Registry(engine).add(FIELDS))
    tree.initialise()
    return tree


def entry(value: bytes, identity: bytes | None = None) -> RawEntry:
    merkle = leaf_hash(value)
    return RawEntry(value, merkle, identity or merkle, b"", 1)


def entries(count: int) -> list[RawEntry]:
    return [entry(b"leaf %d" % number) for number in range(count)]


@pytest.mark.parametrize("count", [0, 1, 2, 4, 5, 63, 256, 257, 600])
def test_hashes_are_found_however_many_are_asked_for(engine: Engine, count: int) -> None:
    tree, there = make_tree(engine), entries(SIZE)
    tree.apply(there)
    places = random.Random(count).sample(range(SIZE), count)
    absent = [leaf_hash(b"absent %d" % number) for number in range(count // 2)]
    found = tree.find_hashes([there[place].leaf_hash for place in places] + absent)
    assert found == {there[place].leaf_hash: [place] for place in places}


def test_equal_leaves_under_different_identities_are_all_found(engine: Engine) -> None:
    tree = make_tree(engine)
    one, two = entry(b"one"), entry(b"two")
    tree.apply(
        [
            entry(b"one", b"a"),
            one,
            entry(b"other", two.leaf_hash),  # takes the identity that `two` would have had
            entry(b"two", b"b"),
            entry(b"one", b"c"),
        ]
    )
    found = tree.find_hashes([one.leaf_hash, two.leaf_hash, leaf_hash(b"other")])
    assert found == {one.leaf_hash: [0, 1, 4], two.leaf_hash: [3], leaf_hash(b"other"): [2]}


def test_of_a_leaf_that_is_there_very_often_only_the_first_are_found(engine: Engine) -> None:
    tree = make_tree(engine)
    tree.apply([entry(b"same", b"identity %d" % number) for number in range(3 * MAX_PROOFS)])
    assert tree.find_hashes([leaf_hash(b"same")]) == {leaf_hash(b"same"): list(range(MAX_PROOFS))}


def test_tiles_are_read_together_as_one_by_one(engine: Engine) -> None:
    tree = make_tree(engine)
    tree.apply(entries(SIZE))
    tiles = [tile for size in (1, 255, 256, 257, 512, SIZE) for tile in tiles_of(size)]
    random.Random(0).shuffle(tiles)
    assert tree.read_tiles(tiles) == {tile: tree.read_tile(tile) for tile in tiles}
    assert tree.read_tiles([]) == {}


def test_unfinished_tiles_are_at_hand_and_are_those_of_the_database(engine: Engine) -> None:
    tree = make_tree(engine)
    for size in (1, 255, 256, 300, SIZE):
        tree.apply(entries(size))
        for tile in tiles_of(size):
            at_hand = tree.tile_at_hand(tile)
            assert (at_hand is None) == (tile.width == 256)
            assert at_hand in (None, tree.read_tiles([tile])[tile])
    last = Tile(0, 2, SIZE - 512)
    assert tree.tile_at_hand(Tile(0, 2, 5)) == (tree.tile_at_hand(last) or b"")[: 5 * 32]
    for absent in (Tile(0, 2, SIZE - 511), Tile(0, 3, 1), Tile(0, 1, 1), Tile(2, 0, 1), Tile(-1, 0, 1)):
        assert tree.tile_at_hand(absent) is None


def test_what_is_not_there_is_refused(engine: Engine) -> None:
    tree = make_tree(engine)
    tree.apply(entries(SIZE))
    with pytest.raises(NotFoundError):
        tree.read_tiles([Tile(0, 0, 256), Tile(0, 2, 256)])
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM tiles WHERE level = 0 AND tile_index = 1")
    with pytest.raises(CorruptTreeError, match="not stored in full"):
        tree.read_tiles([Tile(0, 0, 256), Tile(0, 1, 256)])


def test_no_question_depends_on_statistics(postgres: Server, database: str) -> None:
    engine = postgresql_engine(parse_address(database))
    tree, there = make_tree(engine), entries(5_000)
    for table in ("identities", "raw_leaves", "raw_hashes", "tiles"):
        postgres.sql(f"ALTER TABLE {table} SET (autovacuum_enabled = off)", postgres.name_of(database))
    tree.apply([*there, *(entry(b"same", b"identity %d" % number) for number in range(5_000))])
    engine.dispose()  # with the session its counts become visible
    before = rows_read(postgres, database)
    for start in range(0, 5_000, 500):  # often enough for the driver to prepare it
        assert len(tree.find_hashes([one.leaf_hash for one in there[start : start + 5]])) == 5
        assert len(tree.read_tiles([Tile(0, number) for number in range(5)])) == 5
    tree.find_hashes([leaf_hash(b"same")])
    engine.dispose()
    # Two rows and entries of indexes of each key, not the thousands that are stored.
    assert rows_read(postgres, database) - before < 10 * 5 * 10 + 4 * MAX_PROOFS
