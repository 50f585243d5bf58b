"""The decision about a revision in prose, for the same page as all others."""

from __future__ import annotations

from touchplate.api.conan.judge import ConanJudge, JudgedRevision
from touchplate.api.conan.layout import (
    CONANFILE,
    MANIFEST,
    FileRequest,
    FilesRequest,
    ProofRequest,
    Revision,
    parse_conan_path,
)
from touchplate.api.conan.repository import Remote
from touchplate.api.errors import ChangedError, NotFoundError
from touchplate.api.explain import Explanation, evidence_lines, need_line, rule_line, summary_of
from touchplate.api.gate import Decision, Gate


def explain_conan(judge: ConanJudge, gate: Gate, upstream: str, path: str) -> Explanation:
    """Explain the decision about a path below `/conan/<upstream>/`. Fetches nothing.

    Raises BadNameError, NotFoundError and UnknownUpstreamError.
    """
    remote, asked = judge.remote(upstream), parse_conan_path(path)
    if not isinstance(asked, FilesRequest | FileRequest | ProofRequest):
        raise NotFoundError(
            "recipes and packages are judged in their revisions; ask about …/revisions/…/files"
        )
    revision = asked.revision
    try:
        judged = judge.known(remote, revision)
    except ChangedError as error:
        return _changed(remote, revision, str(error))
    return _unseen(judge, gate, remote, revision) if judged is None else _judged(gate, judged)


def _judged(gate: Gate, judged: JudgedRevision) -> Explanation:
    decision, worst = judged.decision, judged.worst
    return Explanation(
        name=str(judged.revision),
        repository=judged.remote.name,
        path=judged.revision.file_path(worst.name),
        package=str(worst.package),
        verdict=decision.verdict,
        summary=_about(summary_of(decision), judged.revision),
        rule=rule_line(gate, decision.rule),
        need=_need(decision, judged.revision),
        sha256=worst.link.sha256,
        evidence=[
            f"`{file.name}`, `sha256:{file.link.sha256}`: {line}"
            for file in judged.files if file.name != MANIFEST
            for line in evidence_lines(file.decision.levels)
        ],
        missing=[f"`{worst.name}`: {reason.line}" for reason in decision.reasons],
        advice=_advice(judged),
    )  # fmt: skip


def _need(decision: Decision, revision: Revision) -> str:
    text = need_line(decision.need).replace("The file", "Each file")
    if "reproduced" not in decision.need:
        return text
    if revision.is_package:
        return f"{text} Only rebuilds from the very recipe of this revision count."
    return f"{text} A recipe is that when the rebuilds of one of its packages name all its files."


def _advice(judged: JudgedRevision) -> list[str]:
    decision = judged.decision
    if decision.passes:
        name = judged.files[0].name
        return [
            f"Check it yourself, offline: give `metadata/sign/{name}.touchplate.json`, which clients fetch "
            f"beside `{name}`, to `touchplate verify` with a trust file of your own."
        ]
    lines = []
    words = {reason.word for reason in decision.reasons}
    if words & {"wrong-manifest", "bad-archive", "unsafe-archive"}:
        return ["Tell the publisher: this revision contradicts itself, and should be made again."]
    if "reproduced" in decision.need and not decision.levels.reproduced:
        more = decision.levels.needed - len(decision.levels.operators)
        lines.append(
            f"Have it rebuilt by {more} more independent {'operator' if more == 1 else 'operators'}."
        )
    if "recorded" in decision.need and not decision.levels.recorded:
        lines.append(
            "Ask for it through an upstream with `record = true`, whose first sights go into the log."
        )
    if "too-young" in words:
        lines.append("Wait: the rule lets time pass after the first sight.")
    lines.append("Ask again afterwards: refusals are not cached, the same install then succeeds.")
    lines.append("If this package should not be asked for so much, add a rule above this one.")
    return lines


def _unseen(judge: ConanJudge, gate: Gate, remote: Remote, revision: Revision) -> Explanation:
    name = "conan_package.tgz" if revision.is_package else CONANFILE
    question = judge.question(remote, revision, name, "")
    rule = gate.rule_for(question)
    return Explanation(
        name=str(revision),
        repository=remote.name,
        path=revision.file_path(name),
        package=str(question.package),
        verdict="unseen",
        summary="Nobody asked this node for this revision yet: nothing is known about it here.",
        rule=rule_line(gate, rule),
        need=need_line(rule.need).replace("The file", "Each file"),
        sha256=None,
        evidence=[],
        missing=[],
        advice=["Install it, and come back."],
    )


def _changed(remote: Remote, revision: Revision, message: str) -> Explanation:
    name = "conan_package.tgz" if revision.is_package else CONANFILE
    return Explanation(
        name=str(revision),
        repository=remote.name,
        path=revision.file_path(name),
        package=str(remote.package(revision, name)),
        verdict="changed",
        summary="This revision is refused whatever the rules say: one of its files is not the recorded one.",
        rule="No rule is asked. A revision must have the same bytes for everybody, for ever.",
        need="The sha256 of every file must be the recorded one.",
        sha256=None,
        evidence=[message],
        missing=["The bytes that were recorded first."],
        advice=[
            "Treat this as an incident: find out whether the upstream or something on the way was changed.",
            "Compare with another node or with the publisher, and keep both files.",
        ],
    )


def _about(text: str, revision: Revision) -> str:
    what = "package" if revision.is_package else "recipe"
    return text.replace("This file", f"This {what}").replace("The file", f"The {what}")
