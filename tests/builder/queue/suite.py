"""What a queue must do on every database. Import `QueueSuite`, give it `engine`, and run it."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import event
from tests.builder.queue.paced import PacedQueue

from touchplate.base.sql import Engine
from touchplate.builder.queue.jobs import (
    ANONYMOUS,
    MAX_BATCH_BYTES,
    MAX_DETAIL_CHARS,
    MAX_OUTPUT_BYTES,
    BadJobError,
    LeaseLostError,
    NoJobError,
    QueueFullError,
    QueueLimits,
    TooManyRequestsError,
)
from touchplate.builder.queue.outputs import READ_PIECES, Outputs
from touchplate.builder.queue.store import Queue

NOW = 1_700_000_000
LIMITS = QueueLimits(
    open_jobs=6,
    asked_per_hour=3,
    lease_seconds=60,
    lost=2,
    lacks=1,
    not_built=1,
    different=0,
    retry_seconds=300,
)
ENVELOPES = (b'{"payload":"a"}', b'{"payload":"b"}')


def purl(name: str) -> str:
    return f"pkg:maven/org.example/{name}@1.0?type=jar"


class QueueSuite:
    """The conformance suite. Subclasses give `engine`."""

    def engine(self, folder: Path) -> Engine:
        raise AssertionError("a subclass opens its database here")

    @pytest.fixture
    def queue(self, tmp_path: Path) -> Iterator[Queue]:
        queue = PacedQueue(self.engine(tmp_path), LIMITS)
        yield queue
        queue.close()

    def test_gives_the_oldest_of_the_highest_priority_first(self, queue: Queue) -> None:
        queue.add(purl("a"), "", NOW)
        queue.add(purl("b"), "", NOW, priority=5)
        queue.add(purl("c"), "", NOW, priority=5)
        names = []
        while lease := queue.lease("w", NOW):
            names.append(lease.job.package)
        assert names == [purl("b"), purl("c"), purl("a")]

    def test_holds_one_open_job_for_a_package_and_definition(self, queue: Queue) -> None:
        first, is_new = queue.add(purl("a"), "", NOW)
        assert is_new
        # In any spelling.
        again, is_new = queue.add("pkg:maven/org.example/a@1.0", "", NOW, client="c")
        assert not is_new
        assert again == first
        # Each package of a Conan recipe is built apart.
        conan = "pkg:conan/a@1.0?file=conan_package.tgz&package_id={}&prev={}&rrev={}"
        for package_id in ("1" * 40, "2" * 40):
            package = conan.format(package_id, "b" * 32, "c" * 32)
            made, is_new = queue.add(package, "", NOW)
            assert (made.package, is_new) == (package, True)
        other, is_new = queue.add(purl("a"), "ab" * 32, NOW)
        assert is_new
        assert other.number != first.number

    def test_no_request_repeats_a_job_within_a_day_but_an_administrator_may(self, queue: Queue) -> None:
        job, _ = queue.add(purl("a"), "", NOW, client="c")
        queue.cancel(job.number, NOW)
        day = LIMITS.quiet_seconds
        assert queue.add(purl("a"), "", NOW + day - 1, client="c") == (queue.find(job.number), False)
        again, is_new = queue.add(purl("a"), "", NOW + day, client="c")
        assert is_new
        queue.cancel(again.number, NOW + day)
        assert queue.add(purl("a"), "", NOW + day)[1]

    def test_no_request_repeats_what_was_built_but_an_administrator_may(self, queue: Queue) -> None:
        job, _ = queue.add(purl("a"), "", NOW, client="c")
        finish(queue, NOW)
        year = 365 * LIMITS.quiet_seconds
        assert queue.add(purl("a"), "", NOW + year, client="c") == (queue.find(job.number), False)
        assert queue.add(purl("a"), "", NOW + year)[1]

    def test_clients_without_a_token_have_a_bound_together(self, tmp_path: Path) -> None:
        queue = Queue(self.engine(tmp_path), QueueLimits(asked_per_hour=2, anonymous_per_hour=3))
        try:
            for number in range(3):
                queue.add(purl(f"a{number}"), "", NOW, client=f"{ANONYMOUS}192.0.2.{number}")
            with pytest.raises(
                TooManyRequestsError, match="3 rebuilds an hour may be asked for without a token"
            ):
                queue.add(purl("b"), "", NOW + 3599, client=f"{ANONYMOUS}192.0.2.9")
            assert queue.add(purl("b"), "", NOW + 3599, client="token ci")[1]
            assert queue.add(purl("c"), "", NOW + 3600, client=f"{ANONYMOUS}192.0.2.9")[1]
        finally:
            queue.close()

    def test_clients_without_a_token_leave_places_to_those_with_one(self, tmp_path: Path) -> None:
        queue = Queue(self.engine(tmp_path), QueueLimits(open_anonymous=1))
        try:
            queue.add(purl("a"), "", NOW, client="token ci")
            queue.add(purl("b"), "", NOW, client=f"{ANONYMOUS}192.0.2.1")
            with pytest.raises(QueueFullError, match="1 jobs that clients without a token asked for"):
                queue.add(purl("d"), "", NOW + 7200, client=f"{ANONYMOUS}192.0.2.2")
            assert queue.add(purl("d"), "", NOW, client="token ci")[1]
        finally:
            queue.close()

    def test_clients_leave_places_to_administrators(self, tmp_path: Path) -> None:
        queue = Queue(self.engine(tmp_path), QueueLimits(open_asked=1))
        try:
            queue.add(purl("a"), "", NOW)
            queue.add(purl("b"), "", NOW, client="c")
            with pytest.raises(QueueFullError, match="1 jobs that clients asked for"):
                queue.add(purl("d"), "", NOW, client="d")
            assert queue.add(purl("d"), "", NOW)[1]
        finally:
            queue.close()

    def test_takes_so_many_jobs_and_no_more(self, queue: Queue) -> None:
        for number in range(LIMITS.open_jobs):
            queue.add(purl(f"a{number}"), "", NOW)
        with pytest.raises(QueueFullError, match="6 jobs are open"):
            queue.add(purl("b"), "", NOW)
        assert not queue.add(purl("a0"), "", NOW)[1]
        queue.cancel(1, NOW)
        assert queue.add(purl("b"), "", NOW)[1]

    def test_a_client_may_ask_so_often_in_an_hour(self, queue: Queue) -> None:
        for number in range(LIMITS.asked_per_hour):
            queue.add(purl(f"a{number}"), "", NOW, client="c")
        with pytest.raises(TooManyRequestsError):
            queue.add(purl("b"), "", NOW + 3599, client="c")
        assert not queue.add(purl("a0"), "", NOW, client="c")[1]
        assert queue.add(purl("b"), "", NOW, client="d")[1]
        assert queue.add(purl("c"), "", NOW + 3600, client="c")[1]

    def test_a_job_is_one_workers_until_its_lease_ends_in_silence(self, queue: Queue) -> None:
        queue.add(purl("a"), "", NOW)
        first = queue.lease("one", NOW)
        assert first is not None
        assert queue.lease("two", NOW + 59) is None
        queue.heartbeat(1, first.secret, NOW + 59)
        assert queue.lease("two", NOW + 118) is None
        second = queue.lease("two", NOW + 119)
        assert second is not None
        assert (second.job.worker, second.job.attempts, second.job.lost) == ("two", 2, 1)
        for call in (
            lambda: queue.heartbeat(1, first.secret, NOW),
            lambda: queue.judge(1, first.secret, "identical", NOW),
            lambda: queue.sign(1, first.secret, ENVELOPES),
            lambda: queue.finish(1, first.secret, (0, 1), NOW),
            lambda: queue.give_back(1, first.secret, "no JDK", NOW),
            lambda: queue.fail(1, first.secret, "no", NOW),
            lambda: Outputs(queue).append(1, first.secret, b"x", NOW),
        ):
            with pytest.raises(LeaseLostError):
                call()
        assert queue.find(1) == second.job

    def test_a_job_over_which_workers_fall_silent_again_and_again_is_a_dead_letter(
        self, queue: Queue
    ) -> None:
        queue.add(purl("a"), "", NOW)
        for turn in range(LIMITS.lost + 1):
            assert queue.lease("w", NOW + 60 * turn) is not None
        assert queue.lease("w", NOW + 600) is None
        job = queue.find(1)
        assert (job.state, job.lost, job.finished) == ("failed", 3, NOW + 600)
        assert "fell silent" in job.detail

    def test_failures_to_build_and_differences_are_counted_apart(self, queue: Queue) -> None:
        queue.add(purl("a"), "", NOW)
        first = queue.lease("w", NOW)
        assert first is not None
        assert not queue.judge(1, first.secret, "not-built", NOW)
        assert queue.lease("w", NOW + 299) is None
        second = queue.lease("w", NOW + 300)
        assert second is not None
        assert (second.job.not_built, second.job.different, second.job.lost) == (1, 0, 0)
        assert queue.judge(1, second.secret, "not-built", NOW)
        queue.add(purl("b"), "", NOW)
        other = queue.lease("w", NOW)
        assert other is not None
        assert queue.judge(2, other.secret, "different", NOW)
        assert (queue.find(2).not_built, queue.find(2).different) == (0, 1)

    def test_lacks_of_hosts_are_counted_apart_and_end_too(self, queue: Queue) -> None:
        queue.add(purl("a"), "", NOW)
        for turn in range(LIMITS.lacks + 1):
            lease = queue.lease("w", NOW + 300 * turn)
            assert lease is not None
            queue.give_back(1, lease.secret, "no JDK 9", NOW + 300 * turn)
        job = queue.find(1)
        assert (job.state, job.lacks, job.detail, job.not_built) == ("failed", 2, "no JDK 9", 0)

    def test_what_was_signed_first_is_what_every_later_worker_sends(self, queue: Queue) -> None:
        queue.add(purl("a"), "", NOW)
        first = queue.lease("one", NOW)
        assert first is not None
        assert first.envelopes == ()
        assert queue.sign(1, first.secret, ENVELOPES) == ENVELOPES
        assert queue.sign(1, first.secret, (b"other",)) == ENVELOPES
        # However often it is taken up: sending ends no job.
        later = first
        for turn in range(1, 10):
            taken = queue.lease("two", NOW + 60 * turn)
            assert taken is not None
            assert taken.envelopes == ENVELOPES
            later = taken
        with pytest.raises(BadJobError, match="on its way"):
            queue.cancel(1, NOW)
        with pytest.raises(BadJobError, match="one index for each"):
            queue.finish(1, later.secret, (7,), NOW)
        queue.finish(1, later.secret, (7, 8), NOW + 5)
        job = queue.find(1)
        assert (job.state, job.indexes, job.finished) == ("done", (7, 8), NOW + 5)
        assert queue.lease("two", NOW + 9999) is None

    def test_nothing_is_finished_that_was_not_signed(self, queue: Queue) -> None:
        queue.add(purl("a"), "", NOW)
        lease = queue.lease("w", NOW)
        assert lease is not None
        for indexes in ((), (1,)):
            with pytest.raises(BadJobError):
                queue.finish(1, lease.secret, indexes, NOW)
        assert queue.find(1).state == "leased"

    def test_a_signed_job_whose_log_is_gone_is_cancelled_only_as_such(self, queue: Queue) -> None:
        queue.add(purl("a"), "", NOW)
        lease = queue.lease("w", NOW)
        assert lease is not None
        queue.sign(1, lease.secret, ENVELOPES)
        # Given back as often as there is no log to send it to.
        for turn in range(1, 10 * LIMITS.lacks):
            later = NOW + turn * LIMITS.retry_seconds
            queue.give_back(1, lease.secret, "the log does not answer", later)
            lease = queue.lease("w", later + LIMITS.retry_seconds)
            assert lease is not None
        with pytest.raises(BadJobError, match="as signed") as caught:
            queue.cancel(1, NOW)
        assert caught.value.reason == "too-late"
        assert queue.find(1).state == "leased"
        assert queue.cancel(1, NOW, signed=True).state == "cancelled"
        with pytest.raises(LeaseLostError):
            queue.finish(1, lease.secret, [0, 1], NOW)
        assert queue.add(purl("a"), "", NOW)[1]

    def test_a_cancelled_job_is_taken_from_its_worker(self, queue: Queue) -> None:
        queue.add(purl("a"), "", NOW)
        lease = queue.lease("w", NOW)
        assert lease is not None
        assert queue.cancel(1, NOW + 1).state == "cancelled"
        with pytest.raises(LeaseLostError):
            queue.heartbeat(1, lease.secret, NOW + 2)
        assert queue.cancel(1, NOW + 3).finished == NOW + 1
        with pytest.raises(NoJobError):
            queue.cancel(2, NOW)

    def test_lists_the_newest_first_in_pages(self, queue: Queue) -> None:
        for name in "abcde":
            queue.add(purl(name), "", NOW)
        queue.cancel(3, NOW)
        assert [job.number for job in queue.list(limit=2)] == [5, 4]
        assert [job.number for job in queue.list(limit=2, before=4)] == [3, 2]
        assert [job.number for job in queue.list(state="cancelled")] == [3]

    @pytest.mark.parametrize(
        ("package", "definition", "priority"),
        [
            ("zlib", "", 0),
            ("pkg:maven/a/" + "b" * 3000 + "@1", "", 0),
            (purl("a"), "AB" * 32, 0),
            (purl("a"), "ab", 0),
            (purl("a"), "", 101),
            (purl("a"), "", -1),
        ],
    )
    def test_refuses_what_no_job_can_come_of(
        self, queue: Queue, package: str, definition: str, priority: int
    ) -> None:
        with pytest.raises(BadJobError):
            queue.add(package, definition, NOW, priority=priority)
        assert queue.list() == []

    def test_everything_is_there_after_it_is_opened_again(self, queue: Queue, tmp_path: Path) -> None:
        queue.add(purl("a"), "", NOW)
        lease = queue.lease("w", NOW)
        assert lease is not None
        queue.sign(1, lease.secret, ENVELOPES)
        before = queue.find(1)
        again = Queue(self.engine(tmp_path), LIMITS)
        assert again.find(1) == before
        again.heartbeat(1, lease.secret, NOW)
        again.close()

    def test_many_workers_at_once_never_get_the_same_job(self, tmp_path: Path) -> None:
        limits = QueueLimits()
        queues = [Queue(self.engine(tmp_path), limits) for _ in range(4)]
        for number in range(40):
            queues[0].add(purl(f"a{number}"), "", NOW)
        taken: list[int] = []

        def work(queue: Queue) -> None:
            while lease := queue.lease("w", NOW):
                taken.append(lease.job.number)

        threads = [threading.Thread(target=work, args=(queue,)) for queue in queues]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert Counter(taken) == Counter(range(1, 41))
        for queue in queues:
            queue.close()

    def test_many_clients_at_once_open_one_job(self, tmp_path: Path) -> None:
        queues = [Queue(self.engine(tmp_path), QueueLimits(open_jobs=3)) for _ in range(4)]
        made: list[bool] = []

        def ask(queue: Queue) -> None:
            for number in range(5):
                try:
                    made.append(queue.add(purl(f"a{number}"), "", NOW)[1])
                except QueueFullError:
                    made.append(False)

        threads = [threading.Thread(target=ask, args=(queue,)) for queue in queues]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(made) == len(queues[0].list()) == 3
        for queue in queues:
            queue.close()

    def test_requests_of_a_clock_that_was_ahead_count_against_nobody(self, queue: Queue) -> None:
        ahead = NOW + 365 * 24 * 3600
        for name in ("a", "b", "c"):
            queue.add(purl(name), "", ahead, client="somebody")
        assert queue.add(purl("d"), "", NOW, client="somebody")[1]

    @pytest.mark.parametrize("end", [Queue.fail, Queue.give_back])
    def test_why_a_job_ended_is_one_line_that_any_database_and_terminal_takes(
        self, queue: Queue, end: Callable[[Queue, int, str, str, int], None]
    ) -> None:
        queue.add(purl("a"), "", NOW)
        lease = queue.lease("w", NOW)
        assert lease is not None
        end(queue, 1, lease.secret, "no such\n  file: 'a\0\x1b[31mb'\u202e" + "x" * MAX_DETAIL_CHARS, NOW)
        detail = queue.find(1).detail
        assert detail.startswith("no such file: 'a\ufffd\ufffd[31mb'\ufffdxxx")
        assert len(detail) == MAX_DETAIL_CHARS

    def test_output_is_kept_up_to_a_limit_and_says_so(self, queue: Queue) -> None:
        queue.add(purl("a"), "", NOW)
        lease = queue.lease("w", NOW)
        assert lease is not None
        outputs = Outputs(queue)
        assert outputs.append(1, lease.secret, b"one\n", NOW) == 4
        assert outputs.append(1, lease.secret, b"two\n", NOW) == 8
        assert outputs.read(1, 0) == b"one\ntwo\n"
        assert outputs.read(1, 2) == b"e\ntwo\n"
        assert outputs.read(1, 8) == outputs.read(1, 99) == outputs.read(2, 0) == b""
        with pytest.raises(BadJobError, match="at most 65536"):
            outputs.append(1, lease.secret, bytes(MAX_BATCH_BYTES + 1), NOW)
        piece = b"x" * MAX_BATCH_BYTES
        for _ in range(MAX_OUTPUT_BYTES // len(piece) + 3):
            outputs.append(1, lease.secret, piece, NOW)
        found = b""
        while more := outputs.read(1, len(found)):
            found += more
        assert len(found) < MAX_OUTPUT_BYTES + 200
        assert found.endswith(b"which is evidence]\n")

    def test_output_in_many_small_pieces_is_read_from_any_byte_on(self, queue: Queue) -> None:
        queue.add(purl("a"), "", NOW)
        lease = queue.lease("w", NOW)
        assert lease is not None
        outputs = Outputs(queue)
        # A piece a second, of a line or two, is what a build that says little makes.
        pieces = [b"%d\n" % number for number in range(5 * READ_PIECES)]
        for piece in pieces:
            outputs.append(1, lease.secret, piece, NOW)
        written, found = b"".join(pieces), b""
        while more := outputs.read(1, len(found)):
            found += more
        assert found == written
        for start in range(len(written)):
            assert written[start:].startswith(outputs.read(1, start) or b"?")

    def test_a_job_is_listed_shown_and_added_without_reading_its_statements(self, queue: Queue) -> None:
        queue.add(purl("a"), "", NOW)
        lease = queue.lease("w", NOW)
        assert lease is not None
        queue.sign(1, lease.secret, ENVELOPES)
        asked: list[str] = []
        event.listen(queue.engine, "before_cursor_execute", lambda *call: asked.append(call[2]))
        queue.add(purl("b"), "", NOW)
        found = [queue.add(purl("a"), "", NOW)[0], queue.find(1), *queue.list(), *queue.list(state="leased")]
        assert [job.is_signed for job in found] == [True, True, False, True, True]
        looks = [statement for statement in asked if statement.startswith("SELECT")]
        assert sum("parcel IS NOT NULL" in look for look in looks) == 5
        assert not any("parcel" in look.replace("parcel IS NOT NULL", "") for look in looks)


def finish(queue: Queue, now: int) -> None:
    lease = queue.lease("w", now)
    assert lease is not None
    assert queue.judge(lease.job.number, lease.secret, "identical", now)
    queue.sign(lease.job.number, lease.secret, ENVELOPES)
    queue.finish(lease.job.number, lease.secret, (0, 1), now)
