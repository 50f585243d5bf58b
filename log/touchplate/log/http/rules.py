"""The rules that a peers' log stands under, for everybody: `GET <prefix>/peers/rules`."""

from collections.abc import Callable

from fastapi import APIRouter, Response

from touchplate.log.errors import LogError
from touchplate.log.http.answers import FRESH, problem_of
from touchplate.log.http.routes import READS


def make_rules_routes(answer: Callable[[], bytes], path: str) -> APIRouter:
    """The router of `path`; `answer` gives the JSON (peers format 10), or raises LogError."""
    router = APIRouter()

    # A coroutine: the answer is in memory.
    @router.api_route(path, methods=READS)
    async def rules() -> Response:
        try:
            body = answer()
        except LogError as error:
            refused = problem_of(error)
            return Response(refused.body, refused.status, media_type=refused.content_type)
        return Response(body, media_type="application/json", headers={"Cache-Control": FRESH})

    return router
