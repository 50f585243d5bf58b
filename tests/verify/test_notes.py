"""Signed notes and note keys: published vectors, and every way to mangle one."""

import random
from base64 import b64decode
from collections.abc import Callable

import pytest
from tests.simkeys import ORIGIN, log_signer, note_signer, witness_signer

from touchplate.verify.encoding import encode_base64
from touchplate.verify.errors import MalformedError, SignatureError, VerifyError
from touchplate.verify.notes import (
    MAX_NOTE_BYTES,
    MAX_SIGNATURE_LINES,
    NoteKey,
    NoteSigner,
    VerifiedSignature,
    format_signer_key,
    format_verifier_key,
    generate_note_signer,
    is_origin,
    open_note,
    parse_signer_key,
    parse_verifier_key,
    sign_note,
)

# One note in its exact form (seeds 00..1f and 20..3f), so that the form cannot change unnoticed.
# That programs of others read this form is shown in tests/conformance.
GOLDEN_PUBLIC = "log.example.org+b1db5813+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
GOLDEN_PRIVATE = "PRIVATE+KEY+log.example.org+b1db5813+AQABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
OTHER_PUBLIC = "other.example.org+32044b29+ASmsuuFBvMrwsi4alNNNC8c2HlJtC/4SyJeUvJMilm3X"
GOLDEN_TEXT = (
    "A note is a text and the names of those who signed it.\nThe text ends before the last empty line.\n"
)
GOLDEN_LINE = (
    "— log.example.org "
    "sdtYE94R/lC9E0ZsYCDzGRFGD+H834ND/5pDIuhs3w4O2TxP6ERThc1kbiS1zIiGY1qqVJx7Rrdw8XMirvJsHIWhwAA=\n"
)
OTHER_LINE = (
    "— other.example.org "
    "MgRLKVswYE/ZfomanxOvlkupjSD4LsoSza23S80dPwERm3cxb5gE6g8cUqeCs8VwEAFppYl2Ijn6Dk1CVIU9TgDgGw0=\n"
)

TEXT = "one\n\ntwo\n"
NOW = 1_800_000_000
LOG = log_signer()
WITNESS = witness_signer("witness.example.org/a")


def lines_of(*signers: NoteSigner, text: str = TEXT) -> list[str]:
    return [each.sign(text, time=NOW if each.key.role == "cosigner" else None) for each in signers]


def note_of(*lines: str, text: str = TEXT) -> bytes:
    return f"{text}\n{''.join(lines)}".encode()


# --- the exact form ---


def test_signs_the_golden_note_byte_for_byte() -> None:
    assert sign_note(GOLDEN_TEXT, [parse_signer_key(GOLDEN_PRIVATE)]) == note_of(
        GOLDEN_LINE, text=GOLDEN_TEXT
    )


def test_opens_the_golden_note_with_one_or_both_keys() -> None:
    first, other = parse_verifier_key(GOLDEN_PUBLIC), parse_verifier_key(OTHER_PUBLIC)
    note = note_of(GOLDEN_LINE, OTHER_LINE, text=GOLDEN_TEXT)
    one = open_note(note, [first])
    assert (one.text, one.signatures, one.unknown) == (GOLDEN_TEXT, (VerifiedSignature(first, None),), 1)
    both = open_note(note, [other, first])
    assert [each.key for each in both.signatures] == [first, other]
    assert both.unknown == 0


def test_golden_keys_are_written_as_they_were_read() -> None:
    signer = parse_signer_key(GOLDEN_PRIVATE)
    assert format_signer_key(signer) == GOLDEN_PRIVATE
    assert format_verifier_key(signer.key) == GOLDEN_PUBLIC
    assert format_verifier_key(parse_verifier_key(OTHER_PUBLIC + "\n")) == OTHER_PUBLIC


# --- keys ---


@pytest.mark.parametrize("parse", [parse_verifier_key, parse_signer_key])
def test_refuses_every_part_and_every_changed_byte_of_a_key(
    parse: Callable[[str], object],
) -> None:
    text = GOLDEN_PUBLIC if parse is parse_verifier_key else GOLDEN_PRIVATE
    parse(text)
    for begin in range(len(text) + 1):
        for end in range(begin, len(text) + 1):
            if (begin, end) != (0, len(text)):
                with pytest.raises(MalformedError):
                    parse(text[begin:end])
    for at in range(len(text)):
        with pytest.raises(MalformedError):
            parse(text[:at] + chr(ord(text[at]) + 1) + text[at + 1 :])
    for extra in (text + "A", text + "\n\n", " " + text, text + " "):
        with pytest.raises(MalformedError):
            parse(extra)


