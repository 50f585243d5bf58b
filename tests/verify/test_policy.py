"""Policies: what each line may say, and which sets of witnesses satisfy a quorum."""

import hashlib
import itertools

import pytest
from tests.simkeys import ORIGIN, log_signer, note_signer, verifier_key, witness_signer

from touchplate.verify.encoding import encode_base64
from touchplate.verify.errors import PolicyError
from touchplate.verify.notes import (
    COSIGNER_KEY_TYPE,
    LOG_KEY_TYPE,
    NoteSigner,
    format_verifier_key,
    generate_note_signer,
)
from touchplate.verify.policy import MAX_DEFINITIONS, MAX_POLICY_BYTES, format_policy, parse_policy

LOG = f"log {verifier_key(log_signer())}\n"


def witness(name: str, key_name: str | None = None, salt: str = "") -> str:
    """A witness line whose key is called `key_name` (else a host of the witness's own name)."""
    signer = note_signer(key_name or f"{name.lower()}.example.org", "cosigner", salt)
    return f"witness {name} {verifier_key(signer)}\n"


EXAMPLE = (
    LOG
    + "\n"
    + "".join(witness(name) for name in ("X1", "X2", "X3"))
    + "group X-witnesses 2 X1 X2 X3\n\n"
    + "".join(witness(name) for name in ("Y1", "Y2", "Y3"))
    + "group Y-witnesses any Y1 Y2 Y3\n"
    + "group X-and-Y all X-witnesses Y-witnesses\n"
    + "quorum X-and-Y\n"
)


def test_the_example_of_the_specification_decides_as_it_says() -> None:
    policy = parse_policy(EXAMPLE)
    names = [each.name for each in policy.witnesses]
    assert policy.origin == ORIGIN
    assert len(policy.keys) == 7
    for count in range(7):
        for chosen in itertools.combinations(names, count):
            x = sum(name.startswith("X") for name in chosen)
            assert policy.is_satisfied(chosen) == (x >= 2 and count > x)


def test_quorum_none_asks_for_nobody() -> None:
    policy = parse_policy(LOG + witness("W") + "quorum none\n")
    assert not policy.needs_witnesses
    assert policy.is_satisfied([])


def test_a_quorum_can_be_one_witness() -> None:
    policy = parse_policy(LOG + witness("W") + witness("V") + "quorum W\n")
    assert policy.needs_witnesses
    assert policy.is_satisfied(["W"])
    assert not policy.is_satisfied(["V"])
    assert not policy.is_satisfied([])


def test_names_of_groups_and_strangers_are_no_cosignatures() -> None:
    policy = parse_policy(LOG + witness("W") + "group g any W\nquorum g\n")
    assert not policy.is_satisfied(["g", "nobody", "none"])


def test_peers_sign_with_keys_of_their_own_under_one_origin() -> None:
    lines = "".join(f"log {verifier_key(log_signer(salt))}\n" for salt in ("a", "b", "c", "d"))
    policy = parse_policy(lines + "quorum none\n")
    assert len(policy.logs) == 4
    assert policy.origin == ORIGIN


def test_space_comments_and_order_are_free() -> None:
    text = (
        "# a comment\n  \t\n\tquorum none  \n   # another\n"
        f"  log\t {verifier_key(log_signer())}   https://log.example.org/log \n"
        f"witness  \tw-ä {verifier_key(witness_signer('w.example.org'))} https://w.example.org/\n"
    )
    policy = parse_policy(text)
    assert policy.logs[0].url == "https://log.example.org/log"
    assert (policy.witnesses[0].name, policy.witnesses[0].url) == ("w-ä", "https://w.example.org/")


def test_only_space_and_tab_separate() -> None:
    with pytest.raises(PolicyError):
        parse_policy(LOG + "quorum\u00a0none\n")
    # A name may hold any other character; U+2003 is part of it.
    assert parse_policy(LOG + witness("W\u2003W", "w.example.org") + "quorum W\u2003W\n").quorum == "W\u2003W"


