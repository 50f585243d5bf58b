"""The peers' transaction: a batch of packed entries."""

import random

import pytest
from tests.log.peers.support import tx
from tests.log.support import signed_entry

from touchplate.log.errors import AdmissionError
from touchplate.log.peers.transactions import HEAD_BYTES, MAX_TX_BYTES, format_tx, group, parse_tx


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
    good = tx(1, 2)
    for _ in range(3000):
        data = bytearray(good)
        for _ in range(chooser.randint(1, 4)):
            data[chooser.randrange(len(data))] = chooser.randrange(256)
        cut = bytes(data[: chooser.randint(0, len(data))])
        try:
            parts = parse_tx(cut)
        except AdmissionError:
            continue
        assert cut[HEAD_BYTES:] == b"".join(parts)


def test_groups_fill_transactions_in_order_and_none_is_too_long() -> None:
    packed = [bytes([number % 251]) * 70_000 for number in range(23)]
    groups = group(packed)
    assert [one for batch in groups for one in batch] == packed
    assert all(HEAD_BYTES + sum(map(len, batch)) <= MAX_TX_BYTES for batch in groups)
    assert [len(batch) for batch in groups] == [7, 7, 7, 2]
    assert group([]) == []
    with pytest.raises(ValueError, match="no transaction"):
        format_tx(packed, bytes(8))
