"""A log, wired: storage, sequencer, admission, publishing and HTTP face behind one object for the node.

Everything is opened in the constructor, so that a log which must not run never starts to listen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from touchplate.base.config import Secret
from touchplate.base.durable import FileLock
from touchplate.base.postgresql import IDLE_SECONDS, Engine, parse_address, postgresql_engine
from touchplate.base.sql import sqlite_engine
from touchplate.log.admission import Admission
from touchplate.log.export_thread import ExportConfig, ExportThread
from touchplate.log.http.hot import HotFace
from touchplate.log.keys import LogKeys, RetiringConfig, load_keys
from touchplate.log.peers.config import PeersConfig
from touchplate.log.ports import Decider, Sequenced
from touchplate.log.publishing import Publisher
from touchplate.log.reading import MAX_PAGE, LogReader
from touchplate.log.remembered import Remembered
from touchplate.log.sequencer import Limits, SoloDecider, TreeSequencer
from touchplate.log.storage.sql import SQLTree, open_tree
from touchplate.log.writing import LogWriter
from touchplate.verify.notes import is_origin
from touchplate.verify.trust import load_admission

if TYPE_CHECKING:
    from fastapi import APIRouter

DATABASE_NAME = "log.sqlite"
"""The one precious file of a solo log, in its folder."""

SQLITE = "sqlite"
"""`storage` of a log whose database is a file of its own."""

LOCK_NAME = "lock"
"""File in a log's folder that the one process which has the log open keeps locked."""

APPEND_SECONDS = 30.0
"""How long `append` waits: the longest wait for the database's lock, and a batch after it."""


@dataclass(frozen=True)
class LogConfig:
    """The table `[log]` of a node's configuration."""

    origin: str
    """Name of the log and of its key: a bare host name."""
    key: Secret
    """The log's signing key in signed-note text form ("file:keys/log.key")."""
    admission: Path
    """The admission list: who may write."""
    limits: Limits = field(default_factory=Limits)
    mode: Literal["solo", "peers"] = "solo"
    """Who decides the order: this process alone, or several peers by agreement (`[log.peers]`)."""
    peers: PeersConfig | None = None
    storage: str = SQLITE
    """The log's database: "sqlite" (a file in the data folder), or the address of one on PostgreSQL, which
    any number of frontends can serve."""
    storage_password: Secret | None = None
    """The password that belongs to the address."""
    retiring: RetiringConfig | None = None
    """The key that signs beside `key` until readers know the new one (`touchplate log rotate-key`)."""
    export: ExportConfig | None = None
    """A folder in which the log is also kept as files, for a web server."""

    def check(self) -> list[str]:
        """Mistakes that a single field does not show."""
        found = []
        if not is_origin(self.origin):
            found.append(
                f"origin: {self.origin!r} is not a bare lower-case host name such as 'log.example.org'"
            )
        if self.storage != SQLITE:
            found += self._check_address()
        elif self.storage_password is not None:
            found.append('storage_password: belongs to the address of a database; storage is "sqlite"')
        if (self.mode == "peers") != (self.peers is not None):
            found.append('mode: "peers" and the table [log.peers] belong together; write both or neither')
        if self.mode == "peers" and self.retiring is not None:
            found.append(
                "retiring: the keys of peers are those that they agreed on; they change as members do"
            )
        if self.mode == "peers" and self.export is not None:
            found.append(
                "export: not on a peer; `touchplate log follow` makes the same folder from its address"
            )
        return found

    def _check_address(self) -> list[str]:
        try:
            parse_address(self.storage)
        except ValueError as error:
            return [f'storage: {error}, or "sqlite"']
        if self.mode == "peers":
            return ['storage: a peer keeps its part of the log on SQLite; write "sqlite"']
        return []


def log_folder(data: Path) -> Path:
    """The log's folder in a node's data folder."""
    return data / "log"


def database_path(folder: Path) -> Path:
    """The database of the log whose data lies in `folder`."""
    return folder / DATABASE_NAME


def open_address(address: str, password: Secret | None, *, idle_seconds: int = IDLE_SECONDS) -> Engine:
    """The database on PostgreSQL that `[log] storage` and `storage_password` name.

    Raises ValueError for another address, ConfigError (password), StorageError.
    """
    url = parse_address(address)
    if password is not None:
        url = url.set(password=password.resolve())
    return postgresql_engine(url, idle_seconds=idle_seconds)


