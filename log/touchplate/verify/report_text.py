"""A report of the check for people and for programs."""

from touchplate.verify.check import EntryWarning, Report
from touchplate.verify.encoding import format_moment
from touchplate.verify.errors import RefusedError
from touchplate.verify.jcs import JSONValue
from touchplate.verify.levels import LEVELS, SLSA_REPRODUCED, Finding, Levels

Pairs = list[tuple[str, str]]

_REMEDIES = {
    "no-age-limit": "set max_checkpoint_age in the trust file, or leave --fresh out",
    "stale-checkpoint": "fetch a newer bundle, or leave --fresh out",
    "quorum": "fetch a bundle whose checkpoint more witnesses cosigned; do not lower the quorum",
    "unknown-log-key": "compare the log's key in your policy with the one that its operators publish",
    "wrong-package": "the bytes are attested as another package: is --package what you meant to get?",
    "unknown-key": "an entry by a key that you do not trust says nothing; take keys from people, not bundles",
    "not-recorded": "ask a node that keeps records, or require another level",
    "not-reproduced": "rebuild it yourself (`touchplate rebuild`), or wait until more operators did",
}

_STEP_REMEDIES = {
    0: "correct the trust file; nothing was checked",
    1: "fetch the bundle again; if that does not help, tell whoever serves it",
    2: "do not use this file: it is not the one that the bundle is about. Download it again",
    3: "fetch the bundle again from another place",
    4: "look at the warnings; the entries were signed by others than your trust file says",
    5: "look at the warnings; the entries are about other files",
    7: "do not use this file where the level is needed",
}


def remedy(error: RefusedError) -> str:
    """What somebody can do about a refusal, one line."""
    return _REMEDIES.get(error.reason) or _STEP_REMEDIES[error.step]


def report_pairs(report: Report, name: str) -> Pairs:
    """The report as aligned `name  value` lines; `name` is that of the file."""
    levels, checkpoint = report.levels, report.checkpoint
    pairs: Pairs = [
        ("artifact", f"{name} ({report.file.size} bytes)"),
        ("sha256", report.file.sha256),
        ("package", str(report.package)),
        ("levels", f"{', '.join(levels.reached) or 'none'} (needed: {', '.join(report.need)})"),
    ]
    pairs += _level_pairs(levels)
    pairs += _findings("contradicted", levels.contradicted_by)
    pairs += _findings("equivalent", levels.equivalent)
    pairs += _findings("not built", levels.not_built)
    pairs += [
        ("checkpoint", f"{checkpoint.origin}, tree of {checkpoint.size}"),
        ("cosigners", _cosigners(report)),
        ("age", "cannot be told" if report.age is None else _duration(report.age)),
    ]
    return pairs + [("warning" if first else "", str(one)) for first, one in _marked(report.warnings)]


def report_json(report: Report) -> dict[str, JSONValue]:
    """The report for programs. Indexes and sizes of trees are decimal texts, as in bundles."""
    levels, checkpoint = report.levels, report.checkpoint
    return {
        "artifact": {"size": report.file.size, "digest": {"sha256": report.file.sha256}},
        "package": str(report.package),
        "need": report.need,
        "levels": levels.reached,
        "explanations": {level: levels.explain(level) for level in LEVELS},
        "slsa": [SLSA_REPRODUCED] if levels.slsa_reproduced else [],
        "recorders": [{"operator": one.operator, "index": str(one.index)} for one in levels.recorders],
        "operators": [
            {
                "operator": one.operator,
                "index": str(one.index),
                "how": one.how,
                "sources": one.sources,
                "toolsPinned": one.tools_pinned,
            }
            for one in levels.operators
        ],
        "needed": levels.needed,
        "notCounted": [
            {"operator": one.operator, "index": str(one.index), "why": one.why} for one in levels.uncounted
        ],
        "contradicted": _findings_json(levels.contradicted_by),
        "equivalent": _findings_json(levels.equivalent),
        "notBuilt": _findings_json(levels.not_built),
        "checkpoint": {
            "origin": checkpoint.origin,
            "size": str(checkpoint.size),
            "root": checkpoint.root.hex(),
            "cosigners": [
                {"name": name, "time": format_moment(time)} for name, time in sorted(checkpoint.cosigners)
            ],
        },
        "age": report.age,
        "warnings": [warning_json(one) for one in report.warnings],
    }


def warning_json(warning: EntryWarning) -> JSONValue:
    """One warning for programs."""
    return {
        "index": str(warning.index),
        "step": warning.step,
        "reason": warning.reason,
        "message": warning.message,
    }


def _level_pairs(levels: Levels) -> Pairs:
    pairs: Pairs = [("recorded", levels.explain("recorded"))]
    pairs += [("", f"{one.operator}, entry {one.index}") for one in levels.recorders]
    pairs.append(("reproduced", levels.explain("reproduced")))
    for one in levels.operators:
        tools = "" if one.tools_pinned else ", tools not pinned"
        pairs.append(
            ("", f"{one.operator}, entry {one.index}: {one.how}, from {' and '.join(one.sources)}{tools}")
        )
    pairs += [("", f"{one.operator}, entry {one.index}: not counted, {one.why}") for one in levels.uncounted]
    if levels.slsa_reproduced:
        pairs.append(("slsa", SLSA_REPRODUCED))
    return pairs


def _findings(name: str, findings: tuple[Finding, ...]) -> Pairs:
    lines = [f"{one.operator}, entry {one.index}: {one.detail}" for one in findings]
    return [(name if number == 0 else "", line) for number, line in enumerate(lines)]


def _findings_json(findings: tuple[Finding, ...]) -> list[JSONValue]:
    return [{"operator": one.operator, "index": str(one.index), "detail": one.detail} for one in findings]


def _marked(warnings: tuple[EntryWarning, ...]) -> list[tuple[bool, EntryWarning]]:
    return [(number == 0, one) for number, one in enumerate(warnings)]


def _cosigners(report: Report) -> str:
    cosigners = sorted(report.checkpoint.cosigners)
    return ", ".join(f"{name} ({format_moment(time)})" for name, time in cosigners) or "none"


def _duration(seconds: int) -> str:
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"
