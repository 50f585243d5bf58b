"""What a call costs before any of it is ours: a grpc.aio server that answers QueueLeaf with constants."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import uvloop
from google.rpc.status_pb2 import Status
from tests.bench.harness import Row
from tests.bench.log.compare import in_turns, rate_row
from tests.bench.log.loads import Result, Target, run
from tests.bench.log.processes import free_port, started
from tests.bench.log.sides import LOG, Ours

from touchplate.proto.trillian.trillian_log_api_pb2 import LogLeaf, QueuedLogLeaf, QueueLeafResponse

ROUNDS = 2
SECONDS = 4
FLIGHTS = (64, 256)
VALUE = bytes(1024)
HASH = bytes(32)


def bare(seconds: float = SECONDS, rounds: int = ROUNDS) -> list[Row]:
    """Answers a second, and CPU of an answer, beside such a server: what could still be gained by us."""
    loads = {str(flight): partial(_calls, flight, seconds) for flight in FLIGHTS}
    found = in_turns(rounds, {"ours": partial(Ours().raw_tree, kind=LOG), "bare": _running}, loads)
    return [
        rate_row(
            f"QueueLeaf answered, SQLite, {load} in flight, beside a grpc.aio that does nothing",
            found["ours"],
            found["bare"],
            load,
            None,
        )
        for load in loads
    ]


def _calls(flight: int, seconds: float, target: Target) -> Result:
    return run(target, "calls", flight, seconds)


@contextlib.contextmanager
def _running(folder: Path) -> Iterator[Target]:
    port = free_port()
    command = [sys.executable, "-m", __name__, str(port)]
    with started(command, port, folder / "server.log", ends_with=None) as pid:
        yield Target(f"127.0.0.1:{port}", (pid,))


async def _serve(port: int) -> None:
    leaf = LogLeaf(leaf_value=VALUE, merkle_leaf_hash=HASH, leaf_identity_hash=HASH)
    queued = QueuedLogLeaf(leaf=leaf, status=Status(message="OK"))
    answer = QueueLeafResponse(queued_leaf=queued).SerializeToString()

    async def queue(_data: bytes, _context: Any) -> bytes:
        return answer

    methods: dict[str, Any] = {"QueueLeaf": grpc.unary_unary_rpc_method_handler(queue)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("trillian.TrillianLog", methods),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
