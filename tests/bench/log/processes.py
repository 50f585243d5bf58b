"""Processes under measurement: started, awaited, ended by pid, and what they and their children cost."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tests.bench.harness import TICKS, check

START_SECONDS = 60
STOP_SECONDS = 60


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextlib.contextmanager
def started(command: Sequence[str], port: int, log: Path, *, ends_with: int | None = 0) -> Iterator[int]:
    """Run a server until the end of the block; its pid, once it accepts connections on `port`.

    `ends_with`: the exit code that SIGTERM must give; None when it may be any.
    """
    with log.open("ab") as out:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not _accepts(port):
            check(
                child.poll() is None and time.monotonic() < deadline,
                f"{command[0]} did not start: {_end(log)}",
            )
            time.sleep(0.05)
        yield child.pid
        check(child.poll() is None, f"{command[0]} ended by itself: {_end(log)}")
        child.send_signal(signal.SIGTERM)
        code = child.wait(STOP_SECONDS)
        check(ends_with in (None, code), f"{command[0]} ended with {code}: {_end(log)}")
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


def tree_cpu(roots: Iterable[int]) -> float:
    """CPU seconds (user and system) of these processes and all below them, those that have ended included.

    A process that ended counts through the one that waited for it, so the sum never falls.
    """
    waiting, ticks = list(roots), 0
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            # After the command's name, in brackets: utime, stime, cutime and cstime are the fields 14 to 17.
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15]))
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
    return ticks / TICKS


def resident_mib(pid: int) -> float:
    """Memory that a process holds now (RSS), in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
