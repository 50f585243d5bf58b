"""PostgreSQL for the tests that want it: one server for all of a folder, with a database for each."""

from collections.abc import Iterator

import pytest
from tests.postgres import MissingError, Server

from touchplate.base.environment import read_environment


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    """A running server. Skips where there is none, fails under CI."""
    try:
        server = Server()
    except MissingError as error:
        if read_environment().is_ci:
            raise
        pytest.skip(str(error))
    try:
        server.start()
        yield server
    finally:
        server.close()


@pytest.fixture
def database(postgres: Server) -> str:
    """The URL of a new database."""
    return postgres.make_database()


@pytest.fixture(scope="session")
def shared_database(postgres: Server) -> str:
    """The URL of one database for many trees."""
    return postgres.make_database()
