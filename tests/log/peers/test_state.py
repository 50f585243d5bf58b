"""Genesis and stored state: read back as they were, refused when they are not of one network or one block."""

import json

import pytest
from tests.log.peers.support import (
    NAMES,
    VALIDATORS,
    Chain,
    format_state_literally,
    member,
    state,
    tx,
)
from tests.log.support import REBUILDER, RECORDER, admission_list, listed
from tests.simkeys import ORIGIN

from touchplate.log.errors import CorruptTreeError
from touchplate.log.growth import Edge
from touchplate.log.peers.rules import admission_digest, quorum_of
from touchplate.log.peers.state import (
    GenesisError,
    begin,
    check_admission,
    format_app_state,
    format_state,
    parse_state,
)
from touchplate.verify.jcs import format_json
from touchplate.verify.trust import AdmissionList

FULL = admission_list(
    listed(REBUILDER, "rebuilder", until_index=10, ecosystems=("maven", "conan")),
    listed(REBUILDER, "rebuilder", from_index=10),
    listed(RECORDER),
)


def app_state(listed_keys: AdmissionList = FULL) -> bytes:
    return format_json(format_app_state(ORIGIN, listed_keys, map(member, reversed(NAMES)), 0))


def test_a_genesis_becomes_the_state_before_the_first_block() -> None:
    first = begin(app_state(), reversed(VALIDATORS), ORIGIN, FULL)
    assert (first.height, first.size, first.rules.seats, first.rules.revision) == (0, 0, 4, 0)
    assert first.validators == VALIDATORS
    assert admission_digest(first.admission) == admission_digest(FULL)


def test_the_digest_of_a_list_does_not_depend_on_its_order() -> None:
    assert admission_digest(AdmissionList(tuple(reversed(FULL.keys)))) == admission_digest(FULL)
    assert admission_digest(admission_list()) != admission_digest(FULL)


def test_white_space_in_a_genesis_changes_nothing() -> None:
    spaced = json.dumps(json.loads(app_state()), indent=1).encode()
    assert begin(spaced, VALIDATORS, ORIGIN, FULL) == begin(app_state(), VALIDATORS, ORIGIN, FULL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"origin": "other.example.org"}, "of the log"),
        ({"format": "touchplate.peers/v1"}, "format"),
        ({"admission_sha256": "0" * 64}, "another digest"),
        ({"admission": {"rebuilder": [], "recorder": []}}, "lacks administrator"),
        ({"threshold": 1}, "threshold of 1 with 0 administrators"),
        ({"peers": []}, "0 items"),
        ({"peers": json.loads(app_state())["peers"][:3]}, "validators are not its peers"),
        ({"extra": 1}, "unknown fields"),
    ],
)
def test_refuses_the_genesis_of_something_else(change: dict[str, object], message: str) -> None:
    document = {**json.loads(app_state()), **change}
    with pytest.raises(GenesisError, match=message):
        begin(json.dumps(document).encode(), VALIDATORS, ORIGIN, FULL)


def test_a_genesis_names_no_files() -> None:
    document = json.loads(app_state())
    document["admission"]["recorder"][0]["key"] = "keys/recorder.pem"
    with pytest.raises(GenesisError, match="holds the keys themselves"):
        begin(json.dumps(document).encode(), VALIDATORS, ORIGIN, FULL)


def test_refuses_a_network_whose_admission_list_is_not_the_operators() -> None:
    with pytest.raises(GenesisError, match="put back the file"):
        begin(app_state(), VALIDATORS, ORIGIN, admission_list())
    with pytest.raises(GenesisError):
        check_admission(admission_digest(FULL), admission_list())
    with pytest.raises(GenesisError, match="validators are not its peers"):
        begin(app_state(), [], ORIGIN, FULL)


def test_a_stored_state_is_read_back_as_it_was() -> None:
    chain = Chain(state(admission=FULL))
    chain.run(tx(1, 2))
    assert format_state(chain.state) == format_state_literally(chain.state)
    assert chain.state.rules.canonical == format_json(chain.state.rules.document)
    found = parse_state(format_state(chain.state), chain.state.edge)
    assert found.app_hash() == chain.state.app_hash()
    assert (found.height, found.validators, found.rules.digest) == (1, VALIDATORS, chain.state.rules.digest)
    assert format_state(found) == format_state(chain.state)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", format_state(state())[:-1]])
def test_a_damaged_state_is_refused(data: bytes) -> None:
    with pytest.raises(CorruptTreeError):
        parse_state(data, Edge())


def test_a_state_of_another_tree_is_refused() -> None:
    chain = Chain()
    chain.run(tx(1, 2))
    with pytest.raises(CorruptTreeError, match="run log fsck"):
        parse_state(format_state(chain.state), Edge())


@pytest.mark.parametrize(
    ("members", "quorum"), [(1, 1), (2, 2), (3, 3), (4, 3), (5, 4), (6, 5), (7, 5), (10, 7)]
)
def test_any_two_quorums_share_an_honest_member(members: int, quorum: int) -> None:
    assert quorum_of(members) == quorum
    faults = (members - 1) // 3
    assert 2 * quorum - members > faults
    assert quorum <= members - faults  # the honest alone can decide
