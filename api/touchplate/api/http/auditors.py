"""`/api/v1/…`: what auditors read, as JSON. Nothing here is evidence by itself: the bundles are."""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request, Response

from touchplate.api.errors import NotFoundError
from touchplate.api.explain import Explainer, Explanation
from touchplate.api.history import Rebuild
from touchplate.api.http.calls import Calls
from touchplate.api.index.store import EvidenceRow
from touchplate.api.proofs import Prover
from touchplate.api.views import ArtifactView, FamilyView, FileView, PackageView, Views, check_sha256
from touchplate.verify.bundle import MEDIA_TYPE as BUNDLE_TYPE
from touchplate.verify.check import EntryWarning
from touchplate.verify.encoding import format_time, parse_decimal
from touchplate.verify.levels import Finding
from touchplate.verify.sigstore import MEDIA_TYPE as SIGSTORE_TYPE

INTOTO_TYPE = "application/vnd.in-toto.bundle"


class AuditorRoutes:
    """The JSON face; made once per node."""

    def __init__(self, views: Views, prover: Prover, explainer: Explainer, calls: Calls) -> None:
        self._views = views
        self._explainer = explainer
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
        view = await self._calls.run(lambda: self._views.package(with_query(request, purl)))
        return _json(format_family(view) if isinstance(view, FamilyView) else format_package(view))

    async def why(self, ecosystem: str, upstream: str, path: str) -> Response:
        """The decision about a path, as its page explains it."""
        check_ecosystem(ecosystem)
        found = await self._calls.run(lambda: self._explainer.explain(upstream, path))
        return _json(format_explanation(found), found.status)

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


def check_ecosystem(name: str) -> None:
    """Raises NotFoundError for an ecosystem that has no adapter here."""
    if name != "maven":
        raise NotFoundError(f"no adapter is named {name[:40]!r}; there is: maven")


def with_query(request: Request, purl: str) -> str:
    """A package URL whose qualifiers arrived as the query of the request."""
    return f"{purl}?{request.url.query}" if request.url.query else purl


def format_artifact(view: ArtifactView) -> dict[str, Any]:
    """The JSON of an artifact."""
    body: dict[str, Any] = {"sha256": view.sha256}
    if view.size is not None:
        body["size"] = view.size
    body["digest"] = dict(view.digests)
    body["served"] = [f"/maven/{link.repository}/{link.path}" for link in view.links]
    body["files"] = [format_file(file) for file in view.files]
    if view.more:
        body["more"] = True
    return body


def format_package(view: PackageView) -> dict[str, Any]:
    """The JSON of a package version."""
    body: dict[str, Any] = {
        "package": str(view.package),
        "files": [format_file(file) for file in view.files],
        "rebuilds": [format_rebuild(one) for one in view.rebuilds],
        "versions": [str(one) for one in view.versions],
    }
    if view.more:
        body["more"] = True
    return body


def format_family(view: FamilyView) -> dict[str, Any]:
    """The JSON of a package with all its versions."""
    body: dict[str, Any] = {
        "group": view.package.namespace,
        "name": view.package.name,
        "versions": [
            {"package": str(one.package), "files": [format_file(file) for file in one.files]}
            for one in view.versions
        ],
    }
    if view.more:
        body["more"] = True
    return body


def format_rebuild(rebuild: Rebuild) -> dict[str, Any]:
    """The JSON of one attempt of one operator; members that it has nothing for are left out."""
    built = rebuild.built.account if rebuild.built else None
    compared = rebuild.compared.account if rebuild.compared else None
    body: dict[str, Any] = {
        "operator": rebuild.operator,
        "file": rebuild.file,
        "result": rebuild.result,
        "entries": [str(index) for index in rebuild.entries],
        "rebuilt": rebuild.rebuilt,
    }
    if built is not None:
        body |= {
            "builder": built.builder,
            "sources": list(built.sources),
            "toolsPinned": built.tools_pinned,
            "startedOn": built.started,
            "finishedOn": built.finished,
        }
    if compared is not None:
        body |= {
            "differences": compared.differences,
            "causes": list(compared.causes),
            "summary": list(compared.summary),
            "failure": compared.failure,
        }
    body["evidence"] = {one.name: one.sha256 for one in rebuild.evidence}
    return {name: value for name, value in body.items() if value not in ("", 0, [], {})}


def format_explanation(why: Explanation) -> dict[str, Any]:
    """The JSON of an explanation: the same sentences as its page."""
    body: dict[str, Any] = {
        "path": why.path,
        "repository": why.repository,
        "verdict": why.verdict,
        "summary": why.summary,
        "package": str(why.package) if why.package else None,
        "sha256": why.sha256,
        "asked": list(why.asked),
        "rule": why.rule,
        "ruleText": why.rule_text,
        "need": list(why.need),
        "known": list(why.known),
        "detail": why.told,
        "missing": list(why.missing),
        "changes": list(why.changes),
        "advice": list(why.advice),
        "ignored": [
            {
                "entries": [str(index) for index in one.indexes],
                "step": one.step,
                "reason": one.reason,
                "message": one.message,
                "meaning": one.meaning.what,
                "remedy": one.meaning.remedy,
            }
            for one in why.ignored
        ],
    }
    return {name: value for name, value in body.items() if value not in (None, "", [])}


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
        "rebuilds": [format_rebuild(one) for one in file.rebuilds],
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


def _json(body: dict[str, Any], status: int = 200) -> Response:
    text = json.dumps(body, ensure_ascii=False, indent=1)
    return Response(text, status, headers={"Cache-Control": "no-cache"}, media_type="application/json")
