"""The output of a job as it comes: server-sent events (WHATWG HTML, section 9.2), for a bounded number.

Each event is one line; its id is where the output goes on after it, so that a client that lost the connection
continues there. The last event, named `end`, says how the job ended.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Callable

from fastapi.concurrency import run_in_threadpool

from touchplate.builder.queue.jobs import CLOSED, Job
from touchplate.builder.queue.outputs import Outputs
from touchplate.builder.queue.store import Queue

MAX_STREAMS = 64
"""Streams at the same time; each looks into the database twice a second."""

STREAM_SECONDS = 900.0
"""After this a stream ends, and its client comes back by itself: nothing is held for those who are gone."""

POLL_SECONDS = 0.5
LAST_SECONDS = 3.0
"""How long after its end the last lines of a job may come: its worker collects them for a second."""

SILENT_SECONDS = 15.0
"""Silence after which a comment is sent: proxies cut what says nothing for a minute."""

MAX_LINE_BYTES = 16 * 1024
"""A line that has not ended by then is sent in parts."""


_LINES = re.compile(rb"[^\n]*\n|[^\n]+")


class LiveOutput:
    """Streams over the outputs of one queue."""

    def __init__(self, queue: Queue, outputs: Outputs, clock: Callable[[], float]) -> None:
        self._queue = queue
        self._clock = clock
        self._outputs = outputs
        self._open = 0
        self._stopped = False

    def stop(self) -> None:
        """End all streams with their next look."""
        self._stopped = True

    async def events(self, number: int, start: int, *, wait: bool = True) -> AsyncIterator[bytes]:
        """The events of a job's output from the byte `start` on, until it is closed, or (not to
        `wait`) up to what there is."""
        if self._open >= MAX_STREAMS:
            yield b"retry: 10000\nevent: busy\ndata: too many watch already; try again\n\n"
            return
        self._open += 1
        try:
            async for event in self._follow(number, start, wait=wait):
                yield event
        finally:
            self._open -= 1

    async def _follow(self, number: int, start: int, *, wait: bool) -> AsyncIterator[bytes]:
        begun = spoke = time.monotonic()
        rest = b""
        while not self._stopped and time.monotonic() - begun < STREAM_SECONDS:
            # In this order: what was written before the job ended is read after it is seen to have ended.
            job = await run_in_threadpool(self._queue.find, number)
            data = await run_in_threadpool(self._outputs.read, number, start + len(rest))
            is_last = not data and (not wait or self._is_over(job))
            *lines, rest = _LINES.findall(rest + data) or [b""]
            if rest.endswith(b"\n") or is_last or len(rest) > MAX_LINE_BYTES:
                lines, rest = [*lines, rest], b""
            for line in filter(None, lines):
                start += len(line)
                # What the field's grammar ends a line with must not stand in it.
                text = line.decode("utf-8", "replace").replace("\r", "").removesuffix("\n")
                yield f"id: {start}\ndata: {text}\n\n".encode()
                spoke = time.monotonic()
            if is_last:
                value = {"state": job.state, "result": job.result, "detail": job.detail}
                yield f"event: end\ndata: {json.dumps(value)}\n\n".encode()
                return
            if time.monotonic() - spoke > SILENT_SECONDS:
                spoke = time.monotonic()
                yield b": nothing new\n\n"
            if not data:
                await asyncio.sleep(POLL_SECONDS)

    def _is_over(self, job: Job) -> bool:
        return (
            job.state in CLOSED
            and job.finished is not None
            and not 0 <= self._clock() - job.finished <= LAST_SECONDS
        )
