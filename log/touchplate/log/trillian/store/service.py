"""A log on a Trillian, wired: one process, like a log on SQLite, whose entries are kept there."""

from __future__ import annotations

from logging import getLogger
from pathlib import Path

from touchplate.base.sql import sqlite_engine
from touchplate.log.admission import check_permission
from touchplate.log.errors import CheckpointError
from touchplate.log.keys import load_keys
from touchplate.log.ports import PackedEntry, Tree
from touchplate.log.remembered import read_remembered
from touchplate.log.service import LogConfig, LogService
from touchplate.log.storage.derived import open_derived
from touchplate.log.trillian.store.binding import bind_tree
from touchplate.log.trillian.store.config import DATABASE_NAME, read_credentials
from touchplate.log.trillian.store.remote import RemoteTrillian
from touchplate.log.trillian.store.tree import TrillianTree
from touchplate.verify.entry import Entry, parse_packed, verify_entry
from touchplate.verify.statements import Provenance, parse_predicate, parse_statement
from touchplate.verify.trust import AdmissionList, load_admission

logger = getLogger(__name__)


class AdmittedContent:
    """Signed envelopes by keys of the admission list: see `Content`."""

    def __init__(self, listed: AdmissionList, published: int) -> None:
        """`published`: size of the newest checkpoint that this log is known to have published. What stands
        below it was admitted, by a list that may have been another."""
        self._listed = listed
        self._published = published

    def admit(self, entry: PackedEntry, index: int) -> None:
        """See `Content.admit`."""
        parsed = self._parsed(entry)
        if parsed.identity != entry.identity:
            raise CheckpointError("its identity is not that of its statement and key")
        verify_entry(parsed)
        statement = parse_statement(parsed.payload)
        predicate = parse_predicate(statement)
        if index >= self._published:
            builder = predicate.builder if isinstance(predicate, Provenance) else None
            check_permission(self._listed.find(parsed.spki), statement, builder, index)

    def check(self, entry: PackedEntry) -> None:
        """See `Content.check`."""
        self._parsed(entry)

    def _parsed(self, entry: PackedEntry) -> Entry:
        parsed = parse_packed(entry.packed)
        if parsed.leaf_data != entry.leaf_data:
            raise CheckpointError("its extra data is not the envelope of its leaf")
        return parsed


class TrillianLogService(LogService):
    """To its faces and to the node like any other log. Its folder holds what follows from the entries, and
    which tree they are in."""

    def _open_tree(self, config: LogConfig, folder: Path) -> Tree:
        """Raises ConfigError (credentials), and what `bind_tree` and `catch_up` raise."""
        assert config.trillian_store is not None
        store = config.trillian_store
        remembered = read_remembered(folder, load_keys(config.key, config.retiring).known)
        published = 0 if remembered is None else remembered.size
        content = AdmittedContent(load_admission(config.admission), published)
        remote = RemoteTrillian(store, read_credentials(store))
        try:
            self._engine = sqlite_engine(folder / DATABASE_NAME)
            local = open_derived(self._engine, config.origin)
        except BaseException:
            remote.close()
            raise
        has_past = bool(published or local.head().size)
        try:
            tree_id = bind_tree(remote, folder, config.origin, store.tree_id, has_past=has_past)
            tree = TrillianTree(remote, tree_id, local, content, integrate_seconds=store.timeout)
            tree.catch_up()
        except BaseException:
            local.close()
            remote.close()
            raise
        logger.info("the log is kept in tree %d of the Trillian at %s", tree_id, store.address)
        return tree
