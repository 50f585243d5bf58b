"""`/api/v1/…`: what auditors read, as JSON. Nothing here is evidence by itself: the bundles are."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request, Response

from touchplate.api.answers import FamilyView
from touchplate.api.explainers import Explainers
from touchplate.api.http.calls import Calls
from touchplate.api.http.formats import format_artifact, format_explanation, format_family, format_package
from touchplate.api.proofs import Prover
from touchplate.api.views import Views, check_sha256
from touchplate.verify.bundle import MEDIA_TYPE as BUNDLE_TYPE
from touchplate.verify.encoding import format_moment, format_time, parse_decimal
from touchplate.verify.sigstore import MEDIA_TYPE as SIGSTORE_TYPE

INTOTO_TYPE = "application/vnd.in-toto.bundle"


class AuditorRoutes:
    """The JSON face; made once per node."""

    def __init__(
        self,
        views: Views,
        prover: Prover,
        explainers: Explainers,
        calls: Calls,
    ) -> None:
        self._views = views
        self._explainers = explainers
        self._prover = prover
        self._calls = calls

    def router(self) -> APIRouter:
        """The routes, to be mounted at `/api/v1`."""
        router = APIRouter()
        for path, answer in (
            ("/artifacts/{sha256}", self.artifact),
            ("/artifacts/{sha256}/bundle", self.bundle),
            ("/artifacts/{sha256}/intoto.jsonl", self.intoto),
            ("/artifacts/{sha256}/sigstore/{name}", self.sigstore),
            ("/packages/{purl:path}", self.package),
            ("/why/{ecosystem}/{upstream}/{path:path}", self.why),
            ("/checkpoint", self.checkpoint),
        ):
            router.add_api_route(path, answer, methods=["GET", "HEAD"], response_model=None)
        return router

    async def artifact(self, sha256: str) -> Response:
        """Everything about these bytes: the package files that they stand for, levels, entries, proofs."""
        view = await self._calls.run(lambda: self._views.artifact(sha256))
        return _json(format_artifact(view))

    async def bundle(self, sha256: str, package: str | None = None) -> Response:
        """The proof bundle of these bytes (as `package`, needed when they stand for several)."""
        body = await self._calls.run(lambda: self._views.bundle(sha256, package))
        return Response(body, headers={"Cache-Control": "no-cache"}, media_type=BUNDLE_TYPE)

    async def intoto(self, sha256: str, package: str | None = None) -> Response:
        """The statements about these bytes (as `package`), one DSSE envelope a line."""
        lines = await self._calls.run(lambda: self._views.envelopes(sha256, package))
        body = b"".join(line + b"\n" for line in lines)
        return Response(body, headers={"Cache-Control": "no-cache"}, media_type=INTOTO_TYPE)

    async def sigstore(self, sha256: str, name: str) -> Response:
        """One entry about these bytes as a Sigstore bundle v0.3: `<index>.json`."""
        check_sha256(sha256)
        index = parse_decimal(name.removesuffix(".json"), "index of the entry")
        body = await self._calls.run(lambda: self._prover.sigstore(index, sha256))
        return Response(body, headers={"Cache-Control": "no-cache"}, media_type=SIGSTORE_TYPE)

    async def package(self, request: Request, purl: str) -> Response:
        """The files of one package version, or all versions. The package URL may stand in the path as it
        is."""
        view = await self._calls.run(lambda: self._views.named(with_query(request, purl)))
        return _json(format_family(view) if isinstance(view, FamilyView) else format_package(view))

    async def why(self, ecosystem: str, upstream: str, path: str) -> Response:
        """The decision about a path, as its page explains it."""
        found = await self._calls.run(lambda: self._explainers.explain(ecosystem, upstream, path))
        return _json(format_explanation(found), found.status)

    async def checkpoint(self) -> Response:
        """The newest checkpoint, taken apart, and how far the index has followed the log."""
        view = await self._calls.run(self._views.standing)
        body: dict[str, Any] = {"followed": str(view.followed), "entries": view.counts}
        if view.checkpoint is not None:
            body |= {
                "origin": view.checkpoint.origin,
                "size": str(view.checkpoint.size),
                "root": view.checkpoint.root.hex(),
                "cosigners": [
                    {"name": name, "time": format_moment(time)} for name, time in view.checkpoint.cosigners
                ],
                "note": view.checkpoint.note,
            }
        body["alarms"] = [
            {"message": alarm.message, "last": format_time(alarm.last), "times": alarm.times}
            for alarm in view.alarms
        ]
        return _json(body)


def with_query(request: Request, purl: str) -> str:
    """A package URL whose qualifiers arrived as the query of the request."""
    return f"{purl}?{request.url.query}" if request.url.query else purl


def _json(body: dict[str, Any], status: int = 200) -> Response:
    text = json.dumps(body, ensure_ascii=False, indent=1)
    return Response(text, status, headers={"Cache-Control": "no-cache"}, media_type="application/json")
