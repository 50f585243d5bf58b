"""A queue when clocks jump, disks fill, tokens are taken away and workers wake from the dead."""

import contextlib
import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, event
from tests.builder.queue.queuehost import queue_host
from tests.builder.queue.suite import ENVELOPES, NOW, purl
from tests.builder.queue.test_work import SECONDS, add, check_log, wait_for_all
from tests.builder.rebuildparts import PACKAGE
from tests.builder.sandboxes import require_sandbox
from tests.torture.jobs.fleet import Fleet, fleet
from tests.torture.jobs.promises import check_end, read_rows
from tests.torture.process import launching

from touchplate.base.errors import StorageError
from touchplate.base.sql import begin_read, sqlite_engine
from touchplate.builder.queue.jobs import MAX_BATCH_BYTES, LeaseLostError, QueueLimits
from touchplate.builder.queue.outputs import Outputs
from touchplate.builder.queue.store import Queue


def wait(condition: Callable[[], bool], said: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, said()
        time.sleep(0.02)


def test_a_worker_that_was_stopped_and_wakes_after_its_lease_went_to_another_changes_nothing(
    tmp_path: Path,
) -> None:
    require_sandbox()
    with queue_host(tmp_path) as host:
        number, definition = add(host, "stopped")
        first = host.worker(0, slots=1)
        second = None
        stopped = []
        try:
            # A worker has other children before it has a job.
            wait(
                lambda: host.queue.find(number).state == "leased" and bool(first.jobs()), lambda: first.lines
            )
            stopped = [first.child.pid, *first.jobs()]
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            second = host.worker(1, slots=1)
            wait_for_all(host, [second])
            done = host.queue.find(number)
            assert (done.state, done.lost, done.attempts) == ("done", 1, 2)
            assert done.worker.startswith("shed/w1.")
            for pid in stopped:
                os.kill(pid, signal.SIGCONT)
            wait(lambda: any("job 1: " in line for line in first.lines[2:]), lambda: first.lines)
            assert host.queue.find(number) == done
        finally:
            for pid in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            codes = [one.end(signal.SIGTERM) for one in (first, second) if one is not None]
        assert codes == [0, 0]
        check_log(host, [definition])


def test_a_worker_whose_token_is_taken_away_ends_its_job_at_once_and_another_does_it(tmp_path: Path) -> None:
    require_sandbox()
    with launching(tmp_path / "runs") as launcher, fleet(tmp_path, launcher) as one:
        one.start_node()
        data = one.host.definition("revoked")
        sha256 = hashlib.sha256(data).hexdigest()
        one.host.queue.add(PACKAGE, sha256, 0)
        one.start_workers()
        wait(lambda: one.host.queue.find(1).state == "leased", lambda: [run.err() for run in one.workers])
        token = one.host.folder / "shed.token"
        known = token.read_text()
        one.kill_node()
        token.write_text("another-token-of-the-shed")
        one.start_node()
        # Both workers: neither the one that builds nor the one that only asks goes on.
        assert [run.wait() for run in one.workers] == [2, 2], [run.err() for run in one.workers]
        for run in one.workers:
            assert "the queue knows no such token" in run.err()
        assert one.jobs() == []
        assert one.host.queue.find(1).state in ("leased", "waiting")
        one.kill_node()
        token.write_text(known)
        one.start_node()
        one.start_workers()
        wait(lambda: one.host.queue.find(1).state == "done", lambda: one.host.queue.find(1))
        assert end(one) == []
        with one.queue_database() as engine:
            rows = read_rows(engine)
        assert [str(found) for found in check_end(rows, one.log(), {sha256: "done"})] == []


def end(one: Fleet) -> list[str]:
    return [str(found) for found in (*one.stop_workers(), *one.stop_node())]


class Disk:
    """Lets a SQLite database grow no more, and again."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._pages = 0
        event.listen(queue.engine, "begin", self._limit)

    def _limit(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {self._pages or 2**30}")

    @contextmanager
    def full(self) -> Iterator[None]:
        with begin_read(self._queue.engine) as connection:
            self._pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        yield
        self._pages = 0


def add_many(queue: Queue) -> None:
    for number in range(900):
        queue.add(purl(f"b{number}"), "", NOW)


def test_a_full_disk_stores_nothing_by_half_and_all_goes_on_when_there_is_room(tmp_path: Path) -> None:
    queue = Queue(sqlite_engine(tmp_path / "queue.sqlite"), QueueLimits(lease_seconds=60))
    disk = Disk(queue)
    large = (b"x" * 100_000, b"y" * 100_000)
    queue.add(purl("a"), "", NOW)
    lease = queue.lease("w", NOW)
    assert lease is not None
    before = queue.find(1)
    with disk.full():
        with pytest.raises(StorageError, match="full"):
            queue.sign(1, lease.secret, large)
        with pytest.raises(StorageError, match="full"):
            Outputs(queue).append(1, lease.secret, bytes(MAX_BATCH_BYTES), NOW)
        with pytest.raises(StorageError, match="full"):
            add_many(queue)
        # What needs no room goes on: nobody loses a lease because of it.
        queue.heartbeat(1, lease.secret, NOW + 59)
        assert queue.find(1).is_signed is before.is_signed is False
    assert queue.sign(1, lease.secret, large) == large
    queue.finish(1, lease.secret, (0, 1), NOW)
    assert queue.find(1).state == "done"
    numbers = [job.number for job in queue.list(limit=1000)]
    assert numbers == sorted(set(numbers), reverse=True)
    queue.close()


def test_reports_in_a_wrong_order_are_refused_or_change_nothing(tmp_path: Path) -> None:
    queue = Queue(sqlite_engine(tmp_path / "queue.sqlite"), QueueLimits(lease_seconds=60, not_built=1))
    queue.add(purl("a"), "", NOW)
    lease = queue.lease("w", NOW)
    assert lease is not None
    assert queue.sign(1, lease.secret, ENVELOPES) == ENVELOPES
    # After something was signed no verdict sends the job back to be built: that would be logged again.
    for result in ("not-built", "different", "identical"):
        assert queue.judge(1, lease.secret, result, NOW)
    assert queue.find(1).state == "leased"
    with pytest.raises(LeaseLostError):
        queue.sign(1, "0" * 64, ENVELOPES)
    queue.fail(1, lease.secret, "the log refused it for good", NOW)
    with pytest.raises(LeaseLostError):
        queue.finish(1, lease.secret, (0, 1), NOW)
    assert queue.find(1).state == "failed"
    queue.close()
