"""One ASGI application: the log's hot paths in front, FastAPI with everything else behind them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool

from touchplate.api.conan.explain import ConanExplainer
from touchplate.api.conan.proofs import ConanProofs
from touchplate.api.conan.routes import ConanRoutes
from touchplate.api.docker.explain import ImageExplainer
from touchplate.api.docker.routes import ImageRoutes, Pools
from touchplate.api.errors import STATUS, MethodError, NotFoundError, RefusedError
from touchplate.api.explain import Explainer
from touchplate.api.explainers import Explainers
from touchplate.api.http.auditors import AuditorRoutes
from touchplate.api.http.peers import make_peer_routes
from touchplate.api.http.problem import problem
from touchplate.api.http.registry import registry_error
from touchplate.api.http.remote import remote_error
from touchplate.api.http.web import PAGE_HEADERS, Web, WebRoutes
from touchplate.api.maven.routes import MavenRoutes
from touchplate.api.pages.render import Pages
from touchplate.api.peers import GivenBlobs
from touchplate.base.errors import TouchplateError
from touchplate.base.status import BAD_REQUEST
from touchplate.builder.attestation.http import evidence_routes
from touchplate.log.http.witness import WitnessFace
from touchplate.node.peer_blobs import authenticate
from touchplate.node.rebuilds import RebuildDesk
from touchplate.node.wiring import Node
from touchplate.node.witness import PREFIX
from touchplate.verify.errors import MalformedError, VerifyError

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGI = Callable[[Scope, Receive, Send], Awaitable[None]]

_KEPT = ("Retry-After", "Allow", "Cache-Control")
_MACHINES = ("/maven/", "/v2/", "/conan/", "/log/", "/builder/", "/api/")
_GUARDS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'; sandbox"),
)
_TABLE = STATUS.extended({MalformedError: BAD_REQUEST})


def make_app(node: Node) -> ASGI:
    """The application of a node. Its lifespan starts and stops the node."""
    behind = make_fastapi(node)
    hot = node.log.asgi
    witness = None if node.witness is None else WitnessFace(node.witness.witness, PREFIX)

    async def front(scope: Scope, receive: Receive, send: Send) -> None:
        if hot.handles(scope):
            await hot(scope, receive, send)
        elif witness is not None and witness.handles(scope):
            await witness(scope, receive, send)
        else:
            await behind(scope, receive, _guarded(send))

    return front


def _guarded(send: Send) -> Send:
    """Headers that keep a browser from running what an upstream published under our name."""

    async def guarded(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message["headers"]}
            missing = [pair for pair in _GUARDS if pair[0] not in given]
            message = {**message, "headers": [*message["headers"], *missing]}
        await send(message)

    return guarded


def make_fastapi(node: Node) -> FastAPI:
    """Everything but the log's hot paths."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(node.start)
        try:
            yield
        finally:
            await run_in_threadpool(node.stop)

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    app.state.public_url = node.config.http.public_url
    pages = Pages(node.config.log.origin)
    _add_routes(app, node, pages)
    _add_errors(app, pages, node.config.http.public_url or "", node.rebuilds)
    return app


def _add_routes(app: FastAPI, node: Node, pages: Pages) -> None:
    calls = node.calls
    app.include_router(node.log.routes())
    if node.peers is not None:
        given = GivenBlobs(node.blobs, node.gave)
        peers = make_peer_routes(given, authenticate(node.peer_requests), calls)
        app.include_router(peers, prefix="/log")
    token = node.config.evidence.token.resolve() if node.config.evidence else None
    may_store = node.jobs.may_store if node.jobs is not None else lambda _: False
    app.include_router(evidence_routes(node.evidence, token, may_store=may_store), prefix="/builder")
    if node.jobs is not None:
        app.include_router(node.jobs.router(), prefix="/builder")
    maven = MavenRoutes(node.maven, node.blobs, node.prover, calls=calls, fetches=node.fetches)
    app.include_router(maven.router(), prefix="/maven")
    pools = Pools(calls, node.fetches, node.streams)
    images = ImageRoutes(node.images, node.stores, node.referrers, pools)
    app.include_router(images.router(), prefix="/v2")
    remotes = ConanRoutes(
        node.conan,
        node.blobs,
        ConanProofs(node.prover),
        node.listing,
        calls=calls,
        fetches=node.fetches,
    )
    app.include_router(remotes.router(), prefix="/conan")
    explainer = Explainer(node.maven, node.gate, node.views)
    image_explainer = ImageExplainer(node.images, node.gate, node.views)
    conan_explainer = ConanExplainer(node.conan, node.gate, node.views)
    explainers = Explainers(explainer, image_explainer, conan_explainer)
    auditors = AuditorRoutes(node.views, node.prover, explainers, calls)
    app.include_router(auditors.router(), prefix="/api/v1")
    web = Web(node.views, node.maven, node.images, node.conan, node.gate, explainers, pages)
    app.include_router(WebRoutes(web, calls).router())


def _add_errors(app: FastAPI, pages: Pages, public_url: str, rebuilds: RebuildDesk | None) -> None:
    async def answer(request: Request, error: Exception) -> Response:
        if isinstance(error, RefusedError) and rebuilds is not None:
            address = request.client.host if request.client is not None else None
            await rebuilds.attend(error, request.headers.get("authorization"), address)
        if isinstance(error, HTTPException) or not hasattr(error, "reason"):
            error = _translated(request, error)
        if request.url.path.startswith("/v2/"):
            return registry_error(error, request.url.path, public_url=public_url, table=_TABLE)
        if request.url.path.startswith("/conan/"):
            is_anonymous = "authorization" not in request.headers
            return remote_error(error, is_anonymous=is_anonymous, public_url=public_url, table=_TABLE)
        response = problem(error, public_url=public_url, table=_TABLE)
        is_page = request.url.path.startswith(_MACHINES) or "text/html" not in request.headers.get(
            "accept", ""
        )
        if is_page:
            return response
        # Not the error's own text: what nobody foresaw may hold anything.
        detail = str(json.loads(bytes(response.body))["detail"])
        text = pages.problem(response.status_code, _title(response.status_code), detail)
        kept = {name: response.headers[name] for name in _KEPT if name in response.headers}
        return Response(
            text, response.status_code, {**PAGE_HEADERS, **kept}, media_type="text/html; charset=utf-8"
        )

    for kind in (TouchplateError, VerifyError, 404, 405, Exception):
        app.add_exception_handler(kind, answer)


def _translated(request: Request, error: Exception) -> Exception:
    """The framework's own errors in our words."""
    status = getattr(error, "status_code", 500)
    if status == 404:
        return NotFoundError(f"there is nothing at {request.url.path[:200]!r}")
    if status == 405:
        return MethodError(f"{request.method} does nothing at {request.url.path[:200]!r}; use GET or HEAD")
    return error


def _title(status: int) -> str:
    return {400: "that cannot be", 403: "refused", 404: "not found", 503: "try again later"}.get(
        status, "failed"
    )
