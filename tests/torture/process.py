"""Real `touchplate` processes, each with a plan of its own end."""

import contextlib
import itertools
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

from tests.torture.hooks import CUT, KILL, Plan

ROOT = Path(__file__).resolve().parents[2]

SECONDS = 60.0
"""A run that takes longer hangs; each needs one or two."""


class SeriesError(Exception):
    """The series itself cannot go on: a process hangs, or does not start."""


@dataclass(frozen=True)
class Kill:
    """Where a process ends, or meets an error: when it comes to `side` of `point` the `number`-th time."""

    point: str
    side: str
    number: int = 1
    action: str = KILL

    @property
    def is_end(self) -> bool:
        """Whether the process dies there."""
        return self.action in (KILL, CUT)

    def __str__(self) -> str:
        return f"{self.action} {self.side} {self.point} ({self.number})"


class Launcher:
    """The forking parent, from the driver's side. Threads may share one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = Lock()
        self._numbers = itertools.count(1)
        self._living: set[int] = set()  # not yet waited for, so that nobody else can have their numbers
        self._parent = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "tests.torture.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )

    def start(
        self,
        argv: Sequence[str],
        roots: dict[str, Path],
        kill: Kill | None = None,
        armed: Path | None = None,
        orders: Path | None = None,
        wall: Path | None = None,
    ) -> "Run":
        """A process that runs `touchplate ARGV`. `armed`: file before which the plan does not begin.
        `orders`: file by which it is told again and again where to hold (`hooks.Plan`). `wall`: file that
        says by how much its clock is wrong (`walls`)."""
        base = self._folder / f"{next(self._numbers):05d}"
        plan = Plan({name: str(path) for name, path in roots.items()}, f"{base}.hits")
        if kill is not None:
            plan.point, plan.side, plan.number, plan.action = kill.point, kill.side, kill.number, kill.action
        plan.armed = "" if armed is None else str(armed)
        plan.orders = "" if orders is None else str(orders)
        told = {name: value for name, value in asdict(plan).items() if not name.startswith("_")}
        order = {"argv": list(argv), "out": f"{base}.out", "err": f"{base}.err", "plan": told}
        return self._begin(order if wall is None else {**order, "wall": str(wall)}, base)

    def fork(self, argv: Sequence[str], go: Path) -> "Run":
        """A process without hooks that runs `touchplate ARGV` once the file `go` is there."""
        base = self._folder / f"{next(self._numbers):05d}"
        order = {"argv": list(argv), "out": f"{base}.out", "err": f"{base}.err", "go": str(go)}
        return self._begin(order, base)

    def wait(self, pid: int) -> int:
        """The exit code of a process that has ended."""
        code = self._ask({"wait": pid})
        self._living.discard(pid)
        return code

    def _begin(self, order: object, base: Path) -> "Run":
        pid = self._ask(order)
        self._living.add(pid)
        return Run(self, pid, base)

    def close(self) -> None:
        """End the parent, and what a series that broke off has left."""
        for pid in sorted(self._living):
            os.kill(pid, signal.SIGKILL)
            self.wait(pid)
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        self._parent.stdin.close()
        self._parent.stdout.close()
        self._parent.wait(SECONDS)

    def _ask(self, order: object) -> int:
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        with self._lock:
            self._parent.stdin.write(json.dumps(order) + "\n")
            self._parent.stdin.flush()
            return int(self._parent.stdout.readline())


class Waits(Protocol):
    """Who started a process."""

    def wait(self, pid: int) -> int:
        """Its exit code, once it has ended."""


class Run:
    """One process."""

    def __init__(self, launcher: Waits, pid: int, base: Path) -> None:
        self._launcher = launcher
        self._pid = pid
        self._base = base
        self._exit = os.pidfd_open(pid)
        self.code: int | None = None

    @property
    def pid(self) -> int:
        """Its number."""
        return self._pid

    def url(self) -> str | None:
        """What a node prints when it is ready; None when it died before."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            said = self.out()
            if said.endswith("\n") and said.startswith("touchplate: ready at "):
                return said.split()[-1]
            if self.ended(0.01):
                return None
        raise SeriesError(f"not ready after {SECONDS:g} s: {self.err()}")

    def ended(self, seconds: float) -> bool:
        """Whether it has ended, after waiting for so long at most."""
        return self.code is not None or bool(select.select([self._exit], [], [], seconds)[0])

    def wait(self) -> int:
        """Its exit code, -9 when it was killed. Raises SeriesError when it hangs."""
        if self.code is None:
            hangs = not self.ended(SECONDS)
            if hangs:
                os.kill(self._pid, signal.SIGKILL)
            self.code = self._launcher.wait(self._pid)
            os.close(self._exit)
            if hangs:
                raise SeriesError(f"process {self._pid} did not end: {self.err()}")
        return self.code

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal, if it still runs."""
        if not self.ended(0):
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def stop(self) -> int:
        """SIGTERM, and the exit code that follows."""
        self.kill(signal.SIGTERM)
        return self.wait()

    def out(self) -> str:
        """What it printed."""
        return _read(self._base.with_suffix(".out"))

    def err(self) -> str:
        """What it printed as errors."""
        return _read(self._base.with_suffix(".err"))

    def is_explained(self) -> bool:
        """Whether it ended well, was killed, or said in its last line what was wrong: no traceback."""
        return self.code in (0, -signal.SIGKILL) or self.err().rstrip("\n").rpartition("\n")[2].startswith(
            "touchplate: "
        )

    def hits(self) -> list[str]:
        """`before POINT`, `after POINT`, `! SIDE POINT` for the planned one, `? CALL` for an unlisted one."""
        return _read(self._base.with_suffix(".hits")).splitlines()


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


@contextlib.contextmanager
def launching(folder: Path) -> Iterator[Launcher]:
    """A launcher whose processes write into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    launcher = Launcher(folder)
    try:
        yield launcher
    finally:
        launcher.close()
