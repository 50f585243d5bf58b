"""What a large log costs: the batch at the end of a million entries beside the first ones, and memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.bench.harness import Goal, Row
from tests.bench.log.loads import Target, run
from tests.bench.log.processes import resident_mib
from tests.bench.log.sides import PREORDERED, Ours

SIZES = (10_000, 990_000)
LONG_SIZES = (10_000, 990_000, 4_000_000)
WINDOW = 50_000
"""Entries of a measured stretch after each growth."""

LEAF_BYTES = 512
SECONDS = 3_600
"""More than any growth takes; the number of entries ends it."""

RATE = Goal(">=", 30_000, "/s")
COMMIT = Goal("<", 100, " ms")
MEMORY = Goal("<", 300, " MiB")


def large(*, long: bool = False) -> list[Row]:
    """AddSequencedLeaves, 1,000 leaves of 512 bytes a call, into SQLite, up to a million and more."""
    rows: list[Row] = []
    with (
        tempfile.TemporaryDirectory(prefix="touchplate-bench-") as folder,
        Ours().raw_tree(Path(folder), PREORDERED) as target,
    ):
        size = 0
        for growth in LONG_SIZES if long else SIZES:
            _grow(target, growth)
            size += growth
            rows += _window(target, size)
            size += WINDOW
        memory = resident_mib(target.pids[0])
    rows.append(Row(f"memory of the server after {size:,} entries", f"{memory:,.0f} MiB", "", memory, MEMORY))
    return rows


def _grow(target: Target, entries: int) -> None:
    run(target, "sequenced", 1, SECONDS, limit=entries, size=LEAF_BYTES)


def _window(target: Target, size: int) -> list[Row]:
    found = run(target, "sequenced", 1, SECONDS, limit=WINDOW, size=LEAF_BYTES)
    note = f"CPU {found.cpu_each:,.0f} us a leaf"
    return [
        Row(
            f"1,000 leaves a call after {size:,}, SQLite", f"{found.rate:,.0f}/s", "", found.rate, RATE, note
        ),
        Row("  call p99", f"{found.answered_p99:,.0f} ms", "", found.answered_p99, COMMIT),
    ]