def test_policies_are_written_and_read_back() -> None:
    policy = parse_policy(EXAMPLE)
    assert parse_policy(format_policy(policy)) == policy
    assert format_policy(parse_policy(format_policy(policy))) == format_policy(policy)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("", "no quorum line"),
        (LOG, "no quorum line"),
        ("quorum none\n", "no log line"),
        (LOG + "quorum none\nquorum none\n", "second quorum"),
        (LOG + "quorum W\n" + witness("W"), "earlier line"),
        (LOG + "quorum\n", "does not take 0 items"),
        (LOG + "quorum a b\n", "does not take 2 items"),
        (LOG + "Quorum none\n", "none of log"),
        (LOG + "quorum none # why\n", "does not take 3 items"),
        ("log\n", "does not take 0 items"),
        ("log a b c\n", "does not take 3 items"),
        (LOG + "quorum none", "newline"),
        (LOG + "quorum none\r\n", "control character"),
        (LOG + "quorum none\n\x00\n", "control character"),
        (LOG + "quorum none\n\x7f\n", "control character"),
        (LOG + LOG + "quorum none\n", "twice"),
        (LOG + f"log {verifier_key(note_signer('b.example', 'log'))}\n", "two origins"),
        (f"log {verifier_key(note_signer('b.example/log', 'log'))}\n", "bare lower-case host"),
        (LOG + witness("W") + witness("W", "v.example"), "already taken"),
        (LOG + witness("none"), "already taken"),
        (LOG + witness("W") + witness("V", "w.example.org"), "twice"),
        (LOG + witness("W") + "group W any W\n", "already taken"),
        (LOG + "group g any\n", "at least one member"),
        (LOG + "group g\n", "does not take 1 items"),
        (LOG + "group g any none\n", "not defined"),
        (LOG + "group g any g\n", "not defined"),
        (LOG + witness("W") + "group g any W W\n", "already a member"),
        (LOG + witness("W") + "group g any W\ngroup h any W\n", "already a member"),
        (LOG + witness("W") + "group g 0 W\n", "can never decide"),
        (LOG + witness("W") + "group g 2 W\n", "can never decide"),
        (LOG + witness("W") + "group g 01 W\n", "threshold"),
        (LOG + witness("W") + "group g -1 W\n", "threshold"),
        (LOG + witness("W") + "group g most W\n", "threshold"),
        (LOG + "log not-a-key\n", "NAME\\+ID\\+KEY"),
    ],
)
def test_refuses_a_mistake_and_says_which(lines: str, message: str) -> None:
    with pytest.raises(PolicyError, match=message) as caught:
        parse_policy(lines or "\n")
    assert caught.value.reason == "policy"


def test_a_mistake_is_told_with_its_line() -> None:
    with pytest.raises(PolicyError, match="policy line 3"):
        parse_policy(LOG + "\nbad\n")


def test_a_key_stands_where_its_role_belongs() -> None:
    witness_key = verifier_key(witness_signer("w.example.org"))
    for line in (f"log {witness_key}\n", f"witness W {verifier_key(log_signer())}\n"):
        with pytest.raises(PolicyError, match="key belongs") as caught:
            parse_policy(line)
        assert caught.value.reason == "unsupported-key-type"


def test_no_key_serves_as_log_and_witness() -> None:
    seed = bytes(32)
    log, cosigner = NoteSigner(ORIGIN, LOG_KEY_TYPE, seed), NoteSigner(ORIGIN, COSIGNER_KEY_TYPE, seed)
    assert log.key.public == cosigner.key.public
    with pytest.raises(PolicyError, match="twice"):
        parse_policy(f"log {verifier_key(log)}\nwitness W {verifier_key(cosigner)}\nquorum none\n")


