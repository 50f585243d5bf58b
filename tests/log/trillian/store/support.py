"""Trees over a Trillian, for tests: any server of its interface will do."""

from __future__ import annotations

from pathlib import Path

from tests.simkeys import ORIGIN

from touchplate.base.sql import sqlite_engine
from touchplate.base.values import Duration
from touchplate.log.ports import PackedEntry
from touchplate.log.storage.derived import open_derived
from touchplate.log.trillian.store.binding import bind_tree
from touchplate.log.trillian.store.config import TrillianStoreConfig, read_credentials
from touchplate.log.trillian.store.remote import RemoteTrillian
from touchplate.log.trillian.store.tree import TrillianTree

SECONDS = 30


class AnyBytes:
    """Content of which everything is admitted, as in the storages' tests, where nobody looks inside."""

    def admit(self, entry: PackedEntry, index: int) -> None:
        return None

    def check(self, entry: PackedEntry) -> None:
        return None


def store_config(address: str, in_flight: int = 1, seconds: int = SECONDS) -> TrillianStoreConfig:
    return TrillianStoreConfig(address, in_flight=in_flight, timeout=Duration(seconds))


def open_trillian(
    folder: Path, address: str, *, in_flight: int = 1, seconds: float = SECONDS
) -> TrillianTree:
    """The tree of the log in `folder`; with one call at a time Trillian's order is ours."""
    config = store_config(address, in_flight)
    remote = RemoteTrillian(config, read_credentials(config))
    local = open_derived(sqlite_engine(folder / "trillian.sqlite"), ORIGIN)
    try:
        tree_id = bind_tree(remote, folder, ORIGIN, 0, has_past=bool(local.head().size))
        tree = TrillianTree(remote, tree_id, local, AnyBytes(), integrate_seconds=seconds)
        tree.catch_up()
    except BaseException:
        local.close()
        remote.close()
        raise
    return tree
