"""Signed entries into a log over HTTP: one at a time, many, in batches; beside Tessera taking the same bytes.

An entry is a provenance of 2.2 KiB by a P-256 key. Our log checks its form, signature, schema and permission
and finds duplicates exactly; Tessera takes any bytes. A log starts empty in every turn, so the same entries
serve all of them.
"""

from __future__ import annotations

import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from tests.bench.add import BATCH, check_log, envelope, frame, post
from tests.bench.caches import cached, say
from tests.bench.harness import Goal, Row, check
from tests.bench.log.compare import Found, in_turns, latency_row, rate_row
from tests.bench.log.loads import Result, Target, run
from tests.bench.log.processes import free_port, started, tree_cpu
from tests.bench.log.sides import Ours, Tessera, cluster, log_command, write_log
from tests.bench.serving import Server, choose_cores, pinned

COUNT = 30_000
"""Entries that are signed once and kept."""
FORM = 1
"""Counts up when the entries must be made anew."""

ROUNDS = 2
SHARES = {1: 1_000, 64: 9_000, 512: 20_000}
"""Entries for each number in flight: together COUNT."""
SECONDS = 6
SINGLE = 1_500
BATCHED = 16_384

RATE_64 = Goal(">=", 5_000, "/s")
BESIDE = Goal(">=", 1.0, " x")
PUBLISHED = Goal("<", 100, " ms")
ONE_CORE, TWO_CORES = Goal(">=", 3_000, "/s"), Goal(">=", 5_000, "/s")
P50, P99 = Goal("<", 5, " ms"), Goal("<", 30, " ms")


def envelopes() -> list[bytes]:
    """COUNT different entries."""

    def make(folder: Path) -> None:
        say(f"signing {COUNT:,} entries, once")
        (folder / "entries").write_bytes(frame([envelope(number) for number in range(COUNT)]))

    data = (cached(f"entries-{COUNT}-{FORM}", make) / "entries").read_bytes()
    found, at = [], 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "big")
        found.append(data[at + 4 : end])
        at = end
    return found


@contextlib.contextmanager
def entry_files(shares: dict[int, int]) -> Iterator[dict[int, Path]]:
    """The entries of each number in flight, in a file for the generator."""
    entries, at = envelopes(), 0
    with tempfile.TemporaryDirectory(prefix="touchplate-bench-") as folder:
        files = {}
        for flight, count in shares.items():
            files[flight] = Path(folder) / str(flight)
            files[flight].write_bytes(frame(entries[at : at + count]))
            at += count
        yield files


def http(seconds: float = SECONDS, rounds: int = ROUNDS) -> list[Row]:
    """POST /add until a checkpoint that covers the entry was read."""
    with entry_files(SHARES) as files:
        loads = {str(flight): partial(_add, flight, seconds, files[flight]) for flight in SHARES}
        sides = {"ours": partial(_http, Ours()), "peer": partial(_http, Tessera())}
        found = in_turns(rounds, sides, loads)
    ours, peer = found["ours"], found["peer"]
    name = "add, signed, 2.2 KiB"
    rows = [rate_row(f"{name}, 512 in flight", ours, peer, "512", BESIDE, note=_pushed(ours, peer))]
    rows.append(latency_row("  published p50", ours, peer, "512", PUBLISHED))
    row = rate_row(f"{name}, 64 in flight", ours, peer, "64", None)
    rows.append(Row(row.figure, row.ours, row.peer, ours.rate("64"), RATE_64, row.note))
    rows.append(latency_row("  published p50", ours, peer, "64", PUBLISHED))
    rows.append(rate_row(f"{name}, 1 in flight", ours, peer, "1", None))
    rows.append(latency_row("  published p50", ours, peer, "1", PUBLISHED))
    return rows


def _pushed(ours: Found, peer: Found) -> str:
    counts = [sum(one.pushed_back for one in side.results["512"]) for side in (ours, peer)]
    return f"pushed back {counts[0]}, peer {counts[1]}"


def _add(flight: int, seconds: float, file: Path, target: Target) -> Result:
    return run(target, "http", flight, seconds, bodies=file)


@contextlib.contextmanager
def _http(side: Ours | Tessera, folder: Path) -> Iterator[Target]:
    with side.running(folder) as (target, _):
        yield target


def single(rounds: int = ROUNDS) -> list[Row]:
    """One writer: from its call until it has read a checkpoint that covers the entry."""
    with entry_files({1: SINGLE}) as files, cluster() as postgres:
        sides = {"SQLite": partial(_http, Ours()), "PostgreSQL": partial(_http, Ours(postgres))}
        found = in_turns(rounds, sides, {"1": partial(_add, 1, SECONDS, files[1])})
    rows = []
    for name, side in found.items():
        rows.append(latency_row(f"one writer, until published, p50, {name}", side, None, "1", P50))
        slow = latency_row("  p99", side, None, "1", P99, lambda one: one.integrated_p99)
        rows.append(
            Row(slow.figure, slow.ours, "", slow.value, P99, f"CPU {side.cpu_each('1'):,.0f} us an entry")
        )
    return rows


def signed(count: int = BATCHED) -> list[Row]:
    """add-batch of signed entries: the server on one core, then on all, with the generator beside it."""
    batch = envelopes()[:count]
    one, all_cores = _batches(batch, one_core=True), _batches(batch, one_core=False)
    return [
        _batch_row("add-batch, signed, 2.2 KiB, server on one core", one, ONE_CORE),
        _batch_row("add-batch, signed, 2.2 KiB, server on all cores", all_cores, TWO_CORES),
    ]


def _batch_row(figure: str, load: tuple[float, float], goal: Goal) -> Row:
    rate, each = load
    note = f"wall; CPU {each:,.0f} us an entry ({1e6 / each:,.0f} per CPU second)"
    return Row(figure, f"{rate:,.0f}/s", "", rate, goal, note)


def _batches(entries: Sequence[bytes], *, one_core: bool) -> tuple[float, float]:
    """Rate, and CPU microseconds of an entry; then the stopped log is recomputed."""
    batches = [frame(entries[start : start + BATCH]) for start in range(0, len(entries), BATCH)]
    cores = choose_cores()
    with tempfile.TemporaryDirectory(prefix="touchplate-bench-") as name:
        folder, port = Path(name), free_port()
        command = log_command(write_log(folder, port, None, None))
        with contextlib.ExitStack() as stack:
            placed = pinned(cores.server) if one_core else contextlib.nullcontext()
            with placed:  # what is started here stays there
                pid = stack.enter_context(started(command, port, folder / "server.log"))
            if one_core:
                stack.enter_context(pinned(cores.client))
            server = Server(pid, "127.0.0.1", port)
            post(server, batches[:1])
            used, began = tree_cpu([pid]), time.perf_counter()
            indexes = post(server, batches[1:])
            wall, used = time.perf_counter() - began, tree_cpu([pid]) - used
        check(sorted(indexes) == list(range(BATCH, len(entries))), "not every entry got its index")
        check_log(folder, len(entries))
    return len(indexes) / wall, used / len(indexes) * 1e6
