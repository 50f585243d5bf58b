"""The output of a job as it comes: server-sent events (WHATWG HTML, section 9.2), for a bounded number.

Each event is one line; its id is where the output goes on after it, so that a client that lost the connection
continues there. The last event, named `end`, says how the job ended.
"""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi.responses import StreamingResponse

from touchplate.base.errors import StorageError
from touchplate.builder.queue.jobs import CLOSED, Job, NoJobError
from touchplate.builder.queue.outputs import Outputs
from touchplate.builder.queue.store import Queue

MAX_STREAMS = 64
"""Streams at the same time; each looks into the database twice a second."""

MAX_STREAMS_OF_ONE = 32
"""Of those, with one token: others want to watch, too."""

THREADS = 4
"""Of all streams together: 64 that look twice a second, in a millisecond or two each. Workers have others."""

STREAM_SECONDS = 900.0
"""After this a stream ends, and its client comes back by itself: nothing is held for those who are gone."""

POLL_SECONDS = 0.5
LAST_SECONDS = 3.0
"""How long after its end the last lines of a job may come: its worker collects them for a second."""

SILENT_SECONDS = 15.0
"""Silence after which a comment is sent: proxies cut what says nothing for a minute."""

STALLED_SECONDS = 60.0
"""How long a client may take nothing of what waits for it. One that reads no more would keep its stream, and
what it was to be sent, for as long as its connection is there."""

MAX_LINE_BYTES = 16 * 1024
"""A line that has not ended by then is sent in parts."""

CHUNK_BYTES = 64 * 1024
"""Of events that are sent at once. The server keeps some chunks for a client that is slow, however large."""

_LINES = re.compile(rb"[^\n]*\n|[^\n]+")

_BUSY = b"retry: 10000\nevent: busy\ndata: too many watch already; try again\n\n"


class _StalledError(Exception):
    """A client takes nothing. (TimeoutError is an OSError, which the framework takes for another thing.)"""


class EventStream(StreamingResponse):
    """Events as an answer, cut when its client takes nothing for so many seconds."""

    def __init__(
        self, events: AsyncGenerator[bytes, None], *, stalled_seconds: float = STALLED_SECONDS
    ) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers=headers)
        self._events = events
        self._stalled = stalled_seconds

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI."""

        async def send_in_time(message: Any) -> None:
            try:
                async with asyncio.timeout(self._stalled):
                    await send(message)
            except TimeoutError:
                raise _StalledError from None

        try:
            await super().__call__(scope, receive, send_in_time)
        except _StalledError:
            return  # without an end: the server cuts the connection
        finally:
            await self._events.aclose()  # its place is free at once


@dataclass
class _Cursor:
    """Where a stream is."""

    number: int
    start: int
    """Offset of what has not been sent."""
    rest: bytes = b""
    """The beginning of a line, at `start`."""
    end: bytes = b""
    """The last event, once all was sent."""


class LiveOutput:
    """Streams over the outputs of one queue."""

    def __init__(self, queue: Queue, outputs: Outputs, clock: Callable[[], float]) -> None:
        self._queue = queue
        self._clock = clock
        self._outputs = outputs
        self._open: Counter[str] = Counter()
        self._threads = CapacityLimiter(THREADS)
        self._stopped = False

    def stop(self) -> None:
        """End all streams with their next look."""
        self._stopped = True

    async def events(
        self, number: int, start: int, *, wait: bool = True, whose: str = ""
    ) -> AsyncGenerator[bytes, None]:
        """The events of a job's output from the byte `start` on, until it is closed, or (not to
        `wait`) up to what there is. `whose`: the name of who watches."""
        if self._open.total() >= MAX_STREAMS or self._open[whose] >= MAX_STREAMS_OF_ONE:
            yield _BUSY
            return
        self._open[whose] += 1
        try:
            async for events in self._follow(_Cursor(number, start), wait=wait):
                yield events
        except (StorageError, NoJobError):
            return  # the client comes back by itself, and goes on where it was, or is told that it is deleted
        finally:
            self._open[whose] -= 1

    async def _follow(self, cursor: _Cursor, *, wait: bool) -> AsyncGenerator[bytes, None]:
        begun = spoke = time.monotonic()
        while not self._stopped and time.monotonic() - begun < STREAM_SECONDS:
            before = cursor.start + len(cursor.rest)
            # In a thread, and joined: a build may print a million empty lines, and each is an event.
            events = await run_sync(partial(self._look, cursor, wait=wait), limiter=self._threads)
            for at in range(0, len(events), CHUNK_BYTES):
                yield events[at : at + CHUNK_BYTES]
            if events:
                spoke = time.monotonic()
            if cursor.end:
                yield cursor.end
                return
            if time.monotonic() - spoke > SILENT_SECONDS:
                spoke = time.monotonic()
                yield b": nothing new\n\n"
            if cursor.start + len(cursor.rest) == before:
                await asyncio.sleep(POLL_SECONDS)

    def _look(self, cursor: _Cursor, *, wait: bool) -> bytes:
        """The events that have come since the last look; `cursor` goes on."""
        # In this order: what was written before the job ended is read after it is seen to have ended.
        job = self._queue.find(cursor.number)
        data = self._outputs.read(cursor.number, cursor.start + len(cursor.rest))
        is_last = not data and (not wait or self._is_over(job))
        here = cursor.rest + data
        whole = here.rfind(b"\n") + 1
        if is_last or len(here) - whole > MAX_LINE_BYTES:
            whole = len(here)
        events = bytearray()  # no list of lines: that would take ten times the memory
        for line in _LINES.finditer(here, 0, whole):
            # What the field's grammar ends a line with must not stand in it.
            text = line[0].decode("utf-8", "replace").replace("\r", "").removesuffix("\n")
            events += f"id: {cursor.start + line.end()}\ndata: {text}\n\n".encode()
        cursor.start += whole
        cursor.rest = here[whole:]
        if is_last:
            value = {"state": job.state, "result": job.result, "detail": job.detail}
            cursor.end = f"event: end\ndata: {json.dumps(value)}\n\n".encode()
        return bytes(events)

    def _is_over(self, job: Job) -> bool:
        return (
            job.state in CLOSED
            and job.finished is not None
            and not 0 <= self._clock() - job.finished <= LAST_SECONDS
        )
