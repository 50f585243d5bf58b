"""Two nodes over one PostgreSQL: what one is told the other knows, whatever is cut in between."""

import asyncio
import itertools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest
from tests.builder.queue.suite import ENVELOPES, NOW, purl
from tests.postgres import Server

from touchplate.base.errors import StorageError
from touchplate.base.postgresql import parse_address, postgresql_engine
from touchplate.builder.queue.events import Events
from touchplate.builder.queue.jobs import CLOSED, LeaseLostError, QueueLimits
from touchplate.builder.queue.live import LAST_SECONDS, LiveOutput
from touchplate.builder.queue.outputs import Outputs
from touchplate.builder.queue.store import Queue

JOBS = 24
WORKERS = 4
CUTS = 12
SECONDS = 300
T = TypeVar("T")


@pytest.fixture
def nodes(database: str) -> Iterator[tuple[Queue, Queue]]:
    limits = QueueLimits(lease_seconds=2, lost=1000, retry_seconds=0)
    one, other = (Queue(postgresql_engine(parse_address(database)), limits) for _ in range(2))
    yield one, other
    one.close()
    other.close()


def test_a_follower_at_one_node_sees_what_a_worker_tells_the_other(nodes: tuple[Queue, Queue]) -> None:
    one, other = nodes
    one.add(purl("a"), "", NOW)
    lease = one.lease("w", NOW)
    assert lease is not None
    events = Events()

    async def watch() -> None:
        live = LiveOutput(other, Outputs(other), lambda: NOW + LAST_SECONDS + 1)
        stream = live.events(1, 0)
        for line in (b"one\n", b"two\n"):
            Outputs(one).append(1, lease.secret, line, NOW)
            events.feed(await anext(stream))
        other.cancel(1, NOW)
        async for chunk in stream:
            events.feed(chunk)

    asyncio.run(watch())
    assert (events.lines, events.is_ended) == (["one", "two"], True)
    with pytest.raises(LeaseLostError):
        one.heartbeat(1, lease.secret, NOW)


def test_reports_to_either_node_are_one_account_of_a_job(nodes: tuple[Queue, Queue]) -> None:
    one, other = nodes
    one.add(purl("a"), "", NOW)
    assert other.add(purl("a"), "", NOW) == (one.find(1), False)
    lease = one.lease("w", NOW)
    assert lease is not None
    assert other.lease("x", NOW) is None
    other.heartbeat(1, lease.secret, NOW, phase="build")
    assert one.find(1).phase == "build"
    assert other.judge(1, lease.secret, "identical", NOW)
    assert one.sign(1, lease.secret, ENVELOPES) == ENVELOPES
    assert other.sign(1, lease.secret, (b"others",)) == ENVELOPES
    one.finish(1, lease.secret, (4, 5), NOW)
    other.finish(1, lease.secret, (4, 5), NOW)
    for queue in nodes:
        with pytest.raises(LeaseLostError):
            queue.finish(1, lease.secret, (5, 6), NOW)
        with pytest.raises(LeaseLostError):
            queue.finish(1, "0" * 64, (4, 5), NOW)
    assert (other.find(1).state, other.find(1).indexes) == ("done", (4, 5))


class Log:
    """Answers an envelope that it has with its old index, as logs do; knows whose job sent it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._indexes: dict[bytes, int] = {}
        self.sent: defaultdict[int, set[bytes]] = defaultdict(set)

    def send(self, number: int, envelope: bytes) -> int:
        with self._lock:
            self.sent[number].add(envelope)
            return self._indexes.setdefault(envelope, len(self._indexes))


def test_sessions_that_are_cut_lose_no_job_and_let_none_be_sent_twice(
    nodes: tuple[Queue, Queue], postgres: Server, database: str
) -> None:
    log, turns, made = Log(), itertools.cycle(nodes), itertools.count()
    deadline = time.monotonic() + SECONDS
    failures: list[Exception] = []

    def ask(call: Callable[[Queue], T]) -> T:
        """Of one node or the other, until it answers: whether it did what was asked is not known before."""
        while True:
            try:
                return call(next(turns))
            except StorageError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def now() -> int:
        return int(time.time())

    def work_once() -> bool:
        """Whether there was a job."""
        lease = ask(lambda queue: queue.lease("w", now()))
        if lease is None:
            return False
        number, secret, envelopes = lease.job.number, lease.secret, lease.envelopes
        if not envelopes:
            ask(lambda queue: queue.judge(number, secret, "different", now()))
            mine = tuple(b"%d, made %d" % (number, next(made)) for _ in range(2))
            envelopes = ask(lambda queue: queue.sign(number, secret, mine))
        indexes = [log.send(number, one) for one in envelopes]
        ask(lambda queue: queue.finish(number, secret, indexes, now()))
        return True

    def work() -> None:
        try:
            while any(job.state not in CLOSED for job in ask(lambda queue: queue.list())):
                try:
                    if not work_once():
                        time.sleep(0.05)
                except LeaseLostError:
                    pass
                assert time.monotonic() < deadline, ask(lambda queue: queue.list())
        except Exception as error:
            failures.append(error)

    for number in range(JOBS):
        ask(lambda queue, name=f"a{number}": queue.add(purl(name), "", now()))  # type: ignore[misc]
    threads = [threading.Thread(target=work) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    for _ in range(CUTS):
        name = f"datname = '{Server.name_of(database)}'"
        postgres.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {name}")
        time.sleep(0.02)
    for thread in threads:
        thread.join()
    assert failures == []
    jobs = ask(lambda queue: queue.list())
    assert [job.state for job in jobs] == ["done"] * JOBS
    # One account each, however often it was made, and the indexes are those of what was sent.
    assert {number: len(sent) for number, sent in log.sent.items()} == {job.number: 2 for job in jobs}
    for job in jobs:
        assert sorted(job.indexes) == sorted(log.send(job.number, one) for one in log.sent[job.number])
