"""A tree over Trillian's interface under the storages' suite, and what is special about it."""

from pathlib import Path

import pytest
from tests.log.storage_suite import TreeSuite
from tests.log.trillian.store.support import open_trillian
from tests.log.trillian.support import Client

from touchplate.log.ports import Tree


class TestTrillian(TreeSuite):
    @pytest.fixture(autouse=True)
    def _use(self, trillian: Client) -> None:
        self._address = trillian.address

    def open(self, folder: Path) -> Tree:
        return open_trillian(folder, self._address)
