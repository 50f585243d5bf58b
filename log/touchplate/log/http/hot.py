"""The hot paths in plain ASGI: a FastAPI route would cost three times as much per entry.

POST add          one bare envelope            -> its decimal index
POST add-batch    framed envelopes             -> JSON, one result each
GET  checkpoint   the newest signed note
GET  tile/…       hash tiles, entry bundles, envelope bundles
"""

import asyncio
import gzip
import json
from dataclasses import replace

from touchplate.log.errors import LogError, NotFoundError, RequestError
from touchplate.log.http.answers import (
    FRESH,
    IMMUTABLE,
    SHORT,
    Answer,
    BodyRoom,
    Receive,
    Scope,
    Send,
    header,
    method_not_allowed,
    problem_of,
    send_answer,
    tagged,
    takes_gzip,
    unless_known,
)
from touchplate.log.http.kept import KeptAnswers
from touchplate.log.ports import Sequenced
from touchplate.log.reading import LogReader
from touchplate.log.writing import LogWriter
from touchplate.verify.dsse import MAX_ENVELOPE_BYTES
from touchplate.verify.encoding import decode_hex
from touchplate.verify.errors import MalformedError
from touchplate.verify.tiles import TILE_WIDTH, BundleCoord, Tile, parse_tile_path

KEY_HEADER = b"touchplate-key"
"""Request header: lower-case hex SHA-256 of the SPKI that signed, so that the log need not try its keys."""

MAX_BATCH_ENTRIES = 4096
"""Envelopes in one add-batch: as many as one transaction takes."""

MAX_BATCH_BODY = 8 * 1024 * 1024 + 4 * MAX_BATCH_ENTRIES
"""Bytes of an add-batch body: one transaction's worth of envelopes, and their lengths."""

MAX_ADDS_BYTES = 128 * 1024 * 1024
"""Bytes of all bodies of add that are being read or worked on: 2,048 of the largest, 16,384 of usual ones."""

MAX_BATCHES_BYTES = 64 * 1024 * 1024
"""Bytes of all bodies of add-batch that are being read or worked on: eight of the largest."""

GZIP_LEVEL = 1
"""Most of a bundle is base64 of hashes: more work makes it hardly smaller."""

_PACKED = ("tile/entries/", "tile/envelopes/")
_OCTETS = "application/octet-stream"


class HotFace:
    """An ASGI application for the paths that it `handles`; everything else belongs to whoever stands
    behind."""

    def __init__(self, reader: LogReader, writer: LogWriter, prefix: str) -> None:
        """`prefix` is where the log is mounted: "/log", or "" at the root."""
        self._reader = reader
        self._writer = writer
        self._prefix = prefix
        self._tiles = f"{prefix}/tile/"
        self._paths = {f"{prefix}/{name}" for name in ("add", "add-batch", "checkpoint")}
        self._kept = KeptAnswers()  # only touched by the event loop
        self._adds = BodyRoom(MAX_ADDS_BYTES)  # only touched by the event loop
        self._batches = BodyRoom(MAX_BATCHES_BYTES)  # only touched by the event loop

    def handles(self, scope: Scope) -> bool:
        """Whether this request belongs here. Costs one look at the path."""
        path = scope.get("path", "")
        return scope["type"] == "http" and (path in self._paths or path.startswith(self._tiles))

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
                found = self._checkpoint() if name == "checkpoint" else await self._tile(name, scope)
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
                result = await self._writer.add(envelope, hint)
            headers = {"Touchplate-Duplicate": "true"} if result.duplicate else {}
            return Answer(str(result.index).encode(), headers=headers)
        async with self._batches.body(scope, receive, MAX_BATCH_BODY) as read:
            results = await self._writer.add_batch(parse_batch(read), hint)
        body = {"results": [_result(result) for result in results]}
        return Answer(json.dumps(body).encode(), content_type="application/json")

    def _checkpoint(self) -> Answer:
        return tagged(Answer(self._reader.checkpoint(), headers={"Cache-Control": FRESH}))

    async def _tile(self, path: str, scope: Scope) -> Answer:
        packed = path.startswith(_PACKED) and takes_gzip(scope)
        if (kept := self._kept.get(path, packed=packed)) is not None:
            return kept
        try:
            tile = parse_tile_path(path)
        except MalformedError as error:
            raise NotFoundError(str(error)) from error
        answer = await asyncio.to_thread(self._read, tile, packed)
        if tile.width == TILE_WIDTH:
            self._kept.keep(path, answer, packed=packed)
        return answer

    def _read(self, coord: Tile | BundleCoord, packed: bool) -> Answer:
        headers = {"Cache-Control": IMMUTABLE if coord.width == TILE_WIDTH else SHORT}
        if isinstance(coord, BundleCoord):
            headers["Vary"] = "Accept-Encoding"
        answer = tagged(Answer(self._reader.resource(coord), content_type=_OCTETS, headers=headers))
        if not packed:
            return answer
        body = gzip.compress(answer.body, GZIP_LEVEL, mtime=0)
        return replace(answer, body=body, headers={**answer.headers, "Content-Encoding": "gzip"})


def parse_batch(body: bytes) -> list[bytes]:
    """The envelopes of an add-batch body: `uint32 BE length ‖ envelope`, repeated. Raises RequestError."""
    envelopes: list[bytes] = []
    offset = 0
    while offset < len(body):
        end = offset + 4 + int.from_bytes(body[offset : offset + 4], "big")
        if offset + 4 > len(body) or end > len(body):
            raise RequestError(f"envelope {len(envelopes)} of the batch is cut off")
        if len(envelopes) == MAX_BATCH_ENTRIES:
            raise RequestError(f"a batch has at most {MAX_BATCH_ENTRIES} envelopes; send several")
        envelopes.append(body[offset + 4 : end])
        offset = end
    return envelopes


def _key_hint(scope: Scope) -> bytes | None:
    text = header(scope, KEY_HEADER)
    if text is None:
        return None
    try:
        return decode_hex(text, 32, "touchplate-key")
    except MalformedError as error:
        raise RequestError(str(error)) from error


def _result(result: Sequenced | LogError) -> dict[str, object]:
    if isinstance(result, Sequenced):
        return {"index": str(result.index), "duplicate": result.duplicate}
    return {"error": {"reason": result.reason, "detail": str(result)}}
