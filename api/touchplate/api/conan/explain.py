"""The decision about a revision in prose, for the same page as all others. Nothing is fetched and nothing is
written here; sentences that hold for every kind of file are those of `api.sentences`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from touchplate.api import sentences
from touchplate.api.conan.judge import ConanJudge, JudgedFile, JudgedRevision
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
from touchplate.api.errors import STATUS, BadNameError, ChangedError, NotFoundError
from touchplate.api.explain import Explanation
from touchplate.api.gate import Decision, Gate
from touchplate.api.ignored import group
from touchplate.api.reasons import REFUSALS, UNFIT, meaning
from touchplate.api.rule_text import format_rule
from touchplate.api.views import Views

ADAPTER = "conan"


@dataclass(frozen=True)
class _File:
    """A file of a revision as sentences name it."""

    name: str
    is_supporting: bool = False


class ConanExplainer:
    """Explains paths below `/conan/<upstream>/`. All methods block; any thread may call them."""

    def __init__(self, judge: ConanJudge, gate: Gate, views: Views) -> None:
        self._judge = judge
        self._gate = gate
        self._views = views

    def explain(self, upstream: str, path: str) -> Explanation:
        """The decision about a revision, by the path of its files. A name that nothing can have is explained,
        too."""
        try:
            remote, asked = self._judge.remote(upstream), parse_conan_path(path)
            if not isinstance(asked, FilesRequest | FileRequest | ProofRequest):
                raise NotFoundError("recipes and packages are judged in their revisions")
        except (BadNameError, NotFoundError) as error:
            return _nothing(upstream, path, error, sorted(self._judge.remotes))
        revision = asked.revision
        try:
            judged = self._judge.known(remote, revision)
        except ChangedError as error:
            return _changed(remote, revision, str(error))
        if judged is not None:
            return self._judged(judged)
        alarm = self._views.alarm_about(remote.why(revision))
        return self._unseen(remote, revision) if alarm is None else _changed(remote, revision, alarm.message)

    def _judged(self, judged: JudgedRevision) -> Explanation:
        decision, worst, revision = judged.decision, judged.worst, judged.revision
        case = self._case(worst)
        return Explanation(
            name=str(revision),
            repository=judged.remote.name,
            path=f"{revision.path}/files",
            adapter=ADAPTER,
            verdict=decision.verdict if decision.passes or decision.verdict != "allow" else "observe",
            summary=_summary(case, revision),
            asked=[_asked(judged.remote, revision), f"`{worst.name}` decides. {sentences.held(worst.link)}"],
            package=worst.package,
            sha256=worst.link.sha256,
            rule=sentences.rule_place(self._gate.rules, decision.rule),
            rule_text=format_rule(decision.rule),
            need=self._need(decision, revision),
            known=[
                f"`{file.name}`: {line}"
                for file in judged.files
                if file.name != MANIFEST
                for line in sentences.known(self._case(file))
            ],
            told=f"{worst.name}: {decision.line}" if decision.line else "",
            missing=[*sentences.missing(case), *_own(decision)],
            changes=_changes(case),
            advice=_advice(judged),
            ignored=group(case.facts.warnings),
        )

    def _case(self, file: JudgedFile) -> sentences.Case:
        facts = self._views.facts(file.link.sha256, file.package)
        return sentences.Case(_File(file.name), file.package, file.decision, facts, self._gate.reproduced)

    def _need(self, decision: Decision, revision: Revision) -> list[str]:
        lines = sentences.needs(decision.need, decision.rule, _File(str(revision)), self._gate.reproduced)
        lines = [line.replace("The file", "Each file") for line in lines]
        if "reproduced" in decision.need:
            lines.append(
                "Only rebuilds whose provenance names this very recipe, file by file, count."
                if revision.is_package
                else "A recipe is that when the rebuilds of one of its packages name all its files."
            )
        if decision.need:
            lines.append(f"`{MANIFEST}` must list just these files.")
        return lines

    def _unseen(self, remote: Remote, revision: Revision) -> Explanation:
        rule = self._gate.rule_for(self._judge.question(remote, revision, _main(revision), ""))
        lines = sentences.needs(rule.need, rule, _File(str(revision)), self._gate.reproduced)
        return Explanation(
            name=str(revision),
            repository=remote.name,
            path=f"{revision.path}/files",
            adapter=ADAPTER,
            verdict="unseen",
            summary="Nobody asked this node for this revision yet: there are no bytes to judge.",
            asked=[_asked(remote, revision)],
            package=remote.package(revision, _main(revision)),
            rule=sentences.rule_place(self._gate.rules, rule, would=True),
            rule_text=format_rule(rule),
            need=[line.replace("The file", "Each file") for line in lines],
            changes=["The first install: it is fetched, recorded and judged then."],
            advice=["Install it, and come back."],
        )


def _summary(case: sentences.Case, revision: Revision) -> str:
    what = "package" if revision.is_package else "recipe"
    if case.words & UNFIT.keys():
        return f"This {what} is refused: its own files contradict each other, or must not be unpacked."
    return sentences.summary(case).replace("This file", f"This {what}")


def _own(decision: Decision) -> list[str]:
    """What is wrong with manifest or archives, which no rebuild mends."""
    return [UNFIT[reason.word].what for reason in decision.reasons if reason.word in UNFIT]


def _changes(case: sentences.Case) -> list[str]:
    if case.words & UNFIT.keys():
        return ["Nothing that somebody adds to the log: these bytes stay as they are."]
    return sentences.changes(case)


def _advice(judged: JudgedRevision) -> list[str]:
    decision = judged.decision
    if decision.passes:
        name = judged.files[0].name
        return [
            f"Check it yourself, offline: give `metadata/sign/{name}.touchplate.json`, which clients fetch "
            f"beside `{name}`, to `touchplate verify` with a trust file of your own."
        ]
    lines = [meaning(reason.word).remedy for reason in decision.reasons]
    lines.append("Ask again afterwards: refusals are not cached, the same install then succeeds.")
    lines.append("If this package should not be asked for so much, add a rule above this one.")
    return lines


def _changed(remote: Remote, revision: Revision, message: str) -> Explanation:
    return Explanation(
        name=str(revision),
        repository=remote.name,
        path=f"{revision.path}/files",
        adapter=ADAPTER,
        verdict="changed",
        summary="This revision is refused whatever the rules say: one of its files is not the recorded one.",
        asked=[_asked(remote, revision)],
        package=remote.package(revision, _main(revision)),
        need=["No rule is asked: a revision must have the same bytes for everybody, for ever."],
        known=[f"{message[:1].upper()}{message[1:]}."],
        told=message,
        missing=[REFUSALS["upstream-changed"].what],
        changes=["The upstream gives out the recorded bytes again."],
        advice=[REFUSALS["upstream-changed"].remedy],
    )


def _nothing(upstream: str, path: str, error: Exception, upstreams: Sequence[str]) -> Explanation:
    known = ", ".join(f"`{name}`" for name in upstreams) or "none"
    return Explanation(
        name=path,
        repository=upstream,
        path=path,
        adapter=ADAPTER,
        verdict="none",
        status=STATUS.status(error).http,
        summary="No revision can have this path, so there is nothing to judge.",
        asked=[f"{str(error)[:1].upper()}{str(error)[1:]}."],
        known=[
            "A path is `upstream/v2/conans/name/version/user/channel/revisions/…/files`, as clients ask for "
            f"it. Upstreams: {known}."
        ],
        advice=["Take the path from the client's own message, or begin at the start page."],
    )


def _asked(remote: Remote, revision: Revision) -> str:
    what = "package" if revision.is_package else "recipe"
    return f"You asked for the {what} revision `{revision}` through the upstream `{remote.name}`."


def _main(revision: Revision) -> str:
    return "conan_package.tgz" if revision.is_package else CONANFILE
