"""Making administrators' statements: what they hold, and mistakes that are told before anybody signs."""

import pytest
from tests.log.peers.administrators import ADMINISTRATORS, approved, governed
from tests.log.peers.support import Chain, member, rules
from tests.log.support import RECORDER, STRANGER, listed

from touchplate.log.errors import AdmissionError, RequestError
from touchplate.log.peers.overview import format_overview, parse_overview
from touchplate.log.peers.statements import (
    check_administrator,
    check_change,
    describe_change,
    make_admission,
    make_membership,
)
from touchplate.verify.jcs import format_json, parse_json
from touchplate.verify.keys import generate_signer
from touchplate.verify.trust import AdmissionList

NEW = generate_signer()
FIRST, SECOND, THIRD = ADMINISTRATORS
NOTHING = AdmissionList(())


def test_a_statement_that_was_made_is_one_that_peers_take() -> None:
    chain = Chain(governed())
    add = AdmissionList((listed(NEW), listed(generate_signer(), "administrator", ecosystems=())))
    change = make_admission(chain.state.rules, add, [RECORDER.key.spki_sha256.hex()], threshold=3)
    assert [each.code for each in chain.run(*approved(change.payload, 0, 1)).verdicts] == [0, 0]
    assert (chain.state.rules.threshold, len(chain.state.rules.administrators)) == (3, 4)
    change = make_membership(chain.state.rules, [member("e")], ["a"])
    chain.run(*approved(change.payload, 0, 1, 2))
    assert [peer.name for peer in chain.state.rules.peers] == ["b", "c", "d", "e"]


def test_what_a_statement_does_is_said_in_words() -> None:
    now = governed().rules
    text = dict(describe_change(now, make_admission(now, AdmissionList((listed(NEW),)), [])))
    assert NEW.key.spki_sha256.hex() in text["adds"]
    assert text["then"] == "2 of 3 administrators change the rules"
    text = dict(describe_change(now, make_membership(now, [member("e")], ["b"], from_index=9)))
    assert (text["leaves"], text["active"]) == ("b", "from entry 9 on")
    assert text["then"] == "4 peers, of which 3 decide and cosign"


@pytest.mark.parametrize(
    ("remove", "threshold", "message"),
    [
        ([each.key.spki_sha256.hex() for each in ADMINISTRATORS], None, "0 administrators would be left"),
        ([each.key.spki_sha256.hex() for each in ADMINISTRATORS[1:]], None, "1 administrators would be left"),
        ([], 0, "a threshold of at least 1"),
        ([], 4, "a threshold of at least 1"),
        (["00" * 32], None, "not on the list"),
    ],
)
def test_what_would_leave_a_log_without_administrators_is_not_even_made(
    remove: list[str], threshold: int | None, message: str
) -> None:
    with pytest.raises(AdmissionError, match=message):
        make_admission(governed().rules, NOTHING, remove, threshold=threshold)


def test_a_statement_for_other_rules_is_not_shown_as_if_it_did_something() -> None:
    chain = Chain(governed())
    change = make_admission(chain.state.rules, AdmissionList((listed(NEW),)), [])
    chain.run(*approved(change.payload, 0, 1))
    with pytest.raises(AdmissionError, match="can change nothing any more"):
        check_change(chain.state.rules, change)


def test_only_an_administrator_can_sign() -> None:
    check_administrator(governed().rules, SECOND.key)
    with pytest.raises(RequestError, match="none of this log's administrators"):
        check_administrator(governed().rules, STRANGER.key)
    with pytest.raises(RequestError, match="has no administrators"):
        check_administrator(rules(), FIRST.key)


def test_a_peer_that_lies_about_its_rules_is_caught_where_it_contradicts_itself() -> None:
    told = parse_json(format_overview(governed()), max_bytes=10**6)
    assert isinstance(told, dict)
    with pytest.raises(RequestError, match="another digest than it says"):
        parse_overview(format_json({**told, "rules_sha256": "00" * 32}))
    for broken in (b"", b"[]", b"{}", format_json({**told, "rules": {}}), format_json({**told, "more": 1})):
        with pytest.raises(RequestError):
            parse_overview(broken)
