"""Taking entries: admission in the accepting side, then the sequencer, then the answer."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager

from touchplate.log.admission import Admission
from touchplate.log.errors import LogError
from touchplate.log.ports import PackedEntry, Sequenced, Sequencer

ADMISSION_THREADS = 2
"""Batches checked at the same time. Signatures are CPU work: more threads only make each other slower."""


class LogWriter:
    """The way of an envelope into the tree. `submit` is for threads, `add` and `add_batch` for an event
    loop."""

    def __init__(
        self, admission: Admission, sequencer: Sequencer, refused: Callable[[str, int], None] | None = None
    ) -> None:
        """`refused` is told the reason of what the sequencer has not taken, and of how many that was."""
        self._admission = admission
        self._sequencer = sequencer
        self._refused = refused or (lambda reason, count: None)
        self._slots = asyncio.Semaphore(ADMISSION_THREADS)

    def submit(self, envelopes: Sequence[bytes]) -> list[Future[Sequenced]]:
        """Admit bare envelopes and queue them: all, or none when one is refused.

        Raises AdmissionError, OverloadedError, StoppedError. The futures raise StorageFailedError.
        """
        with self._counting(len(envelopes)):
            return self._sequencer.submit([self._admission.admit(envelope) for envelope in envelopes])

    async def add(self, envelope: bytes, hint: bytes | None = None) -> Sequenced:
        """Append one bare envelope; returns when it is durable and integrated. `hint`: SHA-256 of its key's
        SPKI."""
        # An eighth of a millisecond: cheaper here than a thread's round trip.
        with self._counting(1):
            (future,) = self._sequencer.submit_here([self._admission.admit(envelope, hint)])
        return await future

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
