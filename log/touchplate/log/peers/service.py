"""One peer, wired: the log as its faces know it, decided by agreement instead of alone.

    faces -> admission -> sequencer -> decider -> engine
    engine -> application (blocks) -> tree -> heads -> checkpoint

Started in the order in which each needs the other: the application listens, the engine starts and plays
what it is ahead, then entries are taken. Stopped the other way round.
"""

from __future__ import annotations

from collections.abc import Iterable
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING

from touchplate.base.durable import FileLock
from touchplate.base.sql import sqlite_engine
from touchplate.log.admission import Admission
from touchplate.log.errors import CheckpointError, FatalError
from touchplate.log.growth import edge_of, edge_tiles
from touchplate.log.guard import SigningGuard
from touchplate.log.http.hot import HotFace
from touchplate.log.peers import home as homes
from touchplate.log.peers.application import Application, Ports
from touchplate.log.peers.checks import RememberedChecks
from touchplate.log.peers.config import PeersConfig
from touchplate.log.peers.decider import PeerDecider
from touchplate.log.peers.engine import HostLock, Supervised, check_engine, installed_path
from touchplate.log.peers.gathering import HEADS_PATH, Gathering, format_heads, http_fetch
from touchplate.log.peers.heads import Heads, Signers
from touchplate.log.peers.machine import Executed
from touchplate.log.peers.rpc import EngineRPC
from touchplate.log.peers.state import State, Validator, begin, check_admission, format_state, parse_state
from touchplate.log.peers.state import admission_digest as digest_of
from touchplate.log.peers.transport import Listener
from touchplate.log.ports import Tree
from touchplate.log.publishing import check_stored
from touchplate.log.reading import LogReader
from touchplate.log.sequencer import TreeSequencer
from touchplate.log.service import LOCK_NAME, LogConfig, LogService, database_path
from touchplate.log.storage.sql import open_tree
from touchplate.log.writing import LogWriter
from touchplate.verify.notes import NoteSigner, parse_signer_key
from touchplate.verify.proofs import root_of
from touchplate.verify.tiles import TileReader
from touchplate.verify.trust import load_admission

if TYPE_CHECKING:
    from fastapi import APIRouter

logger = getLogger(__name__)


