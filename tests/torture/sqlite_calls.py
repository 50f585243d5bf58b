"""SQLite's own calls, which are made in C: the node runs under strace, which kills it or fails the call.

A commit writes frames into the write-ahead log and syncs it, the last close copies them into the database;
the hooks see neither, only what stands around them.
"""

import itertools
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.torture.hooks import KILL
from tests.torture.process import ROOT, SECONDS, Kill, Run, SeriesError


@dataclass(frozen=True)
class Case:
    """The `number`-th time that a thread makes `call` for `file` (below the data folder), in one scenario."""

    call: str
    file: str
    number: int
    error: str
    scenario: int = 0

    @property
    def name(self) -> str:
        """As it is printed."""
        return f"{self.call} {self.file} ({self.number})"


_WAL = "log/log.sqlite-wal"
CASES = (
    Case("pwrite64", _WAL, 3, "ENOSPC"),  # while the tables are made
    Case("pwrite64", _WAL, 25, "ENOSPC"),  # in a batch
    Case("fdatasync", _WAL, 1, "EIO"),
    Case("fdatasync", _WAL, 3, "EIO"),  # at the end of a batch
    Case("pwrite64", "log/log.sqlite", 2, "EIO", scenario=1),  # the last close
    Case("fdatasync", "log/log.sqlite", 1, "EIO", scenario=1),
    Case("unlink", _WAL, 1, "EIO", scenario=1),
    Case("pwrite64", "links.sqlite-wal", 3, "ENOSPC"),
    Case("fdatasync", "links.sqlite-wal", 1, "EIO"),
    Case("pwrite64", "index.sqlite-wal", 30, "ENOSPC"),
    Case("fdatasync", "index.sqlite-wal", 2, "EIO"),
)


def has_strace() -> bool:
    """Whether it is there and may trace at all (a container can forbid it)."""
    program = shutil.which("strace")
    return program is not None and not subprocess.run([program, "-qq", "-o", "/dev/null", "true"]).returncode


class TracingLauncher:
    """Starts `touchplate ARGV` under strace, by the interpreter's own command line."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._numbers = itertools.count(1)
        self._running: dict[int, tuple[subprocess.Popen[bytes], Path, Kill]] = {}

    def start(self, argv: Sequence[str], roots: dict[str, Path], kill: Kill | None = None) -> Run:
        """`kill.point` is a case's name."""
        assert kill is not None
        base = self._folder / f"traced-{next(self._numbers):03d}"
        call, file, _ = kill.point.split()
        what = "signal=SIGKILL" if kill.action == KILL else f"error={kill.action}"
        # -D: the tracer is a grandchild, so the process here is the traced one.
        trace = ["strace", "-D", "-f", "-q", "-o", f"{base}.trace", "-P", str(roots["node"] / file)]
        trace += ["-e", f"trace={call}", "-e", f"inject={call}:{what}:when={kill.number}"]
        with Path(f"{base}.out").open("wb") as out, Path(f"{base}.err").open("wb") as err:
            command = [*trace, sys.executable, "-m", "touchplate.verify", *argv]
            child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, cwd=ROOT)
        self._running[child.pid] = child, base, kill
        return Run(self, child.pid, base)

    def wait(self, pid: int) -> int:
        """The exit code; the hits are written from what the tracer saw."""
        child, base, kill = self._running.pop(pid)
        code = child.wait(SECONDS)
        seen = _whole(Path(f"{base}.trace"))
        if "(INJECTED)" in seen or (kill.action == KILL and "killed by SIGKILL" in seen):
            Path(f"{base}.hits").write_text(f"! {kill.side} {kill.point}\n")
        return code


def _whole(path: Path) -> str:
    """What the tracer wrote, once it has seen the end too."""
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        text = path.read_text(errors="replace") if path.exists() else ""
        if text.rstrip().endswith("+++"):
            return text
        time.sleep(0.02)
    raise SeriesError(f"the tracer did not see the end of its process: {path}")
