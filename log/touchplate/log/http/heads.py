"""A peer's signed heads, for the other peers: `GET <prefix>/peers/heads?from=N`."""

from collections.abc import Callable

from fastapi import APIRouter, Request, Response

from touchplate.log.errors import RequestError
from touchplate.log.http.answers import FRESH, problem_of
from touchplate.log.http.routes import READS
from touchplate.verify.encoding import parse_decimal
from touchplate.verify.errors import MalformedError


def make_heads_routes(answer: Callable[[int], bytes], path: str) -> APIRouter:
    """The router of `path`; `answer` gives the JSON (peers format 10) about heads from a size on."""
    router = APIRouter()

    # A coroutine: the answer is in memory.
    @router.api_route(path, methods=READS)
    async def heads(request: Request) -> Response:
        try:
            start = parse_decimal(request.query_params.get("from", "0"), "from")
        except MalformedError as error:
            refused = problem_of(RequestError(str(error)))
            return Response(refused.body, refused.status, media_type=refused.content_type)
        return Response(answer(start), media_type="application/json", headers={"Cache-Control": FRESH})

    return router
