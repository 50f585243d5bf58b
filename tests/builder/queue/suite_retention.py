"""What is deleted of a queue, and when, and what never is: on every database."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import event
from tests.builder.queue.suite import ENVELOPES, purl

from touchplate.base.sql import Engine, begin_read
from touchplate.builder.queue.housekeeping import Housekeeper
from touchplate.builder.queue.jobs import (
    ANONYMOUS,
    CLOSED,
    DeletedJobError,
    LeaseLostError,
    NoJobError,
    QueueLimits,
    State,
)
from touchplate.builder.queue.outputs import Outputs
from touchplate.builder.queue.prune import CALL_BATCHES, MOST_JOBS, MOST_PIECES, Pruner
from touchplate.builder.queue.retention import DAY, FULL_SECONDS, Retention, Wanted
from touchplate.builder.queue.store import Queue

NOW = int(time.time())
"""The real time: a database on PostgreSQL looks whether it is."""

KEPT = Retention(ended=30 * DAY, failed=60 * DAY)
LIMITS = QueueLimits(
    open_jobs=10_000, asked_per_hour=10_000, anonymous_per_hour=10_000, open_anonymous=10_000
)


def end(queue: Queue, name: str, state: State, when: int, *, client: str | None = None) -> int:
    """A job that ended so and then; its number."""
    number = queue.add(purl(name), "", when, client=client)[0].number
    if state == "cancelled":
        queue.cancel(number, when)
        return number
    lease = queue.lease("w", when)
    assert lease is not None
    assert lease.job.number == number
    Outputs(queue).append(number, lease.secret, b"line\n", when)
    if state == "failed":
        queue.fail(number, lease.secret, "no such definition", when)
    else:
        assert queue.judge(number, lease.secret, "identical", when)
        queue.sign(number, lease.secret, ENVELOPES)
        queue.finish(number, lease.secret, (2 * number, 2 * number + 1), when)
    return number


def read_all(queue: Queue, number: int) -> bytes:
    found = b""
    while more := Outputs(queue).read(number, len(found)):
        found += more
    return found


def numbers(queue: Queue) -> list[int]:
    return sorted(job.number for job in queue.list(limit=1000))


class RetentionSuite:
    """Subclasses give `engine`."""

    def engine(self, folder: Path) -> Engine:
        raise AssertionError("a subclass opens its database here")

    @pytest.fixture
    def queue(self, tmp_path: Path) -> Iterator[Queue]:
        queue = Queue(self.engine(tmp_path), LIMITS)
        yield queue
        queue.close()

    @pytest.fixture
    def pruner(self, queue: Queue) -> Pruner:
        return Pruner(queue, KEPT)

    @pytest.mark.parametrize("state", CLOSED)
    def test_a_job_goes_when_its_time_after_its_end_is_over(
        self, queue: Queue, pruner: Pruner, state: State
    ) -> None:
        kept = KEPT.seconds(state)
        end(queue, "a", state, NOW - kept - 1)
        end(queue, "b", state, NOW - kept)
        for other in CLOSED:
            pruner.delete(other, KEPT.seconds(other), NOW)
        assert numbers(queue) == [2]
        assert queue.find(2).state == state

    @pytest.mark.parametrize("state", CLOSED)
    def test_an_end_that_a_clock_far_behind_wrote_down_is_no_time_that_is_over(
        self, queue: Queue, pruner: Pruner, state: State
    ) -> None:
        behind, ahead = NOW - 1000 * DAY, NOW + 1000 * DAY
        # One node makes the job, or gives it to a worker; another one, behind, is told how it ended.
        queue.add(purl("a"), "", NOW)
        queue.add(purl("b"), "", behind, priority=9)
        queue.add(purl("c"), "", ahead, priority=8)  # a clock that was ahead keeps nothing for ever
        for number, when in ((2, NOW), (3, behind), (1, behind)):
            lease = queue.lease("w", when)
            assert lease is not None
            assert lease.job.number == number
            Outputs(queue).append(number, lease.secret, b"line\n", when)
            queue.sign(number, lease.secret, ENVELOPES)
            if state == "done":
                queue.finish(number, lease.secret, (0, 1), behind)
            elif state == "failed":
                queue.fail(number, lease.secret, "no such definition", behind)
            else:
                queue.cancel(number, behind, signed=True)
        assert pruner.count_wanted(Wanted(DAY, CLOSED), NOW)[state] == 1
        assert Housekeeper(pruner, lambda: NOW).look() == 1
        assert numbers(queue) == [1, 2]
        assert all(queue.find(number).is_signed for number in (1, 2))
        assert read_all(queue, 1) == read_all(queue, 2) == b"line\n"

    def test_what_is_open_or_waits_for_its_log_never_goes(self, queue: Queue, pruner: Pruner) -> None:
        old = NOW - 1000 * DAY
        queue.add(purl("waiting"), "", old)
        queue.add(purl("leased"), "", old, priority=9)
        queue.add(purl("signed"), "", old, priority=8)
        queue.add(purl("tried"), "", old, priority=7)
        leased, signed, tried = (queue.lease("w", old) for _ in range(3))
        assert leased is not None
        assert signed is not None
        assert tried is not None
        queue.sign(3, signed.secret, ENVELOPES)
        queue.give_back(3, signed.secret, "the log does not answer", old)
        assert not queue.judge(4, tried.secret, "not-built", old)
        Outputs(queue).append(2, leased.secret, b"line\n", old)
        before = [queue.find(number) for number in numbers(queue)]
        assert Housekeeper(pruner, lambda: NOW).look() == 0
        assert pruner.delete_wanted(Wanted(3600, CLOSED), NOW) == (dict.fromkeys(CLOSED, 0), False)
        assert [queue.find(number) for number in numbers(queue)] == before
        assert [job.is_signed for job in before] == [False, False, True, False]
        assert Outputs(queue).read(2, 0) == b"line\n"
        queue.heartbeat(2, leased.secret, NOW)

    def test_a_week_after_its_end_a_job_loses_its_output_and_what_the_log_has(
        self, queue: Queue, pruner: Pruner
    ) -> None:
        for name, when in (("a", NOW - FULL_SECONDS - 1), ("b", NOW - FULL_SECONDS)):
            end(queue, name, "done", when)
        before = queue.find(1)
        assert (before.is_signed, Outputs(queue).read(1, 0)) == (True, b"line\n")
        assert Housekeeper(pruner, lambda: NOW).look() == 0
        after = queue.find(1)
        assert (after.is_signed, Outputs(queue).read(1, 0)) == (False, b"")
        # What the rebuild found stays, and where the log has it.
        assert (after.state, after.result, after.indexes) == ("done", "identical", (2, 3))
        assert (queue.find(2).is_signed, Outputs(queue).read(2, 0)) == (True, b"line\n")
        assert not queue.add(purl("a"), "", NOW, again=False)[1]
        assert not queue.add(purl("a"), "", NOW, client="c")[1]

    def test_what_was_cancelled_when_it_was_signed_keeps_its_statements_until_it_goes(
        self, queue: Queue, pruner: Pruner
    ) -> None:
        when = NOW - FULL_SECONDS - 1
        queue.add(purl("a"), "", when)
        lease = queue.lease("w", when)
        assert lease is not None
        queue.sign(1, lease.secret, ENVELOPES)
        queue.cancel(1, when, signed=True)
        assert pruner.empty(NOW).jobs == 1
        assert queue.find(1).is_signed

    def test_many_go_in_batches_the_oldest_first(self, queue: Queue, pruner: Pruner) -> None:
        count = 2 * MOST_JOBS + 1
        for number in range(count):
            end(queue, f"a{number}", "cancelled", NOW - 40 * DAY + number)
        seen = []
        while True:
            batch = pruner.delete("cancelled", KEPT.ended, NOW)
            seen.append((batch.jobs, batch.is_more))
            assert numbers(queue) == list(range(sum(jobs for jobs, _ in seen) + 1, count + 1))
            if not batch.is_more:
                break
        assert seen == [(MOST_JOBS, True), (MOST_JOBS, True), (1, False)]

    @pytest.mark.parametrize("action", ["empty", "delete"])
    def test_a_long_output_goes_in_parts_and_its_job_after_it(
        self, queue: Queue, pruner: Pruner, action: str
    ) -> None:
        when = NOW - 40 * DAY
        for name in ("long", "short"):
            queue.add(purl(name), "", when)
            lease = queue.lease("w", when)
            assert lease is not None
            for _ in range(MOST_PIECES + 10 if name == "long" else 1):
                Outputs(queue).append(lease.job.number, lease.secret, b"x", when)
            queue.cancel(lease.job.number, when)

        def take() -> tuple[int, bool]:
            batch = pruner.empty(NOW) if action == "empty" else pruner.delete("cancelled", KEPT.ended, NOW)
            return batch.jobs, batch.is_more

        assert take() == (0, True)
        assert len(read_all(queue, 1)) == 10  # its beginning
        assert queue.find(1).state == "cancelled"
        assert take() == (2, False)
        assert read_all(queue, 1) == read_all(queue, 2) == b""
        assert numbers(queue) == ([1, 2] if action == "empty" else [])

    def test_a_number_that_was_deleted_says_so_and_one_that_never_was_does_not(
        self, queue: Queue, pruner: Pruner
    ) -> None:
        end(queue, "a", "done", NOW - 40 * DAY)
        end(queue, "b", "failed", NOW - 40 * DAY)
        with pytest.raises(NoJobError, match="there is no job 3"):
            queue.find(3)
        assert Housekeeper(pruner, lambda: NOW).look() == 1
        said = r"job 1 was deleted: a job goes some time after its end \(30 days when done\)"
        with pytest.raises(DeletedJobError, match=said) as caught:
            queue.find(1)
        assert caught.value.reason == "job-deleted"
        with pytest.raises(DeletedJobError):
            queue.cancel(1, NOW)
        for number in (0, 3):
            with pytest.raises(NoJobError) as found:
                queue.find(number)
            assert found.value.reason == "no-such-job"
        # The greatest number, and all: none is given again.
        assert pruner.delete_wanted(Wanted(3600, ("failed",)), NOW) == ({"failed": 1}, False)
        assert queue.add(purl("c"), "", NOW)[0].number == 3
        with pytest.raises(DeletedJobError, match="1 hour when failed"):
            queue.find(2)

    def test_what_was_deleted_may_be_asked_for_again(self, queue: Queue, pruner: Pruner) -> None:
        end(queue, "a", "done", NOW - 40 * DAY, client="c")
        assert not queue.add(purl("a"), "", NOW, client="c")[1]
        Housekeeper(pruner, lambda: NOW).look()
        job, is_new = queue.add(purl("a"), "", NOW, client="c", again=False)
        assert (job.number, is_new) == (2, True)

    def test_a_worker_that_comes_late_changes_nothing(self, queue: Queue, pruner: Pruner) -> None:
        when = NOW - 40 * DAY
        queue.add(purl("a"), "", when)
        lease = queue.lease("w", when)
        assert lease is not None
        queue.cancel(1, when)
        Housekeeper(pruner, lambda: NOW).look()
        with pytest.raises(LeaseLostError):
            Outputs(queue).append(1, lease.secret, b"late\n", NOW)
        with pytest.raises(LeaseLostError):
            queue.heartbeat(1, lease.secret, NOW)
        assert Outputs(queue).read(1, 0) == b""

    def test_a_person_deletes_what_is_older_than_said_and_failed_ones_only_when_named(
        self, queue: Queue, pruner: Pruner
    ) -> None:
        for number, state in enumerate(CLOSED):
            end(queue, f"a{number}", state, NOW - 2 * DAY)
            end(queue, f"b{number}", state, NOW - DAY // 2)
        wanted = Wanted(DAY)
        assert pruner.count_wanted(wanted, NOW) == {"done": 1, "cancelled": 1}
        assert numbers(queue) == [1, 2, 3, 4, 5, 6]
        assert pruner.delete_wanted(wanted, NOW) == ({"done": 1, "cancelled": 1}, False)
        assert [queue.find(number).state for number in numbers(queue)] == [
            "done", "failed", "failed", "cancelled",
        ]  # fmt: skip
        assert pruner.count_wanted(Wanted(), NOW) == dict.fromkeys(CLOSED, 0)
        assert pruner.delete_wanted(Wanted(DAY, ("failed",)), NOW) == ({"failed": 1}, False)

    def test_a_call_of_a_person_ends_after_some_batches_and_says_that_there_is_more(
        self, queue: Queue, pruner: Pruner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("touchplate.builder.queue.prune.MOST_JOBS", 1)
        for number in range(CALL_BATCHES + 1):
            end(queue, f"a{number}", "cancelled", NOW - 2 * DAY)
        wanted = Wanted(DAY, ("cancelled",))
        assert pruner.delete_wanted(wanted, NOW) == ({"cancelled": CALL_BATCHES}, True)
        assert pruner.delete_wanted(wanted, NOW) == ({"cancelled": 1}, False)

    def test_two_nodes_delete_while_workers_work_and_nothing_open_is_touched(self, tmp_path: Path) -> None:
        queues = [Queue(self.engine(tmp_path), LIMITS) for _ in range(4)]
        try:
            for number in range(120):
                end(queues[0], f"old{number}", CLOSED[number % 3], NOW - 100 * DAY)
            done: list[int] = []
            wrong: list[BaseException] = []

            def work(queue: Queue, name: str) -> None:
                try:
                    for number in range(20):
                        queue.add(purl(f"{name}{number}"), "", NOW)
                        lease = queue.lease("w", NOW)
                        assert lease is not None
                        Outputs(queue).append(lease.job.number, lease.secret, b"line\n", NOW)
                        queue.sign(lease.job.number, lease.secret, ENVELOPES)
                        queue.finish(lease.job.number, lease.secret, (0, 1), NOW)
                        done.append(lease.job.number)
                except BaseException as error:
                    wrong.append(error)

            def tidy(queue: Queue) -> None:
                try:
                    for _ in range(3):
                        Housekeeper(Pruner(queue, KEPT), lambda: NOW).look()
                except BaseException as error:
                    wrong.append(error)

            threads = [
                *(
                    threading.Thread(target=work, args=(one, f"w{number}"))
                    for number, one in enumerate(queues[:2])
                ),
                *(threading.Thread(target=tidy, args=(one,)) for one in queues[2:]),
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            Housekeeper(Pruner(queues[0], KEPT), lambda: NOW).look()
            assert wrong == []
            assert numbers(queues[0]) == sorted(done) == list(range(121, 161))
            assert all(queues[0].find(number).is_signed for number in done)
        finally:
            for queue in queues:
                queue.close()

    def test_the_counts_of_a_request_read_what_is_open_and_what_is_of_the_hour(self, queue: Queue) -> None:
        client = f"{ANONYMOUS}192.0.2.1"
        for number in range(30):
            end(queue, f"a{number}", "cancelled", NOW - 40 * DAY, client=client)
        asked: list[tuple[str, object]] = []
        event.listen(queue.engine, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
        queue.add(purl("b"), "", NOW, client=client)
        counts = [(said, values) for said, values in asked if said.startswith("SELECT count")]
        explain = "EXPLAIN QUERY PLAN" if queue.engine.dialect.name == "sqlite" else "EXPLAIN"
        plans = []
        with begin_read(queue.engine) as transaction:
            for said, values in counts:
                rows = transaction.exec_driver_sql(f"{explain} {said}", values).all()  # type: ignore[arg-type]
                plans.append(" ".join(str(part) for row in rows for part in row))
        opened, recent = plans
        assert "jobs_one_open" in opened or "jobs_in_order" in opened, opened
        assert "jobs_by_time" in recent, recent
        assert "jobs_of" not in opened + recent

    def test_each_look_for_what_is_over_reads_an_index_of_that(self, queue: Queue, pruner: Pruner) -> None:
        end(queue, "a", "cancelled", NOW)
        asked: list[tuple[str, object]] = []
        event.listen(queue.engine, "before_cursor_execute", lambda *call: asked.append((call[2], call[3])))
        Housekeeper(pruner, lambda: NOW).look()
        looks = [one for one in asked if "has_output" in one[0]]
        explain = "EXPLAIN QUERY PLAN" if queue.engine.dialect.name == "sqlite" else "EXPLAIN"
        with begin_read(queue.engine) as transaction:
            plans = [
                str(transaction.exec_driver_sql(f"{explain} {said}", values).all())  # type: ignore[arg-type]
                for said, values in looks
            ]
        assert ["jobs_to_empty" in plan for plan in plans] == [True, False, False, False]
        assert ["jobs_ended" in plan for plan in plans] == [False, True, True, True]
