"""The application that an engine drives by ABCI 2.0: the pure machine, and the state that it stands at.

FinalizeBlock only stages: its answer needs the root, not the disk. Commit makes block and height durable in
the one transaction of the log's storage. A crash before it leaves the block unexecuted, and the engine
plays it again; a crash after it leaves height and app hash as they are after the block, and Info says so.
There is no third case.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from logging import getLogger
from threading import Lock

from touchplate.base.errors import quote
from touchplate.log.errors import CorruptTreeError, FatalError, LogError
from touchplate.log.peers.checks import Check
from touchplate.log.peers.machine import (
    REFUSED,
    TX_OVERHEAD_BYTES,
    Block,
    Executed,
    Known,
    check_tx,
    execute,
    prepare,
    process,
)
from touchplate.log.peers.pace import Pace
from touchplate.log.peers.rules import RULES_VERSION
from touchplate.log.peers.state import GenesisError, State, Validator
from touchplate.proto.abci import abci_pb2 as abci

REJECT_SNAPSHOT = 3
ACCEPT_EXTENSION = 1
NODE_FILTER = "/p2p/filter/id/"
ADDRESS_FILTER = "/p2p/filter/addr/"

MAX_TURNED_AWAY = 100
"""Strangers whose refusal is told in the log."""

logger = getLogger(__name__)


@dataclass(frozen=True)
class Ports:
    """What the application needs of the rest of a peer."""

    begin: Callable[[bytes, Iterable[Validator]], State]
    """The state of a genesis. Raises GenesisError."""
    known: Known
    check: Check
    commit: Callable[[Executed], None]
    """Make a block durable: entries, tree, state in one transaction. Raises when nothing may be relied
    upon."""
    reload: Callable[[], State | None]
    """The state as storage has it, after a `commit` that failed and may have happened all the same."""
    named: Callable[[str], str | None]
    """What this peer's operator calls the node of this id, if he has named it: it may connect until the
    peers removed it."""
    failed: Callable[[], None]
    """An exception was answered: the engine has to end now. Returns at once."""


class Application:
    """Answers one engine. Safe from any thread; the engine itself asks about blocks one at a time."""

    def __init__(self, ports: Ports, state: State | None) -> None:
        """`state`: what storage holds; None before the first block."""
        self._ports = ports
        self._state = state  # replaced as a whole
        self._staged: Executed | None = None  # under _lock
        self._lock = Lock()  # one question about blocks at a time
        self._pace = Pace()  # under _lock
        self._turned_away: set[str] = set()  # each is told once: they come several times a second
        self._doubt = False  # under _lock: a commit failed, and storage may be ahead of `_state`

    @property
    def state(self) -> State | None:
        """The state after the newest durable block; None before the genesis."""
        return self._state

    def find_peer(self, node: str) -> str | None:
        """The name of the peer whose node has this id; None for one that may not connect.

        The peers that are agreed on; and, since a late one begins where the first ones were, those that its
        operator has named, unless they were removed.
        """
        state = self._state
        if state is not None and node in state.rules.removed:
            return None
        agreed = () if state is None else state.rules.peers
        return next((peer.name for peer in agreed if peer.node_id == node), self._ports.named(node))

    def answer(self, request: abci.Request) -> abci.Response:
        """The answer to one request. An exception in it makes the engine stop: it is started anew, and asks
        again from what is durable."""
        kind = request.WhichOneof("value")
        try:
            match kind:
                case "echo":
                    return abci.Response(echo=request.echo)
                case "query":
                    return abci.Response(query=self._query(request.query.path))
                case "check_tx":
                    return abci.Response(check_tx=self._check_tx(request.check_tx.tx))
                case None:
                    return _exception("a request of a kind that is not known here")
            with self._lock:
                return self._answer_block(kind, request)
        except Exception as error:
            if isinstance(error, LogError):
                logger.error("the engine's %s cannot be answered: %s", kind, error)
            else:
                logger.exception("the engine's %s cannot be answered", kind)
            self._ports.failed()
            return _exception(f"{kind}: {error}")

    def _answer_block(self, kind: str, request: abci.Request) -> abci.Response:
        if self._doubt:
            self._state, self._staged = self._ports.reload(), None
            self._doubt = False
        match kind:
            case "info":
                return abci.Response(info=self._info())
            case "init_chain":
                return abci.Response(init_chain=self._init_chain(request.init_chain))
            case "prepare_proposal":
                return abci.Response(prepare_proposal=self._prepare(request.prepare_proposal))
            case "process_proposal":
                return abci.Response(process_proposal=self._process(request.process_proposal))
            case "finalize_block":
                return abci.Response(finalize_block=self._finalize(request.finalize_block))
            case "commit":
                return abci.Response(commit=self._commit())
        return _unused(kind)

    def _info(self) -> abci.InfoResponse:
        state = self._state
        if state is None or state.height == 0:
            return abci.InfoResponse(data="touchplate", app_version=RULES_VERSION)
        return abci.InfoResponse(
            data="touchplate",
            app_version=RULES_VERSION,
            last_block_height=state.height,
            last_block_app_hash=state.app_hash(),
        )

    def _query(self, path: str) -> abci.QueryResponse:
        # The engine asks this about whoever connects (filter_peers); by RPC anybody on this host may.
        if path.startswith(NODE_FILTER) and self.find_peer(path.removeprefix(NODE_FILTER)) is not None:
            return abci.QueryResponse()
        if path.startswith(ADDRESS_FILTER):
            return abci.QueryResponse()
        if path not in self._turned_away and len(self._turned_away) < MAX_TURNED_AWAY:
            self._turned_away.add(path)
            logger.warning("not let in, or not answered: %s", quote(path))
        return abci.QueryResponse(code=REFUSED, log="not a listed peer, or not a question that is answered")

    def _check_tx(self, tx: bytes) -> abci.CheckTxResponse:
        verdict = check_tx(self._require_state(), tx, self._ports.known, self._ports.check)
        return abci.CheckTxResponse(code=verdict.code, log=verdict.reason)

    def _init_chain(self, request: abci.InitChainRequest) -> abci.InitChainResponse:
        if self._state is not None and self._state.height:
            raise CorruptTreeError(
                f"the engine begins at its genesis, and this peer has executed {self._state.height} blocks:"
                " put back the engine's data, or begin with an empty log and let it catch up"
            )
        if request.initial_height not in (0, 1):
            raise GenesisError(f"the genesis begins at height {request.initial_height}, not at 1")
        validators = [Validator(each.pub_key.ed25519, each.power) for each in request.validators]
        self._state = self._ports.begin(request.app_state_bytes, validators)
        return abci.InitChainResponse(app_hash=self._state.app_hash())

    def _prepare(self, request: abci.PrepareProposalRequest) -> abci.PrepareProposalResponse:
        ports = self._ports
        longest = max(map(len, request.txs), default=0) + TX_OVERHEAD_BYTES
        room = min(request.max_tx_bytes, max(self._pace.proposed_bytes, longest))
        chosen = prepare(self._require_state(), request.txs, room, ports.known, ports.check)
        return abci.PrepareProposalResponse(txs=chosen)

    def _process(self, request: abci.ProcessProposalRequest) -> abci.ProcessProposalResponse:
        wrong = process(self._require_state(), request.txs, self._ports.known, self._ports.check)
        if wrong is None:
            return abci.ProcessProposalResponse(status=abci.ProcessProposalResponse.ACCEPT)
        logger.warning("a proposal for block %d is refused: %s", request.height, wrong)
        return abci.ProcessProposalResponse(status=abci.ProcessProposalResponse.REJECT)

    def _finalize(self, request: abci.FinalizeBlockRequest) -> abci.FinalizeBlockResponse:
        self._pace.decided(request.decided_last_commit.round)
        misbehaviour = tuple((each.type, each.validator.address) for each in request.misbehavior)
        block = Block(request.height, tuple(request.txs), misbehaviour)
        done = execute(self._require_state(), block, self._ports.known, self._ports.check)
        self._staged = done  # twice for one height is the same block again: replaced by its equal
        return abci.FinalizeBlockResponse(
            tx_results=[abci.ExecTxResult(code=verdict.code) for verdict in done.verdicts],
            validator_updates=[
                abci.ValidatorUpdate(pub_key=abci.PublicKey(ed25519=each.public), power=each.power)
                for each in done.updates
            ],
            app_hash=done.state.app_hash(),
        )

    def _commit(self) -> abci.CommitResponse:
        staged = self._staged
        if staged is None:
            raise CorruptTreeError("the engine commits a block that was not executed")
        self._doubt = True
        self._ports.commit(staged)
        self._doubt = False
        # Durable. Only now may the next question be answered from it.
        before, self._state, self._staged = self._state, staged.state, None
        _tell(before, staged)
        return abci.CommitResponse()  # every block is kept: a late peer starts from the first

    def _require_state(self) -> State:
        if self._state is None:
            raise FatalError("the engine asks about blocks before it told its genesis")
        return self._state


def _tell(before: State | None, done: Executed) -> None:
    """Say what the operators of a peer should know of a block."""
    for peer in done.guilty:
        address = Validator(peer.public, 0).address.hex()
        logger.error("validator %s voted twice and votes no more (the peer %s)", address, peer.name)
    rules = done.state.rules
    if before is not None and before.rules is not rules:
        logger.warning(
            "the rules of the log are those of revision %d from entry %d on (touchplate peer rules)",
            rules.revision,
            done.state.size,
        )


def _exception(text: str) -> abci.Response:
    return abci.Response(exception=abci.ExceptionResponse(error=text[:1000]))


def _unused(kind: str) -> abci.Response:
    """Snapshots and vote extensions: not offered, and never asked for while the genesis leaves them off."""
    match kind:
        case "list_snapshots":
            return abci.Response(list_snapshots=abci.Empty())
        case "offer_snapshot":
            return abci.Response(offer_snapshot=abci.OfferSnapshotResponse(result=REJECT_SNAPSHOT))
        case "load_snapshot_chunk":
            return abci.Response(load_snapshot_chunk=abci.Empty())
        case "apply_snapshot_chunk":
            return abci.Response(apply_snapshot_chunk=abci.ApplySnapshotChunkResponse(result=REJECT_SNAPSHOT))
        case "extend_vote":
            return abci.Response(extend_vote=abci.Empty())
        case "verify_vote_extension":
            return abci.Response(
                verify_vote_extension=abci.VerifyVoteExtensionResponse(status=ACCEPT_EXTENSION)
            )
    return _exception(f"{kind} is not answered here")
