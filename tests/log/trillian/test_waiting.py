"""Writers that wait for each other on PostgreSQL: who waited goes on from what is there then."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import grpc
import pytest
from sqlalchemy import text
from tests.log.trillian.support import connected, running
from tests.log.trillian.test_persistence import Clock, entry, fields

from touchplate.base.postgresql import parse_address, postgresql_engine
from touchplate.base.sql import Engine, begin_write
from touchplate.base.status import GRPCCode
from touchplate.log.errors import (
    AbortedError,
    ClosedError,
    ExistsError,
    NotFoundError,
    RequestError,
    StorageFailedError,
)
from touchplate.log.storage.failures import answering
from touchplate.log.storage.raw import RawTree
from touchplate.log.storage.registry import FROZEN, LOG, PREORDERED, Registry, TreeFields, TreeRow
from touchplate.log.storage.sql import open_tree
from touchplate.log.trillian.calls import LOG_SERVICE
from touchplate.log.trillian.errors import answer
from touchplate.log.trillian.face import THREADS
from touchplate.proto.trillian.trillian_log_api_pb2 import AddSequencedLeavesRequest, LogLeaf
from touchplate.proto.trillian.trillian_pb2 import TreeType

SECONDS = 30
"""How long to wait for what must come: many times what it takes on a busy machine."""


@pytest.fixture
def engine(database: str) -> Iterator[Engine]:
    """A database with a log and one raw tree, 5."""
    made = postgresql_engine(parse_address(database))
    open_tree(made, "log.example.org")
    Registry(made).add(fields())
    yield made
    made.dispose()


def raw(engine: Engine, clock: Clock | None = None) -> RawTree:
    return RawTree(engine, Registry(engine).find(5), clock or Clock())


def wait_for_a_waiter(engine: Engine, count: int = 1) -> None:
    """Until so many sessions wait for a lock."""
    asked = text(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    for _ in range(SECONDS * 100):
        with engine.connect() as connection:
            if connection.execute(asked).scalar_one() >= count:
                return
        Event().wait(0.01)
    raise AssertionError("nobody waits")


@contextmanager
def behind(
    engine: Engine, first: Callable[[TreeRow], TreeFields], then: Callable[[], Any]
) -> Iterator[Future[Any]]:
    """Begin `then` while the change `first` holds the tree, and let both end."""
    with ThreadPoolExecutor(1) as pool:
        begun: list[Future[Any]] = []

        def change(row: TreeRow) -> TreeFields:
            begun.append(pool.submit(then))
            wait_for_a_waiter(engine)
            return first(row)

        Registry(engine).change(5, change)
        yield begun[0]


def test_a_batch_that_waited_for_a_change_of_state_is_refused(engine: Engine) -> None:
    tree = raw(engine)
    tree.initialise()
    with (
        behind(
            engine, lambda row: replace(row.fields, state=FROZEN), lambda: tree.apply([entry("a")])
        ) as late,
        pytest.raises(ClosedError, match="FROZEN"),
    ):
        late.result(SECONDS)
    assert raw(engine).head().size == 0


def test_a_batch_that_waited_for_a_deletion_is_refused(engine: Engine) -> None:
    tree = raw(engine)
    tree.initialise()
    with (
        behind(engine, lambda row: replace(row.fields, deleted=7), lambda: tree.apply([entry("a")])) as late,
        pytest.raises(NotFoundError, match="deleted"),
    ):
        late.result(SECONDS)


def test_leaves_that_waited_for_a_change_of_type_are_refused(engine: Engine) -> None:
    tree = raw(engine)
    tree.initialise()
    Registry(engine).change(5, lambda row: replace(row.fields, type=PREORDERED))
    with (
        behind(
            engine, lambda row: replace(row.fields, type=LOG), lambda: tree.place([(0, entry("a"))])
        ) as late,
        pytest.raises(RequestError, match="QueueLeaf"),
    ):
        late.result(SECONDS)


def test_a_tree_is_initialised_once_though_two_come_together(engine: Engine) -> None:
    one, two = raw(engine), raw(engine)
    with ThreadPoolExecutor(2) as pool:
        with engine.begin() as connection:
            connection.execute(
                text("SELECT 1 FROM heads WHERE tree_id = :tree FOR UPDATE"), {"tree": one.tree_id}
            )
            both = [pool.submit(tree.initialise) for tree in (one, two)]
            wait_for_a_waiter(engine, 2)
        errors = [error for each in both if (error := each.exception(SECONDS)) is not None]
    assert [type(error) for error in errors] == [ExistsError]


class Hooked(Clock):
    """A clock that does something the first time that it is asked."""

    def __init__(self, first: Callable[[], object]) -> None:
        self._first: Callable[[], object] | None = first

    def __call__(self) -> int:
        first, self._first = self._first, None
        if first is not None:
            first()
        return super().__call__()


def test_a_renewal_that_waited_for_a_later_one_does_not_go_back(engine: Engine) -> None:
    raw(engine).initialise()
    slow = Clock()
    slow.nanos += 500
    late = raw(engine, slow)
    with ThreadPoolExecutor(1) as pool:
        waiting: list[Future[Any]] = []

        def wait() -> None:  # under the lock
            waiting.append(pool.submit(late.renew, 1))
            wait_for_a_waiter(engine)

        ahead = Hooked(wait)
        ahead.nanos += 1000
        _, issued = raw(engine, ahead).renew(1)
        assert issued == ahead.nanos
        assert waiting[0].result(SECONDS)[1] >= issued
    assert (raw(engine).root()[1] or 0) >= issued


def test_a_tree_that_others_hold_stops_no_calls_to_other_trees(tmp_path: Path, database: str) -> None:
    with running(tmp_path, storage=database) as service, connected(service) as client, ExitStack() as stack:
        held, other = client.make(TreeType.PREORDERED_LOG), client.make()
        engine = postgresql_engine(parse_address(database), idle_seconds=0)
        stack.callback(engine.dispose)
        pool = stack.enter_context(ThreadPoolExecutor(2 * THREADS))
        with engine.connect() as connection:
            connection.execute(text("SELECT 1 FROM heads FOR UPDATE"))
            method: Any = client.channel.unary_unary(
                f"/{LOG_SERVICE}/AddSequencedLeaves",
                request_serializer=AddSequencedLeavesRequest.SerializeToString,
            )
            request = AddSequencedLeavesRequest(log_id=held, leaves=[LogLeaf(leaf_value=b"a")])
            for _ in range(2 * THREADS):  # callers who give up
                with suppress(grpc.RpcError):
                    method(request, timeout=0.1)
            calls = [pool.submit(client.place, held, 0, b"a") for _ in range(2 * THREADS)]
            wait_for_a_waiter(engine)
            assert client.root(other).size == 0
            assert not any(call.done() for call in calls)
        answers = [call.result(SECONDS).results[0].status.code for call in calls]
        assert set(answers) <= {0, 6}


def test_a_deadlock_ends_one_of_two_transactions_as_aborted(engine: Engine) -> None:
    registry = Registry(engine)
    trees = registry.find(5).tree_id, registry.add(fields(6)).tree_id
    both = Barrier(2)
    lock = text("SELECT 1 FROM heads WHERE tree_id = :tree FOR UPDATE")

    def take(first: int, second: int) -> None:
        with answering("locking two trees"), begin_write(engine) as transaction:
            transaction.execute(lock, {"tree": first})
            both.wait(SECONDS)
            transaction.execute(lock, {"tree": second})

    with ThreadPoolExecutor(2) as pool:
        calls = [pool.submit(take, *trees), pool.submit(take, *reversed(trees))]
        errors = [error for call in calls if (error := call.exception(SECONDS)) is not None]
    (error,) = errors
    assert type(error) is AbortedError
    assert isinstance(error, StorageFailedError)  # asking again is safe
    assert answer(error)[0] is GRPCCode.ABORTED
