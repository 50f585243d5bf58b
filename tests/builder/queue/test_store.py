"""The queue on both databases, under the suite."""

import sqlite3
from pathlib import Path

import pytest
from tests.builder.queue.suite import QueueSuite
from tests.builder.queue.suite_leases import LeaseSuite

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


def test_refuses_the_database_of_a_newer_version(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite"
    Queue(sqlite_engine(path)).close()
    with sqlite3.connect(path) as database:
        database.execute("UPDATE queue_version SET version_num = '9999'")
    database.close()
    with pytest.raises(StorageError, match="revision '9999'"):
        Queue(sqlite_engine(path))
