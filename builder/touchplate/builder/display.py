"""The phases' progress on a person's display: counted files in Fetch, lines of the build when asked for."""

from collections import deque

from touchplate.base.progress import STEP, Task
from touchplate.base.progress import Progress as Display
from touchplate.builder.plan import Phase

KEPT_LINES = 20
"""Last lines of a failed command that are shown: enough for Maven's own summary of what went wrong."""


class PhaseDisplay:
    """A `plan.Progress` over a display. Methods may be called from several threads."""

    def __init__(self, display: Display, *, verbose: bool = False) -> None:
        self._display = display
        self._verbose = verbose
        self._task: Task | None = None
        self._files = 0
        self._bytes = 0
        self.last: deque[str] = deque(maxlen=KEPT_LINES)

    def started(self, phase: Phase) -> None:
        """The command of a phase starts."""
        self.finish()
        self._files = self._bytes = 0
        self.last.clear()
        if phase == "fetch":
            self._display.step("fetch: every input is found out and recorded")
            self._task = self._display.task("files recorded")
        else:
            self._display.step("build: again from the source, without network, from the lock only")
            self._task = self._display.task("lines of output")

    def fetched(self, upstream: str, path: str, size: int) -> None:
        """One more input was recorded."""
        self._files += 1
        self._bytes += size
        if self._task is not None:
            self._task.advance()

    def line(self, text: str) -> None:
        """One line of the command's output."""
        self.last.append(text)
        if self._verbose:
            # A build must not say that a phase begins: a worker tells its queue what stands in such lines.
            self._display.line(f" {text}" if text.startswith(STEP) else text)
        if self._task is not None and self._files == 0:
            self._task.advance()

    def finish(self) -> None:
        """End what is still shown."""
        if self._task is not None:
            self._task.finish(f"{self._files}, {self._bytes / 1e6:.1f} MB" if self._files else "")
            self._task = None
