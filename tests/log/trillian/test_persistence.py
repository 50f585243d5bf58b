"""What stays: over restarts, between processes, after failures; and what a tree in use takes."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from tests.log.trillian.support import LOCAL, Client, connected, refused, running
from tests.reference import mth

from touchplate.base.sql import Engine, sqlite_engine
from touchplate.log.errors import CheckpointError, ClosedError, StorageFailedError
from touchplate.log.storage.raw import Placed, RawTree
from touchplate.log.storage.raw_rows import RawEntry
from touchplate.log.storage.registry import ACTIVE, DRAINING, FROZEN, LOG, PREORDERED, Registry, TreeFields
from touchplate.log.storage.sql import open_tree
from touchplate.proto.trillian.trillian_admin_api_pb2 import DeleteTreeRequest, UpdateTreeRequest
from touchplate.proto.trillian.trillian_log_api_pb2 import GetLeavesByRangeRequest
from touchplate.proto.trillian.trillian_pb2 import Tree, TreeState, TreeType
from touchplate.verify.rfc6962 import EMPTY_ROOT, leaf_hash


def test_everything_is_there_after_a_restart(tmp_path: Path, storage: str) -> None:
    with running(tmp_path, storage=storage) as service, connected(service) as client:
        tree, gone = client.make(display_name="kept"), client.make()
        client.queue(tree, b"a", extra_data=b"extra", leaf_identity_hash=b"me")
        client.queue(tree, b"b")
        client.admin.DeleteTree(DeleteTreeRequest(tree_id=gone))
        root = client.root(tree)
        request = GetLeavesByRangeRequest(log_id=tree, count=5)
        leaves = client.log.GetLeavesByRange(request)
    with running(tmp_path, storage=storage) as service, connected(service) as client:
        assert client.root(tree) == root
        assert client.log.GetLeavesByRange(request) == leaves
        assert client.queue(tree, b"x", leaf_identity_hash=b"me").status.code == 6
        with refused(grpc.StatusCode.NOT_FOUND):
            client.root(gone)
        assert client.queue(tree, b"c").status.code == 0
        later = client.root(tree)
        assert later.nanos > root.nanos
        assert later.root == mth([b"a", b"b", b"c"])


def test_frontends_write_the_same_trees_at_once_and_see_each_others_leaves(
    tmp_path: Path, database: str
) -> None:
    with ExitStack() as stack:
        clients: list[Client] = []
        for name in "ab":
            service = stack.enter_context(running(tmp_path / name, storage=database))
            clients.append(stack.enter_context(connected(service)))
        tree = clients[0].make()
        answers: list[int] = []

        def write(client: Client, first: int) -> None:
            for number in range(first, first + 30):  # the middle 15 twice
                answers.append(client.queue(tree, b"%d" % number).status.code)

        threads = [threading.Thread(target=write, args=(one, 15 * at)) for at, one in enumerate(clients)]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        assert sorted(answers) == [0] * 45 + [6] * 15
        roots = [client.root(tree) for client in clients]
        assert roots[0] == roots[1]
        leaves = clients[1].log.GetLeavesByRange(GetLeavesByRangeRequest(log_id=tree, count=100)).leaves
        assert roots[0].root == mth([leaf.leaf_value for leaf in leaves])
        assert len({leaf.leaf_value for leaf in leaves}) == len(leaves) == 45
        # A state that one of them sets holds for the other at once.
        request = UpdateTreeRequest(tree=Tree(tree_id=tree, tree_state=TreeState.FROZEN))
        request.update_mask.paths.append("tree_state")
        clients[0].admin.UpdateTree(request)
        with refused(grpc.StatusCode.PERMISSION_DENIED, "FROZEN"):
            clients[1].queue(tree, b"late")
        clients[1].admin.DeleteTree(DeleteTreeRequest(tree_id=tree))
        with refused(grpc.StatusCode.NOT_FOUND):
            clients[0].root(tree)


def test_more_trees_than_may_be_open_take_turns(tmp_path: Path, storage: str) -> None:
    config = replace(LOCAL, open_trees=2)
    with running(tmp_path, config, storage) as service, connected(service) as client:
        trees = [client.make() for _ in range(5)]
        for value in (b"a", b"b"):
            for tree in trees:
                assert client.queue(tree, value).status.code == 0
        for tree in trees:
            assert client.root(tree).root == mth([b"a", b"b"])


def test_a_root_older_than_its_tree_allows_is_renewed(tmp_path: Path, storage: str) -> None:
    with running(tmp_path, storage=storage) as service, connected(service) as client:
        tree = client.make()
        first = client.root(tree)
        assert client.root(tree) == first  # zero: never
        change = Tree(tree_id=tree)
        change.max_root_duration.FromNanoseconds(1)
        request = UpdateTreeRequest(tree=change)
        request.update_mask.paths.append("max_root_duration")
        client.admin.UpdateTree(request)
        later = first
        while later == first:
            later = client.root(tree)
        assert later.nanos - first.nanos > 100_000_000  # no more often than that
        assert replace(later, nanos=0) == replace(first, nanos=0)
        request = UpdateTreeRequest(tree=Tree(tree_id=tree, tree_state=TreeState.FROZEN))
        request.update_mask.paths.append("tree_state")
        client.admin.UpdateTree(request)
    with running(tmp_path, storage=storage) as service, connected(service) as client:
        frozen = client.root(tree)
        threading.Event().wait(0.15)
        assert client.root(tree) == frozen


# --- the tree itself --------------------------------------------------------------------------------------


class Clock:
    """A clock in the test's hand."""

    nanos = 1_000_000_000

    def __call__(self) -> int:
        return self.nanos


