"""Raw trees through Trillian's interface, beside Trillian on the same PostgreSQL server."""

from __future__ import annotations

from functools import partial

from tests.bench.harness import Goal, Row
from tests.bench.log.compare import Open, cost_row, in_turns, latency_row, rate_row
from tests.bench.log.loads import Result, Target, best, run
from tests.bench.log.sides import LOG, PREORDERED, Ours, Trillian, cluster
from tests.postgres import Server

ROUNDS = 2
SECONDS = 5
FLIGHTS = (64, 256)
PEER = "peer"
BESIDE = Goal(">=", 1.5, " x")
COST = Goal("<=", 0.6, " x")
INTEGRATED = Goal("<", 50, " ms")
PROOFS = Goal(">=", 2.5, " x")
PLACED = {"PostgreSQL": Goal(">=", 20_000, "/s"), "SQLite": Goal(">=", 25_000, "/s")}
FILL_SECONDS = 4
FILL_LEAVES = 8_000


def _sides(postgres: Server, kind: int) -> dict[str, Open]:
    """Ours on both databases by their names, and PEER."""
    sides: dict[str, Ours | Trillian]
    sides = {"PostgreSQL": Ours(postgres), "SQLite": Ours(), PEER: Trillian(postgres)}
    return {name: partial(side.raw_tree, kind=kind) for name, side in sides.items()}


def queue(seconds: float = SECONDS, rounds: int = ROUNDS) -> list[Row]:
    """QueueLeaf until a root that covers the leaf was read."""
    loads = {str(flight): partial(_queue, flight, seconds) for flight in FLIGHTS}
    with cluster() as postgres:
        sides = _sides(postgres, LOG)
        found = in_turns(rounds, sides, loads)
    peer = found.pop(PEER)
    top = max(loads, key=peer.rate)
    rows = []
    for name, side in found.items():
        rate, other = max(map(side.rate, loads)), peer.rate(top)
        rows.append(
            Row(
                f"QueueLeaf until integrated, {name}, best of {', '.join(loads)} in flight",
                f"{rate:,.0f}/s",
                f"{other:,.0f}/s",
                rate / other,
                BESIDE,
                f"ratio {rate / other:.2f}; runs {_runs(side.results[top])}, peer {_runs(peer.results[top])}",
            )
        )
        first = str(FLIGHTS[0])
        rows.append(latency_row(f"  integrated p50, {first} in flight", side, peer, first, INTEGRATED))
        rows.append(cost_row("  CPU of a leaf, server and database", side, peer, list(loads), COST))
    return rows


def _queue(flight: int, seconds: float, target: Target) -> Result:
    return run(target, "queue", flight, seconds)


def _runs(results: list[Result]) -> str:
    return " ".join(f"{one.rate:,.0f}" for one in results)


def sequenced(seconds: float = SECONDS, rounds: int = ROUNDS) -> list[Row]:
    """AddSequencedLeaves, 1,000 leaves a call, one call at a time, into a new database; ours without
    ANALYZE."""
    with cluster() as postgres:
        sides = _sides(postgres, PREORDERED)
        found = in_turns(rounds, sides, {"": lambda target: run(target, "sequenced", 1, seconds)})
    peer = found.pop(PEER)
    rows = []
    for name, side in found.items():
        row = rate_row(f"AddSequencedLeaves, 1,000 a call, {name}", side, peer, "", None)
        rate = best(side.results[""])
        rows.append(
            Row(row.figure, row.ours, row.peer, rate, PLACED[name], f"{row.note}; best run {rate:,.0f}/s")
        )
    return rows


def proofs(seconds: float = SECONDS, rounds: int = ROUNDS) -> list[Row]:
    """Inclusion proofs of random leaves, 64 in flight, each verified by the generator."""
    loads = {
        "GetInclusionProof": lambda target: run(target, "proofs", 64, seconds),
        "GetInclusionProofByHash": lambda target: run(target, "by-hash", 64, seconds),
    }
    with cluster() as postgres:
        sides = _sides(postgres, LOG)
        found = in_turns(rounds, sides, loads, before=_fill)
    peer = found.pop(PEER)
    return [
        rate_row(f"{load}, 64 in flight, {name}", side, peer, load, PROOFS)
        for name, side in found.items()
        for load in loads
    ]


def _fill(target: Target) -> Result:
    return run(target, "queue", 256, FILL_SECONDS * 5, limit=FILL_LEAVES)
