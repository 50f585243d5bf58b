"""A log on a Trillian as it is stored: its own rows, with the leaves out of Trillian. For fsck and export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from touchplate.log.errors import CorruptTreeError
from touchplate.log.storage.rows import TreeRows
from touchplate.log.storage.sql import DERIVED
from touchplate.log.trillian.store.binding import remembered_tree
from touchplate.log.trillian.store.config import TrillianStoreConfig, read_credentials
from touchplate.log.trillian.store.remote import RemoteTrillian

if TYPE_CHECKING:
    from touchplate.base.sql import Engine


class TrillianRows(TreeRows):
    """See `TreeRows`; StorageFailedError also when Trillian does not answer."""

    _kind = DERIVED
    _holds_leaves = False

    def __init__(self, engine: Engine, name: str, remote: RemoteTrillian, remote_id: int) -> None:
        super().__init__(engine, name)
        self._remote = remote
        self._remote_id = remote_id

    def leaves(self, start: int, end: int) -> Mapping[int, tuple[bytes | None, bytes | None]]:
        """(leaf data, packed entry) by index, as far as Trillian has them."""
        found: dict[int, tuple[bytes | None, bytes | None]] = {}
        try:
            for leaf in self._remote.leaves(self._remote_id, start, end):
                found[leaf.index] = leaf.value, leaf.extra
        except CorruptTreeError as error:
            self._note(f"leaf {start + len(found)}", str(error))
        return found


def open_trillian_rows(
    engine: Engine, name: str, config: TrillianStoreConfig, folder: Path
) -> tuple[TreeRows, Callable[[], None]]:
    """The rows of the log in `folder`, and what ends looking at them. Raises what `TreeRows` raises,
    ConfigError, CheckpointError."""
    try:
        remote = RemoteTrillian(config, read_credentials(config))
        try:
            rows = TrillianRows(engine, name, remote, config.tree_id or remembered_tree(folder, name))
        except BaseException:
            remote.close()
            raise
    except BaseException:
        engine.dispose()
        raise

    def close() -> None:
        rows.close()
        remote.close()
        engine.dispose()

    return rows, close
