"""Signed requests between peers: who asks, whom, for what, and when."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from touchplate.log.peers.requests import MAX_SKEW_SECONDS, SCHEME, PeerRequests, StrangerError, node_id_of

NOW = 1_700_000_000
PATH = "/peers/blobs/" + "ab" * 32
KEYS = {name: Ed25519PrivateKey.from_private_bytes(name.encode() * 32) for name in "abcx"}
IDS = {name: node_id_of(key.public_key().public_bytes_raw()) for name, key in KEYS.items()}


def peer(name: str, now: float = NOW) -> PeerRequests:
    """A peer that has listed the others; `x` is listed by nobody."""
    others = {IDS[other]: other for other in "abc" if other != name}
    return PeerRequests(KEYS[name], others.get, now=lambda: now)


def test_a_listed_peer_is_known_by_its_name() -> None:
    assert peer("b").check(peer("a").sign(IDS["b"], PATH), PATH) == "a"
    assert peer("a").check(peer("c").sign(IDS["a"], PATH), PATH) == "c"


@pytest.mark.parametrize("late", [-MAX_SKEW_SECONDS, MAX_SKEW_SECONDS])
def test_clocks_may_differ_a_little(late: int) -> None:
    assert peer("b", NOW + late).check(peer("a").sign(IDS["b"], PATH), PATH) == "a"


@pytest.mark.parametrize("late", [-MAX_SKEW_SECONDS - 1, MAX_SKEW_SECONDS + 1])
def test_an_old_request_is_not_answered_again(late: int) -> None:
    with pytest.raises(StrangerError, match="clocks"):
        peer("b", NOW + late).check(peer("a").sign(IDS["b"], PATH), PATH)


def test_a_node_that_nobody_listed_is_a_stranger() -> None:
    with pytest.raises(StrangerError, match="not listed"):
        peer("b").check(peer("x").sign(IDS["b"], PATH), PATH)


def test_who_is_a_peer_is_asked_each_time() -> None:
    others = {IDS["a"]: "a"}
    asked = PeerRequests(KEYS["b"], others.get, now=lambda: NOW)
    for name in "ac":
        others.pop(IDS["a"], None)
        with pytest.raises(StrangerError, match="not listed"):
            asked.check(peer(name).sign(IDS["b"], PATH), PATH)
        others[IDS[name]] = name
        assert asked.check(peer(name).sign(IDS["b"], PATH), PATH) == name


def test_what_one_peer_was_shown_is_of_no_use_at_another() -> None:
    shown = peer("a").sign(IDS["b"], PATH)
    with pytest.raises(StrangerError, match="not signed by a"):
        peer("c").check(shown, PATH)


def test_what_was_signed_for_one_file_opens_no_other() -> None:
    with pytest.raises(StrangerError, match="not signed by a"):
        peer("b").check(peer("a").sign(IDS["b"], PATH), PATH.replace("a", "c"))


def test_nobody_signs_in_anothers_name() -> None:
    mine = peer("x").sign(IDS["b"], PATH).split(".")
    theirs = peer("a").sign(IDS["b"], PATH).split(".")
    with pytest.raises(StrangerError, match="not signed by a"):
        peer("b").check(".".join([theirs[0], mine[1], mine[2]]), PATH)


def test_the_time_is_signed() -> None:
    key, at, signature = peer("a").sign(IDS["b"], PATH).split(".")
    with pytest.raises(StrangerError, match="not signed by a"):
        peer("b").check(f"{key}.{int(at) + 1}.{signature}", PATH)


GOOD = peer("a").sign(IDS["b"], PATH)


@pytest.mark.parametrize(
    "header",
    [
        "",
        SCHEME,
        "Bearer " + GOOD.partition(" ")[2],
        GOOD[:-1],
        GOOD + "0",
        GOOD + ".1",
        GOOD.upper(),
        GOOD.replace(".", ".0", 1),
        GOOD.replace(".", ".-", 1),
        GOOD.replace(f".{NOW}.", f".{'9' * 19}."),
        GOOD.replace(f".{NOW}.", ".٣."),
        GOOD.replace(GOOD[17:81], "0" * 64),
    ],
)
def test_any_other_form_is_a_strangers(header: str) -> None:
    with pytest.raises(StrangerError):
        peer("b").check(header, PATH)