def fields(public_id: int = 5, kind: int = LOG) -> TreeFields:
    return TreeFields(public_id, ACTIVE, kind, "", "", None, 0, created=1, updated=1)


def entry(text: str) -> RawEntry:
    data = text.encode()
    return RawEntry(data, leaf_hash(data), leaf_hash(data), b"", 7)


def open_raw(engine: Engine, clock: Clock, kind: int = LOG) -> RawTree:
    open_tree(engine, "log.example.org")
    row = Registry(engine).add(fields(kind=kind))
    tree = RawTree(engine, row, clock)
    tree.initialise()
    return tree


def test_roots_get_later_though_the_clock_stands_still_or_goes_back(tmp_path: Path) -> None:
    engine, clock = sqlite_engine(tmp_path / "db"), Clock()
    tree = open_raw(engine, clock)
    seen = [tree.root()[1]]
    for number in range(3):
        clock.nanos -= 1000
        tree.apply([entry(str(number))])
        seen.append(tree.root()[1])
    again = RawTree(engine, Registry(engine).find(5), clock)
    assert again.root()[1] == seen[-1]
    again.apply([entry("last")])
    seen.append(again.root()[1])
    assert seen == [1_000_000_000 + step for step in range(5)]
    engine.dispose()


def test_closing_a_tree_leaves_the_engine_to_the_others(tmp_path: Path) -> None:
    engine = sqlite_engine(tmp_path / "db")
    tree = open_raw(engine, Clock())
    tree.close()
    assert len(Registry(engine).rows()) == 1
    engine.dispose()


def test_two_writers_of_one_tree_go_on_from_each_other(tmp_path: Path) -> None:
    engine, clock = sqlite_engine(tmp_path / "db"), Clock()
    one = open_raw(engine, clock)
    two = RawTree(engine, Registry(engine).find(5), clock)
    for number in range(0, 6, 2):
        assert [one.apply([entry(str(number))])[0].index, two.apply([entry(str(number + 1))])[0].index] == [
            number,
            number + 1,
        ]
    assert one.apply([entry("5")])[0].duplicate
    assert two.root()[0].root == mth([b"%d" % number for number in range(6)])
    engine.dispose()


def test_a_batch_that_fails_leaves_nothing_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, clock = sqlite_engine(tmp_path / "db"), Clock()
    tree = open_raw(engine, clock)
    before = tree.root()
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE INSERT ON raw_leaves BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
    with pytest.raises(StorageFailedError, match="disk full"):
        tree.apply([entry("a")])
    assert tree.root() == before
    with engine.begin() as connection:
        connection.exec_driver_sql("DROP TRIGGER full")
    assert tree.apply([entry("a")])[0].index == 0
    assert len(tree.read_leaves(0, 1, 100)) == 1
    engine.dispose()


def test_a_state_that_was_set_holds_for_a_batch_that_waited(tmp_path: Path) -> None:
    engine, clock = sqlite_engine(tmp_path / "db"), Clock()
    tree = open_raw(engine, clock)
    Registry(engine).change(5, lambda row: replace(row.fields, state=2))
    with pytest.raises(ClosedError, match="FROZEN"):
        tree.apply([entry("a")])
    Registry(engine).change(5, lambda row: replace(row.fields, state=ACTIVE))
    assert tree.apply([entry("a")])[0].index == 0
    engine.dispose()


@pytest.mark.parametrize("looks_first", [True, False])
def test_a_database_that_lost_a_leaf_and_got_another_is_not_gone_on_with(
    tmp_path: Path, looks_first: bool
) -> None:
    engine, clock = sqlite_engine(tmp_path / "db"), Clock()
    tree = open_raw(engine, clock)
    tree.apply([entry("a")])
    with engine.begin() as connection:  # a standby took over that had not heard of it
        for table in ("leaves", "identities", "tiles", "raw_leaves"):
            connection.exec_driver_sql(f"DELETE FROM {table}")
        connection.exec_driver_sql("UPDATE heads SET tree_size = 0, root = ?", (EMPTY_ROOT,))
    other = RawTree(engine, Registry(engine).find(5), clock)
    other.apply([entry("b")])
    for _ in range(2):
        if looks_first:
            with pytest.raises(CheckpointError, match="exchanged"):
                tree.refresh()
        with pytest.raises(CheckpointError, match="exchanged"):
            tree.apply([entry("c")])
    assert other.apply([entry("c")])[0].index == 1
    assert RawTree(engine, Registry(engine).find(5), clock).head().root == mth([b"b", b"c"])
    engine.dispose()


def test_a_placed_batch_is_judged_leaf_by_leaf(tmp_path: Path) -> None:
    engine, clock = sqlite_engine(tmp_path / "db"), Clock()
    tree = open_raw(engine, clock, PREORDERED)
    a, b, c = entry("a"), entry("b"), entry("c")
    assert tree.place([(0, a), (1, a), (1, b)]) == [Placed.NEW, Placed.KNOWN, Placed.NEW]
    assert tree.place([(0, a), (0, c), (3, c), (2, c)]) == [
        Placed.THERE,
        Placed.TAKEN,
        Placed.BEYOND,
        Placed.NEW,
    ]
    assert tree.root()[0].root == mth([b"a", b"b", b"c"])
    engine.dispose()


def test_the_numbers_of_states_and_types_are_those_of_the_messages() -> None:
    assert (TreeType.LOG, TreeType.PREORDERED_LOG) == (LOG, PREORDERED)
    assert (TreeState.ACTIVE, TreeState.FROZEN, TreeState.DRAINING) == (ACTIVE, FROZEN, DRAINING)
