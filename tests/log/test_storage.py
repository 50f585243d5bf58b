"""The storages of this part, each under the suite, and what is special about SQL."""

from pathlib import Path

from tests.log.memory import MemoryTree
from tests.log.storage_suite import TreeSuite
from tests.log.support import open_sqlite

from touchplate.log.ports import Tree


class TestMemory(TreeSuite):
    durable = False

    def open(self, folder: Path) -> Tree:
        return MemoryTree()


class TestSQLite(TreeSuite):
    def open(self, folder: Path) -> Tree:
        return open_sqlite(folder)
