"""Blobs of other peers: what an upstream gives no longer, somebody who holds the same log may still have.

Only by digest, and only a digest that is known from elsewhere (the log's record of first sight, a link, a
manifest): a peer is believed in nothing. Its bytes are hashed before they are stored, so the worst that it
can do is to waste a bounded time. What is asked for here was public at its upstream; see `GivenBlobs` for
who may have what.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from touchplate.api.alarms import Alarms
from touchplate.api.blobs import Blob, BlobStore
from touchplate.api.errors import BusyError, NotFoundError, UpstreamError
from touchplate.api.ports import BlobHolder
from touchplate.api.pull import MAX_FILE_BYTES, NegativeCache, SingleFlight
from touchplate.api.records import Budget
from touchplate.base.errors import TooLargeError, WrongDigestError

GRACE_SECONDS = 10.0
"""From a request until its bytes have to come at `MIN_BYTES_PER_SECOND`: a peer may have to read a slow disk
first."""

MIN_BYTES_PER_SECOND = 32 * 1024
"""The pace below which a peer is given up for another one: a large file at less takes a client's whole
patience."""

ABSENT_SECONDS = 30.0
"""How long it is believed that no peer has a blob: one build asks for the same file a few times."""

LAST_SECONDS = 60.0
"""How long a peer that failed is asked after the others."""

REQUESTS_PER_MINUTE = 1_200
"""Blobs that one peer may ask for: a build that finds its upstream gone asks for some hundreds, and a peer
that asks for everything has a reason to be told to slow down."""

_log = logging.getLogger("touchplate.api")


class PeerBlobs:
    """Fetches blobs of other peers into the store. Blocking; any thread may call it."""

    def __init__(
        self,
        holders: Sequence[BlobHolder],
        blobs: BlobStore,
        alarms: Alarms,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`holders` may be empty: then nobody is asked."""
        self._holders = tuple(holders)
        self._blobs = blobs
        self._alarms = alarms
        self._clock = clock
        self._absent = NegativeCache(ABSENT_SECONDS, clock=clock)
        self._flights: SingleFlight[Blob | None] = SingleFlight()
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._failed: dict[str, float] = {}  # holder -> when it failed; under self._lock

    def stop(self) -> None:
        """Break off what is being fetched at its next piece."""
        self._stopping.set()

    def obtain(self, sha256: str, max_bytes: int = MAX_FILE_BYTES) -> Blob | None:
        """The blob, stored and hashed, from the first peer that has it; None when none does.

        `max_bytes`: its size, where that is known. No repository refers to the blob yet.
        """
        # With the size: whoever expects too few bytes of a blob must not keep it from those who do not.
        key = f"{sha256}:{max_bytes}"
        if not self._holders or key in self._absent:
            return None
        return self._flights.run(key, lambda: self._ask_all(key, sha256, max_bytes))

    def _ask_all(self, key: str, sha256: str, max_bytes: int) -> Blob | None:
        for holder in self._in_order():
            if self._stopping.is_set():
                return None
            try:
                blob = self._fetch(holder, sha256, max_bytes)
            except (UpstreamError, WrongDigestError, TooLargeError) as error:
                self._fail(holder, sha256, error)
                continue
            if blob is not None:
                _log.info("sha256:%s came from the peer %s", sha256, holder.name)
                return blob
        self._absent.add(key)
        return None

    def _fetch(self, holder: BlobHolder, sha256: str, max_bytes: int) -> Blob | None:
        started, taken = self._clock(), 0
        with self._blobs.writer(sha256, max_bytes) as writer:

            def take(piece: bytes) -> None:
                nonlocal taken
                taken += len(piece)
                late = self._clock() - started - GRACE_SECONDS
                if late > 0 and taken < late * MIN_BYTES_PER_SECOND:
                    raise UpstreamError(f"only {taken} bytes in {late + GRACE_SECONDS:.0f} s", reason="slow")
                if self._stopping.is_set():
                    raise UpstreamError("broke off fetching: this node is stopping", reason="stopping")
                writer.write(piece)

            return writer.commit() if holder.fetch(sha256, take, max_bytes) else None

    def _in_order(self) -> list[BlobHolder]:
        """Those that failed lately come last: a dead peer costs its time-out once a minute."""
        now = self._clock()
        with self._lock:
            failed = {name for name, at in self._failed.items() if now - at < LAST_SECONDS}
        return sorted(self._holders, key=lambda holder: holder.name in failed)

    def _fail(self, holder: BlobHolder, sha256: str, error: Exception) -> None:
        if isinstance(error, UpstreamError):
            _log.warning("the peer %s did not give sha256:%s: %s", holder.name, sha256, error)
        else:
            # Not an accident of the network: it checks lengths, and this was an answer to the end.
            self._alarms.raise_alarm(f"the peer {holder.name} sent other bytes for sha256:{sha256}")
        with self._lock:
            self._failed[holder.name] = self._clock()


class GivenBlobs:
    """What this node gives to other peers: blobs that came from an upstream whose first sights it records.

    Those upstreams are public, and what they gave is in the log for everybody to see. A blob of a private
    upstream is given to nobody, whoever asks: a blob is read only through a repository that refers to it.
    """

    def __init__(self, blobs: BlobStore, refers: Callable[[str], bool]) -> None:
        """`refers`: whether an upstream with `record = true` gave the blob of this sha256."""
        self._blobs = blobs
        self._refers = refers
        self._lock = threading.Lock()
        self._budgets: dict[str, Budget] = {}  # by peer; under self._lock

    def file(self, peer: str, sha256: str) -> tuple[Path, int]:
        """File and size of a blob, for the peer of this name.

        Raises BusyError when it asks too often, and NotFoundError for what is not held, not whole or not to
        be given: one answer for all three.
        """
        with self._lock:
            budget = self._budgets.setdefault(peer, Budget(REQUESTS_PER_MINUTE))
        try:
            budget.take()
        except BusyError as error:
            raise BusyError(
                f"{peer} asks for more than {REQUESTS_PER_MINUTE} blobs a minute; ask again later",
                retry_after=error.retry_after,
                reason="peer-budget",
            ) from None
        if not (self._refers(sha256) and self._blobs.is_sound(sha256)):
            raise NotFoundError(f"blob {sha256} is not given from here", reason="blob-missing")
        path = self._blobs.path(sha256)
        return path, path.stat().st_size
