"""Views as JSON: indexes and sizes of trees are decimal texts, as in bundles."""

from __future__ import annotations

from typing import Any

from touchplate.api.answers import ArtifactView, FamilyView, FileView, PackageView
from touchplate.api.explain import Explanation
from touchplate.api.history import Rebuild
from touchplate.api.index.store import EvidenceRow
from touchplate.verify.check import EntryWarning
from touchplate.verify.levels import Finding


def format_artifact(view: ArtifactView) -> dict[str, Any]:
    """The JSON of an artifact."""
    body: dict[str, Any] = {"sha256": view.sha256}
    if view.size is not None:
        body["size"] = view.size
    body["digest"] = dict(view.digests)
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
            "stabilizers": list(compared.stabilizers),
            "stabilized": compared.stabilized,
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
