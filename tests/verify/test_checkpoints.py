"""Checkpoints: opened only under a policy, of one form only, and aged by their cosignatures."""

import pytest
from tests.simkeys import ORIGIN, head, log_signer, note_signer, solo_policy, verifier_key, witness_signer

from touchplate.verify.checkpoints import (
    MAX_CLOCK_SKEW,
    Checkpoint,
    UnverifiedCheckpoint,
    checkpoint_age,
    format_checkpoint_body,
    open_checkpoint,
    parse_checkpoint_body,
    sign_checkpoint,
)
from touchplate.verify.encoding import encode_base64
from touchplate.verify.errors import MalformedError, PolicyError, SignatureError, VerifyError
from touchplate.verify.notes import NoteSigner, sign_note
from touchplate.verify.policy import Policy, parse_policy
from touchplate.verify.rfc6962 import EMPTY_ROOT
from touchplate.verify.values import replace

ROOT = bytes(range(32))
BODY = format_checkpoint_body(ORIGIN, 70_000, ROOT)
NOW = 1_800_000_000
WITNESSES = [witness_signer(f"w{n}.example.org") for n in range(4)]


def witnessed(rule: str, count: int = 4) -> Policy:
    lines = [f"log {verifier_key(log_signer())}\n"]
    lines += [f"witness W{n} {verifier_key(each)}\n" for n, each in enumerate(WITNESSES[:count])]
    return parse_policy("".join(lines) + rule)


QUORUM_3 = "group g 3 W0 W1 W2 W3\nquorum g\n"


def cosigned(times: dict[int, int], body: str = BODY) -> bytes:
    """The note with the log's line and cosignatures of witness -> time."""
    log_line = log_signer().sign(body)
    return f"{body}\n{log_line}{''.join(WITNESSES[n].sign(body, time=t) for n, t in times.items())}".encode()


# --- form ---


def test_a_body_is_three_lines() -> None:
    assert f"{ORIGIN}\n70000\n{encode_base64(ROOT)}\n" == BODY
    assert parse_checkpoint_body(BODY) == UnverifiedCheckpoint(ORIGIN, 70_000, ROOT)


def test_the_empty_tree_and_the_largest_one_have_a_form() -> None:
    for size, root in ((0, EMPTY_ROOT), (2**63 - 1, ROOT)):
        assert parse_checkpoint_body(format_checkpoint_body(ORIGIN, size, root)).size == size


