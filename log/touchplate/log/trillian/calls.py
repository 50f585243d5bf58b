"""The calls of both services in one table: types, handler, what they need, what they cost."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from google.protobuf.message import Message

from touchplate.log.trillian.admin_service import AdminService
from touchplate.log.trillian.auth import Access
from touchplate.log.trillian.log_service import MAX_PAGE, MAX_SEQUENCED, LogService
from touchplate.proto.trillian import trillian_admin_api_pb2 as admin_pb2
from touchplate.proto.trillian import trillian_log_api_pb2 as log_pb2

LOG_SERVICE = log_pb2.DESCRIPTOR.services_by_name["TrillianLog"].full_name
ADMIN_SERVICE = admin_pb2.DESCRIPTOR.services_by_name["TrillianAdmin"].full_name

Cost = Callable[[Any], int]
"""Quota that a request costs."""

Leaves = Callable[[Any], Sequence[Any]]
"""The leaves in a response, each with its status."""


@dataclass(frozen=True)
class Call:
    """One method. `handler` raises errors of the log."""

    service: str
    name: str
    request: type[Message]
    handler: Callable[[Any], Awaitable[Message]]
    needs: Access
    cost: Cost
    leaves: Leaves | None = None

    @cached_property
    def fields(self) -> frozenset[str]:
        """Names of the request's fields. Its descriptor is slow to ask."""
        return frozenset(self.request.DESCRIPTOR.fields_by_name)

    @property
    def method(self) -> str:
        """As it stands in paths, logs and metrics."""
        return f"{self.service}/{self.name}"

    @property
    def writes(self) -> bool:
        """Whose quota it uses."""
        return self.needs is not Access.READ

    def tree_of(self, request: Any) -> int | None:
        """The id of the tree that a request is about, if it is about one."""
        for name in ("log_id", "tree_id"):
            if name in self.fields:
                return int(getattr(request, name))
        if "update_mask" in self.fields:
            return int(request.tree.tree_id)
        return None

    def users_of(self, request: Any) -> Sequence[str]:
        """Whom the caller wants charged."""
        if "charge_to" not in self.fields or not request.HasField("charge_to"):
            return ()
        return list(request.charge_to.user)


def make_calls(log: LogService, admin: AdminService) -> list[Call]:
    """All methods."""
    read, write, manage = Access.READ, Access.WRITE, Access.ADMIN
    of_log: Mapping[str, tuple[Callable[[Any], Awaitable[Message]], Access, Cost]] = {
        "QueueLeaf": (log.queue_leaf, write, _one),
        "AddSequencedLeaves": (log.add_sequenced_leaves, write, _leaves),
        "InitLog": (log.init_log, manage, _one),
        "GetInclusionProof": (log.get_inclusion_proof, read, _one),
        "GetInclusionProofByHash": (log.get_inclusion_proof_by_hash, read, _one),
        "GetConsistencyProof": (log.get_consistency_proof, read, _one),
        "GetLatestSignedLogRoot": (log.get_latest_signed_log_root, read, _one),
        "GetEntryAndProof": (log.get_entry_and_proof, read, _one),
        "GetLeavesByRange": (log.get_leaves_by_range, read, _range),
    }
    of_admin: Mapping[str, tuple[Callable[[Any], Awaitable[Message]], Access, Cost]] = {
        "ListTrees": (admin.list_trees, read, _one),
        "GetTree": (admin.get_tree, read, _one),
        "CreateTree": (admin.create_tree, manage, _one),
        "UpdateTree": (admin.update_tree, manage, _one),
        "DeleteTree": (admin.delete_tree, manage, _one),
        "UndeleteTree": (admin.undelete_tree, manage, _one),
    }
    written: Mapping[str, Leaves] = {
        "QueueLeaf": lambda response: (response.queued_leaf,),
        "AddSequencedLeaves": lambda response: response.results,
    }
    calls = []
    for service, module, methods in (
        (LOG_SERVICE, log_pb2, of_log),
        (ADMIN_SERVICE, admin_pb2, of_admin),
    ):
        for name, (handler, needs, cost) in methods.items():
            request = getattr(module, f"{name}Request")
            calls.append(Call(service, name, request, handler, needs, cost, written.get(name)))
    return calls


def _one(_: Any) -> int:
    return 1


def _leaves(request: Any) -> int:
    # More are refused. One message can hold two million empty ones, which would use up everybody's quota for
    # an hour.
    return min(max(1, len(request.leaves)), MAX_SEQUENCED)


def _range(request: Any) -> int:
    # What is not answered is not charged.
    return min(max(1, int(request.count)), MAX_PAGE)
