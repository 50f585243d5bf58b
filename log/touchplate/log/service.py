"""A log, wired: storage, sequencer, admission, publishing and HTTP face behind one object for the node.

Everything is opened in the constructor, so that a log which must not run never starts to listen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from touchplate.base.config import Secret
from touchplate.base.durable import FileLock
from touchplate.base.postgresql import IDLE_SECONDS, Engine, parse_address, postgresql_engine
from touchplate.base.values import Duration
from touchplate.log.admission import Admission
from touchplate.log.bucket.config import BucketConfig
from touchplate.log.cosigning.config import Asked, WitnessesConfig, load_policy
from touchplate.log.cosigning.publisher import CosignedPublisher
from touchplate.log.cosigning.witness import AskedWitness, HTTPTransport
from touchplate.log.export import Destination, Exporter, TreeSource
from touchplate.log.export_thread import ExportConfig, ExportThread
from touchplate.log.guard import SigningGuard
from touchplate.log.http.hot import HotFace
from touchplate.log.http.raw import Faces, RawFace
from touchplate.log.keys import NOT_RETIRING, LogKeys, RetiringConfig, load_keys
from touchplate.log.mirror import Mirror
from touchplate.log.peers.config import PeersConfig
from touchplate.log.ports import Decider, Head, Sequenced, Tree
from touchplate.log.publishing import Publisher, stored_size
from touchplate.log.raw.config import RawConfig, check_together
from touchplate.log.raw.served import RawLogs
from touchplate.log.reading import MAX_PAGE, LogReader
from touchplate.log.remembered import Remembered
from touchplate.log.sequencer import Limits, SoloDecider, TreeSequencer
from touchplate.log.storage.sql import SQLTree, log_engine, open_tree
from touchplate.log.trillian.config import TrillianConfig, parse_listen
from touchplate.log.trillian.store.config import TrillianStoreConfig
from touchplate.log.writing import LogWriter
from touchplate.verify.notes import NoteSigner, is_origin
from touchplate.verify.policy import Policy
from touchplate.verify.proofs import root_of
from touchplate.verify.tiles import TileReader
from touchplate.verify.trust import load_admission

if TYPE_CHECKING:
    from fastapi import APIRouter

    from touchplate.log.metrics import LogMetrics, LogState
    from touchplate.log.trillian.face import TrillianFace

DATABASE_NAME = "log.sqlite"
"""The one precious file of a solo log, in its folder."""

SQLITE = "sqlite"
"""`storage` of a log whose database is a file of its own."""

TRILLIAN = "trillian"
"""`storage` of a log whose entries are kept in a Trillian (`[log.trillian_store]`)."""

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
    witness: WitnessesConfig | None = None
    """Whose cosignatures a checkpoint needs before it is published; absent: nobody's."""
    storage: str = SQLITE
    """The log's database: "sqlite" (a file in the data folder), the address of one on PostgreSQL, which any
    number of frontends can serve, or "trillian"."""
    storage_password: Secret | None = None
    """The password that belongs to the address."""
    trillian: TrillianConfig | None = None
    """Trillian's gRPC interface, with trees of any bytes beside the log."""
    trillian_store: TrillianStoreConfig | None = None
    """The Trillian that keeps the log, with `storage = "trillian"`."""
    retiring: RetiringConfig | None = None
    """The key that signs beside `key` until readers know the new one (`touchplate log rotate-key`)."""
    export: ExportConfig | None = None
    """A folder in which the log is also kept as files, for a web server."""
    bucket: BucketConfig | None = None
    """A bucket of an S3-compatible store in which the log is also kept as objects."""
    metrics: str | None = None
    """Where Prometheus fetches metrics (host:port, /metrics), of Trillian's interface as well; absent:
    nowhere."""
    raw: tuple[RawConfig, ...] = ()
    """Raw trees that are served over HTTP beside the log, at /log/raw/<origin>."""

    def check(self) -> list[str]:
        """Mistakes that a single field does not show."""
        found = []
        if not is_origin(self.origin):
            found.append(
                f"origin: {self.origin!r} is not a bare lower-case host name such as 'log.example.org'"
            )
        if self.storage not in (SQLITE, TRILLIAN):
            found += self._check_address()
        elif self.storage_password is not None:
            found.append(
                f'storage_password: belongs to the address of a database; storage is "{self.storage}"'
            )
        if (self.mode == "peers") != (self.peers is not None):
            found.append('mode: "peers" and the table [log.peers] belong together; write both or neither')
        if self.metrics is not None and parse_listen(self.metrics) is None:
            found.append(f"metrics: {self.metrics!r} is no address; write host:port, such as 127.0.0.1:8091")
        found += self._check_peers() + self._check_witness() + self._check_store()
        found += check_together(self.raw, self.origin)
        return found

    def _check_store(self) -> list[str]:
        found = []
        if (self.storage == TRILLIAN) != (self.trillian_store is not None):
            found.append(
                'storage: "trillian" and the table [log.trillian_store] belong together; write both or'
                " neither"
            )
        if self.storage == TRILLIAN and self.trillian is not None:
            found.append(
                "trillian: the trees that it serves are kept in SQL, and this log is kept in a Trillian,"
                " which serves its own; leave [log.trillian] out"
            )
        if self.storage == TRILLIAN and self.raw:
            found.append(
                "raw: such trees are kept in SQL, and this log is kept in a Trillian; leave them out"
            )
        if self.storage == TRILLIAN and self.mode == "peers":
            found.append('storage: a peer keeps its part of the log on SQLite; write "sqlite"')
        return found

    def _check_peers(self) -> list[str]:
        if self.mode != "peers":
            return []
        found = []
        if self.trillian is not None:
            found.append("trillian: peers do not share such trees; serve them from a log of its own")
        if self.raw:
            found.append("raw: peers do not share such trees; serve them from a log of its own")
        if self.witness is not None:
            found.append(
                'witness: not with mode "peers": an outside witness knows one log key per origin, and a'
                " peer's checkpoint has the lines of all; leave [log.witness] out: peers are each other's"
                " witnesses"
            )
        if self.retiring is not None:
            found.append(
                "retiring: the keys of peers are those that they agreed on; they change as members do"
            )
        if self.metrics is not None:
            found.append("metrics: not on a peer yet; `touchplate peer status` tells how it is")
        for name, table in (("export", self.export), ("bucket", self.bucket)):
            if table is not None:
                found.append(
                    f"{name}: not on a peer; `touchplate log follow` makes a folder of files from its address"
                )
        return found

    def _check_witness(self) -> list[str]:
        if self.witness is None:
            return []
        return [f"retiring: {NOT_RETIRING}; leave one of the two tables out"] if self.retiring else []

    def _check_address(self) -> list[str]:
        try:
            parse_address(self.storage)
        except ValueError as error:
            return [f'storage: {error}, or "sqlite" or "trillian"']
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
    """The log that a configuration describes: alone, on a Trillian, as a frontend, or as one of several
    peers. Raises what they raise."""
    if config.mode == "solo" and config.storage == SQLITE:
        return LogService(config, folder, prefix=prefix)
    if config.mode == "solo" and config.storage == TRILLIAN:
        # On use: a log without it needs no grpc.
        from touchplate.log.trillian.store.service import TrillianLogService

        return TrillianLogService(config, folder, prefix=prefix)
    if config.mode == "solo":
        from touchplate.log.frontends.service import FrontendService

        return FrontendService(config, folder, prefix=prefix)
    # On use: a log alone needs no protobuf.
    from touchplate.log.peers.service import PeerService

    return PeerService(config, folder, prefix=prefix)


