"""The hot paths in plain ASGI: a FastAPI route would cost three times as much per entry.

POST add          one bare envelope            -> its decimal index
POST add-batch    framed envelopes             -> JSON, one result each
GET  checkpoint   the newest signed note
GET  tile/…       hash tiles, entry bundles, envelope bundles
"""

from touchplate.log.errors import RequestError
from touchplate.log.http.answers import (
    Answer,
    BodyRoom,
    Receive,
    Scope,
    Send,
    added,
    header,
    method_not_allowed,
    problem_of,
    send_answer,
    unless_known,
)
from touchplate.log.http.batches import MAX_BATCH_BODY, batch_answer, parse_batch
from touchplate.log.http.tiles import TileAnswers
from touchplate.log.reading import LogReader
from touchplate.log.writing import LogWriter
from touchplate.verify.dsse import MAX_ENVELOPE_BYTES
from touchplate.verify.encoding import decode_hex
from touchplate.verify.errors import MalformedError

KEY_HEADER = b"touchplate-key"
"""Request header: lower-case hex SHA-256 of the SPKI that signed, so that the log need not try its keys."""

MAX_ADDS_BYTES = 128 * 1024 * 1024
"""Bytes of all bodies of add that are being read or worked on: 2,048 of the largest, 16,384 of usual ones."""

MAX_BATCHES_BYTES = 64 * 1024 * 1024
"""Bytes of all bodies of add-batch that are being read or worked on: eight of the largest."""


class HotFace:
    """An ASGI application for the paths that it `handles`; everything else belongs to whoever stands
    behind."""

    def __init__(self, reader: LogReader, writer: LogWriter, prefix: str) -> None:
        """`prefix` is where the log is mounted: "/log", or "" at the root."""
        self._writer = writer
        self._prefix = prefix
        self._under = f"{prefix}/tile/"
        self._paths = {f"{prefix}/{name}" for name in ("add", "add-batch", "checkpoint")}
        self._tiles = TileAnswers(reader)
        self._adds = BodyRoom(MAX_ADDS_BYTES)  # only touched by the event loop
        self._batches = BodyRoom(MAX_BATCHES_BYTES)  # only touched by the event loop

    def handles(self, scope: Scope) -> bool:
        """Whether this request belongs here. Costs one look at the path."""
        path = scope.get("path", "")
        return scope["type"] == "http" and (path in self._paths or path.startswith(self._under))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that `handles` accepted."""
        method = scope["method"]
        name = scope["path"][len(self._prefix) + 1 :]
        try:
            if name in ("add", "add-batch"):
                answer = (
                    await self._write(name, scope, receive)
                    if method == "POST"
                    else method_not_allowed("POST")
                )
            elif method in ("GET", "HEAD"):
                tiles = self._tiles
                found = tiles.checkpoint() if name == "checkpoint" else await tiles.tile(name, scope)
                answer = unless_known(scope, found)
            else:
                answer = method_not_allowed("GET, HEAD")
        except Exception as error:
            answer = problem_of(error)
        await send_answer(send, answer, head=method == "HEAD")

    async def _write(self, name: str, scope: Scope, receive: Receive) -> Answer:
        hint = _key_hint(scope)
        if name == "add":
            async with self._adds.body(scope, receive, MAX_ENVELOPE_BYTES) as envelope:
                return added(await self._writer.add(envelope, hint))
        async with self._batches.body(scope, receive, MAX_BATCH_BODY) as body:
            return batch_answer(await self._writer.add_batch(parse_batch(body), hint))


def _key_hint(scope: Scope) -> bytes | None:
    text = header(scope, KEY_HEADER)
    if text is None:
        return None
    try:
        return decode_hex(text, 32, "touchplate-key")
    except MalformedError as error:
        raise RequestError(str(error)) from error