@pytest.mark.parametrize("role", ["log", "cosigner"])
def test_generated_keys_survive_their_text_form(role: str) -> None:
    # Base64 with a plus in it must not confuse the parser: about every second key has one.
    for number in range(24):
        signer = note_signer(f"n{number}.example.org", "log" if role == "log" else "cosigner")
        again = parse_signer_key(format_signer_key(signer) + "\n")
        assert again.key == signer.key == parse_verifier_key(format_verifier_key(signer.key))
        assert again.key.role == role
        assert again.sign(TEXT, time=NOW) == signer.sign(TEXT, time=NOW)


def test_one_seed_has_other_ids_in_other_roles() -> None:
    seed = bytes(32)
    assert NoteSigner(ORIGIN, 1, seed).key.key_id != NoteSigner(ORIGIN, 4, seed).key.key_id


def test_new_keys_differ_and_carry_their_role() -> None:
    first, second = generate_note_signer(ORIGIN, "log"), generate_note_signer(ORIGIN, "log")
    assert first.key != second.key
    assert (first.key.name, first.key.role) == (ORIGIN, "log")
    assert generate_note_signer("w.example.org/path", "cosigner").key.role == "cosigner"


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "a\u00a0b", "a\x01", "\ud800", "x" * 256])
def test_refuses_names_that_cannot_stand_in_a_note(name: str) -> None:
    with pytest.raises(MalformedError, match="key name"):
        generate_note_signer(name, "cosigner")


@pytest.mark.parametrize(
    "name", ["W.example.org", "w.example.org/", "w.example.org//x", "/x", "w.example.org:1", "ü.org"]
)
def test_makes_no_cosigner_whose_name_is_no_host_and_path(name: str) -> None:
    with pytest.raises(MalformedError, match="cosigner's name"):
        generate_note_signer(name, "cosigner")


@pytest.mark.parametrize(
    "name",
    [
        "log.example.org/path",
        "a" * 64,
        "log.example.org:443",
        "Log.example.org",
        "-a",
        "a-",
        "a..b",
        ".a",
        "a.",
        "ä.org",
        "a_b",
    ],
)
def test_refuses_an_origin_that_is_no_bare_host(name: str) -> None:
    assert not is_origin(name)
    with pytest.raises(MalformedError, match="origin"):
        generate_note_signer(name, "log")


@pytest.mark.parametrize("name", ["log.example.org", "localhost", "a", "127.0.0.1", "x1-y.example", "a" * 63])
def test_accepts_bare_hosts_as_origins(name: str) -> None:
    assert is_origin(name)


def test_a_host_name_ends_at_253_characters() -> None:
    longest = ".".join(["a" * 63] * 3 + ["a" * 61])
    assert len(longest) == 253
    assert is_origin(longest)
    assert not is_origin(longest + "a")
    assert not is_origin("a" * 64)


def test_a_key_of_another_type_is_refused_with_its_type() -> None:
    for key_type, word in ((2, "0x02"), (255, "0xff"), (0, "0x00")):
        text = f"w.example.org+00000000+{encode_base64(bytes([key_type]) + bytes(1312))}"
        with pytest.raises(MalformedError, match=word) as caught:
            parse_verifier_key(text)
        assert caught.value.reason == "unsupported-key-type"


def test_errors_and_reprs_never_show_a_private_key() -> None:
    text = format_signer_key(LOG)
    secret = text.rsplit("+", 1)[1][-12:]
    assert secret not in repr(LOG)
    for bad in (text[:-1], text + "=", text[:-2] + "!!", text.replace("PRIVATE", "private"), text + "\n\n"):
        with pytest.raises(MalformedError) as caught:
            parse_signer_key(bad)
        assert secret[:6] not in str(caught.value)
        assert caught.value.__cause__ is None


# --- notes ---


def test_a_note_is_split_at_its_last_empty_line() -> None:
    note = sign_note(TEXT, [LOG])
    assert open_note(note, [LOG.key]).text == TEXT


