"""A file that is sent while it is fetched: nobody waits for ever, whatever becomes of the fetch."""

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from touchplate.api.blobs import BlobStore
from touchplate.api.errors import ChangedError, NotReadyError, UpstreamError
from touchplate.api.http.streams import HELD_BACK_BYTES, Download, Downloads
from touchplate.base.durable import DigestFolder

Fetch = Callable[[Callable[[bytes], object]], object]
DATA = bytes(range(256)) * 1024
HALF = len(DATA) // 2


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    return BlobStore(DigestFolder(tmp_path / "blobs"))


def download(
    blobs: BlobStore,
    fetch: Fetch,
    told: list[str] | None = None,
    stored: Callable[[], None] = lambda: None,
) -> Download:
    wrong = (told if told is not None else []).append
    return Download(blobs, hashlib.sha256(DATA).hexdigest(), len(DATA), fetch, stored=stored, wrong=wrong)


def whole(sink: Callable[[bytes], object]) -> None:
    sink(DATA[:HALF])
    sink(DATA[HALF:])


def test_all_of_it_can_be_read_once_it_is_stored(blobs: BlobStore) -> None:
    made = download(blobs, whole)
    made.run()

    async def read() -> bytes:
        assert await made.readable(0) == len(DATA)
        with await made.open() as file:
            return file.read()

    assert asyncio.run(read()) == DATA
    assert not made.is_wrong


def test_the_end_is_held_back_until_the_hash_is_right(blobs: BlobStore) -> None:
    seen: list[int] = []

    async def run() -> None:
        loop = asyncio.get_running_loop()

        def fetch(sink: Callable[[bytes], object]) -> None:
            sink(DATA[:-1])
            # From the fetching thread: what a reader would get at this moment.
            seen.append(asyncio.run_coroutine_threadsafe(made.readable(0), loop).result(30))
            sink(DATA[-1:])

        made = download(blobs, fetch)
        await asyncio.to_thread(made.run)
        seen.append(await made.readable(0))

    asyncio.run(run())
    assert seen == [len(DATA) - HELD_BACK_BYTES, len(DATA)]


def test_wrong_bytes_are_told_to_readers_and_raised(blobs: BlobStore) -> None:
    told: list[str] = []
    made = download(blobs, lambda sink: sink(DATA[:-1] + b"x"), told)
    made.run()
    with pytest.raises(ChangedError):
        asyncio.run(made.readable(0))
    assert made.is_wrong
    assert len(told) == 1


@pytest.mark.parametrize(
    ("fetch", "expected"),
    [
        (lambda sink: sink(DATA[:HALF]), UpstreamError),
        (lambda sink: sink(DATA + b"x"), ChangedError),
        (lambda sink: (_ for _ in ()).throw(UpstreamError("down")), UpstreamError),
        (lambda sink: (_ for _ in ()).throw(RuntimeError("a fault of ours")), NotReadyError),
    ],
    ids=["cut", "longer", "down", "fault"],
)
def test_every_failure_reaches_every_reader(
    blobs: BlobStore, fetch: Fetch, expected: type[Exception]
) -> None:
    made = download(blobs, fetch)

    async def read() -> None:
        readers = [asyncio.create_task(made.finished()) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.to_thread(made.run)
        for reader in readers:
            with pytest.raises(expected):
                await reader
        with pytest.raises(expected):
            await made.open()

    asyncio.run(read())
    assert not blobs.has(hashlib.sha256(DATA).hexdigest())


def test_what_cannot_be_linked_is_not_sent_whole(blobs: BlobStore) -> None:
    def fail() -> None:
        raise OSError("the database is gone")

    made = download(blobs, whole, stored=fail)
    made.run()
    with pytest.raises(NotReadyError):
        asyncio.run(made.finished())


def test_a_fetch_that_never_begins_leaves_nobody_waiting(blobs: BlobStore) -> None:
    """The pool of a node that stops takes nothing any more."""

    async def read() -> None:
        downloads = Downloads()

        async def refuse(_: Download) -> None:
            raise RuntimeError("cannot schedule new futures after shutdown")

        made = downloads.start("key", lambda: download(blobs, whole), refuse)
        assert downloads.start("key", lambda: download(blobs, whole), refuse) is made
        with pytest.raises(NotReadyError, match="stopping"):
            await made.finished()
        assert downloads.start("key", lambda: download(blobs, whole), refuse) is not made
        await asyncio.sleep(0)

    asyncio.run(read())
