"""The state machine: what a block does, and that it does the same everywhere."""

import random

import pytest
from tests.log.peers.support import NAMES, VALIDATORS, Chain, member, state, tx, tx_of
from tests.log.support import (
    REBUILDER,
    RECORDER,
    STRANGER,
    admission_list,
    listed,
    record_envelope,
    record_payload,
    signed_entry,
)
from tests.reference import mth

from touchplate.log.admission import Admission
from touchplate.log.errors import AdmissionError, CorruptTreeError
from touchplate.log.peers.checks import CheckedEntry, RememberedChecks, check_packed
from touchplate.log.peers.machine import (
    DUPLICATE_VOTE,
    OK,
    REFUSED,
    REPEATED,
    Block,
    Verdict,
    check_tx,
    execute,
    judge,
    prepare,
    process,
)
from touchplate.log.peers.state import State, Validator
from touchplate.log.peers.transactions import MAX_TX_BYTES
from touchplate.log.ports import PackedEntry, pack
from touchplate.verify.dsse import PAYLOAD_TYPE, format_envelope, pae
from touchplate.verify.entry import make_entry, pack_entry
from touchplate.verify.keys import StatementSigner
from touchplate.verify.values import replace


def nothing(_: object) -> dict[bytes, int]:
    return {}


def codes(verdicts: "tuple[Verdict, ...] | list[Verdict]") -> list[int]:
    return [verdict.code for verdict in verdicts]


# --- order and duplicates -----------------------------------------------------------------------------------


def test_block_order_is_tree_order_and_the_app_hash_begins_with_the_root() -> None:
    chain = Chain()
    chain.run(tx(3, 1), tx(2))
    chain.run(tx(0))
    expected = [signed_entry(number) for number in (3, 1, 2, 0)]
    assert [entry.packed for entry in chain.entries] == [entry.packed for entry in expected]
    root = mth([entry.leaf_data for entry in expected])
    assert chain.state.edge.root() == root
    assert chain.state.app_hash()[:32] == root
    assert len(chain.state.app_hash()) == 64


def test_a_repeat_in_one_block_counts_once_and_the_first_one_counts() -> None:
    chain = Chain()
    done = chain.run(tx(1, 2), tx(2, 3, nonce=1), tx(3, 1, nonce=2))
    assert codes(done.verdicts) == [OK, OK, REPEATED]
    assert [entry.identity for entry in chain.entries] == [signed_entry(n).identity for n in (1, 2, 3)]


def test_a_repeat_within_one_transaction_counts_once() -> None:
    chain = Chain()
    one = signed_entry(1)
    assert codes(chain.run(tx_of(one, one, signed_entry(2))).verdicts) == [OK]
    assert chain.state.size == 2


def test_nobody_fills_blocks_with_repeats_beside_a_new_entry() -> None:
    chain = Chain()
    chain.run(tx(*range(10)))
    within = tx_of(*[signed_entry(20)] * 300)
    older = tx(*range(10), 21)
    assert codes(chain.run(within, older).verdicts) == [REPEATED, REPEATED]
    assert chain.state.size == 10
    assert process(chain.state, [within], chain.known, check_packed) is not None
    assert prepare(chain.state, [within, older, tx(20)], 2**21, chain.known, check_packed) == [tx(20)]
    assert codes(chain.run(tx(0, 1, 20), tx(2, 3, 21, 22)).verdicts) == [OK, OK]


def test_a_repeat_of_an_older_block_adds_nothing() -> None:
    chain = Chain()
    chain.run(tx(1, 2))
    done = chain.run(tx(2, nonce=5), tx(1, 9, nonce=6))
    assert codes(done.verdicts) == [REPEATED, OK]
    assert chain.state.size == 3


def test_one_statement_with_two_signatures_is_one_entry_and_the_first_signature_is_logged() -> None:
    first = signed_entry(1)
    other = signed_again(record_payload(1), RECORDER, first)
    assert other.identity == first.identity
    assert other.leaf_hash != first.leaf_hash
    for order in ((first, other), (other, first)):
        chain = Chain()
        chain.run(tx_of(order[0]), tx_of(order[1], nonce=1))
        assert [entry.packed for entry in chain.entries] == [order[0].packed]


