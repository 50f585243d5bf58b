"""The witness over HTTP: statuses, bodies and headers of tlog-witness, and bodies that never end."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.log.witness.support import COSIGNER, SomeLog, make_witness
from tests.log.witness.test_service import CASES, FORK

from touchplate.log.http import witness as face_module
from touchplate.log.http.witness import WitnessFace
from touchplate.log.witness.requests import MAX_REQUEST_BYTES
from touchplate.verify.notes import open_note

LOG = SomeLog()


class Client:
    """Requests from ordinary functions, as a server passes them on."""

    def __init__(self, folder: Path, prefix: str = "/witness") -> None:
        self.witness = make_witness(folder, [LOG.listed])
        self.face = WitnessFace(self.witness, prefix)
        self._runner = asyncio.Runner()
        transport = httpx.ASGITransport(app=self.face)
        self._client = httpx.AsyncClient(transport=transport, base_url=f"http://witness.test{prefix}")

    def __call__(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return self._runner.run(self._client.request(method, path, **arguments))

    def post(self, body: Any) -> httpx.Response:
        return self("POST", "/add-checkpoint", content=body)

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()
        self.witness.close()


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    made = Client(tmp_path)
    assert made.post(LOG.request(0, 5)).status_code == 200
    yield made
    made.close()


@pytest.mark.parametrize("case", CASES)
def test_statuses(case: str, client: Client) -> None:
    status, make = CASES[case]
    answer = client.post(make())
    assert answer.status_code == status, answer.text
    if status == 200:
        opened = open_note(LOG.note(5) + answer.content, [LOG.signer.key]) if "same" in case else None
        assert opened is None or opened.unknown == 1
        assert answer.content.startswith(f"— {COSIGNER.key.name} ".encode())
        assert answer.content.endswith(b"\n")
    elif status == 409:
        assert (answer.headers["content-type"], answer.content) == ("text/x.tlog.size", b"5\n")
    else:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
        assert answer.json()["reason"] != "internal"


def test_the_newest_cosigned_head_can_be_fetched(client: Client) -> None:
    path = f"/{sha256(LOG.origin.encode()).hexdigest()}/checkpoint"
    answer = client("GET", path)
    assert answer.status_code == 200
    opened = open_note(answer.content, [LOG.signer.key, COSIGNER.key])
    assert opened.text == LOG.text(5)
    assert len(opened.signatures) == 2
    assert client("HEAD", path).status_code == 200
    assert client("POST", path).status_code == 405
    assert client("GET", f"/{sha256(b'x').hexdigest()}/checkpoint").status_code == 404
    assert client("GET", "/checkpoint").status_code == 404
    assert client("GET", "/add-checkpoint").headers["allow"] == "POST"


def test_a_body_that_is_too_large_is_refused_before_it_is_read(client: Client) -> None:
    answer = client.post(b"x" * (MAX_REQUEST_BYTES + 1))
    assert answer.status_code == 413
    assert client.post(LOG.request(5, 9)).status_code == 200


def test_a_body_without_an_end_takes_no_more_than_the_limit(client: Client) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 4096
            yield b"old 5\n" + bytes(4090)
            assert sent < 2 * MAX_REQUEST_BYTES

    assert client.post(endless()).status_code == 413


def test_too_many_requests_at_once_are_told_to_come_back(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(face_module, "MAX_REQUESTS", 0)
    answer = client.post(LOG.request(5, 9))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    monkeypatch.undo()
    assert client.post(LOG.request(5, 9)).status_code == 200


def test_any_number_of_clients_that_do_not_finish_their_bodies_keep_nobody_out(client: Client) -> None:
    async def main() -> int:
        begun, gate = asyncio.Semaphore(0), asyncio.Event()

        async def receive() -> dict[str, Any]:
            begun.release()
            await gate.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            pass

        scope = {"type": "http", "method": "POST", "path": "/witness/add-checkpoint", "headers": []}
        waiting = [
            asyncio.create_task(client.face(scope, receive, send))
            for _ in range(2 * face_module.MAX_REQUESTS)
        ]
        for _ in waiting:
            await begun.acquire()
        transport = httpx.ASGITransport(app=client.face)
        async with httpx.AsyncClient(transport=transport, base_url="http://witness.test") as other:
            answer = await other.post("/witness/add-checkpoint", content=LOG.request(5, 9))
        gate.set()
        await asyncio.gather(*waiting)
        return answer.status_code

    assert asyncio.run(main()) == 200


def test_bodies_take_so_much_memory_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = LOG.request(0, 5)
    monkeypatch.setattr(face_module, "MAX_BODIES_BYTES", len(body))
    small = Client(tmp_path)
    assert small.post(body + b"x").status_code == 503
    assert small.post(body).status_code == 200
    small.close()


def test_only_its_own_paths_are_handled(tmp_path: Path) -> None:
    face = WitnessFace(make_witness(tmp_path, [LOG.listed]), "/witness")
    assert face.handles({"type": "http", "path": "/witness/add-checkpoint"})
    assert not face.handles({"type": "http", "path": "/witnessed"})
    assert not face.handles({"type": "lifespan"})
    root = WitnessFace(make_witness(tmp_path / "2", [LOG.listed]), "")
    assert root.handles({"type": "http", "path": "/add-checkpoint"})


def test_a_fork_leaves_everything_as_it_was(client: Client) -> None:
    assert client.post(FORK.request(5, 9)).status_code == 422
    assert client.post(LOG.request(5, 9)).status_code == 200
