"""A running interface on either database."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.log.trillian.support import Client, connected, running
from tests.postgres_fixtures import database, postgres, shared_database

__all__ = ["database", "postgres", "shared_database"]


@pytest.fixture(params=["sqlite", "postgresql"])
def storage(request: pytest.FixtureRequest) -> str:
    """What `[log] storage` says: SQLite, and a new database on PostgreSQL."""
    if request.param == "sqlite":
        return "sqlite"
    url: str = request.getfixturevalue("database")
    return url


@pytest.fixture
def client(tmp_path: Path, storage: str) -> Iterator[Client]:
    """A client of a log of its own."""
    with running(tmp_path, storage=storage) as service, connected(service) as one:
        yield one
