"""Records of first sight: signed in batches, within a budget, and heard of when the log fails."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest
from tests.verify.support import LIB, PUBLISHED, SEEN, digests_of, statement_signer

from touchplate.api.blobs import Blob
from touchplate.api.errors import BusyError, NotReadyError
from touchplate.api.records import Budget, FirstSight, RecordWriter, record_statement
from touchplate.verify.dsse import parse_envelope
from touchplate.verify.statements import Record, parse_predicate, parse_statement

SIGHT = FirstSight(
    LIB,
    "central",
    "org/example/lib/1.0/lib-1.0.jar",
    Blob(len(PUBLISHED), sha384="0" * 96, **digests_of(PUBLISHED)),
)


class MemoryLog:
    """A `Recorder` that keeps batches, waits at a gate, and can fail."""

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.payloads: list[bytes] = []
        self.open = threading.Event()
        self.entered = threading.Event()
        self.failure: Exception | None = None

    def append(self, envelopes: Sequence[bytes]) -> list[int]:
        """See `Recorder.append`."""
        self.entered.set()
        self.open.wait(30)
        if self.failure is not None:
            raise self.failure
        start = sum(self.batches)
        self.batches.append(len(envelopes))
        self.payloads += [parse_envelope(envelope).payload for envelope in envelopes]
        return list(range(start, start + len(envelopes)))


def writer(log: MemoryLog, budget: Budget | None = None) -> RecordWriter:
    made = RecordWriter(log, statement_signer("recorder"), budget or Budget(), lambda: SEEN + 0.9)
    made.start()
    return made


def test_a_record_says_what_was_seen_and_where() -> None:
    record = parse_predicate(parse_statement(record_statement(SIGHT, SEEN)))
    assert isinstance(record, Record)
    assert record.package == LIB
    assert record.uri == "upstream:central/org/example/lib/1.0/lib-1.0.jar"
    assert (record.size, record.seen) == (len(PUBLISHED), SEEN)
    assert record.digests == digests_of(PUBLISHED)


def test_records_that_wait_go_into_one_batch() -> None:
    log = MemoryLog()
    made = writer(log)
    with ThreadPoolExecutor(20) as pool:
        first = pool.submit(made.record, SIGHT)
        log.entered.wait(30)
        others = [pool.submit(made.record, SIGHT) for _ in range(19)]
        while len(made._waiting) < 19:
            log.entered.wait(0.001)
        log.open.set()
        assert first.result(30) == 0
        assert sorted(one.result(30) for one in others) == list(range(1, 20))
    made.stop()
    assert log.batches == [1, 19]


def test_everybody_hears_of_a_log_that_fails_and_the_next_one_is_served(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = MemoryLog()
    log.open.set()
    log.failure = OSError("disk full")
    made = writer(log)
    with pytest.raises(NotReadyError) as caught:
        made.record(SIGHT)
    assert "disk full" not in str(caught.value)  # foreign errors may name folders: they go to our own log
    assert "disk full" in caplog.text
    log.failure = None
    assert made.record(SIGHT) == 0
    made.stop()


def test_a_log_that_is_busy_makes_us_busy() -> None:
    log = MemoryLog()
    log.open.set()
    log.failure = BusyError("too much", retry_after=7)
    made = writer(log)
    with pytest.raises(BusyError) as caught:
        made.record(SIGHT)
    assert caught.value.retry_after == 7
    made.stop()


def test_nothing_is_recorded_after_the_stop() -> None:
    log = MemoryLog()
    log.open.set()
    made = writer(log)
    made.stop()
    with pytest.raises(NotReadyError, match="stopping"):
        made.record(SIGHT)


def test_the_budget_fills_again_evenly() -> None:
    now = [100.0]
    budget = Budget(60, lambda: now[0])
    for _ in range(60):
        budget.take()
    with pytest.raises(BusyError) as caught:
        budget.take()
    assert caught.value.retry_after == 1
    assert caught.value.reason == "record-budget"
    now[0] += 1
    budget.take()
    with pytest.raises(BusyError):
        budget.take()
    now[0] += 3600
    for _ in range(60):
        budget.take()
    with pytest.raises(BusyError):
        budget.take()


def test_a_small_budget_says_how_long_to_wait() -> None:
    now = [0.0]
    budget = Budget(1, lambda: now[0])
    budget.take()
    now[0] += 15
    with pytest.raises(BusyError) as caught:
        budget.take()
    assert caught.value.retry_after == 45
