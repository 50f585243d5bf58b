"""A peer's signed heads, for the other peers: `GET <prefix>/peers/heads`."""

from collections.abc import Callable

from fastapi import APIRouter, Response

from touchplate.log.http.answers import FRESH
from touchplate.log.http.routes import READS


def make_heads_routes(answer: Callable[[], bytes], path: str) -> APIRouter:
    """The router of `path`; `answer` gives the body, JSON (peers format 9)."""
    router = APIRouter()

    # A coroutine: the answer is in memory.
    @router.api_route(path, methods=READS)
    async def heads() -> Response:
        return Response(answer(), media_type="application/json", headers={"Cache-Control": FRESH})

    return router
