"""A state machine over both services: whatever clients do, every answer is the literal definition's."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from tests.log.trillian.support import Client, connected, running
from tests.reference import mth, path, proof

from touchplate.base.sql import sqlite_engine
from touchplate.log.fsck import check_log
from touchplate.log.storage.registry import raw_name
from touchplate.log.storage.rows import TreeRows
from touchplate.log.trillian import nodes
from touchplate.log.trillian.roots import LogRoot
from touchplate.proto.trillian.trillian_admin_api_pb2 import (
    DeleteTreeRequest,
    UndeleteTreeRequest,
    UpdateTreeRequest,
)
from touchplate.proto.trillian.trillian_log_api_pb2 import (
    GetConsistencyProofRequest,
    GetEntryAndProofRequest,
    GetInclusionProofByHashRequest,
    GetLeavesByRangeRequest,
)
from touchplate.proto.trillian.trillian_pb2 import Tree, TreeState, TreeType
from touchplate.verify.rfc6962 import leaf_hash, node_hash

OK, EXISTS, PRECONDITION, RANGE = 0, 6, 9, 11
COMMON = settings(
    deadline=None, stateful_step_count=25, suppress_health_check=[HealthCheck.too_slow], max_examples=15
)

values = st.sampled_from([b"a", b"b", b"c", b"d", b"e"])
names = st.sampled_from([b"", b"", b"1", b"2", leaf_hash(b"a")])
small = st.integers(0, 12)


class Model:
    """What a tree is: its leaves in order, as (value, extra, identity)."""

    def __init__(self) -> None:
        self.leaves: list[tuple[bytes, bytes, bytes]] = []
        self.state: int = TreeState.ACTIVE
        self.deleted = False

    @property
    def data(self) -> list[bytes]:
        return [value for value, _, _ in self.leaves]

    def index_of(self, identity: bytes) -> int | None:
        return next((at for at, leaf in enumerate(self.leaves) if leaf[2] == identity), None)


class TrillianMachine(RuleBasedStateMachine):
    """Clients of one LOG and one PREORDERED_LOG."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name)
        self._open()
        self.log, self.placed = Model(), Model()
        self.nanos = 0
        self.count = 0

    def _open(self) -> None:
        self._running = running(self._path)
        self._connected = connected(self._running.__enter__())
        self.client: Client = self._connected.__enter__()

    def _close(self) -> None:
        self._connected.__exit__(None, None, None)
        self._running.__exit__(None, None, None)

    @initialize()
    def make(self) -> None:
        self.log_id = self.client.make()
        self.placed_id = self.client.make(TreeType.PREORDERED_LOG)

    def code(self, call: Any, *arguments: Any, **fields: Any) -> tuple[str, Any]:
        try:
            return "OK", call(*arguments, **fields)
        except grpc.RpcError as error:
            return error.code().name, None

    def closed(self, model: Model, *, preordered: bool) -> str | None:
        """The code that refuses a write, if one must."""
        if model.deleted:
            return "NOT_FOUND"
        open_states = {TreeState.ACTIVE, TreeState.DRAINING} if preordered else {TreeState.ACTIVE}
        return None if model.state in open_states else "PERMISSION_DENIED"

    @rule(value=values, name=names)
    def queue(self, value: bytes, name: bytes) -> None:
        self.count += 1
        extra = b"%d" % self.count
        code, queued = self.code(
            self.client.queue, self.log_id, value, extra_data=extra, leaf_identity_hash=name
        )
        if (refusal := self.closed(self.log, preordered=False)) is not None:
            assert code == refusal
            return
        assert code == "OK"
        identity = name or leaf_hash(value)
        old = self.log.index_of(identity)
        if old is None:
            assert queued.status.code == OK
            self.log.leaves.append((value, extra, identity))
        else:
            assert queued.status.code == EXISTS
            assert queued.leaf.leaf_index == old
            assert (queued.leaf.leaf_value, queued.leaf.extra_data) == self.log.leaves[old][:2]

    @rule(first=small, part=st.lists(values, min_size=1, max_size=4))
    def place(self, first: int, part: list[bytes]) -> None:
        code, answer = self.code(self.client.place, self.placed_id, first, *part)
        if (refusal := self.closed(self.placed, preordered=True)) is not None:
            assert code == refusal
            return
        assert code == "OK"
        expected = []
        for index, value in enumerate(part, first):
            old, size = self.placed.index_of(leaf_hash(value)), len(self.placed.leaves)
            if old == index:
                expected.append(EXISTS)
            elif index < size or old is not None:
                expected.append(PRECONDITION)
            elif index > size:
                expected.append(RANGE)
            else:
                expected.append(OK)
                self.placed.leaves.append((value, b"", leaf_hash(value)))
        assert [one.status.code for one in answer.results] == expected

    @rule(
        which=st.booleans(),
        state=st.sampled_from([TreeState.ACTIVE, TreeState.ACTIVE, TreeState.DRAINING, TreeState.FROZEN]),
    )
    def change_state(self, which: bool, state: int) -> None:
        model, tree_id = (self.log, self.log_id) if which else (self.placed, self.placed_id)
        request = UpdateTreeRequest(tree=Tree(tree_id=tree_id, tree_state=state))  # type: ignore[arg-type]
        request.update_mask.paths.append("tree_state")
        code, _ = self.code(self.client.admin.UpdateTree, request)
        assert code == ("NOT_FOUND" if model.deleted else "OK")
        if not model.deleted:
            model.state = state

    @rule(deletes=st.booleans())
    def delete(self, deletes: bool) -> None:
        if deletes:
            code, _ = self.code(self.client.admin.DeleteTree, DeleteTreeRequest(tree_id=self.log_id))
        else:
            code, _ = self.code(self.client.admin.UndeleteTree, UndeleteTreeRequest(tree_id=self.log_id))
        assert code == ("FAILED_PRECONDITION" if self.log.deleted == deletes else "OK")
        self.log.deleted = deletes

    @rule()
    def restart(self) -> None:
        self._close()
        self._open()

    @rule(beyond=st.integers(0, 2))
    def prove_all(self, beyond: int) -> None:
        """Every leaf and every older size, in the tree that there is or one that there is not yet."""
        if self.log.deleted:
            return
        data, size = self.log.data, len(self.log.data) + beyond
        for index in range(size):
            request = GetEntryAndProofRequest(log_id=self.log_id, leaf_index=index, tree_size=size)
            code, answer = self.code(self.client.log.GetEntryAndProof, request)
            assert code == "OK"
            assert answer.HasField("leaf") == answer.HasField("proof") == (index < len(data))
            if index < len(data):
                assert list(answer.proof.hashes) == path(index, data)
                assert (answer.leaf.leaf_value, answer.leaf.extra_data) == self.log.leaves[index][:2]
                assert answer.leaf.leaf_identity_hash == self.log.leaves[index][2]
        for old in range(1, size + 1):
            pair = GetConsistencyProofRequest(log_id=self.log_id, first_tree_size=old, second_tree_size=size)
            code, answer = self.code(self.client.log.GetConsistencyProof, pair)
            assert code == "OK"
            assert answer.HasField("proof") == (beyond == 0)
            if not beyond:
                assert list(answer.proof.hashes) == proof(old, data)

    @rule(value=values, size=st.integers(1, 12))
    def find(self, value: bytes, size: int) -> None:
        if self.log.deleted:
            return
        request = GetInclusionProofByHashRequest(
            log_id=self.log_id, leaf_hash=leaf_hash(value), tree_size=size
        )
        code, answer = self.code(self.client.log.GetInclusionProofByHash, request)
        found = [at for at, one in enumerate(self.log.data[:size]) if one == value]
        if not found or size > len(self.log.data):
            assert code == "NOT_FOUND"
        else:
            assert [one.leaf_index for one in answer.proof] == found
            assert [list(one.hashes) for one in answer.proof] == [
                path(at, self.log.data[:size]) for at in found
            ]

    @invariant()
    def roots_are_those_of_the_definition(self) -> None:
        if not hasattr(self, "placed_id"):
            return
        root: LogRoot = self.client.root(self.placed_id)
        assert (root.size, root.root) == (len(self.placed.data), mth(self.placed.data))
        if not self.log.deleted:
            root = self.client.root(self.log_id)
            assert (root.size, root.root) == (len(self.log.data), mth(self.log.data))
            assert root.nanos >= self.nanos
            self.nanos = root.nanos
            answer = self.client.log.GetLeavesByRange(GetLeavesByRangeRequest(log_id=self.log_id, count=100))
            assert [
                (one.leaf_value, one.extra_data, one.leaf_identity_hash) for one in answer.leaves
            ] == self.log.leaves

    def teardown(self) -> None:
        self._close()
        engine = sqlite_engine(self._path / "data" / "log.sqlite")
        try:
            for tree_id in (self.log_id, self.placed_id) if hasattr(self, "placed_id") else ():
                rows = TreeRows(engine, raw_name(tree_id))
                assert check_log(rows).findings == []
                rows.close()
        finally:
            engine.dispose()
            self._folder.cleanup()


def test_every_answer_is_the_definitions() -> None:
    run_state_machine_as_test(TrillianMachine, settings=COMMON)


def test_the_machine_finds_a_planted_bug(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nodes, "node_hash", lambda left, right: node_hash(right, left))
    found = settings(COMMON, max_examples=60, derandomize=True, phases=[Phase.generate])
    with pytest.raises(AssertionError):
        run_state_machine_as_test(TrillianMachine, settings=found)
