"""A running Trillian interface for tests, and what a client of it needs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from tests.log.support import write_settings

from touchplate.log.service import LogService, open_log
from touchplate.log.trillian.config import TrillianConfig
from touchplate.log.trillian.roots import LogRoot, parse_log_root
from touchplate.proto.trillian.trillian_admin_api_pb2 import CreateTreeRequest
from touchplate.proto.trillian.trillian_admin_api_pb2_grpc import TrillianAdminStub
from touchplate.proto.trillian.trillian_log_api_pb2 import (
    AddSequencedLeavesRequest,
    AddSequencedLeavesResponse,
    GetLatestSignedLogRootRequest,
    InitLogRequest,
    LogLeaf,
    QueuedLogLeaf,
    QueueLeafRequest,
)
from touchplate.proto.trillian.trillian_log_api_pb2_grpc import TrillianLogStub
from touchplate.proto.trillian.trillian_pb2 import Tree, TreeState, TreeType

SECONDS = 30
"""Deadline of each call: many times what one takes on a busy machine."""

LOCAL = TrillianConfig(listen="127.0.0.1:0")


class _Timed:
    """A stub whose calls have a deadline."""

    def __init__(self, stub: Any, metadata: Any = None) -> None:
        self._stub, self._metadata = stub, metadata

    def __getattr__(self, name: str) -> Callable[[Any], Any]:
        call = getattr(self._stub, name)
        return lambda request: call(request, timeout=SECONDS, metadata=self._metadata)


class Client:
    """Both stubs on one channel."""

    def __init__(self, channel: grpc.Channel, address: str, token: str | None = None) -> None:
        self.channel = channel
        self.address = address
        metadata = None if token is None else [("authorization", f"Bearer {token}")]
        self.log = _Timed(TrillianLogStub(channel), metadata)  # type: ignore[no-untyped-call]
        self.admin = _Timed(TrillianAdminStub(channel), metadata)  # type: ignore[no-untyped-call]

    def make(self, kind: int = TreeType.LOG, *, initialise: bool = True, **fields: Any) -> int:
        """A new tree; its id."""
        tree = Tree(tree_state=TreeState.ACTIVE, tree_type=kind, **fields)  # type: ignore[arg-type]
        tree.max_root_duration.SetInParent()
        tree_id = int(self.admin.CreateTree(CreateTreeRequest(tree=tree)).tree_id)
        if initialise:
            self.log.InitLog(InitLogRequest(log_id=tree_id))
        return tree_id

    def queue(self, tree: int, value: bytes, **fields: Any) -> QueuedLogLeaf:
        leaf = LogLeaf(leaf_value=value, **fields)
        queued: QueuedLogLeaf = self.log.QueueLeaf(QueueLeafRequest(log_id=tree, leaf=leaf)).queued_leaf
        return queued

    def place(self, tree: int, first: int, *values: bytes, **fields: Any) -> AddSequencedLeavesResponse:
        leaves = [
            LogLeaf(leaf_value=value, leaf_index=index, **fields) for index, value in enumerate(values, first)
        ]
        answer: AddSequencedLeavesResponse = self.log.AddSequencedLeaves(
            AddSequencedLeavesRequest(log_id=tree, leaves=leaves)
        )
        return answer

    def root(self, tree: int) -> LogRoot:
        answer = self.log.GetLatestSignedLogRoot(GetLatestSignedLogRootRequest(log_id=tree))
        return parse_log_root(answer.signed_log_root.log_root)


@contextmanager
def running(
    folder: Path, config: TrillianConfig = LOCAL, storage: str = "sqlite", metrics: str | None = None
) -> Iterator[LogService]:
    """A log with Trillian's interface, its data in `folder`."""
    log = replace(write_settings(folder / "settings"), trillian=config, storage=storage, metrics=metrics)
    service = open_log(log, folder / "data")
    try:
        service.start()
        yield service
    finally:
        service.stop()


@contextmanager
def connected(service: LogService, **arguments: Any) -> Iterator[Client]:
    """A plaintext client of a running log."""
    assert service.trillian is not None
    host, port = service.trillian.address
    with grpc.insecure_channel(f"{host}:{port}") as channel:
        yield Client(channel, f"{host}:{port}", **arguments)


@contextmanager
def refused(code: grpc.StatusCode, *words: str) -> Iterator[None]:
    """A call in here must end with `code`, and say `words`."""
    with pytest.raises(grpc.RpcError) as caught:
        yield
    error: Any = caught.value
    assert error.code() is code, error
    for word in words:
        assert word in error.details()
