"""Turns of several sides under the same loads, and the rows of the table that come of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.harness import Goal, Row, median
from tests.bench.log.loads import Result, Target

Open = Callable[[Path], AbstractContextManager[Target]]
Load = Callable[[Target], Result]


@dataclass(frozen=True)
class Found:
    """Results of one side: of each load, one a turn."""

    results: dict[str, list[Result]] = field(default_factory=dict)

    def median(self, load: str, of: Callable[[Result], float]) -> float:
        """The median over the turns."""
        return median(of(one) for one in self.results[load])

    def rate(self, load: str) -> float:
        """Entries a second."""
        return self.median(load, lambda one: one.rate)

    def cpu_each(self, load: str) -> float:
        """CPU microseconds of an entry."""
        return self.median(load, lambda one: one.cpu_each)


def in_turns(
    rounds: int, sides: Mapping[str, Open], loads: Mapping[str, Load], *, before: Load | None = None
) -> dict[str, Found]:
    """Each side is started, loaded with all loads and stopped once a round, in an order that turns with every
    round. `before`: a load that counts for nothing."""
    found = {name: Found() for name in sides}
    for number in range(rounds):
        order = list(sides.items())
        for name, open_side in order if number % 2 == 0 else reversed(order):
            with (
                tempfile.TemporaryDirectory(prefix="touchplate-bench-") as folder,
                open_side(Path(folder)) as target,
            ):
                if before is not None:
                    before(target)
                for load, work in loads.items():
                    found[name].results.setdefault(load, []).append(work(target))
    return found


def rate_row(
    figure: str, ours: Found, peer: Found | None, load: str, goal: Goal | None, *, note: str = ""
) -> Row:
    """Rates beside each other; the goal is about their ratio, or about our rate when there is no peer."""
    rate, cost = ours.rate(load), ours.cpu_each(load)
    said = f"CPU {cost:,.0f} us an entry"
    if peer is None:
        return Row(figure, f"{rate:,.0f}/s", "", rate, goal, joined(said, note))
    theirs = peer.rate(load)
    said = f"ratio {rate / theirs:.2f}; {said}, peer {peer.cpu_each(load):,.0f}"
    return Row(figure, f"{rate:,.0f}/s", f"{theirs:,.0f}/s", rate / theirs, goal, joined(said, note))


def latency_row(
    figure: str,
    ours: Found,
    peer: Found | None,
    load: str,
    goal: Goal | None,
    of: Callable[[Result], float] = lambda one: one.integrated_p50,
    worse: Callable[[Result], float] = lambda one: one.integrated_p99,
) -> Row:
    """Medians of latencies in milliseconds beside each other."""
    mine, slow = ours.median(load, of), ours.median(load, worse)
    note = f"p99 {slow:,.0f} ms"
    other = ""
    if peer is not None:
        other = f"{peer.median(load, of):,.1f} ms"
        note += f", peer {peer.median(load, worse):,.0f}"
    return Row(figure, f"{mine:,.1f} ms", other, mine, goal, note)


def joined(*texts: str) -> str:
    """Remarks in one line."""
    return "; ".join(text for text in texts if text)


def cost_row(figure: str, ours: Found, peer: Found, loads: Sequence[str], goal: Goal | None) -> Row:
    """CPU of an entry over several loads, servers and database together."""

    def each(side: Found) -> float:
        results = [one for load in loads for one in side.results[load]]
        return sum(one.cpu for one in results) / sum(one.entries for one in results) * 1e6

    mine, other = each(ours), each(peer)
    return Row(figure, f"{mine:,.0f} us", f"{other:,.0f} us", mine / other, goal, f"ratio {mine / other:.2f}")