B64 = encode_base64(ROOT)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n\n\n",
        f"{ORIGIN}\n1\n{B64}",
        f"{ORIGIN}\n1\n",
        f"{ORIGIN}\n1\n{B64}\n\n",
        f"{ORIGIN}\n1\n{B64}\nextension\n",
        f"{ORIGIN}\n01\n{B64}\n",
        f"{ORIGIN}\n+1\n{B64}\n",
        f"{ORIGIN}\n-1\n{B64}\n",
        f"{ORIGIN}\n1 \n{B64}\n",
        f"{ORIGIN}\n١\n{B64}\n",
        f"{ORIGIN}\n{2**63}\n{B64}\n",
        f"{ORIGIN}\n{'9' * 5000}\n{B64}\n",
        f"{ORIGIN}\n0\n{B64}\n",
        f"{ORIGIN}\n1\n{B64[:-1]}\n",
        f"{ORIGIN}\n1\n{B64} \n",
        f"{ORIGIN}\n1\n{encode_base64(ROOT + b'x')}\n",
        f"{ORIGIN}\n1\n\n",
        f"{ORIGIN}/log\n1\n{B64}\n",
        f"\n1\n{B64}\n",
        f"Log.Example.org\n1\n{B64}\n",
    ],
)
def test_refuses_every_other_form_of_a_body(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_checkpoint_body(text)


def test_refuses_extension_lines_by_name() -> None:
    note = sign_note(BODY + "more\n", [log_signer()])
    with pytest.raises(MalformedError, match="1 extension lines") as caught:
        open_checkpoint(note, solo_policy())
    assert caught.value.reason == "extension-lines"


@pytest.mark.parametrize(
    ("origin", "size", "root"),
    [(ORIGIN, -1, ROOT), (ORIGIN, 2**63, ROOT), (ORIGIN, 0, ROOT), (ORIGIN, 1, ROOT[1:]), ("a/b", 1, ROOT)],
)
def test_refuses_to_sign_what_readers_refuse(origin: str, size: int, root: bytes) -> None:
    with pytest.raises(MalformedError):
        format_checkpoint_body(origin, size, root)


@pytest.mark.parametrize("signer", [note_signer("other.example.org", "log"), note_signer(ORIGIN, "cosigner")])
def test_only_the_logs_own_key_signs_its_checkpoint(signer: NoteSigner) -> None:
    with pytest.raises(MalformedError, match="not a log key of the origin"):
        sign_checkpoint(ORIGIN, 1, ROOT, signer)


# --- opening ---


def test_opens_what_the_log_signed() -> None:
    note = sign_checkpoint(ORIGIN, 70_000, ROOT, log_signer())
    opened = open_checkpoint(note, solo_policy())
    assert (opened.origin, opened.size, opened.root) == (ORIGIN, 70_000, ROOT)
    assert opened.note.encode() == note
    assert opened.log_keys == (log_signer().key,)
    assert opened.cosigners == ()


def test_a_checkpoint_cannot_be_made_by_hand() -> None:
    with pytest.raises(TypeError, match="open_checkpoint"):
        Checkpoint(UnverifiedCheckpoint(ORIGIN, 1, ROOT), "", (), (), seal=object())
    with pytest.raises(TypeError):
        replace(head(1, ROOT), size=2)
    with pytest.raises(AttributeError):
        head(1, ROOT).size = 2  # type: ignore[misc]


def test_refuses_a_checkpoint_of_another_log_key() -> None:
    swapped = sign_checkpoint(ORIGIN, 1, ROOT, log_signer("swapped"))
    with pytest.raises(SignatureError, match="not signed by a log of the policy") as caught:
        open_checkpoint(swapped, solo_policy())
    assert caught.value.reason == "unknown-log-key"


def test_witnesses_alone_make_no_checkpoint() -> None:
    note = sign_note(BODY, WITNESSES, NOW)
    with pytest.raises(SignatureError) as caught:
        open_checkpoint(note, witnessed(QUORUM_3))
    assert caught.value.reason == "unknown-log-key"


def test_refuses_a_checkpoint_whose_origin_is_not_the_policys() -> None:
    # The known log key signed it, but it speaks of another log.
    note = sign_note(format_checkpoint_body("other.example.org", 1, ROOT), [log_signer()])
    with pytest.raises(PolicyError, match=r"other\.example\.org") as caught:
        open_checkpoint(note, solo_policy())
    assert caught.value.reason == "wrong-origin"


def test_a_quorum_decides() -> None:
    policy = witnessed(QUORUM_3)
    opened = open_checkpoint(cosigned({0: NOW, 3: NOW + 1, 1: NOW}), policy)
    assert opened.cosigners == (("W0", NOW), ("W3", NOW + 1), ("W1", NOW))
    with pytest.raises(PolicyError, match=r"not reached.*'W0', 'W3'") as caught:
        open_checkpoint(cosigned({0: NOW, 3: NOW}), policy)
    assert caught.value.reason == "quorum"
    with pytest.raises(PolicyError, match="by nobody"):
        open_checkpoint(cosigned({}), policy)


def test_cosignatures_over_another_size_do_not_count() -> None:
    other = format_checkpoint_body(ORIGIN, 69_999, ROOT)
    lines = [WITNESSES[n].sign(other, time=NOW) for n in range(3)]
    note = f"{BODY}\n{log_signer().sign(BODY)}{''.join(lines)}".encode()
    with pytest.raises(SignatureError, match="does not verify"):
        open_checkpoint(note, witnessed(QUORUM_3))


def test_a_bad_line_of_one_known_log_key_refuses_what_another_signed() -> None:
    policy = parse_policy(
        f"log {verifier_key(log_signer('a'))}\nlog {verifier_key(log_signer('b'))}\nquorum none\n"
    )
    bad = log_signer("b").sign(format_checkpoint_body(ORIGIN, 5, ROOT))
    good = log_signer("a").sign(BODY)
    with pytest.raises(SignatureError, match="does not verify"):
        open_checkpoint(f"{BODY}\n{good}{bad}".encode(), policy)
    assert open_checkpoint(f"{BODY}\n{good}".encode(), policy).size == 70_000


def test_every_changed_bit_truncation_and_extra_byte_is_refused_by_our_errors() -> None:
    note = sign_checkpoint(ORIGIN, 3, ROOT, log_signer())
    policy = solo_policy()
    for at in range(len(note)):
        for bad in (
            *(note[:at] + bytes([note[at] ^ (1 << bit)]) + note[at + 1 :] for bit in range(8)),
            note[:at],
            note[:at] + b"\n" + note[at:],
            note[:at] + b"0" + note[at:],
        ):
            with pytest.raises(VerifyError):
                open_checkpoint(bad, policy)


# --- age ---


def age(times: dict[int, int], now: int = NOW, rule: str = QUORUM_3) -> int | None:
    policy = witnessed(rule)
    return checkpoint_age(open_checkpoint(cosigned(times), policy), policy, now)


def test_the_age_is_that_of_the_youngest_lines_which_still_are_a_quorum() -> None:
    assert age({0: NOW - 10, 1: NOW - 20, 2: NOW - 30}) == 30
    assert age({0: NOW - 10, 1: NOW - 20, 2: NOW - 30, 3: NOW - 4000}) == 30
    assert age({0: NOW - 10, 1: NOW - 20, 2: NOW - 5000, 3: NOW - 4000}) == 4000


def test_one_busy_witness_does_not_make_a_head_young() -> None:
    assert age({0: NOW, 1: NOW - 9000, 2: NOW - 9000}) == 9000


def test_clocks_a_little_ahead_count_as_now() -> None:
    times = dict.fromkeys(range(3), NOW + MAX_CLOCK_SKEW)
    assert age(times) == 0


def test_clocks_far_ahead_do_not_count() -> None:
    far = NOW + MAX_CLOCK_SKEW + 1
    assert age({0: far, 1: NOW - 1, 2: NOW - 2}) is None
    assert age({0: far, 1: NOW - 1, 2: NOW - 2, 3: NOW - 70}) == 70


def test_without_a_quorum_no_age_is_told() -> None:
    assert age({0: NOW, 1: NOW, 2: NOW}, rule="quorum none\n") is None


def test_any_of_two_keys_of_one_cosigner_gives_the_age() -> None:
    rule = "group a any W0 W1\ngroup q all a W2\nquorum q\n"
    assert age({0: NOW - 500, 1: NOW - 7, 2: NOW - 9}, rule=rule) == 9
    assert age({0: NOW - 500, 2: NOW - 9}, rule=rule) == 500
