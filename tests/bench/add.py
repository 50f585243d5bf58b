"""Putting signed entries into a log over its real HTTP face, the server on one core, the generator on
another.

Each entry is an envelope of 2.2 KiB by a P-256 key: a provenance, the largest statement there is, each
about a package version of its own. It is admitted (form, signature, schema, permission), integrated, durable.
"""

from __future__ import annotations

import http.client
import json
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

from tests.api.support import write_node
from tests.bench.harness import Goal, Row, check, percentile, process_cpu
from tests.bench.serving import Server, choose_cores, log_command, node_command, pinned, serving
from tests.simkeys import ORIGIN, log_signer, verifier_key
from tests.verify.support import make_provenance, sign, statement_signer

from touchplate.verify.cli import main as touchplate
from touchplate.verify.purl import maven_purl

ENTRIES = 12_288
BATCH = 512
CONNECTIONS = 4
SINGLE = 400
WARM_UP = 1
WAIT_SECONDS = 120
UNUSED = "http://127.0.0.1:9/"
"""The node's upstream, which nobody asks."""

Command = Callable[[Path], list[str]]

RATE = Goal(">=", 3_000, "/s")
BOTH_CORES = Goal(">=", 5_000, "/s")
LATENCY = Goal("<", 20, " ms")


@dataclass(frozen=True)
class Load:
    """What a load gave: entries, wall seconds, the server's CPU seconds until it had nothing left to do."""

    entries: int
    wall: float
    cpu: float

    @property
    def per_cpu_second(self) -> float:
        """What one core does when it has nobody else to serve."""
        return self.entries / self.cpu


def add(entries: int = ENTRIES, single: int = SINGLE) -> list[Row]:
    """The log in a process of its own, and the whole node, whose index follows the log on the same core."""
    envelopes = [envelope(number) for number in range(entries + single)]
    kib = sum(map(len, envelopes)) / len(envelopes) / 1024
    alone = measure_batches(log_command, envelopes[:entries])
    both = measure_batches(log_command, envelopes[:entries], alone=False)
    whole = measure_batches(node_command, envelopes[:entries])
    wall, cpu = measure_single(envelopes[entries:])
    p50, p99 = percentile(wall, 0.5), percentile(wall, 0.99)
    return [
        _rate(f"add-batch, {kib:.1f} KiB P-256 envelopes, the log", alone, RATE),
        _wall("the same, server and generator share two cores", both),
        _rate("the same, the whole node, index caught up", whole, None),
        Row(
            "add, one at a time, whole node, p50",
            f"{p50:.1f} ms",
            "",
            p50,
            LATENCY,
            f"wall; p99 {p99:.1f} ms; server CPU {cpu * 1000:.2f} ms each",
        ),
    ]


def _rate(name: str, load: Load, goal: Goal | None) -> Row:
    rate = load.per_cpu_second
    note = f"per CPU second of the server; wall {load.entries / load.wall:,.0f}/s on its one core"
    return Row(name, f"{rate:,.0f}/s", "", rate, goal, note)


def _wall(name: str, load: Load) -> Row:
    rate = load.entries / load.wall
    note = f"wall, with whatever else the machine did; server CPU {load.cpu / load.wall:.2f} cores"
    return Row(name, f"{rate:,.0f}/s", "", rate, BOTH_CORES, note)


def envelope(number: int) -> bytes:
    """A provenance about a package version of its own."""
    purl = maven_purl("org.example", "lib", f"1.0.{number}")
    return sign(make_provenance(b"%d" % number, purl), statement_signer("rebuilder-a")).envelope