def test_a_cosignature_carries_its_time() -> None:
    note = sign_note(TEXT, [LOG, WITNESS], NOW)
    opened = open_note(note, [WITNESS.key, LOG.key])
    assert opened.signatures == (VerifiedSignature(LOG.key, None), VerifiedSignature(WITNESS.key, NOW))


def test_a_changed_time_breaks_a_cosignature() -> None:
    line = WITNESS.sign(TEXT, time=NOW)
    payload = bytearray(b64decode(line.split(" ")[2]))
    payload[11] ^= 1
    forged = f"— {WITNESS.key.name} {encode_base64(bytes(payload))}\n"
    with pytest.raises(SignatureError, match="does not verify"):
        open_note(note_of(forged), [WITNESS.key])


@pytest.mark.parametrize("time", [0, 2**63, 2**64 - 1])
def test_refuses_a_cosignature_without_a_real_time(time: int) -> None:
    payload = WITNESS.key.key_id + time.to_bytes(8, "big") + bytes(64)
    with pytest.raises(SignatureError, match="carries no time"):
        open_note(note_of(f"— {WITNESS.key.name} {encode_base64(payload)}\n"), [WITNESS.key])


@pytest.mark.parametrize("time", [None, 0, -1, 2**63])
def test_a_cosigner_does_not_sign_without_a_real_time(time: int | None) -> None:
    with pytest.raises(ValueError, match="time of signing"):
        WITNESS.sign(TEXT, time=time)


def test_one_seed_as_log_and_as_cosigner_signs_different_things() -> None:
    # A witness's line must not be usable as a log's: the signed bytes differ.
    cosigner = NoteSigner(ORIGIN, 4, bytes(32))
    log = NoteSigner(ORIGIN, 1, bytes(32))
    signature = b64decode(cosigner.sign(TEXT, time=NOW).split(" ")[2])[12:]
    forged = f"— {ORIGIN} {encode_base64(log.key.key_id + signature)}\n"
    with pytest.raises(SignatureError):
        open_note(note_of(forged), [log.key])


def test_every_changed_bit_and_every_truncation_of_a_note_is_refused() -> None:
    note = sign_note(TEXT, [LOG])
    for at in range(len(note)):
        for bit in range(8):
            with pytest.raises(VerifyError):
                open_note(note[:at] + bytes([note[at] ^ (1 << bit)]) + note[at + 1 :], [LOG.key])
        with pytest.raises(VerifyError):
            open_note(note[:at], [LOG.key])
        for extra in (b"\n", b" ", b"A", b"\x00"):
            with pytest.raises(VerifyError):
                open_note(note[:at] + extra + note[at:], [LOG.key])
    for extra in (b"\n", b" ", b"A", b"\x00", b"\xff", GOLDEN_LINE.encode()[:-1]):
        with pytest.raises(VerifyError):
            open_note(note + extra, [LOG.key])


def test_changing_one_of_two_lines_never_changes_the_text_that_is_believed() -> None:
    note = sign_note(TEXT, [LOG, WITNESS], NOW)
    for at in range(len(note)):
        try:
            opened = open_note(note[:at] + bytes([note[at] ^ 2]) + note[at + 1 :], [LOG.key, WITNESS.key])
        except VerifyError:
            continue
        # Only a name or id was hit: that line is now of an unknown key and counts for nothing.
        assert opened.text == TEXT
        assert len(opened.signatures) == 1
        assert opened.unknown == 1


def test_a_wrong_line_of_a_known_key_refuses_the_whole_note() -> None:
    wrong = log_signer("peer two")
    lines = lines_of(LOG, WITNESS) + lines_of(wrong, text="something else\n")
    random.Random(7).shuffle(lines)
    assert len(open_note(note_of(*lines), [LOG.key, WITNESS.key]).signatures) == 2
    with pytest.raises(SignatureError, match="does not verify") as caught:
        open_note(note_of(*lines), [LOG.key, WITNESS.key, wrong.key])
    assert caught.value.reason == "bad-signature"


def test_the_order_of_lines_and_unknown_lines_do_not_matter() -> None:
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")
    shuffled = random.Random(seed)
    signers = [LOG, WITNESS, *(note_signer(f"stranger{n}.example.org", "log") for n in range(9))]
    lines = lines_of(*signers)
    for _ in range(20):
        shuffled.shuffle(lines)
        opened = open_note(note_of(*lines), [LOG.key, WITNESS.key])
        assert {each.key for each in opened.signatures} == {LOG.key, WITNESS.key}
        assert opened.unknown == 9


