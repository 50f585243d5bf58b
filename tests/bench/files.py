"""Sending a jar through the Maven route of a real node, allowed by the gate each time, beside nginx's
sendfile.

Both serve the same file from the same disk to the same client, in turns; what counts is the server's CPU
per GB.
"""

from __future__ import annotations

import hashlib
import random
import socket
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.api.support import running_upstream, write_node
from tests.bench.harness import Goal, Row, Spent, check, in_turns, median, process_cpu, ratio
from tests.bench.nginx import running_nginx
from tests.bench.serving import Cores, Server, choose_cores, node_command, pinned, serving

MIB = 1024 * 1024
BODIES = {"64 MiB jar": (64 * MIB, 24), "658 KB jar": (657_952, 1_500)}
"""Size and requests per round: a large one, and commons-lang3 3.17.0's."""

ROUNDS = 6
GOAL = Goal("<=", 1.5, "x")
BUFFER = MIB
WAIT_SECONDS = 60

RULES = '[[gate.rule]]\nneed = ["recorded"]\n'


def files(rounds: int = ROUNDS) -> list[Row]:
    """One row per size of file."""
    cores = choose_cores()
    rows = []
    with tempfile.TemporaryDirectory() as folder, running_upstream() as upstream:
        root = Path(folder) / "root"
        root.mkdir(mode=0o755)
        Path(folder).chmod(0o755)  # nginx's worker is another user when this one is root
        bodies = {}
        for number, (name, (size, _)) in enumerate(BODIES.items()):
            bodies[name] = random.Random(number).randbytes(size)
            (root / _jar(number)).parent.mkdir(parents=True)
            (root / _jar(number)).write_bytes(bodies[name])
            upstream.put(_jar(number), bodies[name])
        config = write_node(Path(folder) / "node", upstream.url, rules=RULES)
        with (
            running_nginx(Path(folder), root, cores.server) as (peer, pids),
            serving(node_command(config), cores.server) as ours,
        ):
            for number, (name, (size, requests)) in enumerate(BODIES.items()):
                digest = hashlib.sha256(bodies[name]).hexdigest()
                sides = (
                    _Side(ours, f"/maven/central/{_jar(number)}", (ours.pid,), digest),
                    _Side(peer, f"/{_jar(number)}", pids, digest),
                )
                rows.append(_measure(name, sides, cores, size * requests, requests, rounds))
    return rows


def _jar(number: int) -> str:
    return f"org/example/big{number}/1.0/big{number}-1.0.jar"


class _Side:
    """One server, and the path at which it has the file."""

    def __init__(self, server: Server, path: str, pids: tuple[int, ...], sha256: str) -> None:
        self._server = server
        self._request = f"GET {path} HTTP/1.1\r\nHost: {server.host}:{server.port}\r\n\r\n".encode()
        self._pids = pids
        self._sha256 = sha256

    def check_bytes(self) -> None:
        """A whole answer, hashed."""
        state = hashlib.sha256()
        with closing(self._connect()) as connection:
            self._get(connection, state.update)
        check(state.hexdigest() == self._sha256, f"{self._request!r} gave other bytes")

    def run(self, requests: int) -> Spent:
        """Several requests over one connection; bodies are received and dropped."""
        used, began = process_cpu(*self._pids), time.perf_counter()
        with closing(self._connect()) as connection:
            for _ in range(requests):
                self._get(connection, lambda _: None)
        return Spent(time.perf_counter() - began, process_cpu(*self._pids) - used)

    def _connect(self) -> socket.socket:
        return socket.create_connection((self._server.host, self._server.port), WAIT_SECONDS)

    def _get(self, connection: socket.socket, take: Callable[[memoryview], object]) -> None:
        connection.sendall(self._request)
        buffer = memoryview(bytearray(BUFFER))
        filled = 0
        while (end := bytes(buffer[:filled]).find(b"\r\n\r\n")) < 0:
            got = connection.recv_into(buffer[filled:])
            check(got > 0, "the server closed the connection")
            filled += got
        head = bytes(buffer[:end]).decode("latin-1").lower()
        check(head.startswith("http/1.1 200"), f"the server answered {head[:200]!r}")
        left = int(head.partition("content-length:")[2].partition("\r\n")[0])
        take(buffer[end + 4 : filled])
        left -= filled - end - 4
        while left:
            got = connection.recv_into(buffer, min(left, BUFFER))
            check(got > 0, "the server cut the body")
            take(buffer[:got])
            left -= got


def _measure(
    name: str, sides: tuple[_Side, _Side], cores: Cores, size: int, requests: int, rounds: int
) -> Row:
    with pinned(cores.client):
        for side in sides:
            side.check_bytes()
        mine, theirs = in_turns(rounds, *(lambda side=side: side.run(requests) for side in sides))
        for side in sides:
            side.check_bytes()
    per_gb = [median(one.cpu for one in side) / size * 1e9 for side in (mine, theirs)]
    wall = [size / 1e9 / median(one.wall for one in side) for side in (mine, theirs)]
    value = ratio(mine, theirs)
    note = f"server CPU s/GB, ratio {value:.2f}; wall {wall[0]:.2f} and {wall[1]:.2f} GB/s"
    return Row(
        f"{name} allowed by the gate, beside nginx", f"{per_gb[0]:.3f}", f"{per_gb[1]:.3f}", value, GOAL, note
    )
