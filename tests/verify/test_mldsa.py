"""ML-DSA-44 cosignatures: the exact bytes that are signed, and every way to change a line of one."""

import builtins
from typing import Any

import pytest
from tests.simkeys import ORIGIN, log_signer, verifier_key, witness_signer

from touchplate.verify import mldsa
from touchplate.verify.checkpoints import (
    checkpoint_age,
    format_checkpoint_body,
    open_checkpoint,
    sign_checkpoint,
)
from touchplate.verify.encoding import decode_base64, encode_base64
from touchplate.verify.errors import MalformedError, PolicyError, SignatureError
from touchplate.verify.notes import (
    MLDSA_COSIGNER_KEY_TYPE,
    NoteSigner,
    format_signer_key,
    format_verifier_key,
    generate_note_signer,
    open_note,
    parse_signer_key,
    parse_verifier_key,
)
from touchplate.verify.policy import parse_policy

NAME = "witness.example.org/pq"
SIGNER = NoteSigner(NAME, MLDSA_COSIGNER_KEY_TYPE, bytes(range(32)))
ROOT = bytes(range(32))
BODY = format_checkpoint_body(ORIGIN, 17, ROOT)
NOW = 1_800_000_000


def parts_of(line: str) -> tuple[bytes, int, bytes]:
    """Key id, time and signature of a line."""
    data = decode_base64(line.split(" ")[2].removesuffix("\n"), "line")
    return data[:4], int.from_bytes(data[4:12], "big"), data[12:]


def line_of(key_id: bytes, time: int, signature: bytes) -> str:
    return f"— {NAME} {encode_base64(key_id + time.to_bytes(8, 'big') + signature)}\n"


def opened(body: str, line: str, key: Any = SIGNER.key) -> Any:
    return open_note(f"{body}\n{line}".encode(), [key])


def test_signs_exactly_the_packed_bytes_of_the_specification() -> None:
    expected = (
        b"subtree/v1\n\0"
        + bytes([len(NAME)])
        + NAME.encode()
        + NOW.to_bytes(8, "big")
        + bytes([len(ORIGIN)])
        + ORIGIN.encode()
        + bytes(8)
        + (17).to_bytes(8, "big")
        + ROOT
    )
    assert mldsa.cosigned_message(NAME, NOW, BODY) == expected
    key_id, time, signature = parts_of(SIGNER.sign(BODY, time=NOW))
    assert (key_id, time, len(signature)) == (SIGNER.key.key_id, NOW, 2420)
    mldsa.verify(SIGNER.key.public, signature, expected)


def test_keys_come_back_from_their_text_forms() -> None:
    assert parse_verifier_key(format_verifier_key(SIGNER.key)) == SIGNER.key
    assert parse_signer_key(format_signer_key(SIGNER) + "\n").key == SIGNER.key
    made = generate_note_signer(NAME, "cosigner", "mldsa44")
    assert (made.key.type, made.key.role, len(made.key.public)) == (6, "cosigner", 1312)
    with pytest.raises(MalformedError, match="a log key is Ed25519"):
        generate_note_signer(ORIGIN, "log", "mldsa44")
    text = format_verifier_key(SIGNER.key)
    for cut in (text[:-8], text.replace("+", "+00", 1)):
        with pytest.raises(MalformedError):
            parse_verifier_key(cut)


def test_a_line_is_of_one_body_one_name_and_one_time() -> None:
    line = SIGNER.sign(BODY, time=NOW)
    assert opened(BODY, line).signatures[0].timestamp == NOW
    key_id, time, signature = parts_of(line)
    other_time = line_of(key_id, time + 1, signature)
    flipped = line_of(key_id, time, signature[:-1] + bytes([signature[-1] ^ 1]))
    for body, bad in (
        (BODY.replace("17", "18"), line),
        (BODY.replace(ORIGIN, "log.example.com"), line),
        (format_checkpoint_body(ORIGIN, 17, bytes(32)), line),
        ("no checkpoint\n", line),
        (BODY, other_time),
        (BODY, flipped),
        (BODY, line_of(key_id, time, signature[:-1])),
        (BODY, line_of(key_id, time, signature + b"\0")),
        (BODY, line_of(key_id, 2**63, signature)),
    ):
        with pytest.raises(SignatureError):
            opened(body, bad)
    # The name is signed: the same key under another name has other signatures.
    renamed = NoteSigner("witness.example.org/qp", MLDSA_COSIGNER_KEY_TYPE, bytes(range(32)))
    moved = line_of(renamed.key.key_id, time, signature).replace(NAME, renamed.key.name)
    with pytest.raises(SignatureError):
        opened(BODY, moved, renamed.key)


def test_only_a_checkpoint_can_be_cosigned() -> None:
    for text in ("one\n", "a\nb\nc\n", f"{ORIGIN}\n017\n{encode_base64(ROOT)}\n", f"{ORIGIN}\n1\nAAAA\n"):
        with pytest.raises(MalformedError):
            SIGNER.sign(text, time=NOW)
    with pytest.raises(ValueError, match="carries the time"):
        SIGNER.sign(BODY)


def test_a_quorum_takes_both_algorithms_and_one_cosigner_is_one_voice() -> None:
    plain = witness_signer(NAME)
    log = f"log {verifier_key(log_signer())}\n"
    text = f"{log}witness a {verifier_key(plain)}\nwitness b {verifier_key(SIGNER)}\n"
    with pytest.raises(PolicyError, match="one voice"):
        parse_policy(text + "group two all a b\nquorum two\n")
    policy = parse_policy(text + "group w any a b\nquorum w\n")
    note = sign_checkpoint(ORIGIN, 17, ROOT, log_signer()) + SIGNER.sign(BODY, time=NOW).encode()
    head = open_checkpoint(note, policy)
    assert head.cosigners == (("b", NOW),)
    assert checkpoint_age(head, policy, NOW + 5) == 5


def test_a_line_without_a_time_vouches_for_consistency_and_is_never_fresh() -> None:
    message = mldsa.cosigned_message(NAME, 0, BODY)
    private, _ = mldsa.load_seed(bytes(range(32)))
    line = line_of(SIGNER.key.key_id, 0, private.sign(message))
    policy = parse_policy(f"log {verifier_key(log_signer())}\nwitness b {verifier_key(SIGNER)}\nquorum b\n")
    head = open_checkpoint(sign_checkpoint(ORIGIN, 17, ROOT, log_signer()) + line.encode(), policy)
    assert checkpoint_age(head, policy, NOW) == NOW


def test_without_the_library_such_a_key_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.endswith(".mldsa") and "cryptography" in name:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    for parse, text in (
        (parse_verifier_key, format_verifier_key(SIGNER.key)),
        (parse_signer_key, format_signer_key(SIGNER)),
    ):
        with pytest.raises(MalformedError, match="install cryptography 50 or newer") as caught:
            parse(text)
        assert caught.value.reason == "unsupported-key-type"
    # Whoever does not know the key reads the note as before.
    line = SIGNER.sign(BODY, time=NOW)
    log_note = sign_checkpoint(ORIGIN, 17, ROOT, log_signer()) + line.encode()
    assert open_note(log_note, [log_signer().key]).unknown == 1
