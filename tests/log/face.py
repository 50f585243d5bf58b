"""A running log's HTTP face for tests: ASGI calls, as a server makes them."""

import asyncio
from typing import Any

import httpx
from fastapi import FastAPI

from touchplate.log.http.answers import Receive, Scope, Send
from touchplate.log.service import LogService
from touchplate.verify.errors import NotFoundError, TransportError


class Mounted:
    """What the node does: the hot face in front of FastAPI."""

    def __init__(self, service: LogService) -> None:
        self._service = service
        self._behind = FastAPI()
        self._behind.include_router(service.routes())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._service.asgi.handles(scope):
            await self._service.asgi(scope, receive, send)
        else:
            await self._behind(scope, receive, send)


class Face:
    """Requests from ordinary functions, all in one event loop. `close` ends its event loop."""

    def __init__(self, service: LogService) -> None:
        self.service = service
        self._runner = asyncio.Runner()
        transport = httpx.ASGITransport(app=Mounted(service))
        self._client = httpx.AsyncClient(transport=transport, base_url="http://log.test")

    def __call__(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        return self._runner.run(self._client.request(method, "/log/" + path, **arguments))

    def get(self, path: str) -> httpx.Response:
        return self("GET", path)

    def at_once(self, method: str, path: str, bodies: list[bytes]) -> list[httpx.Response]:
        """One request per body, all of them under way together."""

        async def main() -> list[httpx.Response]:
            calls = [self._client.request(method, "/log/" + path, content=body) for body in bodies]
            return await asyncio.gather(*calls)

        return self._runner.run(main())

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()


class FaceSource:
    """A `LogSource` over a face: what an auditor's client reads a log through."""

    def __init__(self, face: Face) -> None:
        self._face = face

    def read(self, path: str, max_bytes: int) -> bytes:
        answer = self._face.get(path)
        if answer.status_code == 404:
            raise NotFoundError(f"no {path}")
        if answer.status_code != 200 or len(answer.content) > max_bytes:
            raise TransportError(f"{path}: {answer.status_code}, {len(answer.content)} bytes")
        return answer.content

    def post(self, path: str, body: bytes, headers: dict[str, str], max_bytes: int) -> bytes:
        answer = self._face("POST", path, content=body, headers=headers)
        if answer.status_code != 200:
            raise TransportError(f"{path}: {answer.status_code}")
        return answer.content


def batch(*envelopes: bytes) -> bytes:
    """The body of an add-batch: uint32 BE length || envelope, repeated."""
    return b"".join(len(each).to_bytes(4, "big") + each for each in envelopes)
