"""Every limit of the log: reached is fine, one more is refused, and nothing is kept of what was refused."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from tests.log.memory import MemoryTree
from tests.log.support import admission_list, raw_entries, record_envelope, running_log

from touchplate.base.config import load
from touchplate.base.errors import ConfigError
from touchplate.log.admission import Admission
from touchplate.log.errors import RequestError
from touchplate.log.http import hot
from touchplate.log.http.batches import MAX_BATCH_ENTRIES, parse_batch
from touchplate.log.http.hot import HotFace
from touchplate.log.http.raw import Faces
from touchplate.log.reading import MAX_PAGE, LogReader
from touchplate.log.sequencer import Limits, SoloDecider, TreeSequencer
from touchplate.log.service import LogConfig
from touchplate.log.writing import LogWriter

SETTINGS = 'origin = "log.example.org"\nkey = "file:log.key"\nadmission = "admission.toml"\n'


def test_defaults_are_those_of_the_design() -> None:
    assert Limits() == Limits(
        batch_entries=4096, batch_bytes=8 * 1024 * 1024, outstanding=8192, outstanding_bytes=64 * 1024 * 1024
    )
    assert MAX_BATCH_ENTRIES == 4096


def test_configuration_sets_limits_and_lists_impossible_ones(tmp_path: Path) -> None:
    config = load(LogConfig, SETTINGS + "[limits]\noutstanding = 100\n", where=tmp_path / "log.toml")
    assert config.limits == Limits(outstanding=100)
    wrong = SETTINGS.replace("log.example.org", "log.example.org/path") + "[limits]\nbatch_bytes = 0\n"
    with pytest.raises(ConfigError) as caught:
        load(LogConfig, wrong, where=tmp_path / "log.toml")
    assert "batch_bytes" in str(caught.value)


def test_configuration_refuses_an_origin_that_is_no_host_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="bare lower-case host name"):
        load(LogConfig, SETTINGS.replace("log.example.org", "https://x"), where=tmp_path / "log.toml")


def test_a_full_batch_body_is_parsed_and_one_more_refused() -> None:
    frame = b"\0\0\0\x01x"
    assert parse_batch(frame * MAX_BATCH_ENTRIES) == [b"x"] * MAX_BATCH_ENTRIES
    with pytest.raises(RequestError, match="at most 4096"):
        parse_batch(frame * (MAX_BATCH_ENTRIES + 1))


def test_an_overloaded_log_answers_503_with_retry_after() -> None:
    tree = MemoryTree()
    sequencer = TreeSequencer(tree, SoloDecider(), sign=None, limits=Limits(outstanding=1))
    sequencer.start()
    writer = LogWriter(Admission(admission_list(), lambda: 0), sequencer)
    face = HotFace(LogReader(tree), writer, "")
    body = b"".join(len(e).to_bytes(4, "big") + e for e in (record_envelope(1), record_envelope(2)))

    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(app=face)
        async with httpx.AsyncClient(transport=transport, base_url="http://log.test") as client:
            return await client.post("/add-batch", content=body)

    response = asyncio.run(main())
    sequencer.stop()
    assert response.status_code == 503
    assert response.json()["reason"] == "overloaded"
    assert response.headers["retry-after"] == "1"
    assert tree.head().size == 0


def test_bodies_of_batches_take_so_much_memory_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hot, "MAX_BATCHES_BYTES", 1000)

    async def main(face: HotFace | Faces) -> None:
        gate = asyncio.Event()
        begun = asyncio.Semaphore(0)

        async def slow(first: bytes) -> AsyncIterator[bytes]:
            yield first
            begun.release()
            await gate.wait()
            yield b""

        transport = httpx.ASGITransport(app=face)
        async with httpx.AsyncClient(transport=transport, base_url="http://log.test") as client:

            async def status(body: bytes | AsyncIterator[bytes]) -> int:
                return (await client.post("/log/add-batch", content=body)).status_code

            # Any number that say nothing, or little, keep nobody out.
            waiting = [asyncio.create_task(status(slow(b"x"))) for _ in range(500)]
            for _ in waiting:
                await begun.acquire()
            assert await status(b"x" * 500) == 400
            assert await status(b"x" * 501) == 503
            gate.set()
            assert [await task for task in waiting] == [400] * 500
            # Their room is free again, whether a batch was good or bad, refused or taken.
            assert await status(b"x" * 1000) == 400
            assert await status(b"x" * 1001) == 503
            assert await status(b"") == 200

    with running_log(tmp_path) as service:
        asyncio.run(main(service.asgi))


def test_bodies_of_single_entries_take_so_much_memory_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hot, "MAX_ADDS_BYTES", 1000)

    async def main(face: HotFace | Faces) -> None:
        gate = asyncio.Event()
        begun = asyncio.Semaphore(0)

        async def slow() -> AsyncIterator[bytes]:
            yield b"x" * 600
            begun.release()
            await gate.wait()

        transport = httpx.ASGITransport(app=face)
        async with httpx.AsyncClient(transport=transport, base_url="http://log.test") as client:

            async def status(body: bytes | AsyncIterator[bytes]) -> int:
                return (await client.post("/log/add", content=body)).status_code

            waiting = asyncio.create_task(status(slow()))
            await begun.acquire()
            assert await status(b"x" * 400) == 400
            assert await status(b"x" * 401) == 503
            gate.set()
            assert await waiting == 400
            assert await status(b"x" * 1000) == 400

    with running_log(tmp_path) as service:
        asyncio.run(main(service.asgi))


def test_a_page_of_entries_ends_at_its_limit() -> None:
    tree = MemoryTree()
    tree.apply(raw_entries(MAX_PAGE + 5))
    reader = LogReader(tree)
    page = reader.entries_after(0, limit=10**9)
    assert [index for index, _ in page] == list(range(MAX_PAGE))
    assert [index for index, _ in reader.entries_after(MAX_PAGE)] == list(range(MAX_PAGE, MAX_PAGE + 5))
    assert reader.entries_after(MAX_PAGE + 5) == []
    assert reader.entries_after(3, limit=2) == list(enumerate([e.packed for e in raw_entries(2, start=3)], 3))
    for wrong in (-1, MAX_PAGE + 6):
        with pytest.raises(RequestError):
            reader.entries_after(wrong)
