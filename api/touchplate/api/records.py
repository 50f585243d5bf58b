"""First sight: the digest of a fetched file is put into the log before the file is served.

Records that wait are signed and appended together, so that a build which asks for hundreds of files costs a
few log batches. There is a budget per minute: beyond it clients are told to come back, never let through.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from touchplate.api.blobs import Blob
from touchplate.api.errors import BusyError, NotReadyError
from touchplate.api.ports import Recorder
from touchplate.verify.dsse import sign_envelope
from touchplate.verify.keys import StatementSigner
from touchplate.verify.names import format_upstream_uri
from touchplate.verify.predicates.record import format_record
from touchplate.verify.purl import PackageURL
from touchplate.verify.statements import RECORD_TYPE, Record, make_statement, make_subject

RECORDS_PER_MINUTE = 6_000
"""Entries a minute that first sight may add to the log: a hundred builds at once, and no way to flood it."""

BATCH = 512
"""Records that are signed and appended together: about 50 ms of signing, so that none waits long for
others."""

APPEND_SECONDS = 30.0
"""How long a request waits for its record. The log answers in milliseconds; a stuck one must not hold
clients."""


@dataclass(frozen=True)
class FirstSight:
    """A file as it was fetched: its package, where it came from (identity and path of the upstream), its
    digests."""

    package: PackageURL
    upstream: str
    path: str
    blob: Blob


class Budget:
    """A token bucket: `per_minute` at once at most, refilled evenly. Safe to use from several threads."""

    def __init__(
        self, per_minute: int = RECORDS_PER_MINUTE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = per_minute / 60.0
        self._size = float(per_minute)
        self._clock = clock
        self._lock = threading.Lock()
        self._left = self._size  # under self._lock, as is _at
        self._at = clock()

    def take(self) -> None:
        """Take one. Raises BusyError with the seconds after which there is one again."""
        with self._lock:
            now = self._clock()
            self._left = min(self._size, self._left + (now - self._at) * self._rate)
            self._at = now
            if self._left < 1:
                raise BusyError(
                    "too many files seen for the first time; try again later",
                    retry_after=(1 - self._left) / self._rate if self._rate else 60,
                    reason="record-budget",
                )
            self._left -= 1


def record_statement(sight: FirstSight, seen: int) -> bytes:
    """The record statement (predicate record v1) of a file first seen at `seen` (unix seconds)."""
    blob = sight.blob
    digests = {"md5": blob.md5, "sha1": blob.sha1, "sha256": blob.sha256, "sha512": blob.sha512}
    uri = format_upstream_uri(sight.upstream, sight.path)
    record = Record(sight.package, uri, blob.size, seen, digests)
    return make_statement([make_subject(sight.package, digests)], RECORD_TYPE, format_record(record))


class RecordWriter:
    """Signs records and appends them in batches, from one thread of its own."""

    def __init__(
        self,
        recorder: Recorder,
        signer: StatementSigner,
        budget: Budget,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._recorder = recorder
        self._signer = signer
        self._budget = budget
        self._now = now
        self._wake = threading.Condition()
        self._waiting: list[tuple[bytes, Future[int]]] = []  # under self._wake, as is _open
        self._open = False
        self._thread = threading.Thread(target=self._run, name="records", daemon=True)

    def start(self) -> None:
        """Begin to take records."""
        self._open = True
        self._thread.start()

    def stop(self) -> None:
        """Write what waits, then stop."""
        with self._wake:
            self._open = False
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()

    def record(self, sight: FirstSight) -> int:
        """Put one record into the log and answer its index once it is durable.

        Raises BusyError when the budget is used up, NotReadyError when the log does not take it.
        """
        # Made here, so that a file which cannot be described spoils its own request and no other one.
        statement = record_statement(sight, int(self._now()))
        self._budget.take()
        done: Future[int] = Future()
        with self._wake:
            if not self._open:
                raise NotReadyError("this node is stopping and records nothing any more")
            self._waiting.append((statement, done))
            self._wake.notify()
        try:
            return done.result(APPEND_SECONDS)
        except TimeoutError as error:
            raise NotReadyError(f"the log did not take the record within {APPEND_SECONDS:.0f} s") from error

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or not self._open)
                batch = self._waiting[:BATCH]
                del self._waiting[:BATCH]
            if not batch:
                return
            self._write(batch)

    def _write(self, batch: list[tuple[bytes, Future[int]]]) -> None:
        try:
            envelopes = [sign_envelope(statement, self._signer) for statement, _ in batch]
            answers = list(zip(batch, self._recorder.append(envelopes), strict=True))
        except Exception as error:
            # Whatever went wrong, every waiting request must hear of it; the thread lives on for the next
            # batch.
            failure = error
            if not isinstance(error, BusyError):
                # The text of a foreign error may hold statements and paths: it is for our own log only.
                logging.getLogger("touchplate.api").error("the log took no record", exc_info=error)
                detail = f": {error}" if hasattr(error, "reason") else ""
                failure = NotReadyError(f"the log took no record{detail}; try again")
            for _, done in batch:
                done.set_exception(failure)
            return
        for (_, done), index in answers:
            done.set_result(index)
