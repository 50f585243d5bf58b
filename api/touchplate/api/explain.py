"""The decision about a file in prose: what was asked, which rule decides, what there is, what is missing,
what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from touchplate.api.errors import ChangedError, NotFoundError
from touchplate.api.gate import Decision, Gate, Question, Rule, needed
from touchplate.api.maven.judge import Judged, MavenJudge
from touchplate.api.maven.layout import MavenFile, MetadataRequest, parse_path
from touchplate.api.maven.repository import Repository
from touchplate.verify.levels import Levels
from touchplate.verify.purl import PackageURL

_MEANINGS = {
    "recorded": "the log holds these very bytes as the first that anybody saw of it",
    "reproduced": "enough operators, independent of each other, built these very bytes from source",
}


@dataclass(frozen=True)
class Explanation:
    """A page of prose. `verdict`: allow, warn, refuse, changed or unseen."""

    name: str
    repository: str
    path: str
    package: str
    verdict: str
    summary: str
    rule: str
    need: str
    sha256: str | None
    evidence: Sequence[str]
    missing: Sequence[str]
    advice: Sequence[str]


def explain_maven(judge: MavenJudge, gate: Gate, upstream: str, path: str) -> Explanation:
    """Explain the decision about a path below `/maven/<upstream>/`. Fetches nothing.

    Raises BadNameError, NotFoundError and UnknownUpstreamError as a request for the file would.
    """
    repository = judge.repository(upstream)
    asked = parse_path(path)
    if isinstance(asked, MetadataRequest):
        raise NotFoundError("maven-metadata.xml is made by this node and never judged; ask about a file")
    file = asked.file
    package = file.package_url(repository.repository_url)
    try:
        judged = judge.known(repository, file)
    except ChangedError as error:
        return _changed(repository, file, package, str(error))
    if judged is None:
        return _unseen(repository, file, package, gate)
    return _judged(repository, judged, gate)


def _judged(repository: Repository, judged: Judged, gate: Gate) -> Explanation:
    decision = judged.decision
    return Explanation(
        name=judged.file.name,
        repository=repository.name,
        path=judged.file.path,
        package=str(judged.package),
        verdict=decision.verdict,
        summary=summary_of(decision),
        rule=rule_line(gate, decision.rule),
        need=_need(decision.need, decision.rule, judged.file),
        sha256=judged.link.sha256,
        evidence=evidence_lines(decision.levels),
        missing=[reason.line for reason in decision.reasons],
        advice=_advice(decision, judged),
    )


def summary_of(decision: Decision) -> str:
    """The decision in one sentence."""
    if decision.passes:
        return "This file is served: everything that its rule asks for is in the log."
    missing = "its rule asks for more than the log holds"
    if decision.verdict == "warn":
        return f"This file is served with a warning: {missing}, and only warns."
    if decision.verdict == "allow":
        return f"This file is served although {missing}: the rule only observes."
    if any(reason.word == "wrong-package" for reason in decision.reasons):
        return "This file is refused: the log knows these bytes as another file than the one you asked for."
    if decision.levels.contradicted_by:
        return f"This file is refused: {missing}, and somebody who rebuilt it got different bytes."
    return f"This file is refused: {missing}. This does not say that it is bad: nobody has shown enough yet."


def rule_line(gate: Gate, rule: Rule) -> str:
    """Which rule decides."""
    number = gate.rules.index(rule) + 1
    place = (
        "the last one, which holds for everything else"
        if number == len(gate.rules)
        else "the first that matches"
    )
    return f"Rule {number} of {len(gate.rules)} decides ({place}): `{rule}`."


def need_line(need: Sequence[str]) -> str:
    """What a rule asks for, with the meaning of its words."""
    if not need:
        return "It asks for nothing."
    asked = " and ".join(f"“{level}”, which means that {_MEANINGS[level]}" for level in need)
    return f"The file must be {asked}."


def _need(need: Sequence[str], rule: Rule, file: MavenFile) -> str:
    asked = need_line(need)
    if need != rule.need and file.is_supporting:
        asked = asked.removeprefix("The file must be ")
        return f"Since this is a POM, signature, sources or javadoc file, it need only be {asked}"
    return asked


def evidence_lines(levels: Levels) -> list[str]:
    """What the log says, a line for each finding."""
    lines = [f"{sight.operator} saw these bytes first (entry {sight.index})." for sight in levels.recorders]
    for counted in levels.operators:
        how = "exactly these bytes" if counted.how == "identical" else "an equivalent file"
        host = "" if counted.tools_pinned else ", with tools of its host that are not pinned"
        sources = " and ".join(counted.sources)
        lines.append(f"{counted.operator} built {how} from {sources} (entry {counted.index}){host}.")
    for left in levels.uncounted:
        lines.append(
            f"{left.operator} rebuilt it {left.why} (entry {left.index}); the trust file does not count that."
        )
    for finding in levels.contradicted_by:
        lines.append(f"{finding.operator} built a different file (entry {finding.index}): {finding.detail}.")
    for finding in levels.not_built:
        lines.append(f"{finding.operator} could not build it (entry {finding.index}): {finding.detail}.")
    return lines or ["There is no entry about these bytes as this file."]


def _advice(decision: Decision, judged: Judged) -> list[str]:
    if decision.passes:
        name = judged.file.name
        return [
            f"Check it yourself, offline: fetch `{name}.touchplate.json` beside the file, and give both to "
            "`touchplate verify` with a trust file of your own."
        ]
    lines = []
    words = {reason.word for reason in decision.reasons}
    if "snapshot" in words:
        lines.append("Use a release: snapshots are never counted as reproduced.")
    elif "reproduced" in decision.need and not decision.levels.reproduced:
        more = decision.levels.needed - len(decision.levels.operators)
        lines.append(
            f"Have it rebuilt by {more} more independent {'operator' if more == 1 else 'operators'}: "
            f"`touchplate rebuild '{judged.package}'` tells whether it can be reproduced, and submits "
            "the result when it is given a key and a log."
        )
    if "recorded" in decision.need and not decision.levels.recorded:
        lines.append(
            "Ask for the file through an upstream with `record = true`, whose first sights go into the log."
        )
    if "too-young" in words:
        lines.append(
            "Wait: the rule lets time pass after the first sight, in which others may notice a bad release."
        )
    lines.append("Ask again afterwards: refusals are not cached, the same request then succeeds.")
    lines.append(
        "If this file should not be asked for so much, add a rule above this one in the node's configuration."
    )
    return lines


def _unseen(repository: Repository, file: MavenFile, package: PackageURL, gate: Gate) -> Explanation:
    question = Question(
        package, repository.name, "", is_supporting=file.is_supporting, is_snapshot=file.is_snapshot
    )
    rule = gate.rule_for(question)
    return Explanation(
        name=file.name,
        repository=repository.name,
        path=file.path,
        package=str(package),
        verdict="unseen",
        summary="Nobody asked this node for the file yet: its bytes are not known here, nothing is decided.",
        rule=rule_line(gate, rule),
        need=_need(needed(rule, question), rule, file),
        sha256=None,
        evidence=[],
        missing=[],
        advice=[f"Ask for it with Maven, or open `/maven/{repository.name}/{file.path}`, and come back."],
    )


def _changed(repository: Repository, file: MavenFile, package: PackageURL, message: str) -> Explanation:
    return Explanation(
        name=file.name,
        repository=repository.name,
        path=file.path,
        package=str(package),
        verdict="changed",
        summary="This file is refused whatever the rules say: it is not the file that was recorded first.",
        rule="No rule is asked. A release file must be the same bytes for everybody, for ever.",
        need="Its sha256 must be the recorded one.",
        sha256=None,
        evidence=[message],
        missing=["The bytes that were recorded first."],
        advice=[
            "Treat this as an incident: find out whether the upstream or something on the way was changed.",
            "Compare with another node or with the publisher's own checksums, and keep both files.",
        ],
    )
