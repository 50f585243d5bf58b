"""Whether a log with witnesses can publish: `GET <prefix>/publishing`, 200 or 503."""

import json
from collections.abc import Callable

from fastapi import APIRouter, Response

from touchplate.log.cosigning.status import PublishingStatus
from touchplate.log.http.routes import READS


def make_publishing_routes(status: Callable[[], PublishingStatus]) -> APIRouter:
    """The router of this path, below a log's prefix. 503: the published checkpoint lags behind too long."""
    router = APIRouter()

    # A coroutine: the answer is in memory.
    @router.api_route("/publishing", methods=READS)
    async def publishing() -> Response:
        found = status()
        body = json.dumps(found.document()).encode()
        headers = {"Cache-Control": "no-store"}
        return Response(body, 200 if found.is_ready else 503, headers, media_type="application/json")

    return router
