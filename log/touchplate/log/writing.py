"""Taking entries: admission in the accepting side, then the sequencer, then the answer.

A lone entry is admitted where it arrived, which is the shortest way. While others are under way, those that
arrive are gathered: one thread admits all that wait, hands them to the sequencer together, and meanwhile the
next group gathers, without a timer. So commits are of groups, too, and not of one entry each as fast as a
busy event loop lets them through.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass

from touchplate.log.admission import Admission
from touchplate.log.errors import LogError, OverloadedError, StoppedError
from touchplate.log.ports import PackedEntry, Sequenced, Sequencer

ADMISSION_THREADS = 2
"""Batches checked at the same time. Signatures are CPU work: more threads only make each other slower."""

GROUP_ENTRIES = 64
"""Lone entries that are admitted together at most: eight milliseconds of work, so that the first of them does
not wait long for the last."""

MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Of envelopes that wait for admission: they do not count as outstanding in the sequencer yet."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An envelope that waits for admission; `taken`: gets its future in the sequencer."""

    envelope: bytes
    hint: bytes | None
    taken: "asyncio.Future[asyncio.Future[Sequenced]]"


class LogWriter:
    """The way of an envelope into the tree. `submit` is for threads, `add` and `add_batch` for one event
    loop."""

    def __init__(
        self, admission: Admission, sequencer: Sequencer, refused: Callable[[str, int], None] | None = None
    ) -> None:
        """`refused` is told the reason of what the sequencer has not taken, and of how many that was."""
        self._admission = admission
        self._sequencer = sequencer
        self._refused = refused or (lambda reason, count: None)
        self._slots = asyncio.Semaphore(ADMISSION_THREADS)
        self._adding = 0  # calls of `add` that are under way
        self._waiting: list[_Waiting] = []
        self._waiting_bytes = 0
        self._admitting: asyncio.Task[None] | None = None

    def submit(self, envelopes: Sequence[bytes]) -> list[Future[Sequenced]]:
        """Admit bare envelopes and queue them: all, or none when one is refused.

        Raises AdmissionError, OverloadedError, StoppedError. The futures raise StorageFailedError.
        """
        with self._counting(len(envelopes)):
            return self._sequencer.submit([self._admission.admit(envelope) for envelope in envelopes])

    async def add(self, envelope: bytes, hint: bytes | None = None) -> Sequenced:
        """Append one bare envelope; returns when it is durable and integrated. `hint`: SHA-256 of its key's
        SPKI."""
        self._adding += 1
        try:
            with self._counting(1):
                future = await self._taken(envelope, hint)
            return await future
        finally:
            self._adding -= 1

    async def _taken(self, envelope: bytes, hint: bytes | None) -> "asyncio.Future[Sequenced]":
        """Its future in the sequencer, once it is admitted. Raises what `add` raises."""
        if self._adding > 1:
            return await self._gathered(envelope, hint)
        # An eighth of a millisecond: cheaper here than a thread's round trip.
        (future,) = self._sequencer.submit_here([self._admission.admit(envelope, hint)])
        return future

    async def _gathered(self, envelope: bytes, hint: bytes | None) -> "asyncio.Future[Sequenced]":
        """`_taken`, in a group of those that wait."""
        if self._waiting_bytes > MAX_WAITING_BYTES:
            raise OverloadedError(
                f"{self._waiting_bytes} bytes of envelopes wait to be checked, more than {MAX_WAITING_BYTES};"
                " submit again later"
            )
        one = _Waiting(envelope, hint, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        self._waiting_bytes += len(envelope)
        if self._admitting is None:
            self._admitting = asyncio.create_task(self._admit_groups())
        return await one.taken

    async def _admit_groups(self) -> None:
        """Admit and submit group after group until nobody waits."""
        group: list[_Waiting] = []
        try:
            while self._waiting:
                group = self._waiting[:GROUP_ENTRIES]
                del self._waiting[:GROUP_ENTRIES]
                try:
                    admitted = await asyncio.to_thread(self._admit_group, group)
                    self._submit_group(group, admitted)
                except Exception as error:  # nobody foresaw it: those who wait are told, the next go on
                    for one in group:
                        _refuse(one, error)
                finally:
                    self._waiting_bytes -= sum(len(one.envelope) for one in group)
        finally:
            # Nobody is left here but when this event loop ends.
            left, self._waiting, self._waiting_bytes = [*group, *self._waiting], [], 0
            self._admitting = None
            for one in left:
                _refuse(one, StoppedError("the log stopped before this entry was checked; submit it again"))

    def _admit_group(self, group: Sequence[_Waiting]) -> list[PackedEntry | Exception]:
        admitted: list[PackedEntry | Exception] = []
        for one in group:
            try:
                admitted.append(self._admission.admit(one.envelope, one.hint))
            except Exception as error:  # its submitter's; the others go on
                admitted.append(error)
        return admitted

    def _submit_group(self, group: Sequence[_Waiting], admitted: Sequence[PackedEntry | Exception]) -> None:
        good: list[tuple[_Waiting, PackedEntry]] = []
        for one, outcome in zip(group, admitted, strict=True):
            if isinstance(outcome, PackedEntry):
                good.append((one, outcome))
            else:
                _refuse(one, outcome)
        if not good:
            return
        try:
            futures = self._sequencer.submit_here([entry for _, entry in good])
        except OverloadedError:  # a part of them may fit
            for one, entry in good:
                self._submit_one(one, entry)
        except LogError as error:
            for one, _ in good:
                _refuse(one, error)
        else:
            for (one, _), future in zip(good, futures, strict=True):
                _give(one, future)

    def _submit_one(self, one: _Waiting, entry: PackedEntry) -> None:
        try:
            (future,) = self._sequencer.submit_here([entry])
        except LogError as error:
            _refuse(one, error)
        else:
            _give(one, future)

    async def add_batch(
        self, envelopes: Sequence[bytes], hint: bytes | None = None
    ) -> list[Sequenced | LogError]:
        """Append several; one result each, in order. One that is refused does not hold up the others.

        Raises OverloadedError or StoppedError when none was taken.
        """
        async with self._slots:
            admitted = await asyncio.to_thread(self._admit_all, envelopes, hint)
        entries = [entry for entry in admitted if isinstance(entry, PackedEntry)]
        with self._counting(len(entries)):
            futures = iter(self._sequencer.submit_here(entries))
        results: list[Sequenced | LogError] = []
        for entry in admitted:
            if isinstance(entry, LogError):
                results.append(entry)
                continue
            try:
                results.append(await next(futures))
            except LogError as error:
                results.append(error)
        return results

    def _admit_all(self, envelopes: Sequence[bytes], hint: bytes | None) -> list[PackedEntry | LogError]:
        admitted: list[PackedEntry | LogError] = []
        for envelope in envelopes:
            try:
                with self._counting(1):
                    admitted.append(self._admission.admit(envelope, hint))
            except LogError as error:
                admitted.append(error)
        return admitted

    @contextmanager
    def _counting(self, entries: int) -> Iterator[None]:
        try:
            yield
        except LogError as error:
            self._refused(error.reason, entries)
            raise


def _refuse(one: _Waiting, error: Exception) -> None:
    if not one.taken.done():
        one.taken.set_exception(error)


def _give(one: _Waiting, future: "asyncio.Future[Sequenced]") -> None:
    if not one.taken.done():  # else its client went away; the entry is in the log all the same
        one.taken.set_result(future)
