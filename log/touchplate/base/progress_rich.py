"""The progress display on a terminal, by `rich`. Imported only when it is shown."""

from __future__ import annotations

from types import TracebackType
from typing import TextIO

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, ProgressColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Display
from rich.progress import Task as DisplayTask
from rich.text import Text

from touchplate.base.progress import Task, Unit, format_amount, printable


class RichProgress:
    """Steps as bold lines that stay, live output dimmed, tasks as bars below them."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream)
        self._display = Display(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            _AmountColumn(),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )

    def step(self, text: str) -> None:
        """A bold line."""
        self._console.print(f"[bold cyan]==>[/] [bold]{escape(printable(text))}[/]", highlight=False)

    def line(self, text: str) -> None:
        """A dimmed line, cut at the width of the terminal."""
        shown = Text(printable(text), style="dim", no_wrap=True, overflow="ellipsis")
        self._console.print(shown, highlight=False)

    def task(self, text: str, total: int | None = None, unit: Unit = "") -> Task:
        """A bar; a pulsing one when the total is not known."""
        return _RichTask(self, self._display, text, total, unit)

    def __enter__(self) -> RichProgress:
        self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.stop()


class _AmountColumn(ProgressColumn):
    """What is done, of how much."""

    def render(self, task: DisplayTask) -> Text:
        unit: Unit = task.fields["unit"]
        done = format_amount(int(task.completed), unit)
        return Text(done if task.total is None else f"{done} / {format_amount(int(task.total), unit)}")


class _RichTask:
    def __init__(
        self, progress: RichProgress, display: Display, text: str, total: int | None, unit: Unit
    ) -> None:
        self._progress = progress
        self._display = display
        self._text = text
        self._unit = unit
        self._done = 0
        self._task: TaskID = display.add_task(escape(printable(text)), total=total, unit=unit)

    def advance(self, amount: int = 1) -> None:
        self._done += amount
        self._display.advance(self._task, amount)

    def finish(self, result: str = "") -> None:
        self._display.remove_task(self._task)
        self._progress.line(f"    {self._text}: {result or format_amount(self._done, self._unit)}")
