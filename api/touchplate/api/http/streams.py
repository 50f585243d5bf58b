"""Sending a file while it is still being fetched and stored, and one fetch for all who want it.

Only for files whose digest is known beforehand. The last 64 KiB are held back until the hash of the whole is
right, else the connection is cut: nobody ends up with a complete file that is not the right one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from typing import Any, BinaryIO

from fastapi import Response

from touchplate.api.blobs import BlobStore
from touchplate.api.errors import APIError, ChangedError, NotReadyError, UpstreamError
from touchplate.base.durable import DigestWriter
from touchplate.base.errors import StorageError, TooLargeError, WrongDigestError

HELD_BACK_BYTES = 64 * 1024
"""Bytes that nobody gets before the hash of all is right."""

PIECE_BYTES = 1024 * 1024
"""Bytes per read and send: the same as for stored files."""

MAX_WRONG = 1_000
"""Downloads of wrong bytes that are remembered; the oldest go first."""

_log = logging.getLogger("touchplate.api")

Fetch = Callable[[Callable[[bytes], object]], object]


class Download:
    """One file on its way into the store. `run` blocks in a thread; readers wait in the event loop."""

    def __init__(
        self,
        blobs: BlobStore,
        sha256: str,
        size: int,
        fetch: Fetch,
        *,
        stored: Callable[[], None],
        wrong: Callable[[str], None],
    ) -> None:
        """`fetch` passes the bytes to the callable that it is given; `stored` is called when all is in the
        store and before anybody hears of it, `wrong` with a message when they are other bytes."""
        self.size = size
        self._blobs = blobs
        self._sha256 = sha256
        self._fetch = fetch
        self._stored = stored
        self._wrong = wrong
        self._lock = threading.Lock()
        self._writer: DigestWriter | None = None  # under self._lock, as are the four below
        self._there = 0
        self._done = False
        self._error: Exception | None = None
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    def run(self) -> None:
        """Fetch, hash, store. What goes wrong is told to those who wait, and not raised."""
        error: Exception | None = None
        try:
            with self._blobs.expecting(self._sha256, self.size) as writer:
                with self._lock:
                    self._writer = writer
                self._fetch(lambda piece: self._take(writer, piece))
                if writer.size != self.size:
                    raise UpstreamError(
                        f"the upstream sent {writer.size} bytes of sha256:{self._sha256}, not {self.size}",
                        reason="upstream-truncated-response",
                    )
                writer.commit()
            self._stored()
        except APIError as failure:
            error = failure
        except (WrongDigestError, TooLargeError) as failure:
            _log.debug("fetching sha256:%s: %s", self._sha256, failure)
            error = ChangedError(
                f"the upstream sent other bytes than sha256:{self._sha256}", reason="upstream-wrong-digest"
            )
            self._wrong(str(error))
        except Exception as failure:
            # Every reader must hear of it, whatever it was, or he would wait for ever.
            _log.error("fetching sha256:%s failed", self._sha256, exc_info=failure)
            error = NotReadyError(f"sha256:{self._sha256} could not be stored here; try again")
        with self._lock:
            self._done, self._error = True, error
        self._tell()

    @property
    def is_wrong(self) -> bool:
        """Whether it ended with other bytes."""
        with self._lock:
            return isinstance(self._error, ChangedError)

    def abandon(self) -> None:
        """Tell those who wait that `run` never began. Without effect when it did."""
        with self._lock:
            if self._writer is not None or self._done:
                return
            self._done, self._error = True, NotReadyError("this node is stopping")
        self._tell()

    async def open(self) -> BinaryIO:
        """What there is of the file, for reading. Raises the error of a fetch that failed."""
        with self._lock:
            writer = None if self._done else self._writer
        if writer is not None:
            with contextlib.suppress(StorageError):
                return await asyncio.to_thread(writer.open)
        # It got its name, or was given up, at this very moment.
        await self.finished()
        path = self._blobs.path(self._sha256)
        return await asyncio.to_thread(path.open, "rb")

    async def readable(self, beyond: int) -> int:
        """Wait until more than `beyond` bytes may be read, or all; their number. Raises what went wrong."""
        while True:
            with self._lock:
                if self._error is not None:
                    raise self._error
                limit = self.size if self._done else min(self._there, self.size - HELD_BACK_BYTES)
                if limit > beyond or self._done:
                    return limit
                event = asyncio.Event()
                self._waiting.append((asyncio.get_running_loop(), event))
            await event.wait()

    async def finished(self) -> None:
        """Wait until all is stored. Raises what went wrong."""
        await self.readable(self.size)

    def _take(self, writer: DigestWriter, piece: bytes) -> None:
        writer.write(piece)
        writer.flush()
        with self._lock:
            self._there = writer.size
        self._tell()

    def _tell(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for loop, event in waiting:
            # The loop of a reader that is gone may be closed.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(event.set)


class Downloads:
    """The downloads that run, one per key. Used in the event loop only."""

    def __init__(self) -> None:
        self._running: dict[Hashable, tuple[Download, asyncio.Task[None]]] = {}
        self._wrong: OrderedDict[Hashable, None] = OrderedDict()

    def was_wrong(self, key: Hashable) -> bool:
        """Whether the last download of this key gave other bytes. The next one is better not sent before it
        is whole: then the client hears why, instead of being cut off again."""
        return key in self._wrong

    def start(self, key: Hashable, make: Callable[[], Download], run: Callable[[Download], Any]) -> Download:
        """The download of this key that runs, or a new one; `run` gives what awaits its end. It goes on when
        the client that began it leaves: others wait for it, or will come back."""
        running = self._running.get(key)
        if running is not None:
            return running[0]
        download = make()
        task = asyncio.ensure_future(run(download))
        self._running[key] = (download, task)

        def ended(task: asyncio.Task[None]) -> None:
            self._running.pop(key, None)
            # A node that stops drops what has not begun yet; then nobody may go on waiting for it.
            if task.cancelled() or task.exception() is not None:
                download.abandon()
            self._wrong.pop(key, None)
            if download.is_wrong:
                self._wrong[key] = None
                while len(self._wrong) > MAX_WRONG:
                    self._wrong.popitem(last=False)

        task.add_done_callback(ended)
        return download


class StreamedFile(Response):
    """A file that is still being fetched, as an answer to GET."""

    def __init__(self, download: Download, headers: Mapping[str, str]) -> None:
        self._download = download
        super().__init__(None, 200, {**headers, "Content-Length": str(download.size)})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI. An error before the first byte can still be told as such; one after it cuts the connection,
        since the server sees too few bytes."""
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        download, sent = self._download, 0
        file: BinaryIO | None = None
        try:
            while sent < download.size:
                limit = await download.readable(sent)
                if file is None:
                    file = await download.open()
                piece = await asyncio.to_thread(file.read, min(PIECE_BYTES, limit - sent))
                if not piece:
                    raise UpstreamError("the file became shorter while it was sent")
                if not sent:
                    await send(start)
                sent += len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": sent < download.size})
        finally:
            if file is not None:
                file.close()
