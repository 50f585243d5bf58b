"""Evidence over HTTP: stored only with the token and under its own digest, served to everybody."""

import asyncio
import hashlib
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from tests.builder.mavenparts import served

from touchplate.base.durable import DigestFolder
from touchplate.base.http import AddressRules, HTTPClient
from touchplate.builder.attestation.evidence import MAX_EVIDENCE_BYTES, EvidenceServer
from touchplate.builder.attestation.http import evidence_routes
from touchplate.builder.errors import EvidenceError

DATA = b"a build log\n"
SHA256 = hashlib.sha256(DATA).hexdigest()
WORKER = {"authorization": "Bearer worker-token"}


def put_scope(path: str, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "PUT",
        "path": path,
        "query_string": b"",
        "headers": headers,
        "http_version": "1.1",
        "scheme": "http",
    }


class Client:
    """The routes as a node mounts them, one request at a time."""

    def __init__(self, folder: Path, token: str | None) -> None:
        self._app = FastAPI()
        self._app.include_router(evidence_routes(DigestFolder(folder), token), prefix="/builder")

    def put(self, name: str, content: bytes, headers: dict[str, str]) -> httpx.Response:
        return asyncio.run(self._send("PUT", name, content, headers))

    def get(self, name: str) -> httpx.Response:
        return asyncio.run(self._send("GET", name, b"", {}))

    def head(self, name: str) -> httpx.Response:
        return asyncio.run(self._send("HEAD", name, b"", {}))

    async def interrupted(self, name: str) -> MutableMapping[str, Any]:
        """The beginning of the answer to a body that ends in the middle with its connection."""
        coming: list[MutableMapping[str, Any]] = [
            {"type": "http.request", "body": DATA[:5], "more_body": True},
            {"type": "http.disconnect"},
        ]
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            return coming.pop(0)

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        headers = [(key.encode(), value.encode()) for key, value in WORKER.items()]
        await self._app(put_scope(f"/builder/evidence/{name}", headers), receive, send)
        return sent[0]

    async def _send(self, method: str, name: str, content: bytes, headers: dict[str, str]) -> httpx.Response:
        transport = httpx.ASGITransport(app=self._app)
        async with httpx.AsyncClient(transport=transport, base_url="http://node.test") as client:
            url = f"/builder/evidence/{name}"
            return await client.request(method, url, content=content or None, headers=headers)


@pytest.fixture
def client(tmp_path: Path) -> Client:
    return Client(tmp_path, "worker-token")


def test_worker_stores_and_everybody_reads(client: Client) -> None:
    assert client.put(SHA256, content=DATA, headers=WORKER).status_code == 201
    assert client.put(SHA256, content=DATA, headers=WORKER).status_code == 204
    answer = client.get(SHA256)
    assert answer.content == DATA
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    head = client.head(SHA256)
    assert head.status_code == 200
    assert head.headers["content-length"] == str(len(DATA))


@pytest.mark.parametrize("header", [None, "Bearer wrong", "Basic worker-token", "Bearer ", "worker-token"])
def test_refuses_to_store_without_the_token(client: Client, header: str | None) -> None:
    headers = {"authorization": header} if header is not None else {}
    answer = client.put(SHA256, content=DATA, headers=headers)
    assert answer.status_code == 401
    assert answer.json()["reason"] == "unauthorized"
    assert answer.headers["www-authenticate"] == "Bearer"
    assert client.get(SHA256).status_code == 404


def test_refuses_bytes_with_another_digest(client: Client) -> None:
    answer = client.put("0" * 64, content=DATA, headers=WORKER)
    assert answer.status_code == 400
    assert answer.json()["reason"] == "wrong-digest"
    assert answer.json()["type"] == "https://touchplate.dev/problems/wrong-digest"
    assert client.get(SHA256).status_code == 404


def test_refuses_addresses_that_are_no_digest(client: Client) -> None:
    assert client.put("ABC", content=DATA, headers=WORKER).status_code == 400
    assert client.get("ABC").status_code == 404


def test_refuses_more_than_the_limit_and_keeps_nothing(client: Client, tmp_path: Path) -> None:
    data = bytes(MAX_EVIDENCE_BYTES + 1)
    sha256 = hashlib.sha256(data).hexdigest()
    assert client.put(sha256, content=data, headers=WORKER).status_code == 413
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_disk_that_refuses_a_file_is_told_as_such_and_nothing_is_left(
    client: Client, tmp_path: Path
) -> None:
    assert client.put(SHA256, content=DATA, headers=WORKER).status_code == 201
    (stored,) = (path for path in tmp_path.rglob("*") if path.is_file())
    other = b"another build log\n"
    blocked = stored.parent.parent / hashlib.sha256(other).hexdigest()[:2]
    blocked.touch()  # where its folder has to be
    answer = client.put(hashlib.sha256(other).hexdigest(), content=other, headers=WORKER)
    assert (answer.status_code, answer.json()["reason"]) == (507, "storage-failed")
    assert "try again" in answer.json()["detail"]
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == {stored, blocked}
    assert client.get(SHA256).content == DATA


def test_a_client_that_goes_away_leaves_nothing_and_is_no_failure_of_the_node(
    client: Client, tmp_path: Path
) -> None:
    sent = asyncio.run(client.interrupted(SHA256))
    assert sent["status"] == 400
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_without_a_token_nothing_can_be_stored(tmp_path: Path) -> None:
    for header in ("Bearer ", "Bearer None"):
        answer = Client(tmp_path, None).put(SHA256, content=DATA, headers={"authorization": header})
        assert answer.status_code == 401


def test_fetched_evidence_is_checked_by_its_digest(tmp_path: Path) -> None:
    (tmp_path / SHA256).write_bytes(DATA)
    (tmp_path / ("0" * 64)).write_bytes(DATA)
    with served(tmp_path) as url, HTTPClient(AddressRules(anything=True)) as client:
        server = EvidenceServer(url, client)
        assert server.fetch(SHA256) == DATA
        with pytest.raises(EvidenceError, match="asked for was 0000"):
            server.fetch("0" * 64)
        with pytest.raises(EvidenceError, match="is not at"):
            server.fetch("1" * 64)
