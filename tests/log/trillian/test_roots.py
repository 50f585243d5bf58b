"""LogRootV1, byte for byte."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from touchplate.log.errors import RequestError
from touchplate.log.trillian.roots import LogRoot, format_log_root, parse_log_root
from touchplate.verify.rfc6962 import EMPTY_ROOT

U64 = st.integers(0, 2**64 - 1)
ROOTS = st.builds(LogRoot, U64, st.binary(max_size=128), U64, U64, st.binary(max_size=300))


def test_the_empty_trees_root_has_61_bytes_in_this_order() -> None:
    data = format_log_root(LogRoot(0, EMPTY_ROOT, 0x0102030405060708))
    assert data.hex() == (
        "0001" + "00" * 8 + "20" + EMPTY_ROOT.hex() + "0102030405060708" + "00" * 8 + "0000"
    )
    assert len(data) == 61


@given(ROOTS)
def test_what_was_formatted_is_parsed(root: LogRoot) -> None:
    assert parse_log_root(format_log_root(root)) == root


@given(ROOTS, st.data())
def test_cut_and_longer_roots_are_refused(root: LogRoot, data: st.DataObject) -> None:
    whole = format_log_root(root)
    cut = data.draw(st.integers(0, len(whole) - 1))
    for wrong in (whole[:cut], whole + b"\0"):
        with pytest.raises(RequestError):
            parse_log_root(wrong)


@pytest.mark.parametrize("version", [0, 2, 65535])
def test_other_versions_are_refused(version: int) -> None:
    data = version.to_bytes(2, "big") + format_log_root(LogRoot(0, EMPTY_ROOT, 1))[2:]
    with pytest.raises(RequestError, match=f"version {version}"):
        parse_log_root(data)


def test_a_hash_of_more_than_128_bytes_is_refused_both_ways() -> None:
    with pytest.raises(RequestError, match="does not fit"):
        format_log_root(LogRoot(0, bytes(129), 1))
    data = b"\0\1" + bytes(8) + bytes([129]) + bytes(129 + 18)
    with pytest.raises(RequestError, match="at most 128"):
        parse_log_root(data)


@pytest.mark.parametrize(
    "root",
    [
        LogRoot(-1, b"", 0),
        LogRoot(2**64, b"", 0),
        LogRoot(0, b"", -1),
        LogRoot(0, b"", 0, metadata=bytes(65_536)),
    ],
)
def test_numbers_that_do_not_fit_are_refused(root: LogRoot) -> None:
    with pytest.raises(RequestError, match="does not fit"):
        format_log_root(root)
