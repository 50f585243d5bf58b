"""The peers' transaction: a batch of packed entries."""

import random

import pytest
from tests.log.peers.support import tx
from tests.log.support import signed_entry

from touchplate.log.errors import AdmissionError
from touchplate.log.peers.transactions import HEAD_BYTES, MAX_TX_BYTES, count_fitting, format_tx, parse_tx


def test_gives_back_the_entries_that_were_put_in() -> None:
    packed = [signed_entry(number).packed for number in range(3)]
    made = format_tx(packed, b"8 bytes!")
    assert made[:HEAD_BYTES] == b"\x01" + b"8 bytes!"
    assert parse_tx(made) == packed


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (b"", "malformed"),
        (b"\x01", "malformed"),
        (b"\x01" + bytes(8), "malformed"),
        (b"\x02" + tx(1)[1:], "malformed"),
        (tx(1)[:-1], "malformed"),
        (tx(1) + b"\0", "malformed"),
        (tx(1) + b"\xff\xff\xff\xff", "malformed"),
        (b"\x01" + bytes(MAX_TX_BYTES), "too-large"),
    ],
)
def test_refuses_what_is_no_transaction(made: bytes, reason: str) -> None:
    with pytest.raises(AdmissionError) as caught:
        parse_tx(made)
    assert caught.value.reason == reason


def test_any_bytes_are_parsed_whole_or_refused() -> None:
    print("seed 11")
    chooser = random.Random(11)
    good, refused = tx(1, 2), 0
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(chooser.randint(1, 4)):
            data[chooser.randrange(len(data))] = chooser.randrange(256)
        cut = bytes(data[: chooser.randint(0, len(data))])
        try:
            parts = parse_tx(cut)
        except AdmissionError:
            refused += 1
            continue
        assert cut[HEAD_BYTES:] == b"".join(parts)
    assert 0 < refused < 3000


def test_a_transaction_is_filled_in_order_and_is_not_too_long() -> None:
    packed = [bytes([number % 251]) * 70_000 for number in range(23)]
    assert count_fitting(packed) == 7
    assert len(format_tx(packed[:7], bytes(8))) <= MAX_TX_BYTES
    with pytest.raises(ValueError, match="no transaction"):
        format_tx(packed[:8], bytes(8))
    assert count_fitting([]) == 0
    full = [b"a" * (MAX_TX_BYTES - HEAD_BYTES - 1), b"b", b"c"]
    assert count_fitting(full) == 2


def test_the_first_entry_always_fits_into_a_transaction() -> None:
    packed = [bytes(70_000), bytes(10)]
    assert count_fitting(packed, 1000) == 1
    assert count_fitting(packed, 70_000 + HEAD_BYTES + 10) == 2
