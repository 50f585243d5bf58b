"""Servers under measurement: real processes on one core each, started on a free port and stopped in order."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.harness import check

READY = "ready at http://"
STOP_SECONDS = 60


@dataclass(frozen=True)
class Cores:
    """Which core the server runs on, and which one the load generator; the same where there is only one."""

    server: int
    client: int


def choose_cores() -> Cores:
    """The first two cores that this process may use."""
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[-1])


@contextlib.contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """This thread, and the threads it starts, on one core; None leaves it to the system."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, before if core is None else {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass(frozen=True)
class Server:
    """A running server."""

    pid: int
    host: str
    port: int


@contextlib.contextmanager
def serving(command: Sequence[str], core: int | None) -> Iterator[Server]:
    """Run a server that prints `… ready at http://host:port`; SIGTERM at the end must give exit code 0."""
    with pinned(core):  # what is started here stays there
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    said: list[str] = []
    assert child.stdout is not None
    assert child.stderr is not None
    reader = threading.Thread(target=said.extend, args=(child.stderr,), daemon=True)
    reader.start()
    try:
        line = child.stdout.readline()
        check(READY in line, f"{command} did not start: {line!r} {said}")
        host, _, port = line.rpartition("http://")[2].strip().rpartition(":")
        yield Server(child.pid, host, int(port))
        child.send_signal(signal.SIGTERM)
        code = child.wait(STOP_SECONDS)
        check(code == 0, f"{command} ended with {code}: {said}")
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()
        reader.join(STOP_SECONDS)
        child.stdout.close()
        child.stderr.close()


def node_command(config: Path) -> list[str]:
    """`touchplate serve`."""
    return [sys.executable, "-m", "touchplate.verify", "serve", "--config", str(config)]


def log_command(config: Path) -> list[str]:
    """The log alone behind the same server (see log_server)."""
    return [sys.executable, "-m", "tests.bench.log_server", str(config)]
