"""Two nodes of one queue whose clocks are hours apart and jump; one of the workers asks the second."""

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Engine, text
from tests.builder.queue.queuehost import Host
from tests.e2e.worlds import free_port
from tests.torture.oracle import INCONSISTENT, Finding
from tests.torture.process import Launcher, Run, SeriesError
from tests.torture.walls import set_wall

from touchplate.base.sql import begin_read

OFF = (-(10**8), -5 * 3600, -600, -50, 0, 50, 600, 5 * 3600, 10**8)
"""Seconds by which a clock is wrong: years, hours, and as long as many leases of two seconds."""

APART_SECONDS = 3600
"""The least that times in a queue's rows are apart when the clocks were wrong: no series takes so long."""


def check_apart(engine: Engine) -> Iterator[Finding]:
    """Whether the clocks that wrote the rows were wrong at all: else the series has shown nothing."""
    with begin_read(engine) as transaction:
        first, last = transaction.execute(text("SELECT min(leased), max(leased) FROM jobs")).one()
    if last - first < APART_SECONDS:
        yield Finding(INCONSISTENT, f"the nodes' clocks were right: all leases began within {last - first} s")


class Skew:
    """The clocks of both nodes, and the second node. It serves the evidence of the first, and a log that
    nobody is told of: its worker writes into the first one's."""

    def __init__(self, host: Host, config: Path, launcher: Launcher, chooser: random.Random) -> None:
        self._host, self._launcher, self._chooser = host, launcher, chooser
        self._port = free_port()
        self._config = config.with_name("second.toml")
        text = config.read_text().replace('data = "data"', 'data = "second"', 1)
        port = host.url.rsplit(":", 1)[1]
        self._config.write_text(text.replace(f"127.0.0.1:{port}", f"127.0.0.1:{self._port}", 1))
        self._walls = [config.with_name(name) for name in ("first.wall", "second.wall")]
        self.jump()
        self._run: Run | None = None

    @property
    def wall(self) -> Path:
        """Of the first node."""
        return self._walls[0]

    def jump(self) -> None:
        """Both clocks are wrong by something else."""
        for path in self._walls:
            set_wall(path, self._chooser.choice(OFF))

    def start(self) -> None:
        """The second node, if it does not run; the first does. Raises SeriesError."""
        if self._run is not None and not self._run.ended(0):
            return
        data = self._config.with_name("second")
        if not data.exists():
            data.mkdir()
            (data / "evidence").symlink_to(self._config.with_name("data") / "evidence")
        self._run = self._launcher.start(["serve", "--config", str(self._config)], {}, wall=self._walls[1])
        if self._run.url() is None:
            raise SeriesError(f"the second node ended with {self._run.wait()}: {self._run.err()[-1500:]}")

    def worker_argv(self, number: int, slots: int) -> list[str]:
        """The command of a worker of the second node."""
        there = replace(self._host, url=f"http://127.0.0.1:{self._port}")
        return there.worker_argv(number, slots=slots, log=f"{self._host.url}/log")

    def maybe_kill(self) -> int:
        """With the first node dies the second, every other time. How many processes died."""
        self.jump()
        if self._run is None or self._chooser.random() < 0.5:
            return 0
        self.close()
        return 1

    def stop(self) -> int:
        """End the second node in order; its exit code."""
        assert self._run is not None
        return self._run.stop()

    def close(self) -> None:
        """Kill it."""
        if self._run is not None:
            self._run.kill()
            self._run.wait()
