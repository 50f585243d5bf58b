"""The body of add-checkpoint: one form, every byte of it read."""

import pytest
from tests.log.witness.support import SomeLog

from touchplate.log.errors import RequestError
from touchplate.log.witness.requests import (
    MAX_REQUEST_BYTES,
    format_add_checkpoint,
    parse_add_checkpoint,
    parse_head,
)
from touchplate.verify.errors import MalformedError
from touchplate.verify.notes import MAX_SIGNATURE_LINES, sign_note

LOG = SomeLog()
PROOF = LOG.proof(5, 300)
BODY = format_add_checkpoint(5, PROOF, LOG.note(300))


def test_comes_back_as_it_was_written() -> None:
    request = parse_add_checkpoint(BODY)
    assert (request.old_size, list(request.proof), request.note) == (5, PROOF, LOG.note(300))
    assert (request.head.origin, request.head.size, request.head.root) == (LOG.origin, 300, LOG.root(300))


def test_is_the_form_of_the_specification() -> None:
    lines = BODY.decode().split("\n")
    assert lines[0] == "old 5"
    assert lines[1 + len(PROOF)] == ""
    assert lines[2 + len(PROOF) : 4 + len(PROOF)] == [LOG.origin, "300"]
    assert lines[-2].startswith(f"— {LOG.origin} ")


def test_takes_extension_lines_and_63_hashes() -> None:
    note = LOG.note(300, "extension one", "two")
    request = parse_add_checkpoint(format_add_checkpoint(5, [bytes(32)] * 63, note))
    assert (len(request.proof), request.head.size) == (63, 300)


def test_the_largest_note_fits() -> None:
    line = sign_note(LOG.text(1), [LOG.signer]).decode().rpartition("\n\n")[2]
    note = f"{LOG.text(1)}\n{line * MAX_SIGNATURE_LINES}".encode()
    assert parse_add_checkpoint(format_add_checkpoint(0, [], note)).head.size == 1
    largest = 64 * (255 + 4 * (4 + 8 + 2420) // 3 + 16) + 63 * 45 + 3 * 255 + 30
    assert largest < MAX_REQUEST_BYTES
    with pytest.raises(RequestError, match="65 signature lines"):
        parse_add_checkpoint(format_add_checkpoint(0, [], note + line.encode()))


@pytest.mark.parametrize(
    "front",
    [
        b"",
        b"old",
        b"old ",
        b"old 05",
        b"old -1",
        b"old +1",
        b"old 5 ",
        b" old 5",
        b"Old 5",
        b"old\t5",
        b"old 5\r",
        b"new 5",
        b"old 9223372036854775808",
        b"old " + b"9" * 5000,
        b"old 5\n" + b"A" * 43,
        b"old 5\n" + b"AAAA",
        b"old 5\n" + b"A" * 43 + b"= ",
        b"old 5\nold 5",
        b"old 5" + b"\n" + b"\n".join([b"A" * 43 + b"="] * 64),
        "old ５".encode(),
        b"old 5\n\xff",
    ],
)
def test_other_lines_before_the_checkpoint_are_refused(front: bytes) -> None:
    with pytest.raises(RequestError) as caught:
        parse_add_checkpoint(front + b"\n\n" + LOG.note(300))
    assert caught.value.reason == "malformed"


@pytest.mark.parametrize(
    "body", [b"", b"\n", b"\n\n", b"old 5\n", b"old 5\n\n", b"\xff" * 99, BODY[:-1], BODY + b"x"]
)
def test_no_part_may_be_missing_or_added(body: bytes) -> None:
    with pytest.raises(RequestError):
        parse_add_checkpoint(body)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n",
        "a\n1\n",
        "\n1\nAAAA\n",
        "a\n01\nAAAA\n",
        f"{'a' * 256}\n1\n{'A' * 43}=\n",
        f"a\n{2**63}\n{'A' * 43}=\n",
    ],
)
def test_other_texts_are_no_heads(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_head(text)


def test_every_cut_is_refused_or_another_request() -> None:
    for end in range(len(BODY)):
        with pytest.raises(RequestError):
            parse_add_checkpoint(BODY[:end])
