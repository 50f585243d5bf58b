"""`make bench-peers`: four peers that hold one log, beside the engine's own example network.

Both networks, their clients and whatever else the machine does share its cores, so wall-clock figures are
upper bounds; CPU seconds per entry are what can be compared between runs. The two sides are measured in
turns.
"""

import asyncio
import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

from tests.bench.__main__ import HEADER, machine, show
from tests.bench.add import envelope, frame
from tests.bench.harness import Goal, Row, percentile
from tests.bench.peers.measures import (
    Load,
    Lone,
    Pause,
    check_agreement,
    largest,
    load,
    lone,
    pause,
    wait_size,
)
from tests.bench.peers.networks import PEERS, Kvstore, Ours, stop

from touchplate.log.peers.engine import install_engine
from touchplate.log.peers.transactions import MAX_TX_BYTES

ROUNDS = 2
LONE = 100
BATCHES, BATCH, BATCH_CLIENTS = 20, 256, 8
SINGLES = {40: 1000, 256: 3000}
"""Entries that so many clients hand in one by one. Each waits for its answer, so few clients cannot be
quick."""
CALM_SECONDS, SHAKEN_SECONDS = 3.0, 5.0
KILLS, KILL_BODIES = (1, 2), 4000

P50, P99 = Goal("<", 300, " ms"), Goal("<", 1000, " ms")
RATE, CPU, PAUSE = Goal(">=", 1000, "/s"), Goal("<=", 0.5, " ms"), Goal("<", 2, " s")