def test_a_post_quantum_witness_is_read() -> None:
    signer = generate_note_signer("w.example.org", "cosigner", "mldsa44")
    key = format_verifier_key(signer.key)
    policy = parse_policy(f"{LOG}witness w {key}\nquorum w\n")
    assert policy.witnesses[0].key == signer.key
    assert parse_policy(format_policy(policy)) == policy


TWO_KEYS = LOG + witness("A1", "a.example", "1") + witness("A2", "a.example", "2") + witness("B")


@pytest.mark.parametrize(
    "groups",
    [
        "quorum none\n",
        "quorum A1\n",
        "group g all A1 A2\nquorum g\n",
        "group g 2 A1 A2 B\nquorum g\n",
        "group g any A1\nquorum g\n",
        "group g any A1\ngroup h any A2\ngroup q all g h\nquorum q\n",
    ],
)
def test_two_keys_of_one_cosigner_are_never_two_voices(groups: str) -> None:
    with pytest.raises(PolicyError, match="one voice"):
        parse_policy(TWO_KEYS + groups)


@pytest.mark.parametrize("threshold", ["any", "1"])
def test_two_keys_of_one_cosigner_may_stand_together(threshold: str) -> None:
    policy = parse_policy(TWO_KEYS + f"group a {threshold} A1 A2\ngroup q all a B\nquorum q\n")
    assert policy.is_satisfied(["A2", "B"])
    assert not policy.is_satisfied(["A1", "A2"])


def test_a_policy_has_room_for_64_witnesses_and_logs() -> None:
    logs = "".join(f"log {verifier_key(log_signer(str(n)))}\n" for n in range(MAX_DEFINITIONS))
    witnesses = "".join(witness(f"W{n}") for n in range(MAX_DEFINITIONS))
    groups = "".join(f"group g{n} any W{n}\n" for n in range(MAX_DEFINITIONS))
    assert len(parse_policy(logs + witnesses + groups + "quorum g63\n").keys) == 2 * MAX_DEFINITIONS
    for more in (f"log {verifier_key(log_signer('more'))}\n", witness("more"), "group more any g1\n"):
        with pytest.raises(PolicyError, match="more than 64"):
            parse_policy(logs + witnesses + groups + more + "quorum none\n")


def test_refuses_a_policy_beyond_its_limit() -> None:
    with pytest.raises(PolicyError, match="longer than"):
        parse_policy(LOG + "#" * MAX_POLICY_BYTES + "\nquorum none\n")


def test_every_truncation_and_changed_byte_gives_a_policy_or_our_error() -> None:
    text = LOG + witness("W1") + "group g any W1\nquorum g\n"
    for at in range(len(text)):
        with pytest.raises(PolicyError):
            parse_policy(text[:at])
        for char in ("\x00", "+", " ", "\n", "ä", chr(ord(text[at]) ^ 1)):
            try:
                changed = parse_policy(text[:at] + char + text[at + 1 :])
            except PolicyError:
                continue
            assert changed.needs_witnesses


@pytest.mark.parametrize(
    "raw", [bytes(32), (1).to_bytes(32, "little"), (2**255 - 18).to_bytes(32, "little"), b"\xff" * 32]
)
@pytest.mark.parametrize("type_byte", [LOG_KEY_TYPE, COSIGNER_KEY_TYPE])
def test_a_key_under_which_anybody_can_sign_is_no_logs_and_no_witnesses(type_byte: int, raw: bytes) -> None:
    key_id = hashlib.sha256(ORIGIN.encode() + b"\n" + bytes([type_byte]) + raw).digest()[:4]
    key = f"{ORIGIN}+{key_id.hex()}+{encode_base64(bytes([type_byte]) + raw)}"
    text = f"log {key}\nquorum none\n" if type_byte == LOG_KEY_TYPE else f"{LOG}witness W {key}\nquorum W\n"
    with pytest.raises(PolicyError, match="small order"):
        parse_policy(text)
