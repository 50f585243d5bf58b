"""Those who watch a job and read nothing, or come in crowds; builds that print to do harm."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from tests.builder.queue.suite import NOW, purl

from touchplate.base.sql import begin_write, sqlite_engine
from touchplate.builder.queue.events import Events
from touchplate.builder.queue.jobs import MAX_BATCH_BYTES
from touchplate.builder.queue.live import (
    CHUNK_BYTES,
    LAST_SECONDS,
    MAX_STREAMS,
    MAX_STREAMS_OF_ONE,
    EventStream,
    LiveOutput,
)
from touchplate.builder.queue.outputs import Outputs
from touchplate.builder.queue.store import Queue


class Watched:
    """A queue with one job, whose worker prints, and its live output."""

    def __init__(self, folder: Path) -> None:
        self.queue = Queue(sqlite_engine(folder / "queue.sqlite"))
        self.outputs = Outputs(self.queue)
        self.live = LiveOutput(self.queue, self.outputs, lambda: NOW + LAST_SECONDS + 1)
        self.queue.add(purl("a"), "", NOW)
        lease = self.queue.lease("w", NOW)
        assert lease is not None
        self._secret = lease.secret

    def write(self, data: bytes) -> None:
        self.outputs.append(1, self._secret, data, NOW)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    yield watched
    watched.queue.close()


async def read(watched: Watched, start: int = 0, whose: str = "boss") -> list[bytes]:
    return [chunk async for chunk in watched.live.events(1, start, wait=False, whose=whose)]


@pytest.mark.parametrize("spec", ["2.0", "2.4"])  # the framework hears of clients that left in two ways
def test_a_client_that_takes_nothing_is_cut_and_its_place_is_free(watched: Watched, spec: str) -> None:
    watched.write(b"line\n")
    sent: list[str] = []

    async def never() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message["type"])
        if message["type"] == "http.response.body":
            await never()

    async def watch() -> None:
        scope = {"type": "http", "asgi": {"version": "3.0", "spec_version": spec}, "method": "GET"}
        events = watched.live.events(1, 0, whose="boss")
        await EventStream(events, stalled_seconds=0.01)(scope, never, send)

    async def crowd() -> list[bytes]:
        await asyncio.gather(*(watch() for _ in range(MAX_STREAMS_OF_ONE)))
        return await read(watched)

    assert b"data: line" in b"".join(asyncio.run(crowd()))
    assert sent.count("http.response.start") == MAX_STREAMS_OF_ONE


def test_nobody_takes_the_places_of_all_others_and_whoever_has_none_hears_why(watched: Watched) -> None:
    watched.write(b"line\n")

    async def crowd() -> list[str]:
        streams = []
        for number in range(MAX_STREAMS):
            whose = "one" if number < MAX_STREAMS_OF_ONE else f"other{number}"
            if number == MAX_STREAMS_OF_ONE:
                assert is_busy(await read(watched, whose="one"))
                assert not is_busy(await read(watched, whose="two"))
            stream = watched.live.events(1, 0, whose=whose)
            assert not is_busy([await anext(stream)])
            streams.append(stream)
        events = Events()
        for chunk in await read(watched, whose="two"):
            events.feed(chunk)
        for stream in streams:
            await stream.aclose()
        assert not is_busy(await read(watched, whose="one"))
        return [events.refused, *events.lines]

    assert asyncio.run(crowd()) == ["too many watch already; try again"]


def is_busy(chunks: list[bytes]) -> bool:
    return b"event: busy" in b"".join(chunks)


def test_empty_lines_without_number_are_sent_many_at_a_time(watched: Watched) -> None:
    count = 4 * MAX_BATCH_BYTES
    for _ in range(4):
        watched.write(b"\n" * MAX_BATCH_BYTES)
    chunks = asyncio.run(read(watched))
    # Each chunk is a turn of the node's one loop, and some of them wait for each client that is slow.
    assert max(map(len, chunks)) <= CHUNK_BYTES
    assert len(chunks) < count / 1000
    events = Events()
    for chunk in chunks:
        events.feed(chunk)
    assert (events.lines, events.seen, events.is_ended) == ([""] * count, str(count), True)


def test_what_is_read_at_once_is_bounded_however_large_the_pieces_are(watched: Watched) -> None:
    for _ in range(8):
        watched.write(b"x" * MAX_BATCH_BYTES)
    for start in (0, 1, MAX_BATCH_BYTES - 1, MAX_BATCH_BYTES):
        assert MAX_BATCH_BYTES <= len(watched.outputs.read(1, start)) <= 2 * MAX_BATCH_BYTES
    assert watched.outputs.read(1, 2**63 - 1) == b""


def test_a_stream_whose_database_fails_ends_and_is_gone_on_with(watched: Watched) -> None:
    watched.write(b"one\n")
    events = Events()

    async def watch() -> list[bytes]:
        stream = watched.live.events(1, 0)
        events.feed(await anext(stream))
        rename("job_output", "away")
        watched_rest = [chunk async for chunk in stream]
        rename("away", "job_output")
        return watched_rest

    def rename(old: str, new: str) -> None:
        with begin_write(watched.queue.engine) as transaction:
            transaction.execute(text(f"ALTER TABLE {old} RENAME TO {new}"))

    assert asyncio.run(watch()) == []
    watched.write(b"two\n")
    for chunk in asyncio.run(read(watched, int(events.seen))):
        events.feed(chunk)
    assert (events.lines, events.is_ended) == (["one", "two"], True)
