"""`GET <log>/peers/blobs/<sha256>`: a blob for another peer of the log, and for nobody else."""

from __future__ import annotations

import re
from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from touchplate.api.errors import BadNameError
from touchplate.api.http.calls import Calls
from touchplate.api.http.files import file_response
from touchplate.api.peers import GivenBlobs

BLOBS_PATH = "/peers/blobs"
"""Below the log's prefix, since that is the address of a peer which the others know."""

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)

Authenticate = Callable[[str, str], str]
"""(Authorization header, path) -> the name of the peer that asks. Raises PeersOnlyError."""


def make_peer_routes(given: GivenBlobs, who: Authenticate, calls: Calls) -> APIRouter:
    """The router of `BLOBS_PATH`. `calls`: threads for disks and databases."""
    router = APIRouter()

    @router.api_route(f"{BLOBS_PATH}/{{sha256}}", methods=["GET", "HEAD"], response_model=None)
    async def blob(sha256: str, request: Request) -> Response:
        # Before anything is looked up: a stranger does not even learn what a digest looks like.
        peer = who(request.headers.get("authorization", ""), f"{BLOBS_PATH}/{sha256}")
        if not _SHA256.fullmatch(sha256):
            raise BadNameError(f"{sha256[:80]!r} is not a sha256 in lower-case hex")
        path, size = await calls.run(lambda: given.file(peer, sha256))
        headers = {
            "Cache-Control": "private, no-store",
            "Content-Type": "application/octet-stream",
            "ETag": f'"sha256:{sha256}"',
        }
        return file_response(request, path, size, headers)

    return router
