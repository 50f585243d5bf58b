"""The application behind ABCI, over real SQLite: every answer, and a crash at every step."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from tests.log.peers.support import NAMES, VALIDATORS, member, tx
from tests.log.support import STRANGER, admission_list, open_sqlite, signed_entry
from tests.simkeys import ORIGIN

from touchplate.log.errors import StorageFailedError
from touchplate.log.peers.application import Application, Ports
from touchplate.log.peers.checks import check_packed
from touchplate.log.peers.machine import Executed
from touchplate.log.peers.service import load_state
from touchplate.log.peers.state import State, Validator, begin, format_app_state, format_state
from touchplate.log.storage.sql import SQLTree
from touchplate.proto.abci import abci_pb2 as abci
from touchplate.verify.jcs import format_json

LISTED = admission_list()
NODE = "ab" * 20
GENESIS = format_json(format_app_state(ORIGIN, LISTED, map(member, NAMES), 0))


class CrashError(Exception):
    """The process dies here."""


class Peer:
    """An application over a tree in a folder; `fail` is called around the commit and may raise."""

    def __init__(self, folder: Path, first: State | None = None) -> None:
        """`first`: the state that its genesis stands for, if it is not the usual one."""
        self.listed = LISTED if first is None else first.admission
        threshold = 0 if first is None else first.rules.threshold
        self.genesis = format_json(format_app_state(ORIGIN, self.listed, map(member, NAMES), threshold))
        self.tree: SQLTree = open_sqlite(folder)
        self.fail: Callable[[str], None] = lambda when: None
        self.app = Application(
            Ports(
                begin=self._begin,
                known=self.tree.find_identities,
                check=check_packed,
                commit=self._commit,
                reload=self._reload,
                named={NODE: "x"}.get,
                failed=lambda: None,
            ),
            load_state(self.tree),
        )

    def _begin(self, app_state: bytes, validators: Iterable[Validator]) -> State:
        return begin(app_state, validators, ORIGIN, self.listed)

    def _commit(self, done: Executed) -> None:
        self.fail("before")
        self.tree.apply(done.entries, None, format_state(done.state))
        self.fail("after")

    def _reload(self) -> State | None:
        self.tree.apply([])
        return load_state(self.tree)

    def ask(self, **question: object) -> abci.Response:
        return self.app.answer(abci.Request(**question))  # type: ignore[arg-type]

    def init(self) -> bytes:
        validators = [
            abci.ValidatorUpdate(pub_key=abci.PublicKey(ed25519=each.public), power=1) for each in VALIDATORS
        ]
        asked = abci.InitChainRequest(
            validators=validators,
            app_state_bytes=self.genesis,
            initial_height=1,
        )
        return self.ask(init_chain=asked).init_chain.app_hash

    def finalize(self, height: int, *txs: bytes) -> bytes:
        return self.execute(height, *txs).app_hash

    def execute(self, height: int, *txs: bytes) -> abci.FinalizeBlockResponse:
        answer = self.ask(finalize_block=abci.FinalizeBlockRequest(height=height, txs=txs))
        assert answer.WhichOneof("value") == "finalize_block", answer
        assert len(answer.finalize_block.tx_results) == len(txs)
        return answer.finalize_block

    def commit(self) -> str | None:
        found: str | None = self.ask(commit=abci.Empty()).WhichOneof("value")
        return found

    def info(self) -> tuple[int, bytes]:
        found = self.ask(info=abci.InfoRequest()).info
        return found.last_block_height, found.last_block_app_hash


BLOCKS = ((1, (tx(1, 2), tx(3))), (2, ()), (3, (tx(3, 4, nonce=1), tx(9, signer=STRANGER))), (4, (tx(5),)))


def replay(peer: Peer, *, since: int = 0) -> list[bytes]:
    """What an engine does after a handshake: genesis if need be, then each block that is lacking."""
    if since == 0:
        peer.init()
    hashes = []
    for height, txs in BLOCKS[since:]:
        hashes.append(peer.finalize(height, *txs))
        assert peer.commit() == "commit"
    return hashes


def test_height_and_app_hash_are_those_of_the_last_committed_block(tmp_path: Path) -> None:
    peer = Peer(tmp_path)
    assert peer.info() == (0, b"")
    hashes = replay(peer)
    assert peer.info() == (4, hashes[-1])
    assert peer.tree.head().root == hashes[-1][:32]
    peer.tree.close()
    assert Peer(tmp_path).info() == (4, hashes[-1])


@pytest.mark.parametrize("height", range(1, 5))
@pytest.mark.parametrize("step", ["before the block", "staged", "before commit", "after commit", "committed"])
def test_a_crash_anywhere_is_mended_by_replay(tmp_path: Path, height: int, step: str) -> None:
    expected = replay(Peer(tmp_path / "whole"))
    peer = Peer(tmp_path / "crashing")
    peer.init()
    for at, txs in BLOCKS[: height - 1]:
        peer.finalize(at, *txs)
        peer.commit()
    _crash(peer, height, step)
    peer.tree.close()

    again = Peer(tmp_path / "crashing")
    done, app_hash = again.info()
    assert done == (height if step in ("after commit", "committed") else height - 1)
    assert app_hash == (expected[done - 1] if done else b"")
    assert replay(again, since=done) == expected[done:]
    assert again.info() == (4, expected[-1])
    assert again.tree.head().size == 5
    again.tree.close()


def _crash(peer: Peer, height: int, step: str) -> None:
    def die(when: str) -> None:
        if step == f"{when} commit":
            raise CrashError

    if step == "before the block":
        return
    peer.finalize(height, *BLOCKS[height - 1][1])
    if step == "staged":
        return
    peer.fail = die
    assert peer.commit() == ("commit" if step == "committed" else "exception")


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_commit_that_fails_and_may_have_happened_is_read_back_before_the_next_answer(
    tmp_path: Path, when: str
) -> None:
    expected = replay(Peer(tmp_path / "whole"))
    peer = Peer(tmp_path / "failing")
    peer.init()
    peer.finalize(1, *BLOCKS[0][1])

    def fail(now: str) -> None:
        if now == when:
            raise StorageFailedError("the disk is full")

    peer.fail = fail
    assert peer.commit() == "exception"
    peer.fail = lambda now: None
    done, app_hash = peer.info()  # the engine was started again and shakes hands; this process lives on
    assert (done, app_hash) == ((1, expected[0]) if when == "after" else (0, b""))
    assert replay(peer, since=done) == expected[done:]


def test_a_block_that_is_executed_twice_before_its_commit_counts_once(tmp_path: Path) -> None:
    peer = Peer(tmp_path)
    peer.init()
    first = peer.finalize(1, tx(1))
    assert peer.finalize(1, tx(1)) == first
    assert peer.commit() == "commit"
    assert peer.commit() == "exception"
    assert peer.tree.head().size == 1


def test_a_refused_proposal_leaves_no_trace(tmp_path: Path) -> None:
    peer = Peer(tmp_path)
    peer.init()
    bad = abci.ProcessProposalRequest(height=1, txs=[tx(1), tx(2, signer=STRANGER)])
    assert peer.ask(process_proposal=bad).process_proposal.status == abci.ProcessProposalResponse.REJECT
    good = abci.ProcessProposalRequest(height=1, txs=[tx(1)])
    assert peer.ask(process_proposal=good).process_proposal.status == abci.ProcessProposalResponse.ACCEPT
    assert peer.tree.head().size == 0


def test_a_proposal_is_made_of_what_may_stand_in_it(tmp_path: Path) -> None:
    peer = Peer(tmp_path)
    peer.init()
    asked = abci.PrepareProposalRequest(
        height=1, max_tx_bytes=10**6, txs=[tx(1), b"junk", tx(1, nonce=1), tx(2, signer=STRANGER), tx(2)]
    )
    assert list(peer.ask(prepare_proposal=asked).prepare_proposal.txs) == [tx(1), tx(2)]
    assert peer.ask(check_tx=abci.CheckTxRequest(tx=tx(1))).check_tx.code == 0
    refused = peer.ask(check_tx=abci.CheckTxRequest(tx=b"junk")).check_tx
    assert (refused.code, refused.log.partition(":")[0]) == (1, "malformed")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"/p2p/filter/id/{NODE}", 0),
        (f"/p2p/filter/id/{'cd' * 20}", 1),
        ("/p2p/filter/id/", 1),
        ("/p2p/filter/addr/127.0.0.1:1", 0),
        ("/store", 1),
        ("", 1),
    ],
)
def test_only_listed_nodes_may_connect_and_nothing_else_is_told(tmp_path: Path, path: str, code: int) -> None:
    assert Peer(tmp_path).ask(query=abci.QueryRequest(path=path)).query.code == code


def test_a_genesis_of_another_log_stops_the_engine(tmp_path: Path) -> None:
    peer = Peer(tmp_path)
    other = format_json(format_app_state("other.example.org", LISTED, map(member, NAMES), 0))
    validators = [abci.ValidatorUpdate(pub_key=abci.PublicKey(ed25519=b"k" * 32), power=1)]
    asked = abci.InitChainRequest(validators=validators, app_state_bytes=other, initial_height=1)
    assert "other.example.org" in peer.ask(init_chain=asked).exception.error
    assert peer.ask(check_tx=abci.CheckTxRequest(tx=tx(1))).WhichOneof("value") == "exception"


def test_an_engine_that_begins_again_is_stopped(tmp_path: Path) -> None:
    peer = Peer(tmp_path)
    replay(peer)
    asked = abci.InitChainRequest(app_state_bytes=GENESIS)
    assert "has executed 4 blocks" in peer.ask(init_chain=asked).exception.error
    assert peer.info()[0] == 4


def test_snapshots_and_vote_extensions_are_not_offered(tmp_path: Path) -> None:
    peer = Peer(tmp_path)
    assert peer.ask(list_snapshots=abci.Empty()).WhichOneof("value") == "list_snapshots"
    assert peer.ask(offer_snapshot=abci.Empty()).offer_snapshot.result == 3
    assert peer.ask(verify_vote_extension=abci.Empty()).verify_vote_extension.status == 1
    assert peer.app.answer(abci.Request()).WhichOneof("value") == "exception"
    assert peer.ask(echo=abci.Echo(message="hello")).echo.message == "hello"


def test_a_log_that_was_decided_alone_does_not_become_a_peers(tmp_path: Path) -> None:
    tree = open_sqlite(tmp_path)
    tree.apply([signed_entry(1)])
    with pytest.raises(Exception, match="begins with an empty log"):
        load_state(tree)


def test_proposals_are_smaller_after_a_round_that_failed(tmp_path: Path) -> None:
    peer = Peer(tmp_path)
    peer.init()
    txs = [tx(*range(start, start + 40)) for start in range(0, 400, 40)]
    asked = abci.PrepareProposalRequest(max_tx_bytes=2**21, txs=txs, height=1)
    assert list(peer.ask(prepare_proposal=asked).prepare_proposal.txs) == txs
    for height in range(1, 4):
        peer.ask(
            finalize_block=abci.FinalizeBlockRequest(
                height=height, decided_last_commit=abci.CommitInfo(round=1)
            )
        )
        assert peer.ask(commit=abci.Empty()).HasField("commit")
    few = list(peer.ask(prepare_proposal=asked).prepare_proposal.txs)
    assert few == txs[: len(few)]
    assert 0 < sum(map(len, few)) <= 128 * 1024


def test_a_transaction_that_is_longer_than_the_pace_allows_is_proposed_all_the_same(tmp_path: Path) -> None:
    peer = Peer(tmp_path)
    peer.init()
    for height in range(1, 4):
        peer.ask(
            finalize_block=abci.FinalizeBlockRequest(
                height=height, decided_last_commit=abci.CommitInfo(round=1)
            )
        )
        peer.ask(commit=abci.Empty())
    long = tx(*range(250))
    assert len(long) > 256 * 1024
    asked = abci.PrepareProposalRequest(max_tx_bytes=2**21, txs=[long, tx(300)], height=4)
    assert list(peer.ask(prepare_proposal=asked).prepare_proposal.txs) == [long]
