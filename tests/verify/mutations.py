"""Every small change to a JSON document, each with a name: what an attacker would try on a proof bundle.

Enumerated, not random: two runs try the same. `text_mutations` changes bytes without knowing what they mean.
"""

import copy
import json
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any

from touchplate.verify.encoding import decode_base64, encode_base64
from touchplate.verify.errors import MalformedError

Path = tuple[str | int, ...]
Mutant = tuple[str, bytes]
"""What was done, and the document that came out."""

OTHER_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 1.5, 2**53, 10**30, "", " ", "0", "\u0000", "\ud800",
    [], {}, [None], {"": 0},
)  # fmt: skip
"""What stands where something of another type or size belongs."""

INSERTED = (b" ", b"0", b'"', b",", b"}", b"\\")
"""Bytes that have a meaning in JSON."""

_TWICE = "a key that stands twice"


def places(document: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """(path, value) of the document and everything in it."""
    yield path, document
    if isinstance(document, dict | list):
        for key, value in document.items() if isinstance(document, dict) else enumerate(document):
            yield from places(value, (*path, key))


def mutations(data: bytes) -> Iterator[Mutant]:
    """Every mutation of the JSON document `data`."""
    document = json.loads(data)
    listed = list(places(document))
    for path, value in listed:
        for what, changed in _replacements(value, listed):
            yield _named(path, what, _with(document, path, changed))
        if path:
            yield _named(path, "removed", _without(document, path))
        if isinstance(value, dict):
            yield from _of_members(document, path, value)
        if isinstance(value, list):
            yield from _of_items(document, path, value)
    for (one, first), (other, second) in combinations(listed[1:], 2):
        same = type(first) is type(second) and first != second
        if same and other[: len(one)] != one:
            swapped = _with(_with(document, one, second), other, first)
            yield _named(one, f"swapped with {_text(other)}", swapped)


def text_mutations(data: bytes, every: int = 1) -> Iterator[Mutant]:
    """At each place a byte removed, repeated, inserted, flipped in each bit; the end cut off.

    `every`: only each n-th of them, at all places alike.
    """
    number = 0
    for place, byte in enumerate(data):
        changes = [
            ("removed", b""),
            ("repeated", bytes([byte, byte])),
            *((f"bit {bit} flipped", bytes([byte ^ 1 << bit])) for bit in range(8)),
            *(
                (f"{extra!r} inserted", extra + bytes([byte]))
                for extra in (b" ", b"0", b'"', b",", b"}", b"\\")
            ),
        ]
        for what, piece in changes:
            number += 1
            if number % every == 0:
                yield f"byte {place} {what}", data[:place] + piece + data[place + 1 :]
        if place % every == 0:
            yield f"cut off at {place}", data[:place]


def _replacements(value: Any, listed: Sequence[tuple[Path, Any]]) -> Iterator[tuple[str, Any]]:
    yield from ((f"replaced by {other!r}", other) for other in OTHER_VALUES if not _same(other, value))
    yield "put into a list", [value]
    yield "put into an object", {"x": value}
    yield from ((f"replaced by {_text(path)}", other) for path, other in listed if not _same(other, value))
    if isinstance(value, str):
        yield from ((f"changed to {near[:40]!r}", near) for near in _near(value) if near != value)
    if isinstance(value, str) and value.isdecimal() and len(value) < 20:
        yield "made a number", int(value)
    if isinstance(value, int):
        yield from (
            (f"changed to {near!r}", near) for near in (value + 1, value - 1, str(value), value + 0.5)
        )


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and bool(one == other)


def _near(text: str) -> Iterator[str]:
    """Texts that look like `text`, or mean the same to a sloppy reader."""
    yield from (
        text + " ",
        " " + text,
        text + "\n",
        text + "\u0000",
        text + "=",
        text[:-1],
        text[1:],
        text * 2,
    )
    yield from (text.upper(), text.lower(), text.swapcase(), text.replace("\n", "\r\n"), "é" + text, text * 2)
    if text.isdecimal() and len(text) < 20:
        yield from (str(int(text) + 1), str(int(text) - 1), "0" + text, "+" + text, text + ".0", text + "e0")
    if "\n" in text:
        yield from _lines(text.split("\n"))
    try:
        data = decode_base64(text, "text")
    except MalformedError:
        return
    for place in {0, len(data) // 2, len(data) - 1} if data else set():
        yield encode_base64(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    yield from (encode_base64(data[:-1]), encode_base64(data[1:]), encode_base64(data + b"\0"))
    yield from (text.rstrip("="), text.replace("+", "-").replace("/", "_"), text[:4] + "\n" + text[4:])


def _lines(lines: list[str]) -> Iterator[str]:
    for number in range(len(lines)):
        yield "\n".join(lines[:number] + lines[number + 1 :])
        yield "\n".join(lines[: number + 1] + lines[number:])
        yield "\n".join([*lines[:number], "x", *lines[number:]])
    yield "\n".join(reversed(lines))


def _of_members(document: Any, path: Path, members: dict[str, Any]) -> Iterator[Mutant]:
    yield _named(path, "with an unknown member", _with(document, (*path, "x"), "x"))
    yield _named(path, "with an empty key", _with(document, (*path, ""), None))
    for key, value in members.items():
        for renamed in (key + "x", key.upper(), key + "\u0000", key[:-1]):
            changed = _with(_without(document, (*path, key)), (*path, renamed), value)
            yield _named(path, f"{key} renamed to {renamed!r}", changed)
        others: tuple[Any, ...] = (value, None, "x", [])
        for other in others:
            name, text = _named(path, f"{key} twice", _with(document, (*path, _TWICE), other))
            yield name, text.replace(json.dumps(_TWICE).encode(), json.dumps(key).encode())


def _of_items(document: Any, path: Path, items: list[Any]) -> Iterator[Mutant]:
    orders = {
        "reversed": items[::-1],
        "rotated": items[1:] + items[:1],
        "twice": items * 2,
        "a hundred times": items * 100,
    }
    for what, changed in orders.items():
        if changed != items:
            yield _named(path, what, _with(document, path, changed))
    for number, item in enumerate(items):
        repeated = [*items[: number + 1], copy.deepcopy(item), *items[number + 1 :]]
        yield _named(path, f"item {number} repeated", _with(document, path, repeated))


def _with(document: Any, path: Path, value: Any) -> Any:
    if not path:
        return value
    changed = copy.deepcopy(document)
    holder = changed
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = value
    return changed


def _without(document: Any, path: Path) -> Any:
    changed = copy.deepcopy(document)
    holder = changed
    for step in path[:-1]:
        holder = holder[step]
    del holder[path[-1]]
    return changed


def _named(path: Path, what: str, document: Any) -> Mutant:
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    # A lone surrogate can only be written as an escape.
    text = text.replace("\ud800", "\\ud800")
    return f"{_text(path)} {what}", text.encode()


def _text(path: Path) -> str:
    return ".".join(map(str, path)) or "everything"
