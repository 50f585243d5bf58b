"""Changes of the rules through ABCI, over real SQLite: a crash at every step, who may connect, who votes."""

from pathlib import Path

import pytest
from tests.log.peers.administrators import admission, approved, governed, membership
from tests.log.peers.support import Chain, member, tx
from tests.log.peers.test_application import CrashError, Peer
from tests.log.support import listed

from touchplate.log.peers.overview import format_overview, parse_overview
from touchplate.log.peers.state import Validator
from touchplate.proto.abci import abci_pb2 as abci
from touchplate.verify.keys import generate_signer

NEW = generate_signer()
STRANGER_NODE = "cd" * 20


def blocks() -> list[list[bytes]]:
    """Blocks that admit a key, remove it again, and let a peer join at an index; made by playing them."""
    chain = Chain(governed())
    made: list[list[bytes]] = []

    def play(*txs: bytes) -> None:
        made.append(list(txs))
        chain.run(*txs)

    admitted = admission(chain.state.rules, listed(NEW))
    play(*approved(admitted, 0))
    play(*approved(admitted, 1), tx(1, signer=NEW))
    play()
    play(*approved(membership(chain.state.rules, member("e"), from_index=7), 0, 2), tx(2))
    play(tx(3), tx(4, signer=NEW), tx(5))
    play(*approved(admission(chain.state.rules, remove=[NEW.key]), 1, 2), tx(6, signer=NEW))
    return made


BLOCKS = blocks()


def replay(peer: Peer, since: int = 0) -> list[tuple[bytes, list[tuple[bytes, int]]]]:
    """What an engine does after a handshake: genesis if need be, then each block that is lacking."""
    if since == 0:
        peer.init()
    found = []
    for height, txs in list(enumerate(BLOCKS, start=1))[since:]:
        answer = peer.execute(height, *txs)
        updates = [(each.pub_key.ed25519, each.power) for each in answer.validator_updates]
        found.append((answer.app_hash, updates))
        assert peer.commit() == "commit"
    return found


def test_the_engine_is_told_of_a_new_validator_when_its_index_is_reached(tmp_path: Path) -> None:
    found = replay(Peer(tmp_path, governed()))
    assert [updates for _, updates in found] == [[], [], [], [], [(member("e").public, 1)], []]


@pytest.mark.parametrize("height", range(1, len(BLOCKS) + 1))
@pytest.mark.parametrize("step", ["before the block", "staged", "before", "after", "committed"])
def test_a_crash_anywhere_leaves_the_same_rules(tmp_path: Path, height: int, step: str) -> None:
    whole = Peer(tmp_path / "whole", governed())
    expected = replay(whole)
    peer = Peer(tmp_path / "crashing", governed())
    peer.init()
    for at, txs in enumerate(BLOCKS[: height - 1], start=1):
        peer.finalize(at, *txs)
        peer.commit()

    def die(when: str) -> None:
        if step == when:
            raise CrashError

    if step != "before the block":
        peer.finalize(height, *BLOCKS[height - 1])
        peer.fail = die
        if step != "staged":
            assert peer.commit() == ("commit" if step == "committed" else "exception")
    peer.tree.close()

    again = Peer(tmp_path / "crashing", governed())
    done, _ = again.info()
    assert done == (height if step in ("after", "committed") else height - 1)
    assert replay(again, since=done) == expected[done:]
    assert again.info() == whole.info()
    assert again.app.state is not None
    assert whole.app.state is not None
    assert again.app.state.rules.document == whole.app.state.rules.document
    again.tree.close()
    whole.tree.close()


def test_a_refused_proposal_approves_nothing(tmp_path: Path) -> None:
    peer = Peer(tmp_path, governed())
    peer.init()
    payload = admission(governed().rules, listed(NEW))
    asked = abci.ProcessProposalRequest(height=1, txs=[*approved(payload, 0, 1), tx(1, signer=NEW), b"junk"])
    assert peer.ask(process_proposal=asked).process_proposal.status == abci.ProcessProposalResponse.REJECT
    assert peer.ask(check_tx=abci.CheckTxRequest(tx=tx(1, signer=NEW))).check_tx.code == 1
    good = abci.ProcessProposalRequest(height=1, txs=[*approved(payload, 0, 1), tx(1, signer=NEW)])
    assert peer.ask(process_proposal=good).process_proposal.status == abci.ProcessProposalResponse.ACCEPT
    assert peer.app.state is not None
    assert peer.app.state.app_hash() == governed().app_hash()


def may_connect(peer: Peer, node: str) -> bool:
    return bool(peer.ask(query=abci.QueryRequest(path=f"/p2p/filter/id/{node}")).query.code == 0)


def test_who_may_connect_follows_the_peers_that_are_agreed_on(tmp_path: Path) -> None:
    peer = Peer(tmp_path, governed())
    named = "ab" * 20  # by this peer's operator: one that joined before this peer has caught up so far
    assert [may_connect(peer, each) for each in (named, member("a").node_id)] == [True, False]
    peer.init()
    joins, leaves = member("e"), member("b")
    assert [may_connect(peer, each.node_id) for each in (leaves, joins)] == [True, False]
    payload = membership(governed().rules, joins, remove=["b"])
    peer.finalize(1, *approved(payload, 0, 1))
    assert [may_connect(peer, each.node_id) for each in (leaves, joins)] == [True, False]  # not yet
    peer.commit()
    assert [may_connect(peer, each.node_id) for each in (leaves, joins)] == [False, True]
    assert (may_connect(peer, named), may_connect(peer, STRANGER_NODE)) == (True, False)
    peer.tree.close()
    again = Peer(tmp_path, governed())
    assert [may_connect(again, each.node_id) for each in (leaves, joins)] == [False, True]


def test_proof_of_two_votes_closes_the_door_whoever_named_the_node(tmp_path: Path) -> None:
    peer = Peer(tmp_path, governed())
    peer.init()
    guilty = member("c")
    validator = abci.Validator(address=Validator(guilty.public, 1).address, power=1)
    proof = abci.Misbehavior(type=1, validator=validator)
    asked = abci.FinalizeBlockRequest(height=1, misbehavior=[proof])
    answer = peer.ask(finalize_block=asked).finalize_block
    assert [(each.pub_key.ed25519, each.power) for each in answer.validator_updates] == [(guilty.public, 0)]
    peer.commit()
    assert not may_connect(peer, guilty.node_id)
    assert may_connect(peer, member("a").node_id)


def test_what_a_peer_tells_of_its_rules_is_read_back(tmp_path: Path) -> None:
    peer = Peer(tmp_path, governed())
    replay(peer)
    state = peer.app.state
    assert state is not None
    seen = parse_overview(format_overview(state))
    assert (seen.size, seen.height, seen.rules.digest) == (state.size, state.height, state.rules.digest)
    assert (seen.approvals, seen.scheduled) == (state.agreed.approvals, state.agreed.scheduled)
