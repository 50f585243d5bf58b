"""Twice the input is at most little more than twice the work: counted in lines of Python that run, ours and
the standard library's, so that no clock is asked. What is quadratic in C is a slow input in `make fuzz`."""

import json
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from tests.fuzz import statements
from tests.fuzz.bundles import TRUST_WORDS
from tests.fuzz.targets import TARGETS
from tests.simkeys import ORIGIN, log_signer, verifier_key
from tests.verify.cases import recorder_block, trust_text
from tests.verify.support import RECORDER, make_provenance

COUNT = 120
"""Of the repeated thing: enough that what is fixed does not count, and below every limit when doubled."""

MOST_GROWTH = 2.4
"""Twice, and some for numbers that get longer. Quadratic growth gives 4, and 3 with as much fixed work."""

Family = Callable[[int], bytes]

_LOG = f"log {verifier_key(log_signer())}\n"
_LINE = "— a AAAAAAA=\n"

FAMILIES: dict[str, tuple[str, Family]] = {
    "lines of unknown keys": ("note", lambda n: f"{ORIGIN}\n\n{_LINE * (n // 4)}".encode()),
    "empty lines of a note": ("note", lambda n: b"\n" * 20 * n),
    "spaces in a signature line": ("note", lambda n: b"x\n\n" + "— ".encode() * 20 * n + b"\n"),
    "extension lines": ("checkpoint", lambda n: f"{ORIGIN}\n1\n".encode() + b"x\n" * 20 * n),
    "comments of a policy": ("policy", lambda n: (_LOG + "# x\n" * n + "quorum none\n").encode()),
    "members of a group": ("policy", lambda n: (_LOG + "group g any " + "x " * n + "\n").encode()),
    "tabs of a policy": ("policy", lambda n: (_LOG + "\t " * 20 * n + "\nquorum none\n").encode()),
    "brackets": ("json", lambda n: b"[" * 20 * n),
    "brackets in a string": ("json", lambda n: b'"' + b"[" * 20 * n + b'"'),
    "strings that do not end": ("json", lambda n: b'"\\"' * 20 * n),
    "members": ("json", lambda n: json.dumps({str(number): number for number in range(n)}).encode()),
    "members twice": ("json", lambda n: b"{" + b'"a":1,' * n + b'"a":1}'),
    "quotes of an envelope": ("envelope", lambda n: b'{"payload":"' + b'"' * 20 * n + b'"}]}'),
    "middles of an envelope": ("envelope", lambda n: b'{"payload":"' + b'","payloadType":"' * n + b'"}]}'),
    "subjects": ("statement", lambda n: _subjects(n)),
    "percent signs": ("name", lambda n: b"pkg:maven/g/" + b"%41%2" * n + b"@1?type=jar"),
    "slashes": ("name", lambda n: b"pkg:maven/" + b"a/" * 20 * n + b"@1"),
    "qualifiers": ("name", lambda n: b"pkg:maven/g/a@1?" + b"type=jar&" * n + b"type=jar"),
    "lines of a key": ("statement-key", lambda n: b"-----BEGIN PUBLIC KEY-----\n" + b"A\n" * 20 * n),
    "leaves": ("tile", lambda n: bytes([n]) + b"\x00\x01x" * n),
    "keys of a trust file": ("trust-file", lambda n: _recorders(n // 6)),
    "dotted names": ("trust-file", lambda n: b"a." * n + b"b = 1\n"),
    "tables": ("trust-file", lambda n: "".join(f"[a{number}]\n" for number in range(n)).encode()),
    "mistakes": ("trust-file", lambda n: (TRUST_WORDS[2] * n).encode()),
}
"""What a hostile input repeats: (target, input with so many of it)."""


def _subjects(count: int) -> bytes:
    value = json.loads(make_provenance())
    return json.dumps({**value, "subject": value["subject"] * count}).encode()


def _recorders(count: int) -> bytes:
    ranges = (f"from_index = {number}\nuntil_index = {number + 1}" for number in range(count))
    return trust_text(blocks=[recorder_block(RECORDER, "recorder", lines) for lines in ranges]).encode()


@pytest.mark.parametrize("family", FAMILIES)
def test_work_grows_with_the_input(family: str) -> None:
    name, make = FAMILIES[family]
    once, twice = (lines_run(name, make(count)) for count in (COUNT, 2 * COUNT))
    assert twice <= MOST_GROWTH * once, (once, twice)


def test_a_quadratic_reader_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(text: str) -> None:
        for _ in text:
            for _ in text:
                pass

    monkeypatch.setattr(statements, "parse_purl", slow)
    once, twice = (lines_run("name", b"x" * count) for count in (COUNT, 2 * COUNT))
    assert twice > MOST_GROWTH * once


def lines_run(name: str, data: bytes) -> int:
    """How many lines of Python a target runs for one input."""
    count = 0

    def line(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal count
        count += event == "line"
        return line

    TARGETS[name].check(data)  # what is made on first use is made
    before = sys.gettrace()
    sys.settrace(line)
    try:
        TARGETS[name].check(data)
    finally:
        sys.settrace(before)
    return count