def open_log(config: LogConfig, folder: Path, *, prefix: str = "/log") -> LogService:
    """The log that a configuration describes: alone, as a frontend, or as one of several peers. Raises what
    they raise."""
    if config.mode == "solo" and config.storage == SQLITE:
        return LogService(config, folder, prefix=prefix)
    if config.mode == "solo":
        from touchplate.log.frontends.service import FrontendService

        return FrontendService(config, folder, prefix=prefix)
    # On use: a log alone needs no protobuf.
    from touchplate.log.peers.service import PeerService

    return PeerService(config, folder, prefix=prefix)


class LogService:
    """One log alone, on SQLite. `start` before use, `stop` at the end; everything else from any thread."""

    def __init__(self, config: LogConfig, folder: Path, *, prefix: str = "/log") -> None:
        """Open the log in `folder` (made if absent); `prefix` is where its HTTP face will be mounted.

        Raises ConfigError (key), TrustError (admission list), StorageError (also when another process has
        this log open: `locked`), CheckpointError (another origin or key than the stored one, or an older
        database than the one that was last used), CorruptTreeError.
        """
        keys = load_keys(config.key, config.retiring)
        listed = load_admission(config.admission)
        self._lock = FileLock(folder / LOCK_NAME)
        try:
            self.tree = self._open_tree(config, folder)
        except BaseException:
            self._lock.close()
            raise
        try:
            self._publisher = Publisher(self.tree, keys, config.origin)
            self._remembered = Remembered(folder, self.tree, self.wait_for_growth)
            self._remembered.check(keys.known)
            self._export = self._open_export(config, keys)
        except BaseException:
            self.tree.close()
            self._lock.close()
            raise
        self.sequencer = TreeSequencer(
            self.tree, self._make_decider(config), sign=self._publisher.sign, limits=config.limits
        )
        self.reader = LogReader(self.tree)
        self.admission = Admission(listed, self.reader.size)
        self.writer = LogWriter(self.admission, self.sequencer)
        self.asgi = HotFace(self.reader, self.writer, prefix)
        self._prefix = prefix

    def _open_tree(self, config: LogConfig, folder: Path) -> SQLTree:
        return open_tree(sqlite_engine(database_path(folder)), config.origin, alone=True)

    def _open_export(self, config: LogConfig, keys: LogKeys) -> ExportThread | None:
        if config.export is None:
            return None
        return ExportThread(config.export, self.tree, keys.policy(), self.wait_for_growth)

    def _make_decider(self, config: LogConfig) -> Decider:
        return SoloDecider(config.limits)

    def start(self) -> None:
        """Sign the head if need be, and take entries."""
        self._publisher.start()
        self.sequencer.start()
        self._remembered.start()
        if self._export is not None:
            self._export.start()

    def stop(self) -> None:
        """Finish what was taken, then close the storage."""
        self.sequencer.stop()
        self._remembered.stop()
        if self._export is not None:
            self._export.stop()
        self.tree.close()
        self._lock.close()

    def routes(self) -> APIRouter:
        """Proofs and entries as JSON, for the node's FastAPI application."""
        # On use: commands that only open a log need not wait for FastAPI.
        from touchplate.log.http.routes import make_routes

        return make_routes(self.reader, self._prefix)

    def checkpoint(self) -> bytes:
        """The newest signed note."""
        return self.reader.checkpoint()

    def append(self, envelopes: Sequence[bytes], timeout_seconds: float = APPEND_SECONDS) -> list[Sequenced]:
        """Append bare envelopes and wait until they are durable and integrated; for threads, not event loops.

        Raises AdmissionError (nothing was taken), BusyError, TimeoutError (the outcome is open: append
        again).
        """
        return [future.result(timeout_seconds) for future in self.writer.submit(envelopes)]

    def entries_after(self, size: int, limit: int = MAX_PAGE) -> list[tuple[int, bytes]]:
        """(index, packed entry) from index `size` on: what a reader that holds the first `size` entries
        lacks."""
        return self.reader.entries_after(size, limit)

    def wait_for_growth(self, size: int, timeout_seconds: float) -> int:
        """Block until the log has more than `size` entries, stops, or the time is up; returns its size
        then."""
        return self.sequencer.wait_for_growth(size, timeout_seconds)
