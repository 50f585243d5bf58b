"""`/api/v1/…`: what auditors read, as JSON. Nothing here is evidence by itself: the bundles are."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request, Response

from touchplate.api.http.calls import Calls
from touchplate.api.index.store import EvidenceRow
from touchplate.api.proofs import Prover
from touchplate.api.views import ArtifactView, FileView, PackageView, Views, check_sha256
from touchplate.verify.bundle import MEDIA_TYPE as BUNDLE_TYPE
from touchplate.verify.check import EntryWarning
from touchplate.verify.encoding import format_time, parse_decimal
from touchplate.verify.levels import Finding
from touchplate.verify.sigstore import MEDIA_TYPE as SIGSTORE_TYPE


class AuditorRoutes:
    """The JSON face; made once per node."""

    def __init__(self, views: Views, prover: Prover, calls: Calls) -> None:
        self._views = views
        self._prover = prover
        self._calls = calls

    def router(self) -> APIRouter:
        """The routes, to be mounted at `/api/v1`."""
        router = APIRouter()
        for path, answer in (
            ("/artifacts/{sha256}", self.artifact),
            ("/artifacts/{sha256}/bundle", self.bundle),
            ("/artifacts/{sha256}/sigstore/{name}", self.sigstore),
            ("/packages/{purl:path}", self.package),
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

    async def sigstore(self, sha256: str, name: str) -> Response:
        """One entry about these bytes as a Sigstore bundle v0.3: `<index>.json`."""
        check_sha256(sha256)
        index = parse_decimal(name.removesuffix(".json"), "index of the entry")
        body = await self._calls.run(lambda: self._prover.sigstore(index, sha256))
        return Response(body, headers={"Cache-Control": "no-cache"}, media_type=SIGSTORE_TYPE)

    async def package(self, request: Request, purl: str) -> Response:
        """The files of one package version. The package URL may stand in the path as it is."""
        view = await self._calls.run(lambda: self._views.package(with_query(request, purl)))
        return _json(format_package(view))

    async def checkpoint(self) -> Response:
        """The newest checkpoint, taken apart, and how far the index has followed the log."""
        view = await self._calls.run(self._views.overview)
        body: dict[str, Any] = {"followed": str(view.followed), "entries": view.counts}
        if view.checkpoint is not None:
            body |= {
                "origin": view.checkpoint.origin,
                "size": str(view.checkpoint.size),
                "root": view.checkpoint.root.hex(),
                "cosigners": [
                    {"name": name, "time": format_time(time)} for name, time in view.checkpoint.cosigners
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


def format_artifact(view: ArtifactView) -> dict[str, Any]:
    """The JSON of an artifact."""
    body: dict[str, Any] = {"sha256": view.sha256}
    if view.links:
        link = view.links[0]
        body["size"] = link.size
        body["digest"] = link.digests
    body["served"] = [link.served for link in view.links]
    body["files"] = [format_file(file) for file in view.files]
    if view.more:
        body["more"] = True
    return body


def format_package(view: PackageView) -> dict[str, Any]:
    """The JSON of a package version."""
    body: dict[str, Any] = {
        "package": str(view.package),
        "files": [format_file(file) for file in view.files],
    }
    if view.more:
        body["more"] = True
    return body


def format_file(file: FileView) -> dict[str, Any]:
    """The JSON of one package file with one content."""
    levels = file.levels
    return {
        "package": str(file.package),
        "name": file.name,
        "sha256": file.sha256,
        "levels": list(levels.reached),
        "explanations": {level: levels.explain(level) for level in ("recorded", "reproduced")},
        "operators": [
            {
                "operator": counted.operator,
                "index": str(counted.index),
                "how": counted.how,
                "sources": list(counted.sources),
                "toolsPinned": counted.tools_pinned,
            }
            for counted in levels.operators
        ],
        "needed": levels.needed,
        "notCounted": [
            {"operator": left.operator, "index": str(left.index), "why": left.why}
            for left in levels.uncounted
        ],
        "equivalent": [_finding(finding) for finding in levels.equivalent],
        "contradicted": [_finding(finding) for finding in levels.contradicted_by],
        "notBuilt": [_finding(finding) for finding in levels.not_built],
        "entries": [_entry(row) for row in file.rows],
        "ignored": [_ignored(warning) for warning in file.warnings],
    }


def _finding(finding: Finding) -> dict[str, str]:
    return {"operator": finding.operator, "index": str(finding.index), "detail": finding.detail}


def _entry(row: EvidenceRow) -> dict[str, str]:
    sigstore = f"/api/v1/artifacts/{row.sha256}/sigstore/{row.entry}.json"
    return {"index": str(row.entry), "kind": row.kind, "operator": row.operator, "sigstore": sigstore}


def _ignored(warning: EntryWarning) -> dict[str, Any]:
    return {
        "index": str(warning.index),
        "step": warning.step,
        "reason": warning.reason,
        "message": warning.message,
    }


def _json(body: dict[str, Any]) -> Response:
    text = json.dumps(body, ensure_ascii=False, indent=1)
    return Response(text, headers={"Cache-Control": "no-cache"}, media_type="application/json")
