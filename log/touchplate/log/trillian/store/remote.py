"""The calls to Trillian that a log needs. What comes back is parsed here, and believed nowhere."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from touchplate.base.errors import quote
from touchplate.base.status import GRPCCode
from touchplate.log.errors import (
    CheckpointError,
    CorruptTreeError,
    FrozenError,
    RequestError,
    StoppedError,
    StorageFailedError,
)
from touchplate.log.ports import PackedEntry
from touchplate.log.trillian.roots import LogRoot, parse_log_root
from touchplate.log.trillian.store.config import Credentials, TrillianStoreConfig
from touchplate.proto.trillian.trillian_admin_api_pb2 import (
    CreateTreeRequest,
    GetTreeRequest,
    ListTreesRequest,
)
from touchplate.proto.trillian.trillian_admin_api_pb2_grpc import TrillianAdminStub
from touchplate.proto.trillian.trillian_log_api_pb2 import (
    GetConsistencyProofRequest,
    GetLatestSignedLogRootRequest,
    GetLeavesByRangeRequest,
    InitLogRequest,
    LogLeaf,
    QueueLeafRequest,
)
from touchplate.proto.trillian.trillian_log_api_pb2_grpc import TrillianLogStub
from touchplate.proto.trillian.trillian_pb2 import Tree, TreeState, TreeType
from touchplate.verify.proofs import MAX_SIZE
from touchplate.verify.rfc6962 import HASH_SIZE
from touchplate.verify.tiles import TILE_WIDTH

CALL_SECONDS = 10.0
"""For one call: many times what a busy Trillian takes, and less than its submitters wait."""

ANSWER_BYTES = 64 * 1024 * 1024
"""The largest answer that is read: three times what 256 entries of the greatest length take."""

RECONNECT_MILLIS = 1_000
"""The longest pause between two tries to connect: a Trillian that is back is found within a second."""

PAGE = TILE_WIDTH
"""Leaves asked for in one call: those of one tile."""

DISPLAY_NAME = "touchplate"
"""How our trees are called in Trillian, whose own schema gives the name twenty characters."""

_CLOSED = (GRPCCode.PERMISSION_DENIED, GRPCCode.FAILED_PRECONDITION)


@dataclass(frozen=True, slots=True)
class RemoteLeaf:
    """An integrated leaf as Trillian gave it."""

    index: int
    value: bytes
    extra: bytes
    identity: bytes


class RemoteTrillian:
    """A Trillian server. Safe from any thread.

    Every call raises StorageFailedError when Trillian does not answer or cannot do it now, CheckpointError
    when the tree is gone, CorruptTreeError for an answer that makes no sense.
    """

    def __init__(self, config: TrillianStoreConfig, credentials: Credentials) -> None:
        self._address = config.address
        self._in_flight = config.in_flight
        self._channel = _open_channel(config.address, credentials)
        self._log = TrillianLogStub(self._channel)  # type: ignore[no-untyped-call]
        self._admin = TrillianAdminStub(self._channel)  # type: ignore[no-untyped-call]
        self._closed = False
        self._how: dict[str, Any] = {"timeout": CALL_SECONDS}
        if credentials.token is not None:
            self._how["metadata"] = [("authorization", f"Bearer {credentials.token}")]

    @property
    def address(self) -> str:
        """Where it is, for messages."""
        return self._address

    def close(self) -> None:
        """Let go of the connection. Safe to call twice."""
        self._closed = True
        self._channel.close()

    # Trees

    def tree(self, tree_id: int) -> Tree:
        """The fields of a tree."""
        with self._answering("asking for the tree", tree_id):
            found: Tree = self._admin.GetTree(GetTreeRequest(tree_id=tree_id), **self._how)
        return found

    def find_trees(self, description: str) -> list[int]:
        """The ids of the live trees with exactly this description."""
        with self._answering("listing trees"):
            listed = self._admin.ListTrees(ListTreesRequest(), **self._how).tree
        return [int(one.tree_id) for one in listed if one.description == description]

    def make_tree(self, description: str) -> int:
        """A new, empty LOG tree; its id."""
        tree = Tree(
            tree_state=TreeState.ACTIVE,
            tree_type=TreeType.LOG,
            display_name=DISPLAY_NAME,
            description=description,
        )
        tree.max_root_duration.SetInParent()  # no new root without new leaves
        with self._answering("making a tree"):
            return int(self._admin.CreateTree(CreateTreeRequest(tree=tree), **self._how).tree_id)

    def initialise(self, tree_id: int) -> None:
        """Give a tree its first root, if it has none."""
        try:
            self._log.InitLog(InitLogRequest(log_id=tree_id), **self._how)
        except grpc.RpcError as error:
            if _code(error) is not GRPCCode.ALREADY_EXISTS:
                raise self._failure("initialising the tree", tree_id, error) from error

    # Leaves

    def queue(self, tree_id: int, entries: Sequence[PackedEntry]) -> None:
        """Hand over entries, several at a time. When this returns Trillian has all of them, durably, and will
        integrate them; one that it had before stays as it was.

        Raises FrozenError when the tree takes none, beside what the other calls raise; then some may be
        there.
        """
        waiting: deque[Any] = deque()
        try:
            for entry in entries:
                if len(waiting) == self._in_flight:
                    self._finish(tree_id, waiting.popleft())
                leaf = LogLeaf(
                    leaf_value=entry.leaf_data, extra_data=entry.packed, leaf_identity_hash=entry.identity
                )
                request = QueueLeafRequest(log_id=tree_id, leaf=leaf)
                waiting.append(self._log.QueueLeaf.future(request, **self._how))
            while waiting:
                self._finish(tree_id, waiting.popleft())
        finally:
            for call in waiting:  # after a failure: nobody waits for these any more
                call.cancel()

    def _finish(self, tree_id: int, call: Any) -> None:
        try:
            status = call.result().queued_leaf.status
        except grpc.RpcError as error:
            if _code(error) in _CLOSED and (state := self.tree(tree_id).tree_state) != TreeState.ACTIVE:
                raise FrozenError(
                    f"tree {tree_id} of the Trillian at {self._address} is {TreeState.Name(state)}, so this"
                    " log takes no new entries; make the tree ACTIVE, or freeze the log"
                ) from error
            raise self._failure("queueing entries", tree_id, error) from error
        if status.code not in (GRPCCode.OK, GRPCCode.ALREADY_EXISTS):
            raise StorageFailedError(
                f"queueing entries: Trillian says {status.code}: {quote(status.message)}"
            )

    def newest_root(self, tree_id: int) -> LogRoot:
        """The newest root that Trillian tells."""
        request = GetLatestSignedLogRootRequest(log_id=tree_id)
        with self._answering("asking for the newest root", tree_id):
            signed = self._log.GetLatestSignedLogRoot(request, **self._how).signed_log_root
        try:
            root = parse_log_root(signed.log_root)
        except RequestError as error:
            raise CorruptTreeError(f"the Trillian at {self._address} tells no root: {error}") from error
        if len(root.root) != HASH_SIZE or root.size >= MAX_SIZE:
            raise CorruptTreeError(
                f"the Trillian at {self._address} tells a root of {len(root.root)} bytes and size"
                f" {root.size}: this is no RFC 6962 tree with SHA-256"
            )
        return root

    def leaves(self, tree_id: int, start: int, end: int) -> Iterator[RemoteLeaf]:
        """The integrated leaves `start` to `end - 1`, in order."""
        while start < end:
            request = GetLeavesByRangeRequest(log_id=tree_id, start_index=start, count=min(PAGE, end - start))
            with self._answering("reading entries", tree_id):
                leaves = self._log.GetLeavesByRange(request, **self._how).leaves
            if not leaves:
                raise CorruptTreeError(
                    f"the Trillian at {self._address} has no leaf {start} of tree {tree_id}, which it has"
                    " integrated"
                )
            for leaf in leaves[: end - start]:
                if leaf.leaf_index != start:
                    raise CorruptTreeError(
                        f"the Trillian at {self._address} gave leaf {leaf.leaf_index} of tree {tree_id} in"
                        f" the place of leaf {start}"
                    )
                yield RemoteLeaf(start, leaf.leaf_value, leaf.extra_data, leaf.leaf_identity_hash)
                start += 1

    def consistency(self, tree_id: int, first: int, second: int) -> list[bytes]:
        """Hashes that are to lead from the tree of `first` leaves to that of `second`."""
        request = GetConsistencyProofRequest(log_id=tree_id, first_tree_size=first, second_tree_size=second)
        with self._answering("asking for a proof", tree_id):
            return list(self._log.GetConsistencyProof(request, **self._how).proof.hashes)

    # Errors

    @contextmanager
    def _answering(self, doing: str, tree_id: int | None = None) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise self._failure(doing, tree_id, error) from error
        except ValueError as error:
            if not self._closed:
                raise
            raise StoppedError(f"{doing}: the log is shutting down") from error  # the channel's own words

    def _failure(self, doing: str, tree_id: int | None, error: grpc.RpcError) -> Exception:
        code = _code(error)
        said = f"{code.name}: {quote(' '.join(str(error.details() or '').split()), 300)}"
        if code is GRPCCode.NOT_FOUND and tree_id is not None:
            return CheckpointError(
                f"{doing}: the Trillian at {self._address} has no tree {tree_id} (any more): {said}; undelete"
                " it, or correct the address"
            )
        if code in (GRPCCode.UNAUTHENTICATED, GRPCCode.PERMISSION_DENIED):
            said += "; the token or certificate of [log.trillian_store] does not suffice"
        return StorageFailedError(f"{doing}: the Trillian at {self._address} failed: {said}")


def _code(error: grpc.RpcError) -> GRPCCode:
    return GRPCCode(error.code().value[0])


def _open_channel(address: str, credentials: Credentials) -> grpc.Channel:
    options = [
        ("grpc.max_receive_message_length", ANSWER_BYTES),
        ("grpc.initial_reconnect_backoff_ms", 100),
        ("grpc.min_reconnect_backoff_ms", RECONNECT_MILLIS),
        ("grpc.max_reconnect_backoff_ms", RECONNECT_MILLIS),
        # The proxy of the environment is for upstreams on the Internet.
        ("grpc.enable_http_proxy", 0),
        # A connection of this object's own: the time of its last failure is nobody else's.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if credentials.ca is None:
        return grpc.insecure_channel(address, options)
    tls = grpc.ssl_channel_credentials(credentials.ca, credentials.key, credentials.cert)
    return grpc.secure_channel(address, tls, options)
