"""Progress on stderr: bars and spinners on a terminal with `rich` installed, plain lines otherwise.

What is shown here is for people who wait; results go to stdout, and nothing may depend on these lines.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Literal, Protocol, TextIO

Unit = Literal["", "bytes", "files", "entries"]
# Seconds between two plain lines of one task: a log of a long download stays short.
LINE_SECONDS = 5.0

STEP = "==> "
"""Begins the plain line of a new phase."""


class Task(Protocol):
    """One piece of work whose advance can be counted. Methods may be called from any thread."""

    def advance(self, amount: int = 1) -> None:
        """`amount` more units are done."""

    def finish(self, result: str = "") -> None:
        """The work is over; `result` says in a few words how."""


class Progress(Protocol):
    """Where a long operation says what it does. A context manager; leaving it ends what is still shown."""

    def step(self, text: str) -> None:
        """A new phase begins: one line that stays."""

    def line(self, text: str) -> None:
        """One line of live output, such as a build's log."""

    def task(self, text: str, total: int | None = None, unit: Unit = "") -> Task:
        """Begin a countable piece of work; `total` in units, None when it is not known."""

    def __enter__(self) -> Progress: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def counting(task: Task, begun: int = 0) -> Callable[[int, int], None]:
    """A callback (done, total) for work that tells how much is done in all; `begun`: what was done before."""
    last = begun

    def advance(done: int, _total: int) -> None:
        nonlocal last
        task.advance(done - last)
        last = done

    return advance


def open_progress(
    stream: TextIO | None = None, *, quiet: bool = False, clock: Callable[[], float] = time.monotonic
) -> Progress:
    """The progress display that fits `stream` (stderr unless given): rich, plain lines, or nothing when
    `quiet`.
    """
    stream = stream if stream is not None else sys.stderr
    if quiet:
        return QuietProgress()
    if stream.isatty() and importlib.util.find_spec("rich") is not None:
        made: Progress = importlib.import_module("touchplate.base.progress_rich").RichProgress(stream)
        return made
    return PlainProgress(stream, clock)


class QuietProgress:
    """Shows nothing."""

    def step(self, text: str) -> None:
        """Nothing."""

    def line(self, text: str) -> None:
        """Nothing."""

    def task(self, text: str, total: int | None = None, unit: Unit = "") -> Task:
        """A task that shows nothing."""
        return _QuietTask()

    def __enter__(self) -> QuietProgress:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to end."""


class _QuietTask:
    def advance(self, amount: int = 1) -> None:
        """Nothing."""

    def finish(self, result: str = "") -> None:
        """Nothing."""


class PlainProgress:
    """One line per step, and for tasks a line now and then: for files, pipes and continuous integration."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock

    def step(self, text: str) -> None:
        """Write the line."""
        self.line(f"{STEP}{text}")

    def line(self, text: str) -> None:
        """Write the line, its control characters made harmless."""
        self._stream.write(f"{printable(text)}\n")
        self._stream.flush()

    def task(self, text: str, total: int | None = None, unit: Unit = "") -> Task:
        """A task that writes a line when it has advanced and five seconds are over, and one at its end."""
        return _PlainTask(self, self._clock, text, total, unit)

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to end: every line is complete."""


class _PlainTask:
    def __init__(
        self, progress: PlainProgress, clock: Callable[[], float], text: str, total: int | None, unit: Unit
    ) -> None:
        self._progress = progress
        self._clock = clock
        self._text = text
        self._total = total
        self._unit = unit
        self._done = 0
        self._next = clock() + LINE_SECONDS

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        if self._clock() >= self._next:
            self._next = self._clock() + LINE_SECONDS
            of = f" of {format_amount(self._total, self._unit)}" if self._total is not None else ""
            self._progress.line(f"    {self._text}: {format_amount(self._done, self._unit)}{of}")

    def finish(self, result: str = "") -> None:
        self._progress.line(f"    {self._text}: {result or format_amount(self._done, self._unit)}")


def format_amount(amount: int, unit: Unit) -> str:
    """An amount as people read it: "41.0 MB", "774 files", "3"."""
    if unit != "bytes":
        return f"{amount} {unit}".rstrip()
    if amount < 1000:
        return f"{amount} B"
    value = float(amount)
    for name in ("kB", "MB", "GB", "TB"):
        value /= 1000
        if value < 999.95 or name == "TB":
            return f"{value:.1f} {name}"
    raise AssertionError("unreachable")


def printable(text: str) -> str:
    """`text` on one line without control characters: a build's output must not drive a terminal."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text
    )
