"""A server that is killed under load: what it answered is there, once, and roots go on."""

import random
import signal
import threading
from pathlib import Path

import grpc
import pytest
from tests.log.trillian.process import address, write_config
from tests.log.trillian.support import Client
from tests.node.test_log_serve import LogProcess
from tests.reference import mth

from touchplate.base.sql import sqlite_engine
from touchplate.log.fsck import check_log
from touchplate.log.storage.registry import raw_name
from touchplate.log.storage.rows import TreeRows
from touchplate.log.trillian.roots import LogRoot
from touchplate.proto.trillian.trillian_log_api_pb2 import GetLeavesByRangeRequest

ROUNDS = 5
WRITERS = 4


class Load:
    """Writers of one tree, until the server is gone. `acked`: index by value."""

    def __init__(self) -> None:
        self.acked: dict[bytes, int] = {}
        self._next = 0
        self._lock = threading.Lock()

    def write(self, client: Client, tree: int, enough: threading.Event) -> None:
        while True:
            with self._lock:
                self._next += 1
                value = b"%d" % self._next
            try:
                queued = client.queue(tree, value)
            except grpc.RpcError:
                return
            with self._lock:
                self.acked[value] = queued.leaf.leaf_index
                if len(self.acked) % 40 == 0:
                    enough.set()


@pytest.mark.parametrize("seed", [1])
def test_acknowledged_leaves_outlive_kills(tmp_path: Path, seed: int) -> None:
    config, load, chance = write_config(tmp_path), Load(), random.Random(seed)
    tree, roots = 0, list[LogRoot]()
    for number in range(ROUNDS + 1):
        process = LogProcess(config)
        try:
            where = address(process)
            with grpc.insecure_channel(where) as channel:
                client = Client(channel, where)
                tree = tree or client.make()
                roots.append(client.root(tree))
                if number == ROUNDS:
                    check(client, tree, load)
                    roots.append(client.root(tree))
                    assert process.stop() == 0
                    break
                enough = threading.Event()
                writers = [
                    threading.Thread(target=load.write, args=(client, tree, enough)) for _ in range(WRITERS)
                ]
                for one in writers:
                    one.start()
                assert enough.wait(60)
                threading.Event().wait(chance.random() / 50)
                process.child.send_signal(signal.SIGKILL)
                for one in writers:
                    one.join()
        finally:
            process.close()
    nanos = [root.nanos for root in roots]
    assert nanos == sorted(nanos)
    assert len({root.nanos for root in roots}) == len({root.size for root in roots})
    assert roots[-1].size >= len(load.acked) >= ROUNDS * 40
    engine = sqlite_engine(tmp_path / "data" / "log" / "log.sqlite")
    rows = TreeRows(engine, raw_name(tree))
    assert check_log(rows).findings == []
    rows.close()
    engine.dispose()


def check(client: Client, tree: int, load: Load) -> None:
    root = client.root(tree)
    leaves: list[bytes] = []
    while len(leaves) < root.size:
        request = GetLeavesByRangeRequest(log_id=tree, start_index=len(leaves), count=1000)
        leaves += [leaf.leaf_value for leaf in client.log.GetLeavesByRange(request).leaves]
    assert root.root == mth(leaves)
    assert len(set(leaves)) == len(leaves)
    for value, index in load.acked.items():
        assert leaves[index] == value
