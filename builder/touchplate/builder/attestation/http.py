"""The evidence routes of a node: `PUT`, `GET` and `HEAD /evidence/<sha256>`.

Reading is for everybody, storing for workers with the token. A file is stored only when its bytes have the
digest that its address says.
"""

import re
from collections.abc import AsyncIterator, Callable

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse

from touchplate.base.bearer import BearerTokens
from touchplate.base.durable import DigestFolder, DigestWriter
from touchplate.base.errors import StorageError, TooLargeError, WrongDigestError
from touchplate.base.problem import MEDIA_TYPE, format_problem
from touchplate.base.status import BAD_REQUEST, NO_ROOM, StatusTable
from touchplate.builder.attestation.evidence import MAX_EVIDENCE_BYTES
from touchplate.builder.bodies import ClientGoneError, read_pieces

_STATUS = StatusTable().extended({ClientGoneError: BAD_REQUEST, StorageError: NO_ROOM})
_SHA256 = re.compile(r"[0-9a-f]{64}")
_IMMUTABLE = {"cache-control": "public, max-age=31536000, immutable"}


def evidence_routes(
    folder: DigestFolder, token: str | None, *, may_store: Callable[[Request], bool] = lambda _: False
) -> APIRouter:
    """The routes over `folder`; without a token, and unless `may_store` says so, nothing can be stored. Mount
    them under `/builder`."""
    router = APIRouter()
    workers = BearerTokens([("worker", token)] if token else [])

    @router.put("/evidence/{sha256}")
    async def put_evidence(sha256: str, request: Request) -> Response:
        if workers.find(request.headers.get("authorization")) is None and not may_store(request):
            return _problem(401, "unauthorized", "storing evidence needs a worker's bearer token")
        if not _SHA256.fullmatch(sha256):
            return _problem(400, "bad-digest", "the address is not a sha256 in lower-case hex")
        known = folder.has(sha256)
        try:
            with folder.writer(expected=sha256, max_bytes=MAX_EVIDENCE_BYTES) as writer:
                await _take_body(read_pieces(request.receive), writer)
                await run_in_threadpool(writer.commit)
        except (ClientGoneError, StorageError) as error:
            return _refused(error)
        return Response(status_code=204 if known else 201)

    @router.api_route("/evidence/{sha256}", methods=["GET", "HEAD"])
    async def get_evidence(sha256: str) -> Response:
        if not _SHA256.fullmatch(sha256) or not folder.has(sha256):
            return _problem(404, "not-found", "no evidence with this digest is held here")
        # Never shown as a page: a build log is written by strangers.
        headers = {**_IMMUTABLE, "x-content-type-options": "nosniff", "content-security-policy": "sandbox"}
        return FileResponse(folder.path(sha256), media_type="application/octet-stream", headers=headers)

    return router


async def _take_body(stream: AsyncIterator[bytes], writer: DigestWriter) -> None:
    async for chunk in stream:
        if chunk:
            await run_in_threadpool(writer.write, chunk)


def _refused(error: ClientGoneError | StorageError) -> Response:
    detail = str(error)
    if isinstance(error, TooLargeError):
        detail = f"evidence is limited to {MAX_EVIDENCE_BYTES} bytes"
    elif not isinstance(error, ClientGoneError | WrongDigestError):  # which names a path of this machine
        detail = "the evidence could not be stored; try again later"
    return _problem(_STATUS.status(error).http, error.reason, detail)


def _problem(status: int, reason: str, detail: str) -> Response:
    """RFC 9457."""
    headers = {"www-authenticate": "Bearer"} if status == 401 else {}  # RFC 9110 15.5.2
    return Response(format_problem(status, reason, detail), status, headers, MEDIA_TYPE)
