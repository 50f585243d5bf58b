"""A witness's HTTP face in plain ASGI (C2SP tlog-witness).

POST <prefix>/add-checkpoint            a head and its proof -> cosignature lines
GET  <prefix>/<SHA-256 of an origin>/checkpoint   the newest head that was cosigned, with its lines
"""

import asyncio
import re

from touchplate.log.errors import NotFoundError, OtherSizeError, OverloadedError
from touchplate.log.http.answers import (
    FRESH,
    Answer,
    BodyRoom,
    Receive,
    Scope,
    Send,
    method_not_allowed,
    problem_of,
    send_answer,
)
from touchplate.log.witness.requests import MAX_REQUEST_BYTES
from touchplate.log.witness.service import Witness

SIZE_TYPE = "text/x.tlog.size"
"""Content-Type of the size in an answer 409 (tlog-witness)."""

MAX_BODIES_BYTES = 32 * 1024 * 1024
"""Bytes of all bodies that are being read or looked at: 128 of the largest, ten thousand usual ones."""

MAX_REQUESTS = 128
"""Heads that are looked at, or wait for it, at once: what a slow disk gets through in a second."""

_HEAD = re.compile(r"/([0-9a-f]{64})/checkpoint")


class WitnessFace:
    """An ASGI application for the paths below `prefix`; everything else belongs to whoever stands behind."""

    def __init__(self, witness: Witness, prefix: str) -> None:
        """`prefix` is where the witness is mounted: "/witness", or "" at the root."""
        self._witness = witness
        self._prefix = prefix
        self._room = BodyRoom(MAX_BODIES_BYTES)  # only touched by the event loop
        self._requests = 0  # only touched by the event loop

    def handles(self, scope: Scope) -> bool:
        """Whether this request belongs here."""
        path: str = scope.get("path", "")
        return scope["type"] == "http" and path.startswith(f"{self._prefix}/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that `handles` accepted."""
        try:
            answer = await self._answer(scope, receive)
        except OtherSizeError as error:
            # The body is the protocol: from it the log learns from where to prove.
            headers = {"Cache-Control": "no-store"}
            answer = Answer(f"{error.size}\n".encode(), 409, SIZE_TYPE, headers)
        except Exception as error:
            answer = problem_of(error)
        await send_answer(send, answer, head=scope["method"] == "HEAD")

    async def _answer(self, scope: Scope, receive: Receive) -> Answer:
        method, path = scope["method"], scope["path"][len(self._prefix) :]
        if path == "/add-checkpoint":
            return await self._add(scope, receive) if method == "POST" else method_not_allowed("POST")
        found = _HEAD.fullmatch(path)
        if found is None:
            raise NotFoundError(
                "a witness answers POST add-checkpoint and GET <sha256 of an origin>/checkpoint"
            )
        if method not in ("GET", "HEAD"):
            return method_not_allowed("GET, HEAD")
        note = await asyncio.to_thread(self._witness.checkpoint, found[1])
        return Answer(note, headers={"Cache-Control": FRESH})

    async def _add(self, scope: Scope, receive: Receive) -> Answer:
        async with self._room.body(scope, receive, MAX_REQUEST_BYTES) as body:
            # Counted from here on: a client that does not finish its body keeps nobody out.
            if self._requests >= MAX_REQUESTS:
                raise OverloadedError(
                    f"{self._requests} heads are being looked at already; send it again later"
                )
            self._requests += 1
            try:
                lines = await asyncio.to_thread(self._witness.add_checkpoint, body)
            finally:
                self._requests -= 1
        return Answer(lines, headers={"Cache-Control": "no-store"})