class PeerService(LogService):
    """A log that several peers hold together: to its faces and to the node like any other log."""

    def __init__(self, config: LogConfig, folder: Path, *, prefix: str = "/log") -> None:
        """Open this peer's part of the log in `folder`.

        Raises what LogService raises, and ConfigError (genesis), EngineMissingError, GenesisError (another
        admission list than the other peers'), StorageError `locked` (this validator runs on this host
        already).
        """
        if config.peers is None:
            raise FatalError("a peer's configuration has a table [log.peers]")
        self._config = config
        self._peers = config.peers
        self._listed = load_admission(config.admission)
        signers = _signers(config, config.peers)
        homes.check_genesis(self._peers.home)
        self._binary = self._peers.engine or installed_path()
        check_engine(self._binary)
        self._lock = FileLock(folder / LOCK_NAME)
        try:
            self._host_lock = HostLock(homes.validator_address(self._peers.home), self._peers.home)
        except BaseException:
            self._lock.close()
            raise
        try:
            self.tree = open_tree(sqlite_engine(database_path(folder)), config.origin, alone=True)
        except BaseException:
            self._unlock()
            raise
        try:
            check_stored(self.tree.head(), signers.log.key, config.origin)
            state = load_state(self.tree)
            if state is not None:
                check_admission(digest_of(state.admission), self._listed)
            self._wire(folder, signers, state, prefix)
        except BaseException:
            self.tree.close()
            self._unlock()
            raise

    def _wire(self, folder: Path, signers: Signers, state: State | None, prefix: str) -> None:
        config, peers = self._config, self._peers
        guard = SigningGuard(folder, config.origin)
        self.heads = Heads(config.origin, signers, [peer.keys for peer in peers.peer], guard, self._root_at)
        fetchers = {peer.name: http_fetch(peer.url) for peer in peers.peer}
        self.gathering = Gathering(self.tree, self.heads, fetchers, folder)
        self._rpc = EngineRPC(peers.rpc)
        argv = [str(self._binary), "start", "--home", str(peers.home)]
        self.engine = Supervised(argv, peers.home, peers.home / "engine.log")
        self.application = Application(
            Ports(
                begin=self._begin,
                known=self.tree.find_identities,
                check=RememberedChecks(),
                commit=self._commit,
                reload=self._reload,
                is_listed=frozenset(peer.node_id for peer in peers.peer).__contains__,
                failed=self.engine.kick,
            ),
            state,
        )
        self._listener = Listener(peers.home / "run" / "app.sock", self.application.answer)
        self._decider = PeerDecider(
            self._rpc.submit,
            self.tree.find_identities,
            lambda entries, error: self.sequencer.refuse(entries, error),
            halt=self.engine.stop,
        )
        self.sequencer = TreeSequencer(self.tree, self._decider, sign=None, limits=config.limits)
        self.reader = LogReader(self.tree)
        self.admission = Admission(self._listed, self.reader.size)
        self.writer = LogWriter(self.admission, self.sequencer)
        self.asgi = HotFace(self.reader, self.writer, prefix)
        self._prefix = prefix

    def start(self) -> None:
        """Listen, start the engine, and take entries."""
        peers = self._peers
        self._listener.start()
        homes.write_config(
            peers.home,
            homes.EngineSettings(
                peers.name,
                peers.p2p,
                peers.rpc,
                tuple(peer.node for peer in peers.peer),
                socket="run/app.sock",
                propose=peers.propose_timeout,
                vote=peers.vote_timeout,
            ),
        )
        self.sequencer.start()
        self.gathering.start()
        self.engine.start()

    def stop(self) -> None:
        """Wait a little for what was taken, stop the engine, then everything else."""
        self.sequencer.stop()  # its decider stops the engine
        self._listener.stop()
        self.gathering.stop()
        self._rpc.close()
        self.tree.close()
        self._unlock()

    def routes(self) -> APIRouter:
        """The routes of every log, and this peer's signed heads for the other peers."""
        from touchplate.log.http.heads import make_heads_routes

        router = super().routes()
        router.include_router(
            make_heads_routes(lambda start: format_heads(self.heads.signed(start)), HEADS_PATH)
        )
        return router

    def _begin(self, app_state: bytes, validators: Iterable[Validator]) -> State:
        return begin(app_state, validators, self._config.origin, self._listed)

    def _commit(self, done: Executed) -> None:
        self._decider.decided(done.entries, format_state(done.state))
        head = self.tree.head()
        if (head.size, head.root) != (done.state.size, done.state.edge.root()):
            raise CheckpointError(
                f"block {done.state.height} made a tree of {head.size} entries, root {head.root.hex()}; the"
                f" peers agreed on {done.state.size}, root {done.state.edge.root().hex()}: run log fsck"
            )
        self.gathering.decided(head.size, head.root)

    def _reload(self) -> State | None:
        # A write that failed may have happened: an empty one makes the tree read its head back first.
        self.tree.apply([])
        return load_state(self.tree)

    def _root_at(self, size: int) -> bytes:
        return root_of(TileReader(self.tree.read_tile, size), size)

    def _unlock(self) -> None:
        self._host_lock.close()
        self._lock.close()


def load_state(tree: Tree) -> State | None:
    """The peers' state that `tree` holds; None before the first block.

    Raises CorruptTreeError when state and tree are not of one block, CheckpointError for a log that was
    decided alone until now.
    """
    stored = tree.decided()
    size = tree.head().size
    if stored is None:
        if size:
            raise CheckpointError(
                f"this log has {size} entries that no peers decided: a network begins with an empty log"
            )
        return None
    partial = {tile.level: tree.read_tile(tile) for tile in edge_tiles(size)}
    return parse_state(stored, edge_of(size, partial))


def _signers(config: LogConfig, peers: PeersConfig) -> Signers:
    log, cosigner = parse_signer_key(config.key.resolve()), parse_signer_key(peers.cosigner.resolve())
    _require_role(log, "log", "key")
    _require_role(cosigner, "cosigner", "peers.cosigner")
    if log.key.name != config.origin:
        raise CheckpointError(f"the key {log.key} is not a log key of the origin {config.origin!r}")
    mine = {log.key.public, cosigner.key.public}
    others = [key for peer in peers.peer for key in (peer.keys.log_key, peer.keys.cosigner_key)]
    if len(mine) < 2 or any(key.public in mine for key in others):
        raise CheckpointError("a key of this peer is also another's, or serves two roles: make one for each")
    if any(peer.keys.log_key.name != config.origin for peer in peers.peer):
        raise CheckpointError(f"a peer's log key is not of the origin {config.origin!r}")
    return Signers(log, cosigner)


def _require_role(signer: NoteSigner, role: str, what: str) -> None:
    if signer.key.role != role:
        raise CheckpointError(f"{what} is a {signer.key.role} key, not a {role} key")
