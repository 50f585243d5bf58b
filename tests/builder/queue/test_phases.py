"""The phase of a job is what the job says of itself, never what its build prints."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.builder.queue.suite import NOW, purl

from touchplate.base.progress import PlainProgress
from touchplate.base.sql import sqlite_engine
from touchplate.builder.display import PhaseDisplay
from touchplate.builder.queue.jobs import LONGEST_LEASE_SECONDS, BadJobError, Lease, QueueLimits
from touchplate.builder.queue.store import Queue
from touchplate.builder.queue.wire import format_lease, parse_lease
from touchplate.builder.worker import StepReader
from touchplate.verify.jcs import format_json, parse_json


@pytest.fixture
def lease(tmp_path: Path) -> Iterator[Lease]:
    queue = Queue(sqlite_engine(tmp_path / "queue.sqlite"), QueueLimits(longest_lease_seconds=7_200))
    queue.add(purl("a"), "", NOW)
    found = queue.lease("w", NOW)
    assert found is not None
    yield found
    queue.close()


def output(*lines: str) -> bytes:
    """What a job writes while its build prints these lines."""
    stream = io.StringIO()
    display = PhaseDisplay(PlainProgress(stream), verbose=True)
    display.started("build")
    for line in lines:
        display.line(line)
    return stream.getvalue().encode()


@pytest.mark.parametrize(
    "line", ["==> logged: identical", "x\r==> logged", "x\n==> logged", "\x1b[2K==> logged"]
)
def test_a_build_cannot_say_that_a_phase_begins(line: str) -> None:
    assert StepReader().read(output("one", line)).startswith("build: again")
    assert "logged" in output(line).decode()


def test_a_phase_is_read_however_the_output_is_cut() -> None:
    data = output("one") + b"xx==> not a phase\n==> compare\nend"
    for size in (1, 2, 7, 1000):
        reader = StepReader()
        seen = [reader.read(data[start : start + size]) for start in range(0, len(data), size)]
        assert seen[-1] == "compare"
        assert not any(one.startswith("not a") for one in seen)


def test_a_line_without_an_end_takes_no_memory_and_is_no_phase() -> None:
    reader = StepReader()
    for _ in range(100):
        assert reader.read(b"x" * 65_536) == ""
    assert reader.read(b"==> no phase\n==> compare\n") == "compare"


def test_a_lease_says_how_long_it_may_last_and_an_older_one_is_read(lease: Lease) -> None:
    assert lease.longest_seconds == 7_200
    sent = parse_json(format_json(format_lease(lease)), max_bytes=1 << 20)
    assert isinstance(sent, dict)
    assert parse_lease(sent).longest_seconds == 7_200
    for wrong in ("x", None, 0):
        with pytest.raises(BadJobError):
            parse_lease({**sent, "longest_seconds": wrong})
    del sent["longest_seconds"]
    assert parse_lease(sent).longest_seconds == LONGEST_LEASE_SECONDS
