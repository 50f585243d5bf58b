"""The log of attestations, read through Trillian's interface while its own face writes it."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from sqlalchemy import event
from tests.log.support import record_envelope
from tests.log.trillian.support import connected, refused, running
from tests.reference import mth, path

from touchplate.base.sql import sqlite_engine
from touchplate.log.service import LogService
from touchplate.log.storage.registry import Registry
from touchplate.log.storage.sql import SQLTree, open_tree
from touchplate.log.trillian.face import log_fields
from touchplate.log.trillian.roots import LogRoot
from touchplate.log.trillian.served import ServedLog, Threads
from touchplate.proto.trillian.trillian_log_api_pb2 import (
    GetEntryAndProofRequest,
    GetInclusionProofByHashRequest,
    GetLeavesByRangeRequest,
)
from touchplate.verify.entry import parse_packed


def number_of(service: LogService) -> int:
    """The number of the log's tree in its database, and for Trillian's clients."""
    assert isinstance(service.tree, SQLTree)
    return service.tree.tree_id


def test_its_entries_roots_and_proofs_are_those_of_its_own_face(tmp_path: Path, storage: str) -> None:
    with running(tmp_path, storage=storage) as service, connected(service) as client:
        tree = number_of(service)
        empty = client.root(tree)
        assert client.root(tree) == empty  # one time for one root
        service.append([record_envelope(number) for number in range(3)])
        root = client.root(tree)
        assert root.nanos > empty.nanos
        leaves = client.log.GetLeavesByRange(GetLeavesByRangeRequest(log_id=tree, count=10)).leaves
        assert root.root == mth([leaf.leaf_value for leaf in leaves])
        for index, leaf in enumerate(leaves):
            entry = parse_packed(leaf.extra_data)
            assert entry.envelope == record_envelope(index)
            assert (entry.leaf_data, entry.identity) == (leaf.leaf_value, leaf.leaf_identity_hash)
        answer = client.log.GetEntryAndProof(GetEntryAndProofRequest(log_id=tree, leaf_index=1, tree_size=3))
        assert list(answer.proof.hashes) == path(1, [leaf.leaf_value for leaf in leaves])
        with refused(grpc.StatusCode.UNIMPLEMENTED):
            client.log.GetInclusionProofByHash(
                GetInclusionProofByHashRequest(log_id=tree, leaf_hash=leaves[0].merkle_leaf_hash, tree_size=3)
            )
    with running(tmp_path, storage=storage) as service, connected(service) as client:
        assert client.root(tree) == root  # also after a restart


def test_raw_leaves_beside_it_do_not_show_in_it(tmp_path: Path, storage: str) -> None:
    with running(tmp_path, storage=storage) as service, connected(service) as client:
        raw = client.make()
        client.queue(raw, b"a")
        service.append([record_envelope(0)])
        client.queue(raw, b"b")
        assert service.reader.size() == 1
        assert client.root(number_of(service)).size == 1
        assert client.root(raw).root == mth([b"a", b"b"])


def test_a_head_gets_its_time_in_one_transaction_however_many_ask(tmp_path: Path) -> None:
    engine = sqlite_engine(tmp_path / "db")
    tree, registry = open_tree(engine, "log.example.org"), Registry(engine)
    registry.register(tree.tree_id, log_fields(tree.tree_id, "log.example.org"))
    commits: list[object] = []
    event.listen(engine, "commit", commits.append)

    async def main() -> list[LogRoot]:
        with ThreadPoolExecutor(4) as executor:
            log = ServedLog(
                tree,
                registry.find(tree.tree_id),
                registry,
                Threads(executor),
                follow=tree.head,
                now=time.time_ns,
            )
            return await asyncio.gather(*(log.root() for _ in range(20)))

    roots = asyncio.run(main())
    engine.dispose()
    assert len(set(roots)) == len(commits) == 1
