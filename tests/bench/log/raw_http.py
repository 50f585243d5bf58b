"""Leaves of 1 KiB into a raw tree over HTTP, until a checkpoint that covers them was read; beside Tessera.

Both sides take any bytes, hash them, find duplicates and sign: Tessera 1.0.4 in a folder with `--antispam`,
ours on SQLite, where finding duplicates is exact. The generator makes the leaves and is the same for both.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from tests.bench.harness import Goal, Row
from tests.bench.log.compare import Open, cost_row, in_turns, latency_row, rate_row
from tests.bench.log.loads import Result, Target, run
from tests.bench.log.sides import Ours, Tessera

ROUNDS = 2
SECONDS = 5
FLIGHTS = (1, 64, 512)
BESIDE = Goal(">=", 1.0, " x")
PUBLISHED = Goal("<", 100, " ms")
RATE_64 = Goal(">=", 5_000, "/s")


def raw_add(seconds: float = SECONDS, rounds: int = ROUNDS) -> list[Row]:
    """POST /add of raw leaves, 1, 64 and 512 in flight."""
    loads = {str(flight): partial(_add, flight, seconds) for flight in FLIGHTS}
    sides: dict[str, Open] = {"ours": Ours().raw_http, "peer": _tessera}
    found = in_turns(rounds, sides, loads)
    ours, peer = found["ours"], found["peer"]
    rows = []
    for flight in reversed(FLIGHTS):
        load = str(flight)
        figure = f"add, raw, 1 KiB, {flight} in flight"
        row = rate_row(figure, ours, peer, load, BESIDE)
        if flight == 64:
            row = Row(figure, row.ours, row.peer, ours.rate(load), RATE_64, row.note)
        pushed = [sum(one.pushed_back for one in side.results[load]) for side in (ours, peer)]
        rows.append(
            Row(
                row.figure,
                row.ours,
                row.peer,
                row.value,
                row.goal if flight > 1 else None,
                f"{row.note}; pushed back {pushed[0]}, peer {pushed[1]}",
            )
        )
        rows.append(latency_row("  published p50", ours, peer, load, PUBLISHED))
    rows.append(cost_row("  CPU of an entry at 512 in flight", ours, peer, ["512"], None))
    return rows


def _add(flight: int, seconds: float, target: Target) -> Result:
    return run(target, "http", flight, seconds)


@contextlib.contextmanager
def _tessera(folder: Path) -> Iterator[Target]:
    with Tessera().running(folder) as (target, _):
        yield target
