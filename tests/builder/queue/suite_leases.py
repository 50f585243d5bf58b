"""How long one lease may last, what is said twice or too late, and who works: on every database."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.builder.queue.paced import PacedQueue
from tests.builder.queue.suite import ENVELOPES, NOW, purl

from touchplate.base.sql import Engine
from touchplate.builder.queue.jobs import (
    MAX_PHASE_CHARS,
    BadJobError,
    Lease,
    LeaseLostError,
    QueueLimits,
)
from touchplate.builder.queue.store import Queue
from touchplate.builder.queue.workers import ALIVE_SECONDS, KEPT_SECONDS, NOTED_SECONDS, Workers

LIMITS = QueueLimits(lease_seconds=60, longest_lease_seconds=600, overruns=1, lost=1, retry_seconds=300)


def leased(queue: Queue, now: int) -> Lease:
    """The next lease, which there must be."""
    lease = queue.lease("w", now)
    assert lease is not None
    return lease


def hold(queue: Queue, lease: Lease, begun: int, seconds: int) -> None:
    """Renew it every 15 seconds."""
    for later in range(15, seconds, 15):
        queue.heartbeat(lease.job.number, lease.secret, begun + later)


class LeaseSuite:
    """Subclasses give `engine`."""

    def engine(self, folder: Path) -> Engine:
        raise AssertionError("a subclass opens its database here")

    @pytest.fixture
    def queue(self, tmp_path: Path) -> Iterator[PacedQueue]:
        queue = PacedQueue(self.engine(tmp_path), LIMITS)
        yield queue
        queue.close()

    def test_no_lease_lasts_longer_than_the_longest_however_often_it_is_renewed(self, queue: Queue) -> None:
        queue.add(purl("a"), "", NOW)
        lease = leased(queue, NOW)
        hold(queue, lease, NOW, 600)
        assert queue.find(1).lease_until == NOW + 600
        with pytest.raises(LeaseLostError, match="600 seconds at most") as caught:
            queue.heartbeat(1, lease.secret, NOW + 600)
        assert caught.value.reason == "overrun"
        job = queue.find(1)
        assert (job.state, job.overruns, job.lost, job.not_before) == ("waiting", 1, 0, NOW + 900)
        assert "max_lease" in job.detail
        with pytest.raises(LeaseLostError):
            queue.judge(1, lease.secret, "identical", NOW + 601)

    def test_a_job_that_is_held_too_long_again_has_failed(self, queue: Queue) -> None:
        queue.add(purl("a"), "", NOW)
        for turn in range(LIMITS.overruns + 1):
            begun = NOW + 2000 * turn
            lease = leased(queue, begun)
            hold(queue, lease, begun, 600)
            with pytest.raises(LeaseLostError):
                queue.heartbeat(1, lease.secret, begun + 600)
        job = queue.find(1)
        assert (job.state, job.overruns, job.lost) == ("failed", 2, 0)
        assert job.detail.startswith("2 workers held it too long: a lease lasts 600 seconds")

    def test_a_worker_that_held_its_job_to_the_end_and_fell_silent_then_is_no_lost_one(
        self, queue: Queue
    ) -> None:
        queue.add(purl("a"), "", NOW)
        lease = leased(queue, NOW)
        hold(queue, lease, NOW, 600)
        assert queue.lease("other", NOW + 599) is None
        assert (leased(queue, NOW + 600).job.overruns, queue.find(1).lost) == (1, 0)
        # One that was silent long before its longest time is.
        leased(queue, NOW + 5000)
        assert (queue.find(1).overruns, queue.find(1).lost) == (1, 1)

    def test_what_is_signed_is_sent_however_long_it_takes(self, queue: Queue) -> None:
        queue.add(purl("a"), "", NOW)
        lease = leased(queue, NOW)
        queue.sign(1, lease.secret, ENVELOPES)
        for turn in range(1, 4 * LIMITS.overruns):
            with pytest.raises(LeaseLostError):
                queue.heartbeat(1, lease.secret, NOW + 3600 * turn)
            lease = leased(queue, NOW + 3600 * turn + 300)
            assert lease.envelopes == ENVELOPES
        queue.finish(1, lease.secret, (0, 1), NOW + 99_999)
        assert queue.find(1).state == "done"

    def test_what_is_finished_may_be_said_again_in_the_same_words_only(self, queue: Queue) -> None:
        queue.add(purl("a"), "", NOW)
        lease = leased(queue, NOW)
        with pytest.raises(BadJobError):  # before anything was stored
            queue.finish(1, lease.secret, (4, 5), NOW)
        queue.sign(1, lease.secret, ENVELOPES)
        queue.finish(1, lease.secret, (4, 5), NOW)
        done = queue.find(1)
        queue.finish(1, lease.secret, (4, 5), NOW + 9)
        for late in (
            lambda: queue.finish(1, lease.secret, (4, 6), NOW),
            lambda: queue.finish(1, "0" * 64, (4, 5), NOW),
            lambda: queue.sign(1, lease.secret, (b"{}",)),
            lambda: queue.judge(1, lease.secret, "not-built", NOW),
            lambda: queue.give_back(1, lease.secret, "late", NOW),
            lambda: queue.fail(1, lease.secret, "late", NOW),
            lambda: queue.heartbeat(1, lease.secret, NOW),
        ):
            with pytest.raises(LeaseLostError):
                late()
        assert queue.find(1) == done

    def test_the_finish_of_a_lease_that_went_to_another_is_refused_after_the_others_too(
        self, queue: Queue
    ) -> None:
        queue.add(purl("a"), "", NOW)
        first = leased(queue, NOW)
        queue.sign(1, first.secret, ENVELOPES)
        second = leased(queue, NOW + 60)
        queue.finish(1, second.secret, (0, 1), NOW + 61)
        with pytest.raises(LeaseLostError):
            queue.finish(1, first.secret, (0, 1), NOW + 62)

    def test_a_phase_is_shown_until_the_next_lease(self, queue: Queue) -> None:
        queue.add(purl("a"), "", NOW)
        lease = leased(queue, NOW)
        queue.heartbeat(1, lease.secret, NOW, phase="build\x1b[31m\n" + "x" * 999)
        assert queue.find(1).phase == "build\ufffd[31m " + "x" * (MAX_PHASE_CHARS - 11)
        queue.heartbeat(1, lease.secret, NOW)
        assert queue.find(1).phase.startswith("build")
        assert leased(queue, NOW + 999).job.phase == ""

    def test_workers_are_listed_while_they_have_a_job_or_ask(self, queue: PacedQueue) -> None:
        workers = Workers(queue)
        queue.add(purl("a"), "", NOW)
        for name in ("idle", "w"):
            workers.note(name, "1.0", "bubblewrap", NOW)
        lease = leased(queue, NOW)
        queue.heartbeat(1, lease.secret, NOW + 50, phase="build")
        busy, idle = sorted(workers.list(NOW + 55), key=lambda one: one.name != "w")
        assert (busy.job, busy.package, busy.phase, busy.last_seen) == (1, purl("a"), "build", NOW + 50)
        assert (idle.job, idle.version, idle.backend, idle.last_seen) == (None, "1.0", "bubblewrap", NOW)
        assert [one.name for one in workers.list(NOW + ALIVE_SECONDS)] == ["w"]
        queue.tell(NOW + 110)
        assert workers.list(NOW + 120) == []  # its lease ended in silence

    def test_a_worker_is_written_down_now_and_then_and_forgotten_in_the_end(self, queue: Queue) -> None:
        workers = Workers(queue)
        workers.note("w", "1.0", "", NOW)
        workers.note("w", "1.0", "", NOW + NOTED_SECONDS - 1)
        assert workers.list(NOW + 30)[0].last_seen == NOW
        workers.note("w", "1.0", "", NOW + NOTED_SECONDS)
        assert workers.list(NOW + 30)[0].last_seen == NOW + NOTED_SECONDS
        workers.note("w", "1.1", "", NOW + NOTED_SECONDS + 1)
        (one,) = workers.list(NOW + 30)
        assert (one.version, one.first_seen) == ("1.1", NOW)
        workers.note("x", "1.0", "", NOW + KEPT_SECONDS + 60)
        workers.note("w", "1.0", "", NOW + KEPT_SECONDS + 60)
        assert workers.list(NOW + KEPT_SECONDS + 60)[0].first_seen == NOW + KEPT_SECONDS + 60

    def test_two_nodes_may_start_on_an_empty_database_at_once(self, tmp_path: Path) -> None:
        started: list[Queue] = []
        threads = [
            threading.Thread(target=lambda: started.append(Queue(self.engine(tmp_path), LIMITS)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(started) == 4
        started[0].add(purl("a"), "", NOW)
        assert started[3].find(1).package == purl("a")
        for queue in started:
            queue.close()
