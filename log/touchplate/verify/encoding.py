"""Small text encodings, each with exactly one spelling per value: base64, hex, times, decimals.

A second spelling of the same value would give one fact several digests, so every reader
re-encodes and compares.
"""

import re
from binascii import a2b_base64, b2a_base64
from datetime import UTC, datetime, timedelta

from touchplate.verify.errors import MalformedError, shown

# Patterns are compiled on use, and then kept by `re`: compiling takes most of the time of importing a module.
_TIME = "([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z"
_DECIMAL = "0|[1-9][0-9]{0,30}"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def decode_base64(text: str, what: str) -> bytes:
    """Bytes of standard, padded base64 (RFC 4648 4) that re-encodes to `text`. Raises MalformedError."""
    try:
        data = a2b_base64(text)
    except ValueError as error:  # binascii.Error, and non-ASCII text
        raise MalformedError(f"{what} is not base64: {shown(text)}") from error
    if encode_base64(data) != text:
        # Covers line breaks, missing padding, the URL alphabet and stray bits in the last character.
        raise MalformedError(
            f"{what} is not in the one base64 form (standard alphabet, padded): {shown(text)}"
        )
    return data


def encode_base64(data: bytes) -> str:
    """Standard, padded base64 without line breaks (RFC 4648 4)."""
    return b2a_base64(data, newline=False).decode("ascii")


def decode_hex(text: str, nbytes: int, what: str) -> bytes:
    """Exactly `nbytes` bytes of lower-case hex. Raises MalformedError naming `what`."""
    if len(text) != 2 * nbytes:
        raise MalformedError(f"{what} is not {2 * nbytes} hex digits: {shown(text)}")
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise MalformedError(f"{what} is not hex: {shown(text)}") from error
    if data.hex() != text:  # upper case, and white space, which fromhex skips
        raise MalformedError(f"{what} is not lower-case hex: {shown(text)}")
    return data


def parse_time(text: str, what: str = "time") -> int:
    """Unix seconds of `YYYY-MM-DDThh:mm:ssZ`, the only form of a time here. Raises MalformedError."""
    match = re.fullmatch(_TIME, text)
    if match is None:
        raise MalformedError(f"{what} is not of the form YYYY-MM-DDThh:mm:ssZ: {shown(text)}")
    year, month, day, hour, minute, second = (int(part) for part in match.groups())
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:  # 30 February, 24:00, a leap second
        raise MalformedError(f"{what} is no moment of the calendar: {shown(text)}") from error
    return (moment - _EPOCH) // _SECOND


def format_time(seconds: int) -> str:
    """`YYYY-MM-DDThh:mm:ssZ` of unix seconds. Raises MalformedError outside the years 1 to 9999."""
    try:
        moment = _EPOCH + seconds * _SECOND
    except OverflowError as error:
        raise MalformedError(f"{shown(seconds)} seconds lie outside the calendar") from error
    return moment.replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def format_moment(seconds: int) -> str:
    """As `format_time`; `@` and the number beyond the calendar, where a cosigner's clock may be: it still
    signed."""
    try:
        return format_time(seconds)
    except MalformedError:
        return f"@{seconds}"


def parse_decimal(text: str, what: str, limit: int = 2**63) -> int:
    """A number below `limit` in decimal without sign or leading zeros. Raises MalformedError."""
    if re.fullmatch(_DECIMAL, text) is None:
        raise MalformedError(f"{what} is not a decimal number without sign or leading zeros: {shown(text)}")
    number = int(text)
    if number >= limit:
        raise MalformedError(f"{what} is {number}, and must be below {limit}")
    return number
