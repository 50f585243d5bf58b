"""The queue on both databases, under the suite."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import event
from tests.builder.queue.nodes import World
from tests.builder.queue.suite import QueueSuite, purl
from tests.builder.queue.suite_leases import LeaseSuite
from tests.builder.queue.suite_nodes import LEASE, NodesSuite
from tests.builder.queue.suite_retention import RetentionSuite

from touchplate.base.errors import StorageError
from touchplate.base.postgresql import parse_address, postgresql_engine
from touchplate.base.sql import Engine, sqlite_engine
from touchplate.builder.queue.store import Queue


class TestSQLite(QueueSuite):
    def engine(self, folder: Path) -> Engine:
        return sqlite_engine(folder / "queue.sqlite")


class TestLeasesOnSQLite(LeaseSuite):
    def engine(self, folder: Path) -> Engine:
        return sqlite_engine(folder / "queue.sqlite")


class TestNodesOnSQLite(NodesSuite):
    def engine(self, folder: Path) -> Engine:
        return sqlite_engine(folder / "queue.sqlite")


class TestRetentionOnSQLite(RetentionSuite):
    def engine(self, folder: Path) -> Engine:
        return sqlite_engine(folder / "queue.sqlite")


class TestPostgreSQL(QueueSuite):
    @pytest.fixture(autouse=True)
    def _use(self, database: str) -> None:
        self._url = database

    def engine(self, folder: Path) -> Engine:
        return postgresql_engine(parse_address(self._url))


class TestLeasesOnPostgreSQL(LeaseSuite):
    @pytest.fixture(autouse=True)
    def _use(self, database: str) -> None:
        self._url = database

    def engine(self, folder: Path) -> Engine:
        return postgresql_engine(parse_address(self._url))


class TestRetentionOnPostgreSQL(RetentionSuite):
    @pytest.fixture(autouse=True)
    def _use(self, database: str) -> None:
        self._url = database

    def engine(self, folder: Path) -> Engine:
        return postgresql_engine(parse_address(self._url))


class TestNodesOnPostgreSQL(NodesSuite):
    @pytest.fixture(autouse=True)
    def _use(self, database: str) -> None:
        self._url = database

    def engine(self, folder: Path) -> Engine:
        return postgresql_engine(parse_address(self._url))

    def test_a_renewal_between_the_look_and_the_lock_keeps_the_lease(self, world: World) -> None:
        one, other = world.node(), world.node()
        one.add(purl("a"))
        lease = one.need()
        other.lease()
        world.passed += LEASE
        late = iter([True])

        def renew(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
            if "FOR UPDATE" in statement and next(late, False):
                assert one.renew(lease)

        event.listen(other.queue.engine, "before_cursor_execute", renew)
        assert other.lease() is None
        assert next(late, None) is None
        assert one.renew(lease)


def test_refuses_the_database_of_a_newer_version(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite"
    Queue(sqlite_engine(path)).close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE queue_version SET version_num = '9999'")
    database.close()
    with pytest.raises(StorageError, match="revision '9999'"):
        Queue(sqlite_engine(path))
