"""The decision about a path in prose: what was asked, what the node knows, which rule decides, what is
missing, and what would change the verdict.

Sentences are made in `sentences`, the meaning of each reason stands in `reasons`. Nothing is fetched and
nothing is written here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from touchplate.api import sentences
from touchplate.api.answers import FileView
from touchplate.api.errors import STATUS, BadNameError, ChangedError, NotFoundError
from touchplate.api.gate import Gate, Question, Rule, needed
from touchplate.api.ignored import Ignored, group
from touchplate.api.maven.judge import Judged, MavenJudge, why_path
from touchplate.api.maven.layout import FileRequest, MavenFile, MetadataRequest, parse_path
from touchplate.api.maven.repository import Repository
from touchplate.api.reasons import REFUSALS
from touchplate.api.rule_text import format_rule
from touchplate.api.views import Views
from touchplate.verify.purl import PackageURL


@dataclass(frozen=True)
class Explanation:
    """A page of prose; lines are whole sentences, with `code` in back quotes.

    `verdict`: allow, warn, observe, refuse, changed, unseen, made (by the node, never judged), none (no
    file can have this name). `told`: the words that a refused client was given. `package`, `sha256`: of
    the file that was judged. `candidates`: what the log knows under the name when no bytes were judged.
    """

    name: str
    repository: str
    path: str
    verdict: str
    status: int = 200
    summary: str = ""
    asked: Sequence[str] = ()
    package: PackageURL | None = None
    sha256: str | None = None
    rule: str = ""
    rule_text: str = ""
    need: Sequence[str] = ()
    known: Sequence[str] = ()
    told: str = ""
    missing: Sequence[str] = ()
    changes: Sequence[str] = ()
    advice: Sequence[str] = ()
    ignored: Sequence[Ignored] = ()
    candidates: Sequence[FileView] = field(default=())
    is_rebuild_wanted: bool = False
    adapter: str = "maven"


class Explainer:
    """Explains paths below `/maven/<upstream>/`. All methods block; any thread may call them."""

    def __init__(self, judge: MavenJudge, gate: Gate, views: Views) -> None:
        self._judge = judge
        self._gate = gate
        self._views = views

    def explain(self, upstream: str, path: str) -> Explanation:
        """The decision about a path, of whatever kind. A name that nothing can have is explained, too."""
        try:
            repository = self._judge.repository(upstream)
            asked = parse_path(path)
        except (BadNameError, NotFoundError) as error:
            return _nothing(upstream, path, error, sorted(self._judge.repositories))
        if isinstance(asked, MetadataRequest):
            return _metadata(repository, path, asked)
        try:
            judged = self._judge.known(repository, asked.file)
        except ChangedError as error:
            return self._changed(repository, asked, str(error))
        if judged is not None:
            return self._judged(repository, asked, judged)
        alarm = self._views.alarm_about(why_path(repository, asked.file))
        if alarm is not None:
            return self._changed(repository, asked, alarm.message)
        return self._unseen(repository, asked)

    def _judged(self, repository: Repository, asked: FileRequest, judged: Judged) -> Explanation:
        decision, file = judged.decision, judged.file
        facts = self._views.facts(judged.link.sha256, judged.package)
        case = sentences.Case(file, judged.package, decision, facts, self._gate.reproduced)
        verdict = decision.verdict if decision.passes or decision.verdict != "allow" else "observe"
        return Explanation(
            name=file.name,
            repository=repository.name,
            path=file.path,
            verdict=verdict,
            summary=sentences.summary(case),
            asked=[*_asked(repository, asked, judged.package), sentences.held(judged.link)],
            package=judged.package,
            sha256=judged.link.sha256,
            rule=sentences.rule_place(self._gate.rules, decision.rule),
            rule_text=format_rule(decision.rule),
            need=sentences.needs(decision.need, decision.rule, file, self._gate.reproduced),
            known=sentences.known(case),
            told=decision.line,
            missing=sentences.missing(case),
            changes=sentences.changes(case),
            advice=sentences.advice(case),
            ignored=group(facts.warnings),
            is_rebuild_wanted="reproduced" in decision.need
            and not decision.levels.reproduced
            and not file.is_snapshot,
        )

    def _unseen(self, repository: Repository, asked: FileRequest) -> Explanation:
        file = asked.file
        package = file.package_url(repository.repository_url)
        rule, need = self._need(repository, file, package)
        candidates = self._views.contents(package)
        versions = self._views.versions(package)
        return Explanation(
            name=file.name,
            repository=repository.name,
            path=file.path,
            verdict="unseen",
            summary="This node never fetched the file: there are no bytes to judge, nothing is decided.",
            asked=_asked(repository, asked, package),
            package=package,
            rule=sentences.rule_place(self._gate.rules, rule, would=True),
            rule_text=format_rule(rule),
            need=sentences.needs(need, rule, file, self._gate.reproduced),
            known=sentences.known_elsewhere(package, candidates, [one.version for one in versions]),
            changes=["The first request for the file: it is fetched, recorded and judged then."],
            advice=[
                f"Ask for it with Maven, or open `/maven/{repository.name}/{file.path}`, and come back.",
                "If the upstream has no such file, the answer will be 404, and this page stays as it is.",
            ],
            candidates=candidates,
        )

    def _changed(self, repository: Repository, asked: FileRequest, message: str) -> Explanation:
        package = asked.file.package_url(repository.repository_url)
        changed = REFUSALS["upstream-changed"]
        return Explanation(
            name=asked.file.name,
            repository=repository.name,
            path=asked.file.path,
            verdict="changed",
            summary="This file is refused whatever the rules say: it is not the one that was recorded first.",
            asked=_asked(repository, asked, package),
            package=package,
            need=["No rule is asked: its sha256 must be the one that was recorded first."],
            known=[f"{message}."],
            told=message,
            missing=["The bytes that were recorded first.", changed.what],
            changes=[
                "Nothing but the first bytes: no rebuild, no rule and no waiting lets other ones through."
            ],
            advice=[changed.remedy],
            candidates=self._views.contents(package),
        )

    def _need(
        self, repository: Repository, file: MavenFile, package: PackageURL
    ) -> tuple[Rule, tuple[str, ...]]:
        question = Question(
            package, repository.name, "", is_supporting=file.is_supporting, is_snapshot=file.is_snapshot
        )
        rule = self._gate.rule_for(question)
        return rule, needed(rule, question)


def _asked(repository: Repository, asked: FileRequest, package: PackageURL) -> list[str]:
    lines = [
        f"You asked for `{asked.file.path}` through the upstream `{repository.name}`. "
        f"By its path that is the package file `{package}`."
    ]
    match asked.aspect:
        case "checksum":
            lines.append(
                f"A `.{asked.algorithm}` file is computed by this node from the file that it belongs to, and "
                "shares its decision."
            )
        case "bundle":
            lines.append("The proof bundle of a file is served where the file is, and shares its decision.")
        case "intoto":
            lines.append("The statements about a file are served where the file is, and share its decision.")
        case "file":
            pass
    return lines


def _metadata(repository: Repository, path: str, asked: MetadataRequest) -> Explanation:
    return Explanation(
        name=path.rpartition("/")[2],
        repository=repository.name,
        path=path,
        verdict="made",
        summary="This file is made by this node and is never judged: it is no evidence for anything.",
        asked=[
            f"You asked for the metadata in `{asked.directory}` through the upstream `{repository.name}`."
        ],
        known=[
            "It is made from the upstream's own list of versions, and names only those of which some "
            "file would pass the rules that are enforced here. A version that is missing in it is "
            "refused, or was never seen.",
        ],
        advice=["Ask about a file of the version that you miss: its page says which rule decides and why."],
    )


def _nothing(upstream: str, path: str, error: Exception, upstreams: Sequence[str]) -> Explanation:
    status = STATUS.status(error).http
    known = f"Upstreams of this node: {', '.join(f'`{name}`' for name in upstreams) or 'none'}."
    return Explanation(
        name=path.rpartition("/")[2] or path,
        repository=upstream,
        path=path,
        verdict="none",
        status=status,
        summary="No file of a package can have this name, so there is nothing to judge.",
        asked=[f"{str(error)[:1].upper()}{str(error)[1:]}."],
        known=[
            "A path of the Maven layout is `group/with/slashes/artifact/version/artifact-version.extension`, "
            "with `-classifier` before the extension where there is one. One path names one file of one "
            "package, or nothing: that is why a name which does not repeat its version is turned away.",
            known,
        ],
        advice=["Correct the path, or begin at the start page: it finds `group:artifact:version`."],
    )