def signed_again(payload: bytes, signer: StatementSigner, like: PackedEntry) -> PackedEntry:
    """The same statement by the same key, with another good signature (ECDSA with a random nonce)."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from touchplate.verify.keys import format_private_pem, normalise_signature

    key = load_pem_private_key(format_private_pem(signer), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    signature = normalise_signature(key.sign(pae(PAYLOAD_TYPE, payload), ec.ECDSA(hashes.SHA256())))
    entry = make_entry(format_envelope(payload, signature), signer.key.spki)
    made = pack(entry, pack_entry(entry))
    assert made.packed != like.packed
    return made


def test_an_empty_block_changes_the_height_and_not_the_app_hash() -> None:
    chain = Chain()
    chain.run(tx(1))
    before = chain.state.app_hash()
    chain.run()
    assert (chain.state.height, chain.state.app_hash()) == (2, before)


def test_a_block_that_does_not_come_next_is_not_executed() -> None:
    for height in (0, 2, -1):
        with pytest.raises(CorruptTreeError, match="not of one peer"):
            execute(state(), Block(height, ()), nothing, check_packed)


# --- admission ----------------------------------------------------------------------------------------------


def _forged() -> PackedEntry:
    good = signed_entry(1)
    entry = make_entry(format_envelope(record_payload(2), _signature_of(good)), RECORDER.key.spki)
    return pack(entry, pack_entry(entry))


def _signature_of(entry: PackedEntry) -> bytes:
    from touchplate.verify.entry import parse_packed

    return parse_packed(entry.packed).signature


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (tx(1, signer=STRANGER), "unknown-key"),
        (tx(1, signer=REBUILDER), "wrong-kind"),
        (tx_of(_forged()), "bad-signature"),
        (b"\x01" + bytes(8) + b"\0\0\0\0\0\0", "withheld"),
        (b"junk", "malformed"),
        (b"\x01" + bytes(MAX_TX_BYTES), "too-large"),
        (tx(5) + tx(1, signer=STRANGER)[9:], "unknown-key"),  # one good entry does not carry a bad one
    ],
)
def test_a_forbidden_transaction_is_refused_by_all_four_questions(bad: bytes, reason: str) -> None:
    good = tx(7)
    verdict = check_tx(state(), bad, nothing, check_packed)
    assert (verdict.code, verdict.reason.partition(":")[0]) == (REFUSED, reason)
    assert prepare(state(), [bad, good], 10**7, nothing, check_packed) == [good]
    wrong = process(state(), [good, bad], nothing, check_packed)
    assert wrong is not None
    assert wrong.startswith(f"transaction 1: {reason}")
    chain = Chain()
    done = chain.run(bad, good)  # decided all the same: it does nothing
    assert codes(done.verdicts) == [REFUSED, OK]
    assert [entry.packed for entry in chain.entries] == [signed_entry(7).packed]


def test_a_key_counts_at_the_index_that_its_entry_gets_in_the_block() -> None:
    ranged = admission_list(listed(RECORDER, from_index=0, until_index=2), listed(RECORDER, from_index=4))
    first = state(admission=ranged)
    assert process(first, [tx(1), tx(2)], nothing, check_packed) is None
    assert process(first, [tx(1, 2)], nothing, check_packed) is None
    wrong = process(first, [tx(1), tx(2), tx(3)], nothing, check_packed)
    assert wrong is not None
    assert "transaction 2: wrong-index" in wrong
    # Waiting, each could come next; together they cannot, and the proposal leaves the last one out.
    assert [check_tx(first, tx(n), nothing, check_packed).code for n in (1, 2, 3)] == [OK] * 3
    assert prepare(first, [tx(1), tx(2), tx(3)], 10**7, nothing, check_packed) == [tx(1), tx(2)]


def test_a_refused_transaction_takes_no_index_away() -> None:
    ranged = admission_list(listed(RECORDER, from_index=0, until_index=1))
    verdicts = judge(state(admission=ranged), [tx(1, 2), tx(3)], nothing, check_packed)
    assert codes(verdicts) == [REFUSED, OK]


def test_a_repeat_is_no_matter_of_admission() -> None:
    chain = Chain(state(admission=admission_list(listed(RECORDER, until_index=1))))
    chain.run(tx(1))
    assert codes(chain.run(tx(1, nonce=1)).verdicts) == [REPEATED]


def test_a_proposal_stays_within_its_room_and_keeps_the_order() -> None:
    txs = [tx(number) for number in range(5)]
    room = sum(len(one) + 8 for one in txs[:3])
    assert prepare(state(), txs, room, nothing, check_packed) == txs[:3]
    assert prepare(state(), txs, room - 1, nothing, check_packed) == txs[:2]


def test_what_is_prepared_is_always_accepted() -> None:
    print("seed 5")
    chooser = random.Random(5)
    pool = [tx(n) for n in range(6)] + [tx(1, 2, nonce=1), tx(9, signer=STRANGER), b"junk", tx(3, nonce=9)]
    ranged = admission_list(listed(RECORDER, from_index=0, until_index=4))
    for _ in range(60):
        waiting = chooser.choices(pool, k=chooser.randint(0, 8))
        for first in (state(), state(admission=ranged)):
            chosen = prepare(first, waiting, chooser.randint(0, 5000), nothing, check_packed)
            assert process(first, chosen, nothing, check_packed) is None


# --- determinism --------------------------------------------------------------------------------------------


def test_two_machines_given_the_same_blocks_agree_byte_for_byte() -> None:
    print("seed 21")
    chooser = random.Random(21)
    remembered = RememberedChecks(max_bytes=5000)  # forgets all the time
    one, other = Chain(), Chain()
    pool = (
        [tx(n, n + 1) for n in range(12)]
        + [tx(n, nonce=3) for n in range(12)]
        + [b"x", tx(1, signer=STRANGER)]
    )
    for _ in range(25):
        txs = chooser.choices(pool, k=chooser.randint(0, 5))
        for waiting in chooser.choices(pool, k=3):  # only one of the two has seen what waits
            check_tx(other.state, waiting, other.known, remembered)
        done = one.run(*txs)
        again = execute(other.state, Block(other.state.height + 1, tuple(txs)), other.known, remembered)
        other.entries += again.entries
        other.state = again.state
        assert again.state.app_hash() == done.state.app_hash()
        assert codes(again.verdicts) == codes(done.verdicts)
        assert [entry.packed for entry in again.entries] == [entry.packed for entry in done.entries]


def test_the_same_entries_in_other_batches_give_the_same_tree() -> None:
    chains = [Chain(), Chain(), Chain()]
    chains[0].run(tx(0, 1, 2, 3, 4))
    chains[1].run(tx(0), tx(1), tx(2))
    chains[1].run(tx(3, 4))
    for number in range(5):
        chains[2].run(tx(number))
    assert len({chain.state.app_hash() for chain in chains}) == 1


def test_a_remembered_verdict_never_outlives_what_it_depends_on() -> None:
    remembered = RememberedChecks()
    assert check_tx(state(), tx(1), nothing, remembered).code == OK
    without = state(admission=admission_list(listed(REBUILDER, "rebuilder")))
    assert check_tx(without, tx(1), nothing, remembered).code == REFUSED
    assert check_tx(state(), tx(1), lambda ids: dict.fromkeys(ids, 0), remembered).code == REPEATED
    with pytest.raises(AdmissionError):
        remembered(_forged().packed)


def test_what_admission_has_checked_is_what_would_have_been_checked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    remembered = RememberedChecks()
    admission = Admission(admission_list(), lambda: 0, remembered.admitted)
    envelopes = [record_envelope(number) for number in range(3)]
    packed = [admission.admit(envelope).packed for envelope in envelopes]
    expected = [check_packed(one) for one in packed]
    refused = signed_entry(7, STRANGER)
    with pytest.raises(AdmissionError):
        admission.admit(record_envelope(7, STRANGER))
    asked: list[bytes] = []

    def counted(one: bytes) -> CheckedEntry:
        asked.append(one)
        return check_packed(one)

    monkeypatch.setattr("touchplate.log.peers.checks.check_packed", counted)
    assert [remembered(one) for one in packed] == expected
    assert asked == []
    remembered(refused.packed)  # well formed and signed: whether its key is listed is asked elsewhere
    assert asked == [refused.packed]


# --- validators ---------------------------------------------------------------------------------------------


def votes_twice(name: str) -> tuple[int, bytes]:
    """Proof of the engine that this peer voted twice."""
    return (DUPLICATE_VOTE, Validator(member(name).public, 1).address)


def test_a_peer_that_voted_twice_votes_no_more_and_the_app_hash_says_so() -> None:
    chain = Chain()
    before = chain.state.app_hash()
    done = chain.run(misbehaviour=(votes_twice("c"),))
    assert done.guilty == (member("c"),)
    assert done.updates == (Validator(member("c").public, 0),)
    assert [peer.name for peer in chain.state.rules.peers] == ["a", "b", "d"]
    assert chain.state.rules.removed == (member("c").node_id,)
    assert chain.state.app_hash() != before
    again = chain.run(misbehaviour=(votes_twice("c"),))
    assert (again.guilty, again.updates) == ((), ())


def test_never_more_peers_are_removed_for_it_than_faults_are_tolerated() -> None:
    chain = Chain()
    everybody = tuple(map(votes_twice, NAMES))
    assert len(chain.run(misbehaviour=everybody).guilty) == 1
    assert chain.run(misbehaviour=everybody).guilty == ()
    assert len(chain.state.validators) == 3


def test_other_misbehaviour_and_strangers_change_nothing() -> None:
    chain = Chain()
    done = chain.run(misbehaviour=((2, VALIDATORS[0].address), (DUPLICATE_VOTE, b"x" * 20)))
    assert (done.guilty, done.updates, chain.state.validators) == ((), (), VALIDATORS)


@pytest.mark.parametrize(
    "change",
    [
        {"origin": "other.example.org"},
        {"admission": admission_list(listed(RECORDER))},
        {"peers": [member(name) for name in "abc"]},
        {"peers": [member("a"), member("b"), member("c"), member("d", url="https://elsewhere.example.org")]},
        {"seats": 5},
        {"threshold": 1},
        {"revision": 1},
        {"removed": ("ab" * 20,)},
    ],
)
def test_the_app_hash_covers_all_that_verdicts_depend_on(change: dict[str, object]) -> None:
    assert state(**change).app_hash() != state().app_hash()
    assert state(**change).app_hash()[:32] == state().app_hash()[:32]


def test_state_is_a_frozen_value() -> None:
    with pytest.raises(AttributeError):
        state().height = 2  # type: ignore[misc]
    assert isinstance(state(), State)
    assert replace(listed(RECORDER), from_index=1) != listed(RECORDER)
