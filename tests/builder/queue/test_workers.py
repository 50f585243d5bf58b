"""Who is remembered as a worker, and for how long: clocks that were wrong, long jobs, floods of names."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.builder.queue.paced import PacedQueue
from tests.builder.queue.suite import NOW, purl

from touchplate.base.postgresql import parse_address, postgresql_engine
from touchplate.base.sql import sqlite_engine
from touchplate.builder.queue.jobs import QueueLimits
from touchplate.builder.queue.store import Queue
from touchplate.builder.queue.workers import KEPT_SECONDS, MAX_WORKERS, Workers

YEAR = 365 * 24 * 3600


@pytest.fixture(params=["sqlite", "postgresql"])
def queue(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Queue]:
    engine = (
        sqlite_engine(tmp_path / "queue.sqlite")
        if request.param == "sqlite"
        else postgresql_engine(parse_address(request.getfixturevalue("database")))
    )
    queue = PacedQueue(engine, QueueLimits(longest_lease_seconds=7 * 24 * 3600))
    yield queue
    queue.close()


def names(workers: Workers, now: int) -> list[str]:
    return [one.name for one in workers.list(now)]


def test_a_worker_that_was_seen_by_a_wrong_clock_is_alive_no_longer_than_others(queue: Queue) -> None:
    workers = Workers(queue)
    workers.note("ghost", "1", "usual", NOW + YEAR)
    assert names(workers, NOW) == []
    workers.note("other", "1", "usual", NOW)
    assert names(workers, NOW) == ["other"]
    assert names(workers, NOW + YEAR) == []  # forgotten, too


@pytest.mark.parametrize("count", [1, MAX_WORKERS + 5])
def test_a_worker_with_a_long_job_is_listed_whoever_comes_meanwhile(queue: Queue, count: int) -> None:
    workers = Workers(queue)
    queue.add(purl("a"), "", NOW)
    lease = queue.lease("busy", NOW)
    assert lease is not None
    workers.note("busy", "1", "usual", NOW)
    now = NOW
    while now < NOW + KEPT_SECONDS + 1:
        now += 3600
        queue.heartbeat(lease.job.number, lease.secret, now)
    for number in range(count):
        workers.note(f"a/{number:05}", "1", "usual", now)
    listed = names(workers, now)
    assert "busy" in listed
    assert len(listed) <= MAX_WORKERS