class LogService:
    """One log alone, on SQLite. `start` before use, `stop` at the end; everything else from any thread."""

    trillian: TrillianFace | None = None
    """Trillian's interface, when it is configured."""
    raw: RawLogs | None = None
    """Raw trees that are served over HTTP, if there are any."""
    cosigning: CosignedPublisher | None = None
    """Publishes what witnesses have cosigned; None when the log publishes by itself, or its peers do."""

    def __init__(self, config: LogConfig, folder: Path, *, prefix: str = "/log") -> None:
        """Open the log in `folder` (made if absent); `prefix` is where its HTTP face will be mounted.

        Raises ConfigError (key), TrustError (admission list), StorageError (also when another process has
        this log open: `locked`), CheckpointError (another origin or key than the stored one, or an older
        database than the one that was last used), CorruptTreeError.
        """
        keys = load_keys(config.key, config.retiring)
        listed = load_admission(config.admission)
        asked = None if config.witness is None else load_policy(config.witness, keys.signer.key)
        self._lock = FileLock(folder / LOCK_NAME)
        try:
            self.tree: Tree = self._open_tree(config, folder)
        except BaseException:
            self._lock.close()
            raise
        try:
            self._publisher = Publisher(self.tree, keys, config.origin)
            self._remembered = Remembered(folder, self.tree, self.wait_for_growth)
            self._remembered.check(keys.known)
            guard = SigningGuard(folder, config.origin)
            guard.check_tree(self.tree.head().size, self._root_at)
            self._exports = self._open_exports(config, keys)
        except BaseException:
            self.tree.close()
            self._lock.close()
            raise
        # With witnesses, what is signed within a batch would be served before anybody has cosigned it.
        sign = self._publisher.sign if asked is None else None
        self._metrics = self._make_metrics(config)
        self.sequencer = TreeSequencer(
            self.tree, self._make_decider(config), sign=sign, limits=config.limits, observer=self._metrics
        )
        self.cosigning = None if asked is None else self._make_cosigning(config, asked, keys.signer, guard)
        self.reader = LogReader(self.tree)
        self.admission = Admission(listed, self.reader.size)
        refused = None if self._metrics is None else self._metrics.answered
        self.writer = LogWriter(self.admission, self.sequencer, refused)
        self._prefix = prefix
        try:
            self.raw = None if not config.raw else RawLogs(config.raw, self._engine, folder)
            self.trillian = self._open_trillian(config)
        except BaseException:
            for export in self._exports:
                export.stop()
            self.tree.close()
            self._lock.close()
            raise
        hot = HotFace(self.reader, self.writer, prefix)
        self.asgi: HotFace | Faces = (
            hot if self.raw is None else Faces(hot, RawFace(self.raw.by_origin, prefix))
        )

    def _make_cosigning(
        self,
        config: LogConfig,
        asked: tuple[Policy, list[Asked]],
        signer: NoteSigner,
        guard: SigningGuard,
    ) -> CosignedPublisher:
        assert config.witness is not None
        policy, witnesses = asked
        seconds = config.witness.timeout
        return CosignedPublisher(
            self.tree,
            signer,
            policy,
            [AskedWitness(each, HTTPTransport(each.url, seconds)) for each in witnesses],
            guard,
            refresh_seconds=config.witness.refresh,
            wait_for_growth=self.wait_for_growth,
            published=self._remembered.write,
            leads=self._leads,
            newest=None if config.storage == SQLITE else self._newest_head,
        )

    def _leads(self) -> bool:
        """Whether this process signs, and asks witnesses: alone it always does."""
        return True

    def _root_at(self, size: int) -> bytes:
        return root_of(TileReader(self.tree.read_tile, size), size)

    def _open_tree(self, config: LogConfig, folder: Path) -> Tree:
        self._engine = log_engine(database_path(folder))
        return open_tree(self._engine, config.origin, alone=True)

    def _open_trillian(self, config: LogConfig) -> TrillianFace | None:
        if config.trillian is None:
            return None
        # On use: a log without it needs no grpc.
        from touchplate.log.trillian.face import TrillianFace

        assert isinstance(self.tree, SQLTree)  # as LogConfig.check sees to
        return TrillianFace(
            config.trillian,
            self._engine,
            self.tree,
            config.origin,
            follow=self._newest_head,
            limits=config.limits,
            metrics=None if self._metrics is None else self._metrics.registry,
            held=None if self.raw is None else self.raw.trees,
        )

    def _newest_head(self) -> Head:
        """The head, read again if other processes write it."""
        return self.tree.head()

    def _open_exports(self, config: LogConfig, keys: LogKeys) -> list[ExportThread]:
        policy = keys.policy()
        wanted: list[tuple[Destination, Duration]] = []
        if config.bucket is not None:
            # On use: its client is an extra.
            from touchplate.log.bucket.bucket import Bucket

            wanted.append((Bucket(config.bucket, policy), config.bucket.interval))
        if config.export is not None:
            wanted.append((Mirror(config.export.folder, policy), config.export.interval))
        source = TreeSource(self.tree, self._newest_head)
        # With witnesses, a checkpoint becomes the newest some time after the log grew.
        by_time = config.witness is not None
        return [
            ExportThread(Exporter(to, policy), source, interval, self.wait_for_growth, by_time=by_time)
            for to, interval in wanted
        ]

    def _make_metrics(self, config: LogConfig) -> LogMetrics | None:
        self._metrics_address = None if config.metrics is None else parse_listen(config.metrics)
        self._end_metrics: Callable[[], None] = lambda: None
        if self._metrics_address is None:
            return None
        # On use: a log that nobody watches needs no prometheus_client.
        from touchplate.log.metrics import LogMetrics

        return LogMetrics(self._state)

    def _state(self) -> LogState:
        from touchplate.log.metrics import LogState

        head = self.tree.head()
        status = None if self.cosigning is None else self.cosigning.status()
        return LogState(
            size=head.size,
            published=stored_size(head.checkpoint),
            checkpoint=head.checkpoint,
            published_seconds=None if status is None else status.seconds,
            frozen=head.frozen,
            waiting=self.sequencer.outstanding,
            leads=self._leads(),
            witnesses=() if status is None else status.witnesses,
            exported=tuple((export.kind, export.size) for export in self._exports),
        )

    def _make_decider(self, config: LogConfig) -> Decider:
        return SoloDecider(config.limits)

    def start(self) -> None:
        """Sign the head if need be (with witnesses: begin to ask them), and take entries."""
        if self.cosigning is None:
            self._publisher.start()
        self.sequencer.start()
        self._start_beside()

    def _start_beside(self) -> None:
        """Start what serves trees beside it (which may fail: a port that is taken), and what follows it."""
        if self.raw is not None:
            self.raw.start()
        if self.trillian is not None:
            self.trillian.start()
        if self.cosigning is None:
            self._remembered.start()
        else:
            self.cosigning.start()
        for export in self._exports:
            export.start()
        if self._metrics is not None and self._metrics_address is not None:
            from touchplate.log.metrics import serve_metrics

            self._end_metrics = serve_metrics(self._metrics_address, self._metrics.registry)

    def stop(self) -> None:
        """Finish what was taken, then close the storage."""
        self._end_metrics()
        if self.trillian is not None:
            self.trillian.stop()
        if self.raw is not None:
            self.raw.stop()
        self.sequencer.stop()
        if self.cosigning is None:
            self._remembered.stop()
        else:
            self.cosigning.stop()
        # After whoever publishes: the last checkpoint is exported, too.
        for export in self._exports:
            export.stop()
        self.tree.close()
        self._lock.close()

    def routes(self) -> APIRouter:
        """Proofs and entries as JSON, for the node's FastAPI application."""
        # On use: commands that only open a log need not wait for FastAPI.
        from touchplate.log.http.routes import make_routes

        router = make_routes(self.reader, self._prefix)
        if self.cosigning is not None:
            from touchplate.log.http.publishing import make_publishing_routes

            router.include_router(make_publishing_routes(self.cosigning.status))
        return router

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
