"""Base64, hex, times and decimals: one spelling per value."""

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.verify.support import mangle

from touchplate.verify.encoding import (
    decode_base64,
    decode_hex,
    encode_base64,
    format_moment,
    format_time,
    parse_decimal,
    parse_time,
)
from touchplate.verify.errors import MalformedError


@given(st.binary(max_size=100))
def test_base64_is_the_standard_one_and_reads_back(data: bytes) -> None:
    assert encode_base64(data) == base64.b64encode(data).decode()
    assert decode_base64(encode_base64(data), "data") == data


@pytest.mark.parametrize(
    "text",
    [
        *("YQ", "YQ=", "YR==", "YQ==\n", " YQ==", "Y Q==", "YQ===", "YQ==YQ==", "-_8=", "YQ\n=="),
        *("ü", "=", "\ud800"),
    ],
)
def test_refuses_every_other_spelling_of_base64(text: str) -> None:
    with pytest.raises(MalformedError, match="the payload"):
        decode_base64(text, "the payload")


def test_damaged_base64_never_gives_the_same_bytes() -> None:
    text = encode_base64(b"touchplate!")
    for damaged in mangle(text.encode()):
        try:
            assert decode_base64(damaged.decode("latin-1"), "data") != b"touchplate!"
        except MalformedError:
            continue


@pytest.mark.parametrize("text", ["", "ab", "abcg", "ABCD", "ab cd", "abcdef", "0xab", "ab\ncd", "äbcd"])
def test_refuses_hex_of_other_length_case_or_alphabet(text: str) -> None:
    with pytest.raises(MalformedError, match="the digest"):
        decode_hex(text, 2, "the digest")


def test_reads_hex() -> None:
    assert decode_hex("00ff", 2, "digest") == b"\x00\xff"


@given(st.datetimes(min_value=datetime(1, 1, 1), max_value=datetime(9999, 12, 31), timezones=st.just(UTC)))
def test_times_read_back(moment: datetime) -> None:
    seconds = int(moment.replace(microsecond=0).timestamp())
    assert parse_time(format_time(seconds)) == seconds


def test_writes_times_in_utc() -> None:
    assert format_time(0) == "1970-01-01T00:00:00Z"
    assert format_time(1_800_000_000) == "2027-01-15T08:00:00Z"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2027-01-15",
        "2027-01-15T08:00:00",
        "2027-01-15T08:00:00z",
        "2027-01-15 08:00:00Z",
        "2027-01-15T08:00:00.0Z",
        "2027-01-15T08:00:00+00:00",
        "2027-02-29T08:00:00Z",
        "2027-01-15T24:00:00Z",
        "2016-12-31T23:59:60Z",
        "0000-01-01T00:00:00Z",
        "2027-01-15T08:00:00Z\n",
        "２027-01-15T08:00:00Z",
        "-027-01-15T08:00:00Z",
    ],
)
def test_refuses_every_other_form_of_a_time(text: str) -> None:
    with pytest.raises(MalformedError, match="time"):
        parse_time(text)


@pytest.mark.parametrize("seconds", [10**12, -(10**12), 10**30])
def test_refuses_to_write_times_outside_the_calendar(seconds: int) -> None:
    with pytest.raises(MalformedError, match="outside the calendar"):
        format_time(seconds)


def test_reads_decimals_below_the_limit() -> None:
    assert parse_decimal("0", "index") == 0
    assert parse_decimal(str(2**63 - 1), "index") == 2**63 - 1
    with pytest.raises(MalformedError, match="must be below"):
        parse_decimal(str(2**63), "index")
    with pytest.raises(MalformedError, match="must be below 10"):
        parse_decimal("10", "index", 10)


DECIMALS = ["", "00", "01", "+1", "-1", "1 ", "1\n", "1_0", "0x1", "1.0", "١", "9" * 100]


@pytest.mark.parametrize("text", DECIMALS)
def test_refuses_every_other_form_of_a_decimal(text: str) -> None:
    with pytest.raises(MalformedError, match="index"):
        parse_decimal(text, "index")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "1970-01-01T00:00:00Z"), (1_800_000_000_000, "@1800000000000"), (2**63 - 1, f"@{2**63 - 1}")],
)
def test_a_moment_beyond_the_calendar_is_told_by_its_number(seconds: int, text: str) -> None:
    assert format_moment(seconds) == text
