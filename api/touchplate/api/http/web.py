"""The web pages: start, package, artifact, `/why/…`. Server-rendered, no script, one style sheet."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote

from fastapi import APIRouter, Request, Response
from fastapi.responses import RedirectResponse

from touchplate.api.conan.judge import ConanJudge
from touchplate.api.docker.judge import ImageJudge
from touchplate.api.explainers import Explainers
from touchplate.api.gate import Gate
from touchplate.api.http.auditors import with_query
from touchplate.api.http.calls import Calls
from touchplate.api.maven.judge import MavenJudge
from touchplate.api.pages.render import Pages
from touchplate.api.views import Views

# No script, no foreign source: a page about trust should not need any.
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)
PAGE_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class Web:
    """What the pages are made from."""

    views: Views
    judge: MavenJudge
    images: ImageJudge
    conan: ConanJudge
    gate: Gate
    explainers: Explainers
    pages: Pages


class WebRoutes:
    """The pages; made once per node."""

    def __init__(self, web: Web, calls: Calls) -> None:
        self._web = web
        self._calls = calls

    def router(self) -> APIRouter:
        """The routes, to be mounted at the root."""
        router = APIRouter()
        for path, answer in (
            ("/", self.start),
            ("/style.css", self.style),
            ("/icon.svg", self.icon),
            ("/find", self.find),
            ("/packages/{purl:path}", self.package),
            ("/artifacts/{sha256}", self.artifact),
            ("/why/{ecosystem}/{upstream}/{path:path}", self.why),
        ):
            router.add_api_route(
                path, answer, methods=["GET", "HEAD"], response_model=None, include_in_schema=False
            )
        return router

    async def start(self, request: Request) -> Response:
        """The checkpoint, the packages that were rebuilt, and how to use this node."""
        web = self._web
        overview = await self._calls.run(web.views.overview)
        return _page(
            web.pages.start(
                overview,
                web.gate.rules,
                sorted(web.judge.repositories.values(), key=lambda one: one.name),
                base(request),
                registries=sorted(web.images.registries.by_name.values(), key=lambda one: one.name),
                remotes=sorted(web.conan.remotes),
            )
        )

    async def style(self) -> Response:
        """The style sheet."""
        return Response(
            self._web.pages.style, headers={"Cache-Control": "max-age=300"}, media_type="text/css"
        )

    async def icon(self) -> Response:
        """The mark that browsers show beside the title."""
        return Response(
            self._web.pages.icon, headers={"Cache-Control": "max-age=300"}, media_type="image/svg+xml"
        )

    async def find(self, q: str = "") -> Response:
        """The search field of the start page."""
        path = await self._calls.run(lambda: self._web.views.find(q))
        return RedirectResponse(quote(path, safe="/:@?=&%"), 303)

    async def package(self, request: Request, purl: str) -> Response:
        """One package version, or all of them."""
        view = await self._calls.run(lambda: self._web.views.named(with_query(request, purl)))
        return _page(self._web.pages.package(view, base(request)))

    async def artifact(self, request: Request, sha256: str) -> Response:
        """One artifact."""
        view = await self._calls.run(lambda: self._web.views.artifact(sha256))
        return _page(self._web.pages.artifact(view, base(request)))

    async def why(self, request: Request, ecosystem: str, upstream: str, path: str) -> Response:
        """The decision about one file, in prose."""
        web = self._web
        explanation = await self._calls.run(lambda: web.explainers.explain(ecosystem, upstream, path))
        return _page(web.pages.why(explanation, base(request)), explanation.status)


def base(request: Request) -> str:
    """The address under which the client sees this node, without a slash at its end."""
    configured: str | None = request.app.state.public_url
    return configured or f"{request.url.scheme}://{request.url.netloc}"


def _page(text: str, status: int = 200) -> Response:
    return Response(text, status, headers=PAGE_HEADERS, media_type="text/html; charset=utf-8")
