"""A running server of Trillian's interface (our own), and a proxy in front of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.log.trillian.store.proxy import Proxy, proxied
from tests.log.trillian.support import Client, connected, running


@pytest.fixture
def trillian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a server of its own."""
    with running(tmp_path_factory.mktemp("server")) as service, connected(service) as client:
        yield client


@pytest.fixture
def proxy(trillian: Client) -> Iterator[Proxy]:
    """In front of that server."""
    with proxied(trillian.address) as one:
        yield one


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the log keeps what is its own."""
    path = tmp_path / "log"
    path.mkdir()
    return path
