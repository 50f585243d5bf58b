"""Progress as plain lines, as bars, and not at all."""

from __future__ import annotations

import io

import pytest

from touchplate.base.progress import PlainProgress, Progress, QuietProgress, format_amount, open_progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def work(progress: Progress) -> None:
    with progress:
        progress.step("fetching")
        progress.line("from [bold]there\x1b[2J")
        task = progress.task("inputs", total=3, unit="files")
        for _ in range(3):
            task.advance()
        task.finish()
        progress.task("jar", unit="bytes").finish("identical")


def test_plain_lines_for_files_and_pipes() -> None:
    stream = io.StringIO()
    progress = open_progress(stream)
    assert isinstance(progress, PlainProgress)
    work(progress)
    assert stream.getvalue().splitlines() == [
        "==> fetching",
        "from [bold]there\N{REPLACEMENT CHARACTER}[2J",
        "    inputs: 3 files",
        "    jar: identical",
    ]


def test_a_long_task_writes_a_line_every_five_seconds() -> None:
    stream, now = io.StringIO(), [0.0]
    task = open_progress(stream, clock=lambda: now[0]).task("jar", total=4_000_000, unit="bytes")
    for now[0] in (1.0, 4.0, 5.0, 6.0, 11.0):
        task.advance(500_000)
    assert stream.getvalue().splitlines() == ["    jar: 1.5 MB of 4.0 MB", "    jar: 2.5 MB of 4.0 MB"]


def test_bars_on_a_terminal() -> None:
    stream = Terminal()
    progress = open_progress(stream)
    assert type(progress).__name__ == "RichProgress"
    work(progress)
    shown = stream.getvalue()
    assert all(part in shown for part in ("fetching", "[bold]there", "inputs: 3 files", "jar: identical"))
    assert "\x1b[2J" not in shown


def test_nothing_when_quiet() -> None:
    stream = Terminal()
    progress = open_progress(stream, quiet=True)
    assert isinstance(progress, QuietProgress)
    work(progress)
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (999_960, "1.0 MB"),
        (41_000_000, "41.0 MB"),
        (10**16, "10000.0 TB"),
    ],
)
def test_amounts_are_readable(amount: int, text: str) -> None:
    assert format_amount(amount, "bytes") == text
    assert format_amount(3, "") == "3"
