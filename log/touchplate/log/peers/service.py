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
from touchplate.log.admission import Admission
from touchplate.log.errors import CheckpointError, FatalError, NotFoundError
from touchplate.log.growth import edge_of, edge_tiles
from touchplate.log.guard import SigningGuard
from touchplate.log.http.heads import HeadsFace
from touchplate.log.peers import home as homes
from touchplate.log.peers.application import Application, Ports
from touchplate.log.peers.checks import RememberedChecks
from touchplate.log.peers.config import PeersConfig
from touchplate.log.peers.decider import PeerDecider
from touchplate.log.peers.engine import HostLock, Supervised, check_engine, installed_path
from touchplate.log.peers.gathering import Fetch, Gathering, format_heads, http_fetch
from touchplate.log.peers.heads import Heads, Members, PeerKeys, Signers
from touchplate.log.peers.known import RememberedIdentities
from touchplate.log.peers.machine import Executed
from touchplate.log.peers.overview import RULES_PATH, format_overview
from touchplate.log.peers.rpc import EngineRPC
from touchplate.log.peers.rules import Rules
from touchplate.log.peers.state import State, Validator, begin, check_admission, format_state, parse_state
from touchplate.log.peers.transport import Listener
from touchplate.log.ports import Tree
from touchplate.log.publishing import check_stored
from touchplate.log.reading import LogReader
from touchplate.log.sequencer import TreeSequencer
from touchplate.log.service import LOCK_NAME, LogConfig, LogService, database_path
from touchplate.log.storage.sql import log_engine, open_tree
from touchplate.log.writing import LogWriter
from touchplate.verify.notes import NoteSigner, parse_signer_key, parse_verifier_key
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
        admission list than the one in the genesis), StorageError `locked` (this validator runs on this host
        already).
        """
        if config.peers is None:
            raise FatalError("a peer's configuration has a table [log.peers]")
        self._config = config
        self._peers = config.peers
        self._listed = load_admission(config.admission)
        signers = _signers(config, config.peers)
        check_admission(homes.read_founding(self._peers.home), self._listed)
        self._binary = self._peers.engine or installed_path()
        check_engine(self._binary)
        homes.check_votes(self._peers.home)
        self._lock = FileLock(folder / LOCK_NAME)
        try:
            self._host_lock = HostLock(homes.validator_address(self._peers.home), self._peers.home)
        except BaseException:
            self._lock.close()
            raise
        try:
            self.tree = open_tree(log_engine(database_path(folder)), config.origin, alone=True)
        except BaseException:
            self._unlock()
            raise
        try:
            state = load_state(self.tree)
            homes.check_blocks(self._peers.home, 0 if state is None else state.height)
            # Before it is one of them, and after, a peer publishes what the others signed.
            agreed = state.rules.peers if state is not None else ()
            log_keys = [parse_verifier_key(peer.log_key) for peer in agreed]
            check_stored(self.tree.head(), [signers.log.key, *log_keys], config.origin)
            self._wire(folder, signers, state, prefix)
        except BaseException:
            self.tree.close()
            self._unlock()
            raise

    def _wire(self, folder: Path, signers: Signers, state: State | None, prefix: str) -> None:
        config, peers = self._config, self._peers
        guard = SigningGuard(folder, config.origin)
        self._signers = signers
        self._urls = {peer.keys: peer.url for peer in peers.peer}  # as this one reaches them
        self._rules: Rules | None = None
        self._members = Members(tuple(self._urls))
        self.heads = Heads(config.origin, signers, self._members, guard, self._root_at)
        self.gathering = Gathering(self.tree, self.heads, self._fetch_from, folder)
        self._rpc = EngineRPC(peers.rpc)
        argv = [str(self._binary), "start", "--home", str(peers.home)]
        self.engine = Supervised(argv, peers.home, peers.home / "engine.log")
        self._known = RememberedIdentities(self.tree.find_identities)
        checks = RememberedChecks()
        self.application = Application(
            Ports(
                begin=self._begin,
                known=self._known,
                check=checks,
                commit=self._commit,
                reload=self._reload,
                named={peer.node_id: peer.name for peer in peers.peer}.get,
                failed=self.engine.kick,
            ),
            state,
        )
        self._listener = Listener(peers.home / "run" / "app.sock", self.application.answer)
        self._decider = PeerDecider(
            self._rpc.submit,
            self._known,
            lambda entries, error: self.sequencer.refuse(entries, error),
            halt=self.engine.stop,
        )
        self.sequencer = TreeSequencer(self.tree, self._decider, sign=None, limits=config.limits)
        self.reader = LogReader(self.tree)
        self.admission = Admission(self._listed, self.reader.size, checks.admitted)
        self.writer = LogWriter(self.admission, self.sequencer)
        self.asgi = HeadsFace(self.reader, self.writer, prefix, self._signed_heads)
        self._prefix = prefix
        if state is not None:
            self._follow(state.rules)

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
                self._nodes(),
                socket="run/app.sock",
                propose=peers.propose_timeout,
                vote=peers.vote_timeout,
            ),
        )
        self.sequencer.start()
        if self._rules is not None:
            head = self.tree.head()
            self.gathering.decided(head.size, head.root, self._members)
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
        """The routes of every log, and the rules for all."""
        from touchplate.log.http.rules import make_rules_routes

        router = super().routes()
        router.include_router(make_rules_routes(self._overview, RULES_PATH))
        return router

    def find_peer(self, node: str) -> str | None:
        """The name of the peer whose node has this id, as the rules are now; None for anybody else."""
        return self.application.find_peer(node)

    async def _signed_heads(self, start: int, wait_seconds: float) -> bytes:
        if wait_seconds:
            await self.heads.wait_signed(start, wait_seconds)
        return format_heads(self.heads.signed(start))

    def _begin(self, app_state: bytes, validators: Iterable[Validator]) -> State:
        return begin(app_state, validators, self._config.origin, self._listed)

    def _commit(self, done: Executed) -> None:
        with self._known.changing(entry.identity for entry in done.entries):
            self._decider.decided(done.entries, format_state(done.state))
        head = self.tree.head()
        if (head.size, head.root) != (done.state.size, done.state.edge.root()):
            raise CheckpointError(
                f"block {done.state.height} made a tree of {head.size} entries, root {head.root.hex()}; the"
                f" peers agreed on {done.state.size}, root {done.state.edge.root().hex()}: run log fsck"
            )
        self._follow(done.state.rules)
        self.gathering.decided(head.size, head.root, self._members)

    def _follow(self, rules: Rules) -> None:
        """These are the rules: who may write here, whose heads count, and who is asked for them."""
        if rules is self._rules:
            return
        self._rules = rules
        self.admission.follow(rules.admission)
        own = (self._signers.log.key, self._signers.cosigner.key)
        others = []
        for peer in rules.peers:
            keys = PeerKeys(
                peer.name, parse_verifier_key(peer.log_key), parse_verifier_key(peer.cosigner_key)
            )
            if (keys.log_key, keys.cosigner_key) != own:
                others.append(keys)
                self._urls.setdefault(keys, peer.url)
        self._members = Members(tuple(others), len(others) < len(rules.peers))
        if not self._members.own:
            logger.warning(
                "%s is none of the peers of revision %d: it follows, and signs nothing",
                self._peers.name,
                rules.revision,
            )

    def _fetch_from(self, peer: PeerKeys) -> Fetch:
        return http_fetch(self._urls[peer])

    def _nodes(self) -> tuple[str, ...]:
        """The engines to connect to: those of the peers that are agreed on, and those that are configured."""
        configured = {peer.node_id: peer.node for peer in self._peers.peer}
        if self._rules is None:
            return tuple(configured.values())
        agreed = {peer.node_id: peer.node for peer in self._rules.peers}
        own, removed = homes.node_id(self._peers.home), self._rules.removed
        both = agreed | configured
        return tuple(node for node_id, node in both.items() if node_id != own and node_id not in removed)

    def _overview(self) -> bytes:
        state = self.application.state
        if state is None:
            raise NotFoundError("this peer has not executed a block yet")
        return format_overview(state)

    def _reload(self) -> State | None:
        # A write that failed may have happened: an empty one makes the tree read its head back first.
        self.tree.apply([])
        state = load_state(self.tree)
        if state is not None:
            self._follow(state.rules)
        return state

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
