"""A tree over Trillian's interface (our own server of it) under the storages' suite."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.log.storage_suite import TreeSuite
from tests.log.trillian.store.support import open_trillian
from tests.log.trillian.support import connected, running

from touchplate.log.ports import Tree


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for all: each test has a tree of its own."""
    with running(tmp_path_factory.mktemp("server")) as service, connected(service) as client:
        yield client.address


class TestTrillian(TreeSuite):
    @pytest.fixture(autouse=True)
    def _use(self, address: str) -> None:
        self._address = address

    def open(self, folder: Path) -> Tree:
        return open_trillian(folder, self._address)
