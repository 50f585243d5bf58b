"""The storages of this part, each under the suite, and what is special about SQL."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError
from tests.log.memory import Failure, MemoryTree
from tests.log.storage_suite import TreeSuite
from tests.log.support import open_sqlite, raw_entries, raw_entry, sign
from tests.postgres import Server
from tests.reference import mth

from touchplate.base.postgresql import parse_address, postgresql_engine
from touchplate.base.sql import sqlite_engine
from touchplate.log.errors import CheckpointError, CorruptTreeError, StorageFailedError
from touchplate.log.ports import Sequenced, Tree
from touchplate.log.storage.shared import Share, open_shared
from touchplate.log.storage.sql import log_engine, open_tree
from touchplate.verify.tiles import Tile


class TestMemory(TreeSuite):
    durable = False

    def open(self, folder: Path) -> Tree:
        return MemoryTree()


class TestSQLite(TreeSuite):
    def open(self, folder: Path) -> Tree:
        return open_sqlite(folder)


class TestPostgreSQL(TreeSuite):
    @pytest.fixture(autouse=True)
    def _use(self, shared_database: str) -> None:
        self._url = shared_database

    def open(self, folder: Path) -> Tree:
        # Many trees, one database: each test's is named by its folder.
        return open_tree(postgresql_engine(parse_address(self._url)), folder.name)


@pytest.mark.parametrize("failure", ["before", "after"])
def test_goes_on_from_the_database_when_a_commit_does_not_answer(tmp_path: Path, failure: Failure) -> None:
    engine = sqlite_engine(tmp_path / "log.sqlite")
    tree = open_tree(engine, "log.example.org")
    tree.apply(raw_entries(5), sign)
    head = tree.head()

    def fail(connection: Connection) -> None:
        if failure == "after":
            connection.exec_driver_sql("COMMIT")
        raise OperationalError("COMMIT", None, sqlite3.OperationalError("disk I/O error"))

    event.listen(engine, "commit", fail)
    with pytest.raises(StorageFailedError, match="disk I/O error"):
        tree.apply(raw_entries(3, start=5), sign)
    # Whether it happened is not known yet, and so nobody is shown it.
    assert tree.head() == head
    event.remove(engine, "commit", fail)
    kept = failure == "after"
    assert tree.apply(raw_entries(4, start=5), sign) == [
        *(Sequenced(index, kept) for index in (5, 6, 7)),
        Sequenced(8, False),
    ]
    assert tree.head().root == mth([entry.leaf_data for entry in raw_entries(9)])
    tree.close()


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM tiles WHERE level = 0 AND tile_index = 1",
        "UPDATE tiles SET hashes = zeroblob(length(hashes)) WHERE level = 1",
        "UPDATE tiles SET hashes = substr(hashes, 1, 64) WHERE tile_index = 1",
        "UPDATE heads SET tree_size = 299",
        "UPDATE heads SET root = zeroblob(32)",
        "UPDATE heads SET tree_size = -1",
        "UPDATE heads SET tree_size = 'abc'",
    ],
)
def test_refuses_to_open_a_tree_whose_edge_contradicts_its_head(tmp_path: Path, statement: str) -> None:
    tree = open_sqlite(tmp_path)
    tree.apply(raw_entries(300), sign)
    tree.close()
    connection = sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None)
    assert connection.execute(statement).rowcount > 0
    connection.close()
    with pytest.raises(CorruptTreeError, match="log fsck"):
        open_sqlite(tmp_path)


def test_reports_rows_that_are_gone_instead_of_serving_fewer(tmp_path: Path) -> None:
    engine = sqlite_engine(tmp_path / "log.sqlite")
    tree = open_tree(engine, "log.example.org")
    tree.apply(raw_entries(10))
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM leaves WHERE leaf_index = 4")
    with pytest.raises(CorruptTreeError, match="only 9"):
        tree.read_packed(0, 10)
    tree.close()


def test_keeps_several_trees_apart_in_one_database(tmp_path: Path) -> None:
    engine = sqlite_engine(tmp_path / "log.sqlite")
    one, two = open_tree(engine, "one.example.org"), open_tree(engine, "two.example.org")
    one.apply(raw_entries(3))
    assert two.apply(raw_entries(2)) == [Sequenced(0, False), Sequenced(1, False)]
    assert (one.head().size, two.head().size) == (3, 2)
    with pytest.raises(CheckpointError, match="of kind"):
        open_tree(engine, "one.example.org", kind="raw")
    one.close()
    two.close()


def rows_read(server: Server, url: str) -> int:
    """Rows that were read from indexes and tables of a database so far."""
    found = server.sql(
        "SELECT (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)"
        " + (SELECT sum(seq_tup_read) FROM pg_stat_user_tables)",
        server.name_of(url),
    )
    return int(found)


def test_no_plan_on_postgresql_depends_on_statistics(postgres: Server, database: str) -> None:
    size = 5000
    name = postgres.name_of(database)
    # Never analysed, like a new log under load, and never cleaned.
    for table in ("identities", "leaves", "tiles", "heads", "submissions"):
        if table == "identities":
            open_tree(postgresql_engine(parse_address(database)), "log.example.org").close()
        postgres.sql(f"ALTER TABLE {table} SET (autovacuum_enabled = off)", name)
    tree = open_shared(postgresql_engine(parse_address(database)), "log.example.org")
    tree.begin_term()
    tree.submit(raw_entries(size // 2))
    while tree.head().size < size // 2:
        tree.invite(Share(500, 10**9))
        tree.apply([], sign)
    tree.apply(raw_entries(size // 2, start=size // 2), sign)
    tree.close()  # with the session its counts become visible
    before = rows_read(postgres, database)
    tree = open_shared(postgresql_engine(parse_address(database)), "log.example.org")
    for number in range(10):
        tree.find_identities([raw_entry(f"entry {number * 400}").identity, raw_entry("absent").identity])
        tree.begin_term()
        (one,) = tree.submit(raw_entries(1, start=size + number)).values()
        assert tree.ask([one]).waiting == {one}
        tree.invite(Share(10, 10**9))
        tree.apply([*raw_entries(1, start=number), raw_entry(f"new {number}")], sign)
        tree.read_packed(number * 400, number * 400 + 2)
        tree.read_tile(Tile(0, 3, 256))
        tree.follow()
    assert tree.head().size == size + 20
    tree.close()
    # Of the thousands that are stored, each round looked at some dozens.
    assert rows_read(postgres, database) - before < 10 * 100


def test_the_log_moves_pages_into_its_database_seldom(tmp_path: Path) -> None:
    engine = log_engine(tmp_path / "log.sqlite")
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA wal_autocheckpoint").scalar() == 20_000
        assert connection.exec_driver_sql("PRAGMA cache_size").scalar() == -16_000
    engine.dispose()


def test_the_connection_that_commits_waits_for_the_disk(tmp_path: Path) -> None:
    engine = sqlite_engine(tmp_path / "log.sqlite")
    tree = open_tree(engine, "log.example.org")
    settings = []

    def note(connection: Connection) -> None:
        pragmas = ("synchronous", "journal_mode")
        settings.append([connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in pragmas])

    event.listen(engine, "commit", note)
    tree.apply(raw_entries(3), sign)
    tree.apply(raw_entries(4), sign)
    tree.store_checkpoint(4, b"note")
    tree.close()
    full = 2
    assert settings == [[full, "wal"]] * 3