def test_two_lines_of_one_known_key_are_refused() -> None:
    line = LOG.sign(TEXT)
    with pytest.raises(SignatureError, match="two lines"):
        open_note(note_of(line, line), [LOG.key])
    other = WITNESS.sign(TEXT, time=NOW) + WITNESS.sign(TEXT, time=NOW + 1)
    with pytest.raises(SignatureError, match="two lines"):
        open_note(note_of(line, other), [LOG.key, WITNESS.key])


def test_a_note_without_a_known_key_is_refused_by_name() -> None:
    with pytest.raises(SignatureError, match=r"log\.example\.org") as caught:
        open_note(note_of(GOLDEN_LINE, text=GOLDEN_TEXT), [LOG.key])
    assert caught.value.reason == "no-known-signature"
    with pytest.raises(SignatureError):
        open_note(note_of(GOLDEN_LINE, text=GOLDEN_TEXT), [])


def test_name_and_id_must_both_match_a_known_key() -> None:
    line = LOG.sign(TEXT)
    for stranger in (
        NoteKey("other.example.org", LOG.key.key_id, 1, LOG.key.public),
        NoteKey(LOG.key.name, bytes(4), 1, LOG.key.public),
    ):
        with pytest.raises(SignatureError, match="no line of the note"):
            open_note(note_of(line), [stranger])


def test_two_known_keys_that_cannot_be_told_apart_are_refused() -> None:
    twin = NoteKey(LOG.key.name, LOG.key.key_id, 1, bytes(32))
    with pytest.raises(MalformedError) as caught:
        open_note(note_of(LOG.sign(TEXT)), [LOG.key, twin])
    assert caught.value.reason == "ambiguous-key"
    open_note(note_of(LOG.sign(TEXT)), [LOG.key, LOG.key])


def test_a_note_may_have_64_lines_and_no_more() -> None:
    stranger = note_signer("stranger.example.org", "log").sign(TEXT)
    open_note(note_of(LOG.sign(TEXT), *[stranger] * (MAX_SIGNATURE_LINES - 1)), [LOG.key])
    with pytest.raises(MalformedError, match="more than 64"):
        open_note(note_of(LOG.sign(TEXT), *[stranger] * MAX_SIGNATURE_LINES), [LOG.key])


def test_a_note_may_have_one_mebibyte_and_no_more() -> None:
    line = LOG.sign("x\n")
    room = MAX_NOTE_BYTES - len(line.encode()) - 1
    text = "x" * (room - 1) + "\n"
    assert len(sign_note(text, [LOG])) == MAX_NOTE_BYTES
    open_note(sign_note(text, [LOG]), [LOG.key])
    with pytest.raises(MalformedError, match="larger than"):
        sign_note("x" + text, [LOG])
    with pytest.raises(MalformedError, match="more than"):
        open_note(note_of(LOG.sign("x" + text), text="x" + text), [LOG.key])


@pytest.mark.parametrize(
    "line",
    [
        "",
        "not a signature line",
        "- name AAAAAAAA",
        "—  AAAAAAAA",
        "— name",
        "— name  AAAAAAAA",
        "— name AAAAAAAA ",
        "— na me AAAAAAAA",
        "— na+me AAAAAAAA",
        "— name AAAAAA==",
        "— name AAAAAAA",
        "— name AAAAAAB=",
        "— name AAAA_AAA",
        "— name ",
        "— name AAAAAAAA\r",
        "— name\tAAAAAAAA",
        "— na\x1fme AAAAAAAA",
    ],
)
def test_malformed_lines_refuse_the_note_even_of_unknown_keys(line: str) -> None:
    with pytest.raises(MalformedError):
        open_note(note_of(LOG.sign(TEXT), line + "\n"), [LOG.key])


@pytest.mark.parametrize("text", ["", "no newline", "tab\there\n", "\x00\n", "cr\r\n", "\ud800\n"])
def test_refuses_to_sign_what_cannot_be_a_note(text: str) -> None:
    with pytest.raises(MalformedError):
        sign_note(text, [LOG])


def test_refuses_to_make_a_note_with_no_signer_or_too_many() -> None:
    for signers in ([], [LOG] * (MAX_SIGNATURE_LINES + 1)):
        with pytest.raises(MalformedError, match="signature lines"):
            sign_note(TEXT, signers)
