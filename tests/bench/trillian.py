"""Trillian's interface: leaves queued until they are integrated, and inclusion proofs, over gRPC on loopback.

The server is `touchplate log serve` on SQLite with default settings; the client shares the machine with it,
so that CPU per call is the figure, and the rate stands beside it. No Trillian runs beside it here.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
from tests.bench.harness import Row, Spent, check, median, process_cpu
from tests.bench.inclusion import is_included
from tests.log.trillian.process import address, write_config
from tests.log.trillian.support import Client
from tests.node.test_log_serve import LogProcess

from touchplate.proto.trillian.trillian_log_api_pb2 import (
    GetInclusionProofRequest,
    GetInclusionProofResponse,
    LogLeaf,
    QueueLeafRequest,
)
from touchplate.proto.trillian.trillian_log_api_pb2_grpc import TrillianLogStub
from touchplate.verify.rfc6962 import leaf_hash

LEAVES = 3_000
PROOFS = 3_000
IN_FLIGHT = 64
ROUNDS = 3
SECONDS = 60
SIZE = 1024
"""Bytes of a leaf."""

Ask = Callable[[TrillianLogStub, int], Awaitable[None]]


def trillian(leaves: int = LEAVES, proofs: int = PROOFS, rounds: int = ROUNDS) -> list[Row]:
    """Rows for QueueLeaf and GetInclusionProof."""
    with tempfile.TemporaryDirectory() as folder:
        process = LogProcess(write_config(Path(folder)))
        try:
            where = address(process)
            with grpc.insecure_channel(where) as channel:
                return _measure(Client(channel, where), process.child.pid, leaves, proofs, rounds)
        finally:
            process.close()


def _measure(client: Client, pid: int, leaves: int, proofs: int, rounds: int) -> list[Row]:
    tree, indexes = client.make(), dict[int, int]()  # index by number of leaf

    async def queue(stub: TrillianLogStub, number: int) -> None:
        request = QueueLeafRequest(log_id=tree, leaf=LogLeaf(leaf_value=_leaf(number)))
        answer = await stub.QueueLeaf(request, timeout=SECONDS)
        check(answer.queued_leaf.status.code == 0, "a leaf was not new")
        indexes[number] = answer.queued_leaf.leaf.leaf_index

    runs = [_run(client, pid, queue, at * leaves, leaves) for at in range(rounds)]
    root = client.root(tree)
    check(root.size == leaves * rounds == len(set(indexes.values())), "an answered leaf is not integrated")
    got: list[tuple[int, GetInclusionProofResponse]] = []

    async def prove(stub: TrillianLogStub, _: int) -> None:
        number = random.randrange(root.size)
        request = GetInclusionProofRequest(log_id=tree, leaf_index=indexes[number], tree_size=root.size)
        got.append((number, await stub.GetInclusionProof(request, timeout=SECONDS)))

    asked = [_run(client, pid, prove, 0, proofs) for _ in range(rounds)]
    for number, answer in got:
        leaf, index, hashes = leaf_hash(_leaf(number)), indexes[number], list(answer.proof.hashes)
        check(is_included(leaf, index, root.size, hashes, root.root), "a proof is wrong")
    return [
        _row(f"Trillian's QueueLeaf, {SIZE} B, {IN_FLIGHT} in flight, until integrated", runs, leaves),
        _row(f"Trillian's GetInclusionProof, {IN_FLIGHT} in flight, {root.size:,} leaves", asked, proofs),
    ]


def _leaf(number: int) -> bytes:
    return b"%d " % number + bytes(SIZE - len(b"%d " % number))


def _run(client: Client, pid: int, ask: Ask, first: int, count: int) -> Spent:
    """`count` calls, so many at the same time; CPU is the server's."""

    async def main() -> None:
        async with grpc.aio.insecure_channel(client.address) as channel:
            stub = TrillianLogStub(channel)  # type: ignore[no-untyped-call]
            numbers = iter(range(first, first + count))

            async def work() -> None:
                for number in numbers:
                    await ask(stub, number)

            await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))

    began, used = time.perf_counter(), process_cpu(pid)
    asyncio.run(main())
    return Spent(time.perf_counter() - began, process_cpu(pid) - used)


def _row(figure: str, runs: list[Spent], count: int) -> Row:
    rate, cost = count / median(one.wall for one in runs), median(one.cpu for one in runs) / count
    note = f"server's CPU {cost * 1e6:,.0f} us a call; the client on the same cores"
    return Row(figure, f"{rate:,.0f}/s", "", rate, None, note)
