"""Every call of TrillianAdmin against a real server, on both databases."""

from collections.abc import Callable

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from tests.log.trillian.support import Client, refused

from touchplate.proto.trillian.trillian_admin_api_pb2 import (
    CreateTreeRequest,
    DeleteTreeRequest,
    GetTreeRequest,
    ListTreesRequest,
    UndeleteTreeRequest,
    UpdateTreeRequest,
)
from touchplate.proto.trillian.trillian_log_api_pb2 import InitLogRequest
from touchplate.proto.trillian.trillian_pb2 import SignedLogRoot, Tree, TreeState, TreeType

Code = grpc.StatusCode


def wanted() -> Tree:
    """A tree that may be made."""
    tree = Tree(
        tree_state=TreeState.ACTIVE, tree_type=TreeType.LOG, display_name="name", description="what it is"
    )
    tree.max_root_duration.SetInParent()
    return tree


def update(client: Client, tree: Tree, *mask: str) -> Tree:
    request = UpdateTreeRequest(tree=tree)
    request.update_mask.paths.extend(mask)
    changed: Tree = client.admin.UpdateTree(request)
    return changed


def listed(client: Client, *, deleted: bool = False) -> list[int]:
    answer = client.admin.ListTrees(ListTreesRequest(show_deleted=deleted))
    return [tree.tree_id for tree in answer.tree if tree.display_name != "attestations"]


def test_a_tree_is_made_with_an_id_and_times_of_the_servers(client: Client) -> None:
    tree = wanted()
    tree.tree_id = 7
    tree.create_time.FromSeconds(1)
    tree.update_time.FromSeconds(1)
    tree.max_root_duration.FromSeconds(3600)
    tree.storage_settings.Pack(SignedLogRoot(log_root=b"x"))
    made = client.admin.CreateTree(CreateTreeRequest(tree=tree))
    assert made.tree_id > 2**32
    assert made.create_time == made.update_time
    assert made.create_time.ToNanoseconds() % 1_000_000 == 0
    assert made.create_time.seconds > 1
    assert not made.deleted
    assert not made.HasField("delete_time")
    for name in (
        "tree_state",
        "tree_type",
        "display_name",
        "description",
        "max_root_duration",
        "storage_settings",
    ):
        assert getattr(made, name) == getattr(tree, name)
    assert client.admin.GetTree(GetTreeRequest(tree_id=made.tree_id)) == made
    assert listed(client) == [made.tree_id]


Spoil = Callable[[Tree], object]
BAD: dict[str, Spoil] = {
    "no state": lambda tree: setattr(tree, "tree_state", 0),
    "frozen": lambda tree: setattr(tree, "tree_state", TreeState.FROZEN),
    "draining": lambda tree: setattr(tree, "tree_state", TreeState.DRAINING),
    "old state": lambda tree: setattr(tree, "tree_state", 3),
    "unknown state": lambda tree: setattr(tree, "tree_state", 99),
    "no type": lambda tree: setattr(tree, "tree_type", 0),
    "a map": lambda tree: setattr(tree, "tree_type", 2),
    "deleted": lambda tree: setattr(tree, "deleted", True),
    "delete time": lambda tree: tree.delete_time.FromSeconds(1),
    "long name": lambda tree: setattr(tree, "display_name", "n" * 21),
    "long description": lambda tree: setattr(tree, "description", "d" * 201),
    "zero in a name": lambda tree: setattr(tree, "display_name", "a\0b"),
    "no duration": lambda tree: tree.ClearField("max_root_duration"),
    "negative duration": lambda tree: tree.max_root_duration.FromSeconds(-1),
    "two signs": lambda tree: tree.max_root_duration.CopyFrom(Duration(seconds=1, nanos=-1)),
    "long duration": lambda tree: setattr(tree.max_root_duration, "seconds", 2**62),
    "many nanos": lambda tree: setattr(tree.max_root_duration, "nanos", 1_000_000_000),
    "settings of no type": lambda tree: tree.storage_settings.CopyFrom(AnyMessage(value=b"x")),
    "settings of another type": lambda tree: tree.storage_settings.CopyFrom(
        AnyMessage(type_url="type.googleapis.com/trillian.Tree", value=b"\xff\xff")
    ),
    "huge settings": lambda tree: tree.storage_settings.CopyFrom(
        AnyMessage(type_url="type.googleapis.com/unknown.Kind", value=bytes(70_000))
    ),
}


