"""The strict JSON reader and the canonical writer."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.verify.support import mangle

from touchplate.verify.errors import MalformedError, VerifyError
from touchplate.verify.jcs import MAX_DEPTH, format_json, parse_json

LIMIT = 10_000

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@given(VALUES)
def test_reads_back_what_it_wrote(value: object) -> None:
    data = format_json(value)  # type: ignore[arg-type]
    assert parse_json(data, max_bytes=1 << 20) == value
    assert json.loads(data) == value


def test_sorts_keys_by_utf16_code_units_as_rfc_8785_3_2_3_shows() -> None:
    keys = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    written = json.loads(format_json(dict.fromkeys(keys)), object_pairs_hook=list)
    assert [key for key, _ in written] == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


def test_escapes_as_rfc_8785_3_2_2_2_shows() -> None:
    assert format_json('\u20ac$\u000f\nA\'B"\\"/\x7f\b\f\r\t') == (
        '"\u20ac$\\u000f\\nA\'B\\"\\\\\\"/\x7f\\b\\f\\r\\t"'.encode()
    )


def test_writes_without_white_space() -> None:
    assert format_json({"b": [1, -2, True, None], "a": ({}, [])}) == b'{"a":[{},[]],"b":[1,-2,true,null]}'


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1.5, "a float has no json form"),
        (2**53, "write it as a string"),
        pytest.param(10**5000, "write it as a string", id="huge"),
        (b"x", "a bytes has no json form"),
        ({1: 2}, "keys must be strings"),
        ("\ud800", "lone surrogate"),
        ({"\udfff": 1}, "lone surrogate"),
    ],
)
def test_refuses_to_write_what_it_would_not_read(value: object, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        format_json(value)  # type: ignore[arg-type]


def test_takes_depth_32_and_refuses_33_in_both_directions() -> None:
    deepest = parse_json(nested(MAX_DEPTH), max_bytes=LIMIT)
    assert format_json(deepest) == nested(MAX_DEPTH)
    with pytest.raises(MalformedError, match="deeper than 32"):
        parse_json(nested(MAX_DEPTH + 1), max_bytes=LIMIT)
    with pytest.raises(MalformedError, match="deeper than 32"):
        format_json([deepest])


def test_counts_brackets_in_strings_for_nothing() -> None:
    assert parse_json(json.dumps("[" * 100 + '\\"[[').encode(), max_bytes=LIMIT)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "does not parse"),
        (b"{} {}", "does not parse"),
        (b"{}\x00", "does not parse"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'"\xff"', "not utf-8"),
        (b'"\xed\xa0\x80"', "not utf-8"),
        (b'{"a":1,"a":2}', "'a' twice"),
        (b'{"a":1,"\\u0061":2}', "'a' twice"),
        (b'"\\ud800"', "lone surrogate"),
        (b'{"\\udc00":1}', "lone surrogate"),
        (b'[["\\ud83dx"]]', "lone surrogate"),
        (b"-0", "'-0'"),
        (b"1.0", "not an integer"),
        (b"1e2", "not an integer"),
        (b"NaN", "not an integer"),
        (b"-Infinity", "not an integer"),
        (b"01", "does not parse"),
        (b"+1", "does not parse"),
        (b"9007199254740992", "not smaller than 2"),
        (b"-9007199254740992", "not smaller than 2"),
        (b"1" * 5000, "not smaller than 2"),
        (b"{'a':1}", "does not parse"),
        (b"[1,]", "does not parse"),
        (b'"\n"', "does not parse"),
        (b'"\\x41"', "does not parse"),
        (b"// 1\n1", "does not parse"),
        (b'"' + b'\\"' * 3_000, "does not parse"),
    ],
)
def test_refuses(data: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        parse_json(data, max_bytes=LIMIT)


def test_takes_the_largest_integers_and_white_space() -> None:
    assert parse_json(b" [ 9007199254740991 ,\t-9007199254740991\r\n] ", max_bytes=LIMIT) == [
        2**53 - 1,
        -(2**53) + 1,
    ]


def test_refuses_more_bytes_than_allowed_and_says_so() -> None:
    with pytest.raises(MalformedError) as caught:
        parse_json(b"[1]", max_bytes=2)
    assert caught.value.reason == "too-large"


def test_damage_gives_our_errors_only_or_another_canonical_value() -> None:
    data = format_json({"a": [1, -20, {"b\n": "\u20ac\U0001f600"}], "c": None, "d": True})
    for damaged in mangle(data):
        try:
            value = parse_json(damaged, max_bytes=LIMIT)
        except VerifyError:
            continue
        assert parse_json(format_json(value), max_bytes=LIMIT) == value
