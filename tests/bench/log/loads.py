"""The load generator's runs: what it is told, what it found, and what the servers spent meanwhile."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.harness import check
from tests.bench.log.processes import tree_cpu
from tests.bench.log.programs import LOAD, program

MORE_SECONDS = 180
"""Over the time that a load was told: for draining what waits, and a busy machine."""


@dataclass(frozen=True)
class Target:
    """A running log: where it takes this kind of load, its raw tree if any, and all processes that serve
    it."""

    address: str
    pids: tuple[int, ...]
    tree: int = 0


@dataclass(frozen=True)
class Result:
    """What a load gave. Latencies in milliseconds; `integrated` counts from the request until a root or
    checkpoint that covers the entry was read, and `rate` is of such entries (of answers, for reads)."""

    entries: int
    seconds: float
    rate: float
    answered_p50: float
    answered_p99: float
    integrated_p50: float
    integrated_p99: float
    pushed_back: int
    first_rate: float
    """Entries a second of the first quarter of the time."""
    last_rate: float
    last_p99: float
    cpu: float
    """CPU seconds of the servers, the database included."""

    @property
    def cpu_each(self) -> float:
        """CPU microseconds of an entry."""
        return self.cpu / self.entries * 1e6


class Run:
    """One run of the generator, which may go on while others do."""

    def __init__(
        self,
        target: Target,
        mode: str,
        flight: int,
        seconds: float,
        *,
        bodies: Path | None = None,
        limit: int = 0,
        size: int = 1024,
    ) -> None:
        self._target = target
        self._seconds = seconds
        arguments = [f"-mode={mode}", f"-target={target.address}", f"-flight={flight}"]
        arguments += [f"-seconds={seconds}s", f"-tree={target.tree}", f"-limit={limit}", f"-size={size}"]
        arguments += [f"-unique={uuid.uuid4().hex}", f"-bodies={bodies or ''}"]
        self._cpu = tree_cpu(target.pids)
        self._child = subprocess.Popen(
            [str(program(LOAD)), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def finish(self) -> Result:
        """Wait for its end. Raises WrongResultError when something was not answered as it must be."""
        try:
            out, err = self._child.communicate(timeout=self._seconds + MORE_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            out, err = self._child.communicate()
            err += " (it took too long)"
        check(self._child.returncode == 0, f"the load failed: {err.strip()[-1000:]}")
        return _result(json.loads(out), tree_cpu(self._target.pids) - self._cpu)


def run(target: Target, mode: str, flight: int, seconds: float, **options: Any) -> Result:
    """One run, to its end."""
    return Run(target, mode, flight, seconds, **options).finish()


def _result(said: dict[str, Any], cpu: float) -> Result:
    integrated = said.get("integrated") or {"p50": 0.0, "p99": 0.0}
    first, last = said["first"], said["last"]
    return Result(
        said["entries"],
        said["seconds"],
        said["rate"],
        said["answered"]["p50"],
        said["answered"]["p99"],
        integrated["p50"],
        integrated["p99"],
        said["pushed_back"],
        first["entries"] / first["seconds"],
        last["entries"] / last["seconds"],
        last["p99"],
        cpu,
    )


def best(results: Sequence[Result]) -> float:
    """The highest rate."""
    return max(one.rate for one in results)