class Bench:
    """Both sides, and how much of everything is used up."""

    def __init__(self, folder: Path) -> None:
        self.ours = Ours(folder / "ours")
        self.theirs = Kvstore(folder / "kvstore", self.ours)
        self._made = 0
        self._pairs = 0

    def envelopes(self, count: int) -> list[bytes]:
        """Envelopes that nobody had before."""
        self._made += count
        return [envelope(number) for number in range(self._made - count, self._made)]

    def pairs(self, count: int, length: int) -> list[bytes]:
        """Transactions of the example application, so many bytes long each: key=value."""
        self._pairs += count
        made = []
        for number in range(self._pairs - count, self._pairs):
            text = f"{number:x}={hashlib.sha256(b'%d' % number).hexdigest()}"
            made.append(text.encode().ljust(length, b"0"))
        return made

    async def ready(self) -> None:
        """Wait until both sides take something, and have taken it."""
        await wait_size(self.ours, 0)
        await wait_size(self.theirs, 0)
        await lone(self.ours, self.ours.submit, self.envelopes(4), Lone())
        await lone(self.theirs, self.theirs.commit, self.pairs(4, 100), Lone())

    async def latency(self) -> list[Row]:
        """One entry at a time; both sides in turns, entry by entry."""
        ours, theirs = Lone(), Lone()
        length = 0
        for own in self.envelopes(LONE):
            length = len(own)
            await lone(self.ours, self.ours.submit, [own], ours)
            await lone(self.theirs, self.theirs.commit, self.pairs(1, length), theirs)
        rows = []
        for share, goal in ((0.5, P50), (0.99, P99)):
            mine, others = (1000 * percentile(x, share) for x in (ours.published, theirs.answered))
            said = 1000 * percentile(ours.answered, share)
            rows.append(
                Row(
                    f"one entry of {length:,} B at a time, until published, p{100 * share:.0f}",
                    f"{mine:.0f} ms",
                    f"{others:.0f} ms",
                    mine,
                    goal,
                    f"ratio {mine / others:.2f}; durable and acknowledged {said:.0f} ms; kvstore: committed",
                )
            )
        return rows

    async def batches(self) -> list[Row]:
        """Batches of envelopes, beside transactions as long as ours of the example application."""
        mine, others = [], []
        for _ in range(ROUNDS):
            envelopes = self.envelopes(BATCHES * BATCH)
            bodies = [frame(envelopes[n : n + BATCH]) for n in range(0, len(envelopes), BATCH)]
            size = sum(map(len, envelopes))
            mine.append(await load(self.ours, self.ours.submit_batch, bodies, len(envelopes), BATCH_CLIENTS))
            pairs = self.pairs(size // MAX_TX_BYTES, MAX_TX_BYTES)
            found = await load(self.theirs, self.theirs.submit, pairs, len(pairs), BATCH_CLIENTS)
            found.entries = len(envelopes)  # as many bytes
            others.append(found)
        name = f"add-batch of {BATCH} by {BATCH_CLIENTS} clients"
        return _load_rows(
            name, mine, others, f"as many bytes in transactions of {MAX_TX_BYTES // 1024} KiB", True
        )

    async def singles(self, clients: int, many: int) -> list[Row]:
        """Single envelopes, beside transactions of their size."""
        mine, others = [], []
        for _ in range(ROUNDS):
            envelopes = self.envelopes(many)
            mine.append(await load(self.ours, self.ours.submit, envelopes, many, clients))
            pairs = self.pairs(many, len(envelopes[0]))
            others.append(await load(self.theirs, self.theirs.submit, pairs, many, clients))
        return _load_rows(f"add by {clients} clients", mine, others, "transactions of the same size", False)

    async def pauses(self) -> list[Row]:
        """One peer is killed under load; it comes back before the next one is."""
        mine: list[Pause] = []
        others: list[Pause] = []
        length = len(self.envelopes(1)[0])
        for victim in KILLS:
            for side, send, found, bodies in (
                (self.ours, self.ours.submit, mine, self.envelopes(KILL_BODIES)),
                (self.theirs, self.theirs.commit, others, self.pairs(KILL_BODIES, length)),
            ):
                found.append(await pause(side, send, bodies, victim, (CALM_SECONDS, SHAKEN_SECONDS)))
                side.start_one(victim)
                await wait_size(side, await largest(side))
        worst, other = (max(found, key=lambda one: one.after) for found in (mine, others))
        return [
            Row(
                "longest pause of published heads, one peer killed (-9)",
                f"{worst.after:.2f} s",
                f"{other.after:.2f} s",
                worst.after,
                PAUSE,
                f"worst of {len(KILLS)} kills; longest before them {worst.before:.2f} s,"
                f" kvstore {other.before:.2f} s",
            )
        ]


def _load_rows(name: str, mine: Sequence[Load], others: Sequence[Load], what: str, goals: bool) -> list[Row]:
    own, other = (sorted(found, key=lambda one: one.rate)[len(found) // 2] for found in (mine, others))
    cpu = sum(one.each() for one in mine) / len(mine)
    theirs = sum(one.each() for one in others) / len(others)
    parts = ", ".join(
        f"{program} {sum(one.each(program) for one in mine) / len(mine):.3f}" for program in own.cpu
    )
    bound = (os.cpu_count() or 1) * 1000 / (PEERS * cpu)
    answered = 1000 * percentile(own.answered, 0.5)
    return [
        Row(
            f"{name}: entries published by all {PEERS} peers",
            f"{own.rate:,.0f}/s",
            f"{other.rate:,.0f}/s",
            own.rate,
            RATE if goals else None,
            f"ratio {own.rate / other.rate:.2f}; answered p50 {answered:.0f} ms; kvstore: {what}",
        ),
        Row(
            f"{name}: CPU per entry and peer",
            f"{cpu:.3f} ms",
            f"{theirs:.3f} ms",
            cpu,
            CPU if goals else None,
            f"{parts}; {PEERS} peers on {os.cpu_count()} cores: at most {bound:,.0f}/s",
        ),
    ]


async def measure(folder: Path, only: Sequence[str]) -> None:
    """Print all rows."""
    bench = Bench(folder)
    try:
        await bench.ready()
        figures: dict[str, Callable[[], Awaitable[list[Row]]]] = {
            "latency": bench.latency,
            "batches": bench.batches,
            **{f"add{clients}": partial(bench.singles, clients, many) for clients, many in SINGLES.items()},
            "pauses": bench.pauses,
        }
        for name, figure in figures.items():
            if only and name not in only:
                continue
            began = time.perf_counter()
            rows = await figure()
            await check_agreement(bench.ours)
            for row in rows:
                show((row.figure, row.ours, row.peer, str(row.goal or ""), row.verdict, row.note))
            print(
                f"   {name}: {time.perf_counter() - began:.0f} s, load {os.getloadavg()[0]:.1f}",
                file=sys.stderr,
            )
    finally:
        stop(bench.ours)
        stop(bench.theirs)


def main() -> int:
    """Measure and print."""
    install_engine()
    print(machine())
    print(
        f"peer: the engine's own `kvstore` application, {PEERS} nodes, same engine, configuration and machine"
    )
    show(HEADER)
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(measure(Path(folder), sys.argv[1:]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