def test_trees_that_cannot_be_are_not_made(client: Client) -> None:
    for name, spoil in BAD.items():
        tree = wanted()
        spoil(tree)
        with refused(Code.INVALID_ARGUMENT):
            client.admin.CreateTree(CreateTreeRequest(tree=tree))
            pytest.fail(name)
    with refused(Code.INVALID_ARGUMENT, "tree: is missing"):
        client.admin.CreateTree(CreateTreeRequest())
    assert listed(client, deleted=True) == []


def test_an_update_changes_what_its_mask_names_and_nothing_else(client: Client) -> None:
    made = client.admin.CreateTree(CreateTreeRequest(tree=wanted()))
    change = Tree(tree_id=made.tree_id, tree_state=TreeState.FROZEN, display_name="other", description="x")
    changed = update(client, change, "display_name", "tree_state")
    assert (changed.display_name, changed.tree_state) == ("other", TreeState.FROZEN)
    assert changed.description == "what it is"
    assert changed.create_time == made.create_time
    assert changed.update_time.ToNanoseconds() >= made.update_time.ToNanoseconds()
    assert client.admin.GetTree(GetTreeRequest(tree_id=made.tree_id)) == changed
    change.max_root_duration.FromMilliseconds(1500)
    change.storage_settings.Pack(SignedLogRoot())
    changed = update(client, change, "max_root_duration", "storage_settings", "description")
    assert changed.max_root_duration.ToMilliseconds() == 1500
    assert changed.storage_settings == change.storage_settings
    assert changed.description == "x"
    assert not update(client, Tree(tree_id=made.tree_id), "storage_settings").HasField("storage_settings")


@pytest.mark.parametrize(
    "mask", [(), ("tree_id",), ("create_time",), ("deleted",), ("display_name", "x"), ("*",)]
)
def test_an_update_of_anything_else_is_refused(client: Client, mask: tuple[str, ...]) -> None:
    made = client.admin.CreateTree(CreateTreeRequest(tree=wanted()))
    with refused(Code.INVALID_ARGUMENT, "update_mask"):
        update(client, Tree(tree_id=made.tree_id, display_name="new"), *mask)
    assert client.admin.GetTree(GetTreeRequest(tree_id=made.tree_id)) == made


def test_what_an_update_leaves_must_be_a_tree(client: Client) -> None:
    number = client.make()
    for tree, field in (
        (Tree(tree_state=3), "tree_state"),  # type: ignore[arg-type]
        (Tree(), "tree_type"),
        (Tree(), "max_root_duration"),
        (Tree(display_name="n" * 21), "display_name"),
    ):
        tree.tree_id = number
        with refused(Code.INVALID_ARGUMENT, field):
            update(client, tree, field)
    with refused(Code.INVALID_ARGUMENT, "tree: is missing"):
        client.admin.UpdateTree(UpdateTreeRequest())


def test_a_preordered_log_becomes_a_log_while_it_is_frozen(client: Client) -> None:
    number = client.make(TreeType.PREORDERED_LOG)
    client.place(number, 0, b"a", b"b")
    to_log = Tree(tree_id=number, tree_type=TreeType.LOG, tree_state=TreeState.ACTIVE)
    with refused(Code.INVALID_ARGUMENT, "FROZEN"):
        update(client, to_log, "tree_type")
    update(client, Tree(tree_id=number, tree_state=TreeState.FROZEN), "tree_state")
    with refused(Code.INVALID_ARGUMENT, "FROZEN"):
        update(client, to_log, "tree_type", "tree_state")
    assert update(client, to_log, "tree_type").tree_type == TreeType.LOG
    update(client, to_log, "tree_state")
    assert client.queue(number, b"c").status.code == 0
    assert client.queue(number, b"a").status.code == 6
    assert client.root(number).size == 3
    update(client, Tree(tree_id=number, tree_state=TreeState.FROZEN), "tree_state")
    with refused(Code.INVALID_ARGUMENT, "LOG cannot become PREORDERED_LOG"):
        update(client, Tree(tree_id=number, tree_type=TreeType.PREORDERED_LOG), "tree_type")


