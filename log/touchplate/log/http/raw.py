"""Raw trees in plain ASGI, all of it: below /log/raw/<origin>/ the paths of a log.

POST add          a leaf's bytes               -> its decimal index, as Tessera's personalities answer
POST add-batch    framed leaves                -> JSON, one result each
GET  checkpoint   the newest signed note
GET  tile/…       hash tiles, entry bundles (tlog-tiles)
GET  proof/…      inclusion, consistency, tlog
GET  entry/<index>, lookup/<leaf hash>
"""

import asyncio
from collections.abc import Mapping
from urllib.parse import parse_qsl

from touchplate.log.errors import NotFoundError, RequestError
from touchplate.log.http import proofs
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
from touchplate.log.http.hot import MAX_ADDS_BYTES, MAX_BATCHES_BYTES, HotFace
from touchplate.log.http.tiles import TileAnswers
from touchplate.log.raw.tree import RawLog
from touchplate.log.storage.raw_rows import MAX_VALUE
from touchplate.verify.encoding import encode_base64

KEPT_BYTES = 16 * 1024 * 1024
"""Bytes of full tiles and bundles kept in memory, for each tree: the hash tiles of half a million leaves."""

MAX_QUERY = 256
"""Bytes of a query: two numbers below 2^63 and their names fit several times."""

_PROOFS = {
    "proof/inclusion": proofs.inclusion,
    "proof/consistency": proofs.consistency,
    "proof/tlog": proofs.tlog_proof,
}


class RawFace:
    """An ASGI application for the paths that it `handles`."""

    def __init__(self, logs: Mapping[str, RawLog], prefix: str) -> None:
        """`logs` by origin; `prefix` is where the log is mounted, beside which they stand."""
        self._root = f"{prefix}/raw/"
        # Together: what the bodies of all trees take is one memory.
        adds, batches = BodyRoom(MAX_ADDS_BYTES), BodyRoom(MAX_BATCHES_BYTES)
        self._faces = {origin: _OneFace(log, adds, batches) for origin, log in logs.items()}

    def handles(self, scope: Scope) -> bool:
        """Whether this request belongs here. Costs one look at the path."""
        path: str = scope.get("path", "")
        return scope["type"] == "http" and path.startswith(self._root)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that `handles` accepted."""
        origin, _, name = scope["path"][len(self._root) :].partition("/")
        method = scope["method"]
        try:
            face = self._faces.get(origin)
            if face is None:
                raise NotFoundError(f"there is no log {origin[:200]!r} here")
            answer = await face.answer(method, name, scope, receive)
        except Exception as error:
            answer = problem_of(error)
        await send_answer(send, answer, head=method == "HEAD")


class _OneFace:
    """The paths of one tree."""

    def __init__(self, log: RawLog, adds: BodyRoom, batches: BodyRoom) -> None:
        self._log = log
        self._adds = adds
        self._batches = batches
        self._tiles = TileAnswers(log.reader, KEPT_BYTES)

    async def answer(self, method: str, name: str, scope: Scope, receive: Receive) -> Answer:
        """The answer to one request, or an error of the log."""
        self._log.check_there()
        if name in ("add", "add-batch"):
            return await self._write(name, scope, receive) if method == "POST" else method_not_allowed("POST")
        if method not in ("GET", "HEAD"):
            return method_not_allowed("GET, HEAD")
        if name == "checkpoint":
            return unless_known(scope, self._tiles.checkpoint())
        if name.startswith("tile/"):
            return unless_known(scope, await self._tiles.tile(name, scope))
        return await asyncio.to_thread(self._read, name, scope)

    async def _write(self, name: str, scope: Scope, receive: Receive) -> Answer:
        # Before the body: a stranger's is not worth its memory.
        self._log.check_writer(header(scope, b"authorization"))
        if name == "add":
            async with self._adds.body(scope, receive, MAX_VALUE) as leaf:
                return added(await self._log.add(leaf))
        async with self._batches.body(scope, receive, MAX_BATCH_BODY) as body:
            return batch_answer(await self._log.add_batch(parse_batch(body)))

    def _read(self, name: str, scope: Scope) -> Answer:
        if (prove := _PROOFS.get(name)) is not None:
            return prove(self._log.reader, _parameters(scope))
        kind, _, rest = name.partition("/")
        if kind == "lookup":
            return proofs.lookup(self._log.reader, rest)
        if kind == "entry":
            return self._entry(proofs.number(rest, "index"))
        raise NotFoundError(f"a log has nothing at {name[:200]!r}")

    def _entry(self, index: int) -> Answer:
        leaf = self._log.reader.leaf(index)
        found = {"index": str(index), "leaf": encode_base64(leaf.value), "extra": encode_base64(leaf.extra)}
        return proofs.json_answer(found)


def _parameters(scope: Scope) -> proofs.Parameters:
    query: bytes = scope.get("query_string", b"")
    if len(query) > MAX_QUERY:
        raise RequestError(f"the query has {len(query)} bytes; at most {MAX_QUERY}")
    return parse_qsl(query.decode("latin-1"), keep_blank_values=True)


class Faces:
    """The hot paths of a log and of the raw trees beside it."""

    def __init__(self, log: HotFace, raw: RawFace) -> None:
        self._log = log
        self._raw = raw

    def handles(self, scope: Scope) -> bool:
        """Whether this request belongs to one of them."""
        return self._log.handles(scope) or self._raw.handles(scope)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request that `handles` accepted."""
        face = self._log if self._log.handles(scope) else self._raw
        await face(scope, receive, send)
