"""Writers, proof readers and tile readers at once on one server: what each keeps of its rate alone."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.bench.add import BATCH, frame, post
from tests.bench.harness import Goal, Row
from tests.bench.log.entries import envelopes
from tests.bench.log.loads import Result, Run, Target
from tests.bench.log.sides import LOG, Ours, make_tree
from tests.bench.serving import Server

ALONE_SECONDS = 5
TOGETHER_SECONDS = 20
LONG_SECONDS = 300
SIGNED = 4_096
"""Entries in the log whose tiles are read."""

KEEPS = Goal(">=", 0.4, " x")


def mixed(*, long: bool = False) -> list[Row]:
    """64 writers and 64 proof readers through Trillian's interface, 16 readers of tiles over HTTP; SQLite."""
    together_seconds = LONG_SECONDS if long else TOGETHER_SECONDS
    with (
        tempfile.TemporaryDirectory(prefix="touchplate-bench-") as folder,
        Ours().running(Path(folder)) as (http, rpc),
    ):
        address = f"127.0.0.1:{rpc}"
        tree = Target(address, http.pids, make_tree(address, LOG))
        _fill(http)
        loads = {
            "64 writers (QueueLeaf)": (tree, "queue", 64),
            "64 proof readers (GetInclusionProof)": (tree, "proofs", 64),
            "16 tile readers (HTTP)": (http, "tiles", 16),
        }
        alone = {name: _together({name: load}, ALONE_SECONDS)[name] for name, load in loads.items()}
        both = _together(loads, together_seconds)
    return [
        Row(
            f"mixed load, {together_seconds} s: {name}",
            f"{both[name].rate:,.0f}/s",
            f"{alone[name].rate:,.0f}/s",
            both[name].rate / alone[name].rate,
            KEEPS,
            f"beside: its rate alone; ratio {both[name].rate / alone[name].rate:.2f}; "
            f"p99 {both[name].answered_p99:,.0f} ms",
        )
        for name in loads
    ]


def _fill(http: Target) -> None:
    port = int(http.address.removesuffix("/log").rpartition(":")[2])
    entries = envelopes()[:SIGNED]
    batches = [frame(entries[at : at + BATCH]) for at in range(0, SIGNED, BATCH)]
    post(Server(http.pids[0], "127.0.0.1", port), batches)


def _together(loads: dict[str, tuple[Target, str, int]], seconds: float) -> dict[str, Result]:
    runs = {name: Run(target, mode, flight, seconds) for name, (target, mode, flight) in loads.items()}
    return {name: one.finish() for name, one in runs.items()}
