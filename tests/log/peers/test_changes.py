"""Administrators change the rules of a log: when a change holds, what nobody may do, and all peers agree."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.log.peers.administrators import (
    ADMINISTRATORS,
    admission,
    approval,
    approved,
    governed,
    membership,
)
from tests.log.peers.support import NAMES, Chain, format_state_literally, member, signers, tx, tx_of
from tests.log.support import OPERATOR, REBUILDER, RECORDER, STRANGER, listed, signed_entry

from touchplate.log.peers.changes import MAX_APPROVALS, Agreed, change_rules
from touchplate.log.peers.checks import check_packed
from touchplate.log.peers.machine import (
    DUPLICATE_VOTE,
    OK,
    REFUSED,
    REPEATED,
    Verdict,
    check_tx,
    prepare,
    process,
)
from touchplate.log.peers.rules import MAX_ADMINISTRATORS, Rules, quorum_of
from touchplate.log.peers.state import State, Validator, format_state, parse_state
from touchplate.verify.errors import MalformedError
from touchplate.verify.keys import generate_signer
from touchplate.verify.notes import NoteSigner, format_verifier_key, generate_note_signer, parse_verifier_key
from touchplate.verify.predicates.peers import Peer
from touchplate.verify.statements import Admission, PeerChange

NEW = generate_signer()
NEWCOMER = listed(NEW)
FIRST, SECOND, THIRD = ADMINISTRATORS


def verdict(state: State, *txs: bytes) -> Verdict:
    """The verdict on the last of these."""
    chain = Chain(state)
    return chain.run(*txs).verdicts[-1]


def reason(found: Verdict) -> str:
    return found.reason.partition(":")[0]


# --- when a change holds ------------------------------------------------------------------------------------


def test_a_key_may_write_from_the_entry_after_the_one_that_reached_the_threshold() -> None:
    start = governed()
    one, two = approved(admission(start.rules, NEWCOMER), 0, 1)
    mine = tx(1, signer=NEW)
    assert reason(verdict(start, one, mine)) == "unknown-key"
    assert verdict(start, one, two, mine).code == OK  # in the same block
    chain = Chain(start)
    chain.run(one)
    assert chain.state.rules.digest == start.rules.digest
    assert process(chain.state, [mine], chain.known, check_packed) is not None
    chain.run(two)
    assert process(chain.state, [mine], chain.known, check_packed) is None
    assert (chain.state.rules.revision, chain.state.agreed.approvals) == (1, ())
    assert chain.state.rules.admission.find(NEW.key.spki)


def test_an_approval_in_a_transaction_that_repeats_too_much_approves_nothing() -> None:
    chain = Chain(governed())
    chain.run(tx(*range(30)))
    before = chain.state.agreed
    entry = approval(admission(chain.state.rules, NEWCOMER), FIRST)
    assert chain.run(tx_of(*map(signed_entry, range(30)), entry)).verdicts[0].code == REPEATED
    assert chain.state.agreed == before
    assert chain.run(tx_of(entry)).verdicts[0].code == OK


def test_an_approval_is_an_entry_like_any_other() -> None:
    chain = Chain(governed())
    entry = approval(admission(chain.state.rules, NEWCOMER), FIRST)
    assert chain.run(tx_of(signed_entry(1), entry, signed_entry(2))).verdicts[0].code == OK
    assert [each.packed for each in chain.entries] == [
        each.packed for each in (signed_entry(1), entry, signed_entry(2))
    ]
    (pending,) = chain.state.agreed.approvals
    assert (pending.index, len(pending.by)) == (1, 1)


def test_a_change_waits_for_its_index() -> None:
    chain = Chain(governed())
    payload = admission(chain.state.rules, NEWCOMER, from_index=4)
    chain.run(*approved(payload, 0, 1))
    scheduled = chain.state.agreed.scheduled
    assert scheduled is not None
    assert (scheduled.index, chain.state.rules.revision) == (4, 0)
    assert reason(chain.run(tx(1, signer=NEW)).verdicts[0]) == "unknown-key"
    # Within one transaction: its first two entries reach the index, and the third may be the new key's.
    assert chain.run(tx_of(signed_entry(2), signed_entry(3), signed_entry(4, NEW))).verdicts[0].code == OK
    assert chain.state.rules.revision == 1


def test_a_change_is_due_with_the_block_that_reaches_its_index() -> None:
    chain = Chain(governed())
    chain.run(*approved(membership(chain.state.rules, member("e"), from_index=3), 0, 1))
    assert len(chain.state.validators) == 4
    done = chain.run(tx(1))
    assert done.updates == (Validator(member("e").public, 1),)
    assert chain.run().updates == ()


def test_a_removed_key_writes_nothing_more_even_in_the_same_block() -> None:
    start = governed()
    payload = admission(start.rules, remove=[RECORDER.key])
    txs = [tx(1), *approved(payload, 0, 1), tx(2)]
    chain = Chain(start)
    assert [each.code for each in chain.run(*txs).verdicts] == [OK, OK, OK, REFUSED]
    assert reason(check_tx(chain.state, tx(3), chain.known, check_packed)) == "unknown-key"
    assert prepare(start, txs, 10**7, Chain(start).known, check_packed) == txs[:3]
    assert process(start, txs, Chain(start).known, check_packed) is not None


def test_a_key_gets_other_blocks_in_one_change() -> None:
    chain = Chain(governed())
    ranged = [listed(RECORDER, until_index=3), listed(RECORDER, from_index=9)]
    chain.run(*approved(admission(chain.state.rules, *ranged, remove=[RECORDER.key]), 0, 1))
    assert [each.code for each in chain.run(tx(1), tx(2)).verdicts] == [OK, REFUSED]


def test_administrators_and_threshold_change_as_the_list_does() -> None:
    chain = Chain(governed())
    alone = admission(chain.state.rules, remove=[FIRST.key, THIRD.key], threshold=1)
    chain.run(*approved(alone, 0, 1))
    assert chain.state.rules.administrators == (SECOND.key,)
    back = admission(chain.state.rules, listed(NEW, "administrator", ecosystems=()), threshold=2)
    assert reason(verdict(chain.state, *approved(back, 0))) == "unknown-key"
    chain.run(*approved(back, 1))
    assert (len(chain.state.rules.administrators), chain.state.rules.threshold) == (2, 2)


# --- counting -----------------------------------------------------------------------------------------------


def test_an_administrator_counts_once_whatever_he_sends() -> None:
    from tests.log.peers.test_machine import signed_again

    chain = Chain(governed())
    payload = admission(chain.state.rules, NEWCOMER)
    entry = approval(payload, FIRST)
    codes = [each.code for each in chain.run(tx_of(entry), tx_of(entry, nonce=1)).verdicts]
    assert codes == [OK, REPEATED]
    assert chain.run(tx_of(signed_again(payload, FIRST, entry), nonce=2)).verdicts[0].code == REPEATED
    assert chain.state.rules.revision == 0


def test_approvals_of_two_statements_are_not_added_up() -> None:
    chain = Chain(governed())
    other = admission(chain.state.rules, NEWCOMER, from_index=1)
    chain.run(*approved(admission(chain.state.rules, NEWCOMER), 0), *approved(other, 1))
    assert (len(chain.state.agreed.approvals), chain.state.rules.revision) == (2, 0)


def test_what_was_approved_for_older_rules_counts_no_more() -> None:
    chain = Chain(governed())
    harmful = admission(chain.state.rules, listed(STRANGER))
    chain.run(*approved(harmful, 0))
    chain.run(*approved(admission(chain.state.rules, remove=[FIRST.key]), 1, 2))
    assert chain.state.agreed == Agreed(chain.state.rules)
    assert reason(verdict(chain.state, *approved(harmful, 1))) == "outdated"
    assert reason(verdict(chain.state, *approved(admission(chain.state.rules), 0))) == "unknown-key"


def test_the_same_list_again_is_not_the_same_rules() -> None:
    chain = Chain(governed())
    first = chain.state.rules
    withheld = admission(first, NEWCOMER, from_index=1)  # signed then, and not handed in
    chain.run(*approved(admission(first, NEWCOMER), 0, 1))
    chain.run(*approved(admission(chain.state.rules, remove=[NEW.key]), 0, 1))
    assert chain.state.rules.document["admission"] == first.document["admission"]
    assert reason(verdict(chain.state, *approved(withheld, 0))) == "outdated"


def test_the_last_decision_of_a_revision_is_the_one_that_comes_to_hold() -> None:
    chain = Chain(governed())
    late = admission(chain.state.rules, NEWCOMER, from_index=50)
    chain.run(*approved(late, 0, 1))
    chain.run(*approved(admission(chain.state.rules, listed(STRANGER), from_index=60), 0, 1))
    chain.run(*approved(late, 2))  # one more than the threshold: it was decided, and then replaced
    scheduled = chain.state.agreed.scheduled
    assert scheduled is not None
    assert scheduled.index == 60
    chain.run(*approved(admission(chain.state.rules), 0, 2))  # nothing instead: how a change is called off
    assert (chain.state.agreed.scheduled, chain.state.rules.revision) == (None, 1)


def test_nobody_crowds_out_the_others_approvals() -> None:
    chain = Chain(governed())
    for number in range(MAX_APPROVALS):
        chain.run(*approved(admission(chain.state.rules, NEWCOMER, from_index=100 + number), 0))
    more = approved(admission(chain.state.rules, NEWCOMER, from_index=99), 0)
    assert reason(verdict(chain.state, *more)) == "too-many-approvals"
    chain.run(*approved(admission(chain.state.rules, NEWCOMER, from_index=99), 1, 2))
    assert chain.state.agreed.scheduled is not None


def test_a_refused_transaction_approves_nothing() -> None:
    chain = Chain(governed(threshold=1))
    entry = approval(admission(chain.state.rules, NEWCOMER), FIRST)
    assert chain.run(tx_of(entry, signed_entry(1, STRANGER))).verdicts[0].code == REFUSED
    assert chain.state.rules.revision == 0
    assert chain.state.agreed.approvals == ()


# --- what none may do ---------------------------------------------------------------------------------------

WHO = "https://elsewhere.example.org"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"origin": "other.example.org"}, "wrong-log"),
        ({"rules": "00" * 32}, "outdated"),
        ({"administrators": (FIRST.key, SECOND.key)}, "bad-change"),  # not who will be
        ({"administrators": (FIRST.key, SECOND.key, NEW.key)}, "bad-change"),
        ({"fingerprints": ("00" * 32,)}, "bad-change"),
        ({"fingerprints": tuple(each.key.spki_sha256.hex() for each in ADMINISTRATORS)}, "bad-change"),
    ],
)
def test_a_statement_is_refused_that_fits_neither_the_log_nor_its_rules(
    changes: dict[str, Any], expected: str
) -> None:
    start = governed()
    found = verdict(start, *approved(admission(start.rules, NEWCOMER, **changes), 0))
    assert (found.code, reason(found)) == (REFUSED, expected)


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (listed(RECORDER, "rebuilder"), "make one key for each role"),
        (listed(RECORDER, operator=WHO), "one key speaks for one operator"),
        (listed(RECORDER, from_index=5), "overlaps"),
        (listed(NEW, until_index=0), "half-open"),
        (listed(NEW, "administrator", ecosystems=(), until_index=9), "could end up with none"),
        (listed(NEW, "administrator", ecosystems=(), from_index=9), "could end up with none"),
        (listed(FIRST, "recorder"), "make one key for each role"),
    ],
)
def test_a_block_is_refused_that_no_list_may_hold(add: Any, message: str) -> None:
    start = governed()
    found = verdict(start, *approved(admission(start.rules, add), 0))
    assert reason(found) == "bad-change"
    assert message in found.reason


def test_a_peers_key_signs_no_statements() -> None:
    start = governed()
    log_key = _as_statement_signer(signers("a").log)
    found = verdict(start, *approved(admission(start.rules, listed(log_key)), 0))
    assert "make one for each role" in found.reason
    thief = member("e", validator=_base64(SECOND.key.spki[-32:]))
    assert "make one for each role" in verdict(start, *approved(membership(start.rules, thief), 0)).reason


def _as_statement_signer(signer: NoteSigner) -> Any:
    from types import SimpleNamespace

    from touchplate.verify.keys import ED25519_PREFIX, parse_spki

    return SimpleNamespace(key=parse_spki(ED25519_PREFIX + signer.key.public))


def _base64(data: bytes) -> str:
    from touchplate.verify.encoding import encode_base64

    return encode_base64(data)


@pytest.mark.parametrize("signer", [REBUILDER, RECORDER, STRANGER])
def test_nobody_but_an_administrator_approves(signer: Any) -> None:
    start = governed(threshold=1)
    found = verdict(start, tx_of(approval(admission(start.rules, NEWCOMER), signer)))
    assert reason(found) in ("wrong-kind", "unknown-key")


def test_a_signature_over_another_statement_approves_nothing() -> None:
    from touchplate.log.ports import pack
    from touchplate.verify.dsse import format_envelope
    from touchplate.verify.entry import make_entry, pack_entry, parse_packed

    start = governed(threshold=1)
    harmless = parse_packed(approval(admission(start.rules), FIRST).packed)
    payload = admission(start.rules, listed(STRANGER))
    forged = make_entry(format_envelope(payload, harmless.signature), FIRST.key.spki)
    assert reason(verdict(start, tx_of(pack(forged, pack_entry(forged))))) == "bad-signature"


def test_a_log_without_administrators_keeps_its_rules() -> None:
    start = governed(threshold=0, admission=governed().admission.__class__((listed(RECORDER),)))
    payload = admission(
        start.rules, listed(FIRST, "administrator", ecosystems=()), administrators=(FIRST.key,), threshold=1
    )
    assert reason(verdict(start, tx_of(approval(payload, FIRST)))) == "unknown-key"


def test_there_is_a_limit_of_administrators() -> None:
    start = governed()
    count = MAX_ADMINISTRATORS - len(ADMINISTRATORS)
    more = [
        listed(generate_signer("ed25519"), "administrator", ecosystems=(), operator=f"{OPERATOR}/{number}")
        for number in range(count + 1)
    ]
    assert verdict(start, *approved(admission(start.rules, *more[:-1]), 0)).code == OK
    found = verdict(start, *approved(admission(start.rules, *more), 0))
    assert f"at most {MAX_ADMINISTRATORS}" in found.reason


def test_rules_stay_small_enough_to_be_read_back() -> None:
    start = governed()
    long = f"https://elsewhere.example.org/{'x' * 40_000}"
    number = 0
    while True:
        payload = admission(start.rules, listed(generate_signer("ed25519"), operator=f"{long}{number}"))
        found = Chain(start)
        verdicts = found.run(*approved(payload, 0, 1)).verdicts
        if verdicts[0].code != OK:
            break
        start, number = found.state, number + 1
    assert "the rules would have" in verdicts[0].reason
    assert number > 10
    again = restarted(start)
    assert again.app_hash() == start.app_hash()


# --- peers --------------------------------------------------------------------------------------------------


def test_a_peer_joins_and_another_leaves() -> None:
    chain = Chain(governed())
    done = chain.run(*approved(membership(chain.state.rules, member("e")), 0, 2))
    assert done.updates == (Validator(member("e").public, 1),)
    assert [peer.name for peer in chain.state.rules.peers] == ["a", "b", "c", "d", "e"]
    done = chain.run(*approved(membership(chain.state.rules, member("f"), remove=["b"]), 0, 2))
    assert done.updates == (Validator(member("b").public, 0), Validator(member("f").public, 1))
    assert (chain.state.rules.removed, chain.state.rules.seats) == ((member("b").node_id,), 5)


def test_a_peer_that_was_removed_does_not_come_back_under_its_keys() -> None:
    chain = Chain(governed())
    chain.run(*approved(membership(chain.state.rules, remove=["b"]), 0, 1))
    found = verdict(chain.state, *approved(membership(chain.state.rules, member("b")), 0))
    assert "has to make new ones" in found.reason
    fresh = replace_peer(member("b2"), name="b")
    assert verdict(chain.state, *approved(membership(chain.state.rules, fresh), 0)).code == OK


def replace_peer(peer: Peer, **changes: str) -> Peer:
    from touchplate.verify.values import replace as replace_value

    return replace_value(peer, **changes)


@pytest.mark.parametrize("what", ["name", "validator", "node", "url", "log_key", "cosigner_key"])
def test_no_two_peers_share_a_name_a_key_or_a_place(what: str) -> None:
    start = governed()
    twin = replace_peer(member("e"), **{what: getattr(member("a"), what)})
    found = verdict(start, *approved(membership(start.rules, twin), 0))
    assert reason(found) == "bad-change"


def test_no_peer_takes_the_cosigner_name_of_another() -> None:
    start = governed()
    key = format_verifier_key(
        generate_note_signer(parse_verifier_key(member("a").cosigner_key).name, "cosigner").key
    )
    found = verdict(start, *approved(membership(start.rules, member("e", cosigner_key=key)), 0))
    assert reason(found) == "bad-change"
    assert "cosigner keys of the same name" in found.reason


@pytest.mark.parametrize("name", ["none", "peers"])
def test_no_peer_is_called_what_a_policy_calls_otherwise(name: str) -> None:
    start = governed()
    with pytest.raises(MalformedError, match="not none or peers"):
        membership(start.rules, replace_peer(member("e"), name=name))


def test_a_peer_of_another_log_or_name_is_refused() -> None:
    from tests.simkeys import note_signer, verifier_key

    start = governed()
    other = member("e", log_key=verifier_key(note_signer("other.example.org", "log")))
    assert "not one of log.example.org" in verdict(start, *approved(membership(start.rules, other), 0)).reason
    nobody = membership(start.rules, remove=["x"])
    assert "none of that name" in verdict(start, *approved(nobody, 0)).reason


def network(count: int) -> Rules:
    return governed(peers=[member(f"p{number}") for number in range(count)]).rules


@pytest.mark.parametrize("count", range(1, 12))
def test_so_few_change_at_once_that_the_others_go_on(count: int) -> None:
    rules = network(count)
    joining = [member(f"new{number}") for number in range(6)]
    for number in range(1, 7):
        joined = _allowed(rules, PeerChange(tuple(joining[:number]), (), 0))
        assert joined == (number == 1 or count >= quorum_of(count + number)), number
        leaving = tuple(f"p{one}" for one in range(number))
        left = number <= count and _allowed(rules, PeerChange((), leaving, 0))
        enough = count - number >= quorum_of(count)  # for a reader with the policy of before
        assert left == (count > number and (number == 1 or enough)), number


def _allowed(rules: Rules, change: PeerChange) -> bool:
    from touchplate.log.errors import AdmissionError

    try:
        change_rules(rules, change)
    except AdmissionError:
        return False
    return True


def test_proof_of_two_votes_removes_a_peer_and_voids_what_was_approved_before() -> None:
    chain = Chain(governed())
    pending = admission(chain.state.rules, NEWCOMER)
    chain.run(*approved(pending, 0))
    guilty = (DUPLICATE_VOTE, Validator(member("c").public, 1).address)
    chain.run(misbehaviour=(guilty,))
    assert reason(verdict(chain.state, *approved(pending, 1))) == "outdated"
    chain.run(*approved(membership(chain.state.rules, member("e")), 0, 1))
    assert (len(chain.state.rules.peers), chain.state.rules.seats) == (4, 4)


def test_a_change_and_proof_of_two_votes_meet_in_one_block() -> None:
    chain = Chain(governed())
    guilty = (DUPLICATE_VOTE, Validator(member("c").public, 1).address)
    txs = approved(membership(chain.state.rules, member("e"), remove=["c"]), 0, 1)
    done = chain.run(*txs, misbehaviour=(guilty,))
    assert (done.guilty, chain.state.rules.revision) == ((), 1)
    assert done.updates == (Validator(member("c").public, 0), Validator(member("e").public, 1))


# --- all peers agree ----------------------------------------------------------------------------------------


def restarted(state: State) -> State:
    """The state as a peer reads it back after it was stopped."""
    stored = format_state(state)
    assert stored == format_state_literally(state)
    return parse_state(stored, state.edge)


def test_what_is_approved_and_scheduled_is_stored_with_the_block() -> None:
    chain = Chain(governed())
    for payload, numbers in (
        (admission(chain.state.rules, NEWCOMER), (0,)),
        (membership(chain.state.rules, member("e"), from_index=9), (0, 1)),
    ):
        before = chain.state.app_hash()
        chain.run(*approved(payload, *numbers))
        assert chain.state.app_hash()[32:] != before[32:]
        assert restarted(chain.state).app_hash() == chain.state.app_hash()
        assert restarted(chain.state).agreed.scheduled == chain.state.agreed.scheduled
    other = Chain(restarted(chain.state))
    assert other.run(*(tx(number) for number in range(6))).updates == (Validator(member("e").public, 1),)


ORDERS = st.lists(st.integers(0, 2), min_size=2, max_size=8)


@settings(max_examples=60, deadline=None)
@given(order=ORDERS, cuts=st.sets(st.integers(1, 7)), noise=st.integers(0, 3))
def test_any_order_and_repetition_of_approvals_comes_to_the_same_rules(
    order: list[int], cuts: set[int], noise: int
) -> None:
    """`order`: who approves one after the other; `cuts`: where blocks end; each peer restarts on its own."""
    start = governed()
    payload = admission(start.rules, NEWCOMER)
    txs = [one for place, number in enumerate(order) for one in approved(payload, number, nonce=10 * place)]
    txs[noise:noise] = [tx(noise)]
    chains = [Chain(start), Chain(start)]
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(txs)], strict=True):
        for place, chain in enumerate(chains):
            chain.run(*txs[begin:end])
            if place:
                chain.state = restarted(chain.state)
    assert chains[0].hashes == chains[1].hashes
    assert all(restarted(each.state).app_hash() == chains[0].hashes[-1] for each in chains)
    changed = len(set(order)) >= start.rules.threshold
    expected = change_rules(start.rules, _what(start.rules)) if changed else start.rules
    assert chains[0].state.rules.digest == expected.digest
    assert chains[0].state.agreed.scheduled is None


def _what(now: Rules) -> Admission | PeerChange:
    from touchplate.log.peers.changes import parse_change

    return parse_change(admission(now, NEWCOMER)).what


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_what_is_prepared_from_any_approvals_is_accepted(data: st.DataObject) -> None:
    start = governed()
    payloads = [
        admission(start.rules, NEWCOMER),
        admission(start.rules, remove=[RECORDER.key]),
        membership(start.rules, member("e")),
        admission(start.rules, remove=[FIRST.key], from_index=4),
    ]
    pool = [one for payload in payloads for one in approved(payload, 0, 1, 2)]
    pool += [tx(1), tx(2), tx(3, signer=NEW), tx_of(approval(payloads[0], STRANGER)), b"junk"]
    waiting = data.draw(st.lists(st.sampled_from(pool), max_size=12))
    chain = Chain(start)
    chosen = prepare(start, waiting, 10**7, chain.known, check_packed)
    assert process(start, chosen, chain.known, check_packed) is None
    done = chain.run(*chosen)
    assert all(each.code == OK for each in done.verdicts)
    # Decided as they are, the refused ones do nothing, and the rest does what it does without them.
    assert chain.state.app_hash() == _hash_of(start, waiting)


def _hash_of(start: State, txs: list[bytes]) -> bytes:
    chain = Chain(start)
    chain.run(*txs)
    return chain.state.app_hash()


def test_an_unchanged_state_keeps_its_rules_object() -> None:
    chain = Chain(governed())
    before = chain.state.rules
    chain.run(tx(1))
    assert chain.state.rules is before
    assert replace(chain.state, height=9).app_hash() == chain.state.app_hash()
    assert len(NAMES) == len(before.peers)
