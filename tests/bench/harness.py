"""What every figure shares: clocks, interleaving, percentiles, and the row with its goal and verdict.

Neighbours on the machine disturb wall time far more than CPU time, so CPU seconds decide wherever the work is
CPU work, and wall time stands beside them. Two sides are always measured in turns, never one after the other.
"""

from __future__ import annotations

import os
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Better = Literal["<=", "<", ">="]

TICKS = os.sysconf("SC_CLK_TCK")
"""Units of the CPU times in /proc, per second."""


class WrongResultError(Exception):
    """The measured work was not done, or done wrongly: such a figure is worth nothing."""


class SkippedError(Exception):
    """An outside tool is missing; the text says which, and how to get it."""


@dataclass(frozen=True)
class Goal:
    """What a figure is to reach."""

    better: Better
    limit: float
    unit: str = ""

    def is_met(self, value: float) -> bool:
        """Whether `value` reaches it."""
        match self.better:
            case "<=":
                return value <= self.limit
            case "<":
                return value < self.limit
            case ">=":
                return value >= self.limit

    def __str__(self) -> str:
        return f"{self.better} {self.limit:,.10g}{self.unit}"


@dataclass(frozen=True)
class Row:
    """One line of the table. `value` is what the goal is about; `ours` and `peer` are texts that show it."""

    figure: str
    ours: str
    peer: str
    value: float
    goal: Goal | None
    note: str = ""

    @property
    def verdict(self) -> str:
        """`met`, `MISSED`, or nothing for a row without a goal."""
        if self.goal is None:
            return ""
        return "met" if self.goal.is_met(self.value) else "MISSED"


@dataclass(frozen=True)
class Spent:
    """Seconds of one piece of work."""

    wall: float
    cpu: float


def check(condition: bool, message: str) -> None:
    """Raise WrongResultError with `message` unless `condition` holds."""
    if not condition:
        raise WrongResultError(message)


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of `values` do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * share // 1))
    return ordered[int(rank) - 1]


def median(values: Iterable[float]) -> float:
    """The median."""
    return statistics.median(values)


def spent_here(work: Callable[[], object]) -> Spent:
    """Seconds of `work` in this thread. For work that starts no process and no thread."""
    wall, cpu = time.perf_counter(), time.thread_time()
    work()
    return Spent(time.perf_counter() - wall, time.thread_time() - cpu)


def spent_by_children(work: Callable[[], object]) -> Spent:
    """Seconds of `work`, which runs processes and waits for them; CPU is theirs and their children's."""
    wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    work()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(time.perf_counter() - wall, cpu)


def process_cpu(*pids: int) -> float:
    """CPU seconds (user and system) that living processes have used, with all their threads."""
    total = 0
    for pid in pids:
        # The command's name, in brackets, may hold blanks; utime and stime are the fields 14 and 15.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def in_turns(rounds: int, *sides: Callable[[], Spent]) -> tuple[list[Spent], ...]:
    """Run each side once per round, the order turning with every round; the times of each side.

    What drifts (clock speed, caches, neighbours) then meets all sides alike.
    """
    found: tuple[list[Spent], ...] = tuple([] for _ in sides)
    for number in range(rounds):
        order = list(enumerate(sides))
        for index, side in order if number % 2 == 0 else reversed(order):
            found[index].append(side())
    return found


def ratio(ours: Iterable[Spent], peer: Iterable[Spent]) -> float:
    """Median of our CPU seconds over the median of the peer's."""
    return median(one.cpu for one in ours) / median(one.cpu for one in peer)
