"""JSON in one form only: a strict reader (I-JSON and stricter) and the canonical writer of RFC 8785.

Payloads and proof bundles come from untrusted parties. Two readers that disagree about duplicate keys,
lone surrogates or large numbers would check different statements, so whatever RFC 8259 leaves open is
refused here.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NoReturn, TypeAlias

from touchplate.verify.errors import MalformedError, shown

JSON: TypeAlias = "bool | int | str | list[JSON] | dict[str, JSON] | None"
"""What `parse_json` returns."""

JSONValue: TypeAlias = "bool | int | str | Sequence[JSONValue] | Mapping[str, JSONValue] | None"
"""What `format_json` takes: every `JSON`, and tuples and read-only mappings of the same."""

MAX_DEPTH = 32
"""Nested arrays and objects, the outermost being 1. Part of the format: all readers agree on what parses."""

INTEGER_LIMIT = 2**53
"""Integers must be smaller in magnitude: from here on IEEE doubles lose digits (RFC 7493 2.2)."""

_INTEGER_DIGITS = 16  # of 2**53 - 1

_Writer: TypeAlias = Callable[[str], None]

# Strings are consumed whole, also an unterminated one to the end of the text: each byte is looked at once.
# Compiled on use, and then kept by `re`: compiling takes most of the time of importing a module.
_STRING_OR_BRACKET = r'(?s)"(?:[^"\\]++|\\.)*+"?|[\[\]{}]'

_INTEGER = "-?(?:0|[1-9][0-9]*)"


def parse_json(data: bytes, *, max_bytes: int) -> JSON:
    """The value of strict JSON text of at most `max_bytes` bytes.

    Refused with MalformedError: invalid UTF-8, a byte order mark, anything after the value, more than
    `MAX_DEPTH` levels, duplicate keys (compared after unescaping), lone surrogates (escaped ones too), `-0`,
    numbers with a fraction or an exponent, and integers of magnitude 2**53 or more.
    """
    if len(data) > max_bytes:
        raise MalformedError(f"json of {len(data)} bytes is longer than {max_bytes}", reason="too-large")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedError(
            f"json is not utf-8: byte {error.start} is {error.object[error.start]:#04x}"
        ) from error
    if text.startswith("\ufeff"):
        raise MalformedError("json starts with a byte order mark; remove it")
    # Each level has a bracket, which is one byte of UTF-8. Counts those in strings too; most texts have few.
    if len(data) - len(data.translate(None, b"[{")) > MAX_DEPTH:
        _check_depth(text)
    try:
        value: JSON = _decoder().decode(text)
    except json.JSONDecodeError as error:
        problem = error.msg.lower().removesuffix(" at")
        raise MalformedError(f"json does not parse: {problem} at character {error.pos}") from error
    if "\\u" in text:  # raw surrogates are not UTF-8, so only escapes can have made one
        _check_surrogates(value)
    return value


def format_json(value: JSONValue) -> bytes:
    """The canonical UTF-8 form (RFC 8785) of `value`, integers being the only numbers.

    Raises MalformedError for what `parse_json` would refuse: floats, large integers, lone surrogates, keys
    that are not strings, more than `MAX_DEPTH` levels.
    """
    parts: list[str] = []
    _write(value, parts.append, 1)
    try:
        return "".join(parts).encode("utf-8")
    except UnicodeEncodeError as error:
        raise MalformedError("json text holds a lone surrogate") from error


def _check_depth(text: str) -> None:
    # Before json.loads, which recurses: the depth of hostile input must not meet Python's own limit.
    depth = 0
    for match in re.finditer(_STRING_OR_BRACKET, text):
        if match[0] in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise MalformedError(f"json is nested deeper than {MAX_DEPTH} levels")
        elif match[0] in "]}":
            depth -= 1


@lru_cache(1)
def _decoder() -> json.JSONDecoder:
    # What json.loads makes anew for each text when it is given hooks. It holds nothing of a text.
    return json.JSONDecoder(
        object_pairs_hook=_object,
        parse_int=_integer,
        parse_float=_refuse_number,
        parse_constant=_refuse_number,
    )


def _object(pairs: list[tuple[str, JSON]]) -> dict[str, JSON]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise MalformedError(f"json object has the key {shown(key)} twice")
            seen.add(key)
    return members


def _integer(text: str) -> int:
    if text == "-0" or re.fullmatch(_INTEGER, text) is None:
        raise MalformedError(f"json number {shown(text)} is not written as an integer")
    # The length first: int() of a very long text is slow, and refused by Python with an error of its own.
    if len(text.lstrip("-")) > _INTEGER_DIGITS or abs(int(text)) >= INTEGER_LIMIT:
        raise MalformedError(f"json number {shown(text)} is not smaller than 2**53; write it as a string")
    return int(text)


def _refuse_number(text: str) -> NoReturn:
    raise MalformedError(f"json number {shown(text)} is not an integer")


def _check_surrogates(value: JSON) -> None:
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise MalformedError(f"json text {shown(value)} holds a lone surrogate")
    elif isinstance(value, dict):
        for key, member in value.items():
            _check_surrogates(key)
            _check_surrogates(member)
    elif isinstance(value, list):
        for member in value:
            _check_surrogates(member)


def _write(value: JSONValue, write: _Writer, depth: int) -> None:
    if value is None:
        write("null")
    elif value is True:
        write("true")
    elif value is False:
        write("false")
    elif isinstance(value, str):
        write(_quoted(value))
    elif isinstance(value, int):
        if abs(value) >= INTEGER_LIMIT:
            raise MalformedError(
                f"json number {shown(value)} is not smaller than 2**53; write it as a string"
            )
        write(int.__repr__(value))
    elif isinstance(value, Mapping | Sequence) and not isinstance(value, bytes | bytearray | memoryview):
        if depth > MAX_DEPTH:
            raise MalformedError(f"json would be nested deeper than {MAX_DEPTH} levels")
        if isinstance(value, Mapping):
            _write_object(value, write, depth)
        else:
            _write_array(value, write, depth)
    else:
        raise MalformedError(f"a {type(value).__name__} has no json form here: {shown(value)}")


def _write_object(members: Mapping[str, JSONValue], write: _Writer, depth: int) -> None:
    if not all(isinstance(key, str) for key in members):
        raise MalformedError(f"json keys must be strings: {shown(list(members))}")
    separator = "{"
    # RFC 8785 3.2.3: by UTF-16 code units, which differs from code points above U+FFFF.
    for key in sorted(members, key=_utf16):
        write(separator + _quoted(key) + ":")
        _write(members[key], write, depth + 1)
        separator = ","
    write("{}" if separator == "{" else "}")


def _write_array(items: Sequence[JSONValue], write: _Writer, depth: int) -> None:
    separator = "["
    for item in items:
        write(separator)
        _write(item, write, depth + 1)
        separator = ","
    write("[]" if separator == "[" else "]")


def _quoted(text: str) -> str:
    # RFC 8785 3.2.2.2: the escapes of ECMAScript's JSON.stringify, which are json's own without ensure_ascii.
    return json.dumps(text, ensure_ascii=False)


def _utf16(key: str) -> bytes:
    return key.encode("utf-16-be", "surrogatepass")
