"""Trillian 1.7.3 as the store of a log: the storages' suite, kills on either side, Tessera's fsck."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.conformance.trillian_server import RealTrillian, real_trillian
from tests.log.storage_suite import TreeSuite
from tests.log.trillian.store.support import open_trillian

from touchplate.log.ports import Tree

pytestmark = pytest.mark.slow

QUICK = "10ms"
"""The signer's interval here: a tenth of what Trillian ships with, since hundreds of batches wait for it."""


@pytest.fixture(scope="module")
def trillian(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealTrillian]:
    with real_trillian(tmp_path_factory.mktemp("trillian"), QUICK) as one:
        yield one


class TestTree(TreeSuite):
    @pytest.fixture(autouse=True)
    def _use(self, trillian: RealTrillian) -> None:
        self._address = trillian.address

    def open(self, folder: Path) -> Tree:
        return open_trillian(folder, self._address)
