"""The decision about an image in prose, for the same page as all others. Nothing is fetched and nothing is
written here; sentences that hold for every kind of file are those of `api.sentences`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from touchplate.api import sentences
from touchplate.api.docker.judge import ImageJudge, Served
from touchplate.api.docker.layout import RegistryRequest, parse_registry_path
from touchplate.api.docker.links import Move
from touchplate.api.docker.repository import Place
from touchplate.api.errors import STATUS, BadNameError, NotFoundError
from touchplate.api.explain import Explanation
from touchplate.api.gate import Decision, Facts, Gate
from touchplate.api.ignored import group
from touchplate.api.reasons import REFUSALS
from touchplate.api.rule_text import format_rule
from touchplate.api.views import Views
from touchplate.verify.encoding import format_time

ADAPTER = "v2"


@dataclass(frozen=True)
class _ImageFile:
    """An image as sentences name it."""

    name: str
    is_supporting: bool = False


class ImageExplainer:
    """Explains paths below `/v2/`. All methods block; any thread may call them."""

    def __init__(self, judge: ImageJudge, gate: Gate, views: Views) -> None:
        self._judge = judge
        self._gate = gate
        self._views = views

    def explain(self, path: str) -> Explanation:
        """The decision about a manifest by tag or digest. A name that nothing can have is explained, too."""
        try:
            asked = parse_registry_path(path)
            place = self._judge.registries.place(asked.name)
        except (BadNameError, NotFoundError) as error:
            return _nothing(path, error, sorted(self._judge.registries.by_name))
        if asked.kind != "manifests":
            shared = NotFoundError(
                "config and layers share the decision about their manifest; ask about that"
            )
            return _nothing(path, shared, sorted(self._judge.registries.by_name))
        if not asked.sha256 and (move := self._judge.tags.refused(place, asked.reference)) is not None:
            return _moved(place, asked, move)
        sha256 = asked.sha256 or self._judge.tags.known(place, asked.reference)
        served = self._judge.known(place, sha256) if sha256 else None
        if served is None:
            return self._unseen(place, asked, sha256)
        if served.decision is None:
            return _evidence(place, asked, served)
        return self._judged(place, asked, served, served.decision)

    def _judged(
        self, place: Place, asked: RegistryRequest, served: Served, decision: Decision
    ) -> Explanation:
        package, sha256 = place.package(served.sha256), served.sha256
        is_index = served.manifest.kind == "index"
        facts = Facts() if is_index else self._views.facts(sha256, package)
        file = _ImageFile(_name(place, asked))
        case = sentences.Case(file, package, decision, facts, self._gate.reproduced)
        return Explanation(
            name=file.name,
            repository=place.registry.name,
            path=place.link_path(sha256),
            adapter=ADAPTER,
            verdict=decision.verdict if decision.passes or decision.verdict != "allow" else "observe",
            summary=_summary(case, served),
            asked=[*self._asked(place, asked, sha256), sentences.held(served.link)],
            package=package,
            sha256=sha256,
            rule=sentences.rule_place(self._gate.rules, decision.rule),
            rule_text=format_rule(decision.rule),
            need=_about_images(sentences.needs(decision.need, decision.rule, file, self._gate.reproduced)),
            known=_images(served) if is_index else _about_images(sentences.known(case)),
            told=decision.line,
            missing=_missing(decision) if is_index else sentences.missing(case),
            changes=_changes(decision) if is_index else sentences.changes(case),
            advice=_advice(decision, place, served),
            ignored=group(facts.warnings),
        )

    def _asked(self, place: Place, asked: RegistryRequest, sha256: str) -> list[str]:
        lines = [f"You asked for `{_name(place, asked)}`, which is `{place.path}` of the registry "
                 f"`{place.registry.identity}`, through the upstream `{place.registry.name}`."]  # fmt: skip
        if asked.sha256:
            return lines
        lines.append(f"The tag pointed to `sha256:{sha256}` when it was asked for last; it is no evidence.")
        for move in self._judge.links.moves(place.repository, asked.reference):
            lines.append(
                f"It moved from `sha256:{move.before}` to `sha256:{move.after}` at {format_time(move.seen)}."
            )
        return lines

    def _unseen(self, place: Place, asked: RegistryRequest, sha256: str | None) -> Explanation:
        rule = self._gate.rule_for(self._judge.question(place, sha256 or "0" * 64))
        file = _ImageFile(_name(place, asked))
        return Explanation(
            name=file.name,
            repository=place.registry.name,
            path=f"{place.path}/manifests/{asked.reference}",
            adapter=ADAPTER,
            verdict="unseen",
            summary="Nobody asked this node for the image yet: there are no bytes to judge.",
            asked=[f"You asked for `{file.name}` through the upstream `{place.registry.name}`."],
            package=place.package(sha256) if sha256 else None,
            rule=sentences.rule_place(self._gate.rules, rule, would=True),
            rule_text=format_rule(rule),
            need=_about_images(sentences.needs(rule.need, rule, file, self._gate.reproduced)),
            changes=["The first pull: it is fetched, recorded and judged then."],
            advice=["Pull it, and come back."],
        )


def _summary(case: sentences.Case, served: Served) -> str:
    text = sentences.summary(case).replace("This file", "This image")
    if served.manifest.kind == "index":
        text += " It is a list of images for several platforms: one that passes is enough for the list, and "
        text += "each is judged again when it is asked for."
    return text


def _images(served: Served) -> list[str]:
    return [
        f"{image.label}, `sha256:{image.sha256}`: {image.decision.line or 'everything is there'}."
        for image in served.images
    ] or ["It names no image."]


def _missing(decision: Decision) -> list[str]:
    """What keeps a list of images back."""
    return [f"{decision.line[:1].upper()}{decision.line[1:]}."] if decision.line else []


def _changes(decision: Decision) -> list[str]:
    """What would change the decision about a list of images."""
    if decision.passes:
        return ["A rule or a trust file that asks for more of the images that pass now."]
    return ["One of its images reaches what the rule asks for: its own page says what that takes."]


def _advice(decision: Decision, place: Place, served: Served) -> list[str]:
    digest = f"{place.asked}@sha256:{served.sha256}"
    if decision.passes and served.manifest.kind == "index":
        return [
            "Check it yourself: nothing in the log speaks of the list, so check the image that you run, by "
            "its own digest; the statements about it are its referrers."
        ]
    if decision.passes:
        return [
            f"Check it yourself: the statements about it are referrers of `{digest}`, as Sigstore bundles; "
            f"`/api/v1/artifacts/{served.sha256}/bundle` is the proof bundle for `touchplate verify`."
        ]
    lines = [
        REFUSALS[reason.word].remedy.replace("the file", "the image")
        for reason in decision.reasons
        if reason.word in REFUSALS
    ]
    lines += ["Ask again afterwards: refusals are not cached, the same pull then succeeds."]
    lines.append("If this image should not be asked for so much, add a rule above this one.")
    return lines


def _moved(place: Place, asked: RegistryRequest, move: Move) -> Explanation:
    return Explanation(
        name=_name(place, asked),
        repository=place.registry.name,
        path=f"{place.path}/manifests/{asked.reference}",
        adapter=ADAPTER,
        verdict="changed",
        summary="This tag is refused whatever the rules say: it is pinned here, and the upstream moved it.",
        asked=[f"You asked for `{_name(place, asked)}` through the upstream `{place.registry.name}`."],
        package=place.package(move.after),
        need=[f"No rule is asked: it must point to `sha256:{move.before}`, as when it was asked for first."],
        known=[f"At {format_time(move.seen)} the upstream said `sha256:{move.after}`."],
        missing=["The image to which the tag pointed before."],
        changes=["The upstream moves it back, or whoever runs this node lets it follow."],
        advice=[
            "Find out whether the publisher moved it on purpose.",
            f"Pull the one that you mean by its digest, such as `{place.asked}@sha256:{move.before}`.",
            'Whoever runs this node can follow the new place by one start with `tags = "follow"`.',
        ],
    )


def _evidence(place: Place, asked: RegistryRequest, served: Served) -> Explanation:
    return Explanation(
        name=_name(place, asked),
        repository=place.registry.name,
        path=place.link_path(served.sha256),
        adapter=ADAPTER,
        verdict="allow",
        summary="This is an attestation or a bill of materials: it is served and never counts for anything.",
        package=place.package(served.sha256),
        sha256=served.sha256,
        need=["No rule is asked. It must consist of JSON documents, so that nothing can run it."],
        advice=["What counts is in the log; what an upstream says about its own images is not."],
    )


def _nothing(path: str, error: Exception, upstreams: Sequence[str]) -> Explanation:
    upstream, _, rest = path.partition("/")
    known = ", ".join(f"`{name}`" for name in upstreams) or "none"
    return Explanation(
        name=path,
        repository=upstream,
        path=rest,
        adapter=ADAPTER,
        verdict="none",
        status=STATUS.status(error).http,
        summary="No image can have this name, so there is nothing to judge.",
        asked=[f"{str(error)[:1].upper()}{str(error)[1:]}."],
        known=[f"A path is `upstream/repository/manifests/tag` or `…/sha256:digest`. Upstreams: {known}."],
        advice=["Correct the path, or begin at the start page."],
    )


def _about_images(lines: Sequence[str]) -> list[str]:
    return [line.replace("The file", "The image").replace("as this file", "as this image") for line in lines]


def _name(place: Place, asked: RegistryRequest) -> str:
    return f"{place.asked}{'@' if asked.sha256 else ':'}{asked.reference}"