def measure_batches(command: Command, envelopes: Sequence[bytes], *, alone: bool = True) -> Load:
    """All of `envelopes` in batches over a few connections; then what the server holds is recomputed.

    `alone`: the server on one core, the generator on another; else both wherever there is room.
    """
    batches = [frame(envelopes[start : start + BATCH]) for start in range(0, len(envelopes), BATCH)]
    cores = choose_cores()
    on, off = (cores.server, cores.client) if alone else (None, None)
    with tempfile.TemporaryDirectory() as folder:
        config = write_node(Path(folder), UNUSED)
        with serving(command(config), on) as server, pinned(off):
            post(server, batches[:WARM_UP])
            used, began = process_cpu(server.pid), time.perf_counter()
            indexes = post(server, batches[WARM_UP:])
            wall = time.perf_counter() - began
            if command is node_command:
                wait_for_index(server, len(envelopes))
            used = process_cpu(server.pid) - used
        check(
            sorted(indexes) == list(range(BATCH * WARM_UP, len(envelopes))), "not every entry got its index"
        )
        check_log(Path(folder), len(envelopes))
    return Load(len(indexes), wall, used)


def measure_single(envelopes: Sequence[bytes]) -> tuple[list[float], float]:
    """One entry after the other over one connection: wall milliseconds of each, and the server's mean CPU
    seconds."""
    cores = choose_cores()
    wall = []
    with tempfile.TemporaryDirectory() as folder:
        config = write_node(Path(folder), UNUSED)
        with (
            serving(node_command(config), cores.server) as server,
            pinned(cores.client),
            closing(connect(server)) as connection,
        ):
            used = process_cpu(server.pid)
            for number, body in enumerate(envelopes):
                began = time.perf_counter()
                answer = ask(connection, "/log/add", body)
                wall.append((time.perf_counter() - began) * 1000)
                check(answer == b"%d" % number, f"entry {number} was answered with {answer[:80]!r}")
            used = process_cpu(server.pid) - used
        check_log(Path(folder), len(envelopes))
    return wall, used / len(envelopes)


def frame(envelopes: Sequence[bytes]) -> bytes:
    """The body of an add-batch."""
    return b"".join(len(one).to_bytes(4, "big") + one for one in envelopes)


def post(server: Server, batches: Sequence[bytes]) -> list[int]:
    """Send the batches over `CONNECTIONS` connections; all indexes that were answered."""
    waiting = list(reversed(batches))
    indexes: list[int] = []
    failures: list[Exception] = []

    def work() -> None:
        with closing(connect(server)) as connection:
            while True:
                try:
                    body = waiting.pop()
                except IndexError:
                    return
                try:
                    results = json.loads(ask(connection, "/log/add-batch", body))["results"]
                    check(not any(one.get("duplicate") for one in results), "a new entry was called known")
                    indexes.extend(int(one["index"]) for one in results)
                except Exception as error:
                    failures.append(error)
                    return

    threads = [threading.Thread(target=work) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check(not failures, f"a batch failed: {failures}")
    return indexes


def connect(server: Server) -> http.client.HTTPConnection:
    """A connection that is kept."""
    return http.client.HTTPConnection(server.host, server.port, timeout=WAIT_SECONDS)


def ask(connection: http.client.HTTPConnection, path: str, body: bytes) -> bytes:
    """POST; the body of the answer, which must be 200."""
    connection.request("POST", path, body)
    response = connection.getresponse()
    answer = response.read()
    check(response.status == 200, f"{path} was answered with {response.status}: {answer[:200]!r}")
    return answer


def wait_for_index(server: Server, size: int) -> None:
    """Until the node's index has followed the log to `size` entries."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        with closing(connect(server)) as connection:
            connection.request("GET", "/api/v1/checkpoint")
            if json.loads(connection.getresponse().read())["followed"] == str(size):
                return
        time.sleep(0.2)
    check(False, f"the index did not reach {size} entries")


def check_log(folder: Path, size: int) -> None:
    """`touchplate log fsck` over the stopped server's database: clean, of this size, signed."""
    policy = folder / "policy.txt"
    policy.write_text(f"log {verifier_key(log_signer())}\nquorum none\n")
    with tempfile.TemporaryFile("w+") as out, redirect_stdout(out):
        database = str(folder / "data" / "log" / "log.sqlite")
        arguments = ["log", "fsck", "--db", database, "--origin", ORIGIN, "--policy", str(policy), "--json"]
        code = touchplate(arguments)
        out.seek(0)
        said = json.loads(out.read())
    check(code == 0 and said["clean"], f"fsck found something: {said}")
    check(said["size"] == str(size), f"the log has {said['size']} entries, not {size}")
