"""Lone entries that arrive together are admitted together, and each is answered for itself."""

import asyncio
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import pytest
from tests.log.support import STRANGER, record_envelope, running_log, write_settings

from touchplate.base.sql import begin_write
from touchplate.log import writing
from touchplate.log.errors import AdmissionError, OverloadedError, StoppedError
from touchplate.log.ports import PackedEntry, Sequenced, Sequencer
from touchplate.log.sequencer import Limits
from touchplate.log.service import LogService
from touchplate.log.writing import LogWriter

MANY = 3 * writing.GROUP_ENTRIES + 5


@pytest.fixture
def service(tmp_path: Path) -> Iterator[LogService]:
    with running_log(tmp_path) as running:
        yield running


def add_all(service: LogService, envelopes: list[bytes]) -> list[Sequenced | BaseException]:
    async def main() -> list[Sequenced | BaseException]:
        calls = [service.writer.add(envelope) for envelope in envelopes]
        return await asyncio.gather(*calls, return_exceptions=True)

    return asyncio.run(main())


def test_each_of_many_gets_an_index_of_its_own(service: LogService) -> None:
    found = add_all(service, [record_envelope(number) for number in range(MANY)])
    placed = [one for one in found if isinstance(one, Sequenced)]
    assert sorted(one.index for one in placed) == list(range(MANY))
    assert not any(one.duplicate for one in placed)
    for number in (0, 1, writing.GROUP_ENTRIES, MANY - 1):
        assert service.reader.entry(placed[number].index).envelope == record_envelope(number)


def test_one_that_is_refused_does_not_hold_up_the_others(service: LogService) -> None:
    bad = {3: b"{}", 7: record_envelope(7, STRANGER), 9: b"", writing.GROUP_ENTRIES + 2: b"x" * 70_000}
    envelopes = [bad.get(number, record_envelope(number)) for number in range(MANY)]
    found = add_all(service, envelopes)
    reasons = {at: one.reason for at, one in enumerate(found) if isinstance(one, AdmissionError)}
    assert reasons == {3: "malformed", 7: "unknown-key", 9: "malformed", max(bad): "too-large"}
    assert sum(isinstance(one, Sequenced) for one in found) == MANY - len(bad)
    assert service.tree.head().size == MANY - len(bad)


def test_the_same_entry_many_times_is_logged_once(service: LogService) -> None:
    found = add_all(service, [record_envelope(number % 4) for number in range(40)])
    placed = [one for one in found if isinstance(one, Sequenced)]
    assert len(placed) == 40
    assert {one.index for one in placed} == {0, 1, 2, 3}
    assert sum(not one.duplicate for one in placed) == 4


def test_of_a_group_as_many_are_taken_as_fit(tmp_path: Path) -> None:
    config = replace(write_settings(tmp_path / "settings"), limits=Limits(outstanding=5))
    service = LogService(config, tmp_path / "data")
    service.start()
    try:

        async def main() -> list[Sequenced | BaseException]:
            # While somebody else holds the database, nothing is appended.
            with begin_write(service._engine):
                calls = [asyncio.create_task(service.writer.add(record_envelope(at))) for at in range(9)]
                while sum(call.done() for call in calls) < 4:
                    await asyncio.sleep(0.01)
            return await asyncio.gather(*calls, return_exceptions=True)

        found = asyncio.run(main())
        assert sum(isinstance(one, Sequenced) for one in found) == 5
        assert sum(isinstance(one, OverloadedError) for one in found) == 4
        assert service.tree.head().size == 5
    finally:
        service.stop()


def test_what_waits_to_be_checked_is_bounded(service: LogService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "MAX_WAITING_BYTES", 0)
    found = add_all(service, [record_envelope(number) for number in range(5)])
    # The first is checked at once, the second waits.
    assert [type(one) for one in found] == [Sequenced] * 2 + [OverloadedError] * 3
    assert [type(one) for one in add_all(service, [record_envelope(9)])] == [Sequenced]


def test_who_goes_away_changes_nothing_for_the_others(service: LogService) -> None:
    async def main() -> list[Sequenced | BaseException]:
        calls = [asyncio.create_task(service.writer.add(record_envelope(at))) for at in range(10)]
        await asyncio.sleep(0)
        for gone in calls[2:8:2]:
            gone.cancel()
        return await asyncio.gather(*calls, return_exceptions=True)

    found = asyncio.run(main())
    gone = [at for at, one in enumerate(found) if isinstance(one, asyncio.CancelledError)]
    assert gone == [2, 4, 6]
    assert service.tree.head().size == 10


class FailsOnce:
    """A sequencer that fails in a way that nobody foresaw when it is first given several entries."""

    def __init__(self, behind: Sequencer) -> None:
        self._behind = behind
        self._has_failed = False

    def submit(self, entries: Sequence[PackedEntry]) -> list[Future[Sequenced]]:
        return self._behind.submit(entries)

    def submit_here(self, entries: Sequence[PackedEntry]) -> "list[asyncio.Future[Sequenced]]":
        if len(entries) > 1 and not self._has_failed:
            self._has_failed = True
            raise RuntimeError("unforeseen")
        return self._behind.submit_here(entries)


def test_a_group_that_fails_unforeseen_is_told_and_the_next_goes_on(service: LogService) -> None:
    writer = LogWriter(service.admission, FailsOnce(service.sequencer))

    async def main() -> list[Sequenced | BaseException]:
        calls = [writer.add(record_envelope(at)) for at in range(MANY)]
        # The time limit ends a test of a writer that leaves somebody waiting.
        return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)

    found = asyncio.run(main())
    failed = [at for at, one in enumerate(found) if isinstance(one, RuntimeError)]
    # The first went alone, the first group failed.
    assert failed == list(range(1, 1 + writing.GROUP_ENTRIES))
    assert sum(isinstance(one, Sequenced) for one in found) == MANY - len(failed)
    assert service.tree.head().size == MANY - len(failed)
    assert writer._waiting_bytes == 0


def test_an_event_loop_that_ends_in_the_middle_leaves_a_writer_that_works(service: LogService) -> None:
    async def leave() -> None:
        for at in range(MANY):
            asyncio.create_task(service.writer.add(record_envelope(at)))  # noqa: RUF006  # all are cancelled
        await asyncio.sleep(0)

    asyncio.run(leave())
    (again,) = add_all(service, [record_envelope(MANY)])
    assert isinstance(again, Sequenced)
    assert all(
        isinstance(one, Sequenced) for one in add_all(service, [record_envelope(at) for at in (0, 1, 2)])
    )


def test_a_log_that_stopped_says_so_to_all(tmp_path: Path) -> None:
    with running_log(tmp_path) as service:
        pass
    found = add_all(service, [record_envelope(number) for number in range(5)])
    assert all(isinstance(one, StoppedError) for one in found)
