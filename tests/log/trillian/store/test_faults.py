"""A Trillian that fails, is gone, or takes nothing: what was acknowledged stays, nothing stands twice."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError
from tests.log.support import raw_entries, raw_entry, sign
from tests.log.trillian.store.proxy import Failure, Proxy
from tests.log.trillian.store.support import SECONDS, open_trillian
from tests.log.trillian.support import Client
from tests.reference import mth

from touchplate.log.errors import (
    STATUS,
    CheckpointError,
    FrozenError,
    StoppedError,
    StorageFailedError,
)
from touchplate.log.ports import PackedEntry, Sequenced
from touchplate.log.sequencer import SoloDecider, TreeSequencer
from touchplate.log.storage.states import freeze, unfreeze
from touchplate.log.trillian.store.tree import TrillianTree
from touchplate.proto.trillian.trillian_admin_api_pb2 import (
    DeleteTreeRequest,
    UndeleteTreeRequest,
    UpdateTreeRequest,
)
from touchplate.proto.trillian.trillian_pb2 import Tree, TreeState


@pytest.fixture
def tree(folder: Path, proxy: Proxy) -> Iterator[TrillianTree]:
    tree = open_trillian(folder, proxy.address, seconds=1)
    yield tree
    tree.close()


def set_state(client: Client, tree_id: int, state: int) -> None:
    request = UpdateTreeRequest(tree=Tree(tree_id=tree_id, tree_state=state))  # type: ignore[arg-type]
    request.update_mask.paths.append("tree_state")
    client.admin.UpdateTree(request)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("method", ["QueueLeaf", "GetLatestSignedLogRoot", "GetLeavesByRange"])
def test_a_batch_whose_call_failed_is_there_once_when_it_is_sent_again(
    tree: TrillianTree, proxy: Proxy, method: str, when: Failure
) -> None:
    tree.apply(raw_entries(2), sign)
    before = tree.head()
    proxy.fail(method, when)
    with pytest.raises(StorageFailedError, match=r"Trillian at 127\.0\.0\.1:\d+ failed: UNAVAILABLE"):
        tree.apply(raw_entries(3, start=2), sign)
    assert tree.head() == before
    assert [one.index for one in tree.apply(raw_entries(6), sign)] == list(range(6))
    assert tree.head().root == mth([entry.leaf_data for entry in raw_entries(6)])


@pytest.mark.parametrize("when", ["before", "after"])
def test_it_goes_on_from_its_own_database_when_a_commit_does_not_answer(
    tree: TrillianTree, when: Failure
) -> None:
    tree.apply(raw_entries(2), sign)
    head, engine = tree.head(), tree._local._engine

    def fail(connection: Connection) -> None:
        if when == "after":
            connection.exec_driver_sql("COMMIT")
        raise OperationalError("COMMIT", None, sqlite3.OperationalError("disk I/O error"))

    event.listen(engine, "commit", fail)
    with pytest.raises(StorageFailedError, match="disk I/O error"):
        tree.apply(raw_entries(3, start=2), sign)
    assert tree.head() == head
    event.remove(engine, "commit", fail)
    kept = when == "after"
    assert tree.apply(raw_entries(4, start=2), sign) == [
        *(Sequenced(index, kept) for index in (2, 3, 4)),
        Sequenced(5, False),
    ]
    assert tree.head().root == mth([entry.leaf_data for entry in raw_entries(6)])


def test_a_trillian_that_is_gone_is_said_at_once_and_found_again(tree: TrillianTree, proxy: Proxy) -> None:
    tree.apply(raw_entries(2), sign)
    proxy.stop()
    with pytest.raises(StorageFailedError, match="UNAVAILABLE") as caught:
        tree.apply(raw_entries(1, start=2), sign)
    assert (STATUS.status(caught.value).http, caught.value.retry_after) == (503, 1)
    # What needs no Trillian goes on: duplicates, tiles, the head.
    assert tree.apply(raw_entries(2), sign) == [Sequenced(0, True), Sequenced(1, True)]
    with pytest.raises(StorageFailedError):
        tree.read_packed(0, 1)
    proxy.start()
    deadline = time.monotonic() + SECONDS
    while tree.head().size == 2:
        try:
            assert tree.apply(raw_entries(3), sign)[2] == Sequenced(2, False)
        except StorageFailedError:  # the channel waits up to a second between two tries
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert tree.read_packed(0, 3) == [entry.packed for entry in raw_entries(3)]


def test_a_signer_that_does_not_integrate_is_named(tree: TrillianTree, proxy: Proxy) -> None:
    tree.apply(raw_entries(1), sign)
    (kept,) = [tree._remote.newest_root(tree.tree_id)]
    from touchplate.log.trillian.roots import format_log_root

    def still(answer: object) -> None:
        answer.signed_log_root.log_root = format_log_root(kept)  # type: ignore[attr-defined]

    proxy.lie("GetLatestSignedLogRoot", still)
    with pytest.raises(StorageFailedError, match=r"has not integrated 2 of 2 entries .* signer run\?"):
        tree.apply(raw_entries(2, start=1), sign)
    proxy.honest()
    assert tree.apply(raw_entries(1, start=5), sign) == [Sequenced(3, False)]  # after those two
    assert tree.apply(raw_entries(3), sign) == [Sequenced(index, True) for index in range(3)]


@pytest.mark.parametrize("state", [TreeState.FROZEN, TreeState.DRAINING])
def test_a_tree_that_takes_nothing_is_a_frozen_log(
    tree: TrillianTree, trillian: Client, folder: Path, proxy: Proxy, state: int
) -> None:
    tree.apply(raw_entries(2), sign)
    before = tree.head()
    set_state(trillian, tree.tree_id, state)
    with pytest.raises(FrozenError, match=f"is {TreeState.Name(state)}") as caught:
        tree.apply(raw_entries(3), sign)
    assert STATUS.status(caught.value).http == 403
    assert tree.head() == before
    tree.close()
    again = open_trillian(folder, proxy.address)
    assert again.head() == before
    assert again.read_packed(0, 2) == [entry.packed for entry in raw_entries(2)]
    set_state(trillian, again.tree_id, TreeState.ACTIVE)
    assert again.apply(raw_entries(3), sign)[2] == Sequenced(2, False)
    again.close()


def test_a_log_that_was_frozen_hands_nothing_to_trillian(
    tree: TrillianTree, trillian: Client, folder: Path, proxy: Proxy
) -> None:
    tree.apply(raw_entries(2), sign)
    freeze(tree._local._engine, "log.example.org")
    with pytest.raises(FrozenError):
        tree.apply(raw_entries(3), sign)
    assert trillian.root(tree.tree_id).size == 2
    # Also what was on its way there when it was frozen stays out, and does not keep the log from starting.
    tree._remote.queue(tree.tree_id, raw_entries(1, start=2))
    tree.close()
    again = open_trillian(folder, trillian.address)
    assert (again.head().size, again.head().frozen) == (2, True)
    proxy.lie("GetConsistencyProof", lambda answer: answer.proof.hashes.append(b"h" * 32))
    with pytest.raises(CheckpointError, match="at size 2, which is not in the tree of size 3"):
        open_trillian(folder, proxy.address)
    unfreeze(again._local._engine, "log.example.org")
    again.close()
    again = open_trillian(folder, trillian.address)
    assert again.apply(raw_entries(4), sign)[2:] == [Sequenced(2, True), Sequenced(3, False)]
    again.close()


def test_a_question_after_the_end_is_answered_as_such(tree: TrillianTree) -> None:
    tree.apply(raw_entries(1), sign)
    tree.close()
    with pytest.raises(StoppedError):
        tree.read_packed(0, 1)


def test_a_tree_that_was_deleted_is_named(tree: TrillianTree, trillian: Client) -> None:
    tree.apply(raw_entries(2), sign)
    trillian.admin.DeleteTree(DeleteTreeRequest(tree_id=tree.tree_id))
    with pytest.raises(CheckpointError, match=f"no tree {tree.tree_id}"):
        tree.apply(raw_entries(3), sign)
    trillian.admin.UndeleteTree(UndeleteTreeRequest(tree_id=tree.tree_id))
    assert tree.apply(raw_entries(3), sign)[2] == Sequenced(2, False)


def test_a_call_that_is_refused_names_the_setting(tree: TrillianTree, proxy: Proxy) -> None:
    proxy.fail("QueueLeaf", "before", grpc.StatusCode.UNAUTHENTICATED)
    with pytest.raises(StorageFailedError, match=r"token or certificate of \[log\.trillian_store\]"):
        tree.apply(raw_entries(1), sign)


def test_a_quota_that_is_used_up_is_no_loss(tree: TrillianTree, proxy: Proxy) -> None:
    proxy.fail("QueueLeaf", "before", grpc.StatusCode.RESOURCE_EXHAUSTED)
    with pytest.raises(StorageFailedError, match="RESOURCE_EXHAUSTED"):
        tree.apply(raw_entries(1), sign)
    assert tree.apply(raw_entries(1), sign) == [Sequenced(0, False)]


def test_what_was_queued_before_a_crash_is_taken_up_by_the_start(
    tree: TrillianTree, folder: Path, proxy: Proxy
) -> None:
    tree.apply(raw_entries(2), sign)
    tree._remote.queue(tree.tree_id, raw_entries(3, start=2))
    tree.close()
    again = open_trillian(folder, proxy.address)
    assert again.head().size == 5
    assert again.apply(raw_entries(6), sign)[4:] == [Sequenced(4, True), Sequenced(5, False)]
    again.close()


def test_a_statement_that_was_queued_with_another_signature_is_a_duplicate(
    tree: TrillianTree, proxy: Proxy
) -> None:
    first = raw_entry("first")
    other = PackedEntry(b"other", raw_entry("other").leaf_hash, first.identity, b"other packed")
    tree._remote.queue(tree.tree_id, [other])
    assert tree.apply([first, first], sign) == [Sequenced(0, True), Sequenced(0, True)]
    assert tree.read_packed(0, 1) == [b"other packed"]
    assert tree.head().root == mth([b"other"])


def test_many_at_once_stand_once_each_whatever_the_order(folder: Path, proxy: Proxy) -> None:
    tree = open_trillian(folder, proxy.address, in_flight=16)
    answers = tree.apply(raw_entries(200), sign)
    assert sorted(one.index for one in answers) == list(range(200))
    packed = tree.read_packed(0, 200)
    assert [packed[one.index] for one in answers] == [entry.packed for entry in raw_entries(200)]
    assert tree.head().root == mth(tree.read_leaf_data(0, 200))
    tree.close()


def test_a_sequencer_on_it_answers_whoever_waits(tree: TrillianTree, proxy: Proxy) -> None:
    sequencer = TreeSequencer(tree, SoloDecider(), sign=sign)
    sequencer.start()

    async def submit() -> list[Sequenced]:
        return list(await asyncio.gather(*sequencer.submit_here(raw_entries(20))))

    try:
        assert [one.index for one in asyncio.run(submit())] == list(range(20))
        proxy.fail("QueueLeaf", "after")
        (future,) = sequencer.submit(raw_entries(1, start=20))
        assert isinstance(future.exception(30), StorageFailedError)
        assert [one.result(30).index for one in sequencer.submit(raw_entries(21))] == list(range(21))
    finally:
        sequencer.stop()
    assert tree.head().size == 21
