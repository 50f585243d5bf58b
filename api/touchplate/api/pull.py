"""Pull-through: a file of an upstream is fetched whole and hashed; nothing of it is sent before that is done.

Concurrent requests for one file share one fetch. What an upstream does not have is remembered for a while.
What is held is served without asking, so a dead upstream costs only the files that nobody asked for before.
"""

from __future__ import annotations

import threading
import time
import urllib.parse
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from typing import Generic, TypeVar

from touchplate.api.blobs import Blob, BlobStore
from touchplate.api.errors import NotFoundError, UpstreamError
from touchplate.api.ports import Fetched, Fetcher, Sink
from touchplate.base.errors import FetchError
from touchplate.base.http import HTTPClient

T = TypeVar("T")

MAX_FILE_BYTES = 2 * 1024**3
"""Bytes of one file of an upstream. Larger jars exist nowhere; an endless answer must not fill the disk."""

NEGATIVE_SECONDS = 300.0
"""How long a 404 of an upstream is believed: long enough for one build, short for somebody who just
released."""

NEGATIVE_ENTRIES = 20_000
"""404 answers that are remembered, about 4 MB; the oldest go first."""


class HTTPFetcher:
    """The `Fetcher` of one upstream at `url`. Redirects to other hosts and cut answers are errors."""

    def __init__(self, name: str, url: str, client: HTTPClient) -> None:
        self._name = name
        self._url = url.rstrip("/")
        self._client = client
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Break off what is being fetched at its next piece, so that a slow upstream cannot hold up the
        end."""
        self._stopping.set()

    def fetch(self, path: str, sink: Sink, max_bytes: int) -> Fetched:
        """See `Fetcher.fetch`."""

        def take(piece: bytes) -> None:
            if self._stopping.is_set():
                raise UpstreamError(
                    f"broke off fetching {path[:200]!r}: this node is stopping", reason="stopping"
                )
            sink.write(piece)

        try:
            response = self._client.stream(
                f"{self._url}/{urllib.parse.quote(path, safe='/-._~+')}", take, max_bytes=max_bytes
            )
        except FetchError as error:
            raise UpstreamError(
                f"upstream {self._name!r} gave no usable answer for {path[:200]!r}: {error}",
                reason=f"upstream-{error.reason}",
            ) from error
        return Fetched(response.status)


class SingleFlight(Generic[T]):
    """Runs one call per key at a time; callers with the same key wait for it and share its result or
    error."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: dict[Hashable, Future[T]] = {}  # under self._lock

    def run(self, key: Hashable, call: Callable[[], T]) -> T:
        """The result of `call`, made by this caller or by the one who was first."""
        with self._lock:
            running = self._running.get(key)
            if running is None:
                mine: Future[T] = Future()
                self._running[key] = mine
        if running is not None:
            return running.result()
        try:
            mine.set_result(call())
        except BaseException as error:
            mine.set_exception(error)
        finally:
            with self._lock:
                del self._running[key]
        return mine.result()


class NegativeCache:
    """Paths that an upstream answered with 404, each for `seconds`."""

    def __init__(
        self,
        seconds: float = NEGATIVE_SECONDS,
        entries: int = NEGATIVE_ENTRIES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._entries = entries
        self._clock = clock
        self._lock = threading.Lock()
        self._until: OrderedDict[str, float] = OrderedDict()  # under self._lock

    def add(self, path: str) -> None:
        """Remember that there is nothing at `path`."""
        with self._lock:
            self._until[path] = self._clock() + self._seconds
            self._until.move_to_end(path)
            while len(self._until) > self._entries:
                self._until.popitem(last=False)

    def __contains__(self, path: str) -> bool:
        with self._lock:
            until = self._until.get(path)
            if until is not None and until <= self._clock():
                del self._until[path]
                until = None
            return until is not None


class Puller:
    """Fetches files of one upstream into the blob store."""

    def __init__(
        self,
        name: str,
        fetcher: Fetcher,
        blobs: BlobStore,
        *,
        negative: NegativeCache | None = None,
        max_bytes: int = MAX_FILE_BYTES,
    ) -> None:
        self.name = name
        self._fetcher = fetcher
        self._blobs = blobs
        self._negative = negative or NegativeCache()
        self._max_bytes = max_bytes

    def fetch(self, path: str) -> Blob:
        """Fetch `path` whole and store it. Returns its digests; no repository refers to the blob yet.

        Raises NotFoundError (also for a while after a 404, without asking again) and UpstreamError.
        """
        if path in self._negative:
            raise NotFoundError(f"upstream {self.name!r} has no {path[:200]!r} (asked a moment ago)")
        with self._blobs.writer() as sink:
            answer = self._fetcher.fetch(path, sink, self._max_bytes)
            if answer.status in (404, 410):
                self._negative.add(path)
                raise NotFoundError(f"upstream {self.name!r} has no {path[:200]!r}")
            if answer.status != 200:
                raise UpstreamError(
                    f"upstream {self.name!r} answered {answer.status} for {path[:200]!r}; try again later",
                    reason="upstream-status",
                )
            return sink.commit()