def test_a_deleted_tree_can_come_back_with_all_its_leaves(client: Client) -> None:
    number = client.make()
    client.queue(number, b"a")
    root = client.root(number)
    gone = client.admin.DeleteTree(DeleteTreeRequest(tree_id=number))
    assert gone.deleted
    assert gone.HasField("delete_time")
    assert listed(client) == []
    assert listed(client, deleted=True) == [number]
    assert client.admin.GetTree(GetTreeRequest(tree_id=number)) == gone
    with refused(Code.FAILED_PRECONDITION, "deleted already"):
        client.admin.DeleteTree(DeleteTreeRequest(tree_id=number))
    with refused(Code.NOT_FOUND, "deleted"):
        update(client, Tree(tree_id=number, display_name="x"), "display_name")
    with refused(Code.NOT_FOUND, "deleted"):
        client.root(number)
    back = client.admin.UndeleteTree(UndeleteTreeRequest(tree_id=number))
    assert not back.deleted
    assert not back.HasField("delete_time")
    assert client.root(number) == root
    with refused(Code.FAILED_PRECONDITION, "not deleted"):
        client.admin.UndeleteTree(UndeleteTreeRequest(tree_id=number))


def test_unknown_trees_are_not_found(client: Client) -> None:
    for number in (0, -1, 12345, 2**63 - 1):
        for call, request in (
            (client.admin.GetTree, GetTreeRequest(tree_id=number)),
            (client.admin.DeleteTree, DeleteTreeRequest(tree_id=number)),
            (client.admin.UndeleteTree, UndeleteTreeRequest(tree_id=number)),
        ):
            with refused(Code.NOT_FOUND):
                call(request)
        with refused(Code.NOT_FOUND):
            update(client, Tree(tree_id=number, display_name="x"), "display_name")


def test_the_log_of_attestations_is_listed_and_changed_by_nobody(client: Client) -> None:
    (tree,) = client.admin.ListTrees(ListTreesRequest()).tree
    assert (tree.display_name, tree.description) == ("attestations", "log.example.org")
    assert (tree.tree_type, tree.tree_state) == (TreeType.LOG, TreeState.DRAINING)
    number = tree.tree_id
    assert client.root(number).size == 0
    for attempt in (
        lambda: update(client, Tree(tree_id=number, tree_state=TreeState.ACTIVE), "tree_state"),
        lambda: client.admin.DeleteTree(DeleteTreeRequest(tree_id=number)),
        lambda: client.admin.UndeleteTree(UndeleteTreeRequest(tree_id=number)),
        lambda: client.queue(number, b"a"),
        lambda: client.log.InitLog(InitLogRequest(log_id=number)),
    ):
        with refused(Code.PERMISSION_DENIED):
            attempt()
    assert client.admin.GetTree(GetTreeRequest(tree_id=number)) == tree


@pytest.mark.parametrize("storage", ["sqlite"])
def test_more_trees_than_fit_into_an_answer_are_listed_to_who_takes_a_larger_one(client: Client) -> None:
    tree = wanted()
    tree.storage_settings.Pack(SignedLogRoot(log_root=bytes(60_000)))
    made = [client.admin.CreateTree(CreateTreeRequest(tree=tree)).tree_id for _ in range(75)]
    with refused(Code.RESOURCE_EXHAUSTED, "larger than max"):
        listed(client)
    options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(client.address, options) as channel:
        assert sorted(listed(Client(channel, client.address))) == sorted(made)
