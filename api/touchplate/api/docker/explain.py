"""The decision about an image in prose, for the same page as all others."""

from __future__ import annotations

from touchplate.api.docker.judge import ImageJudge, Served
from touchplate.api.docker.layout import RegistryRequest, parse_registry_path
from touchplate.api.docker.links import Move
from touchplate.api.docker.repository import Place
from touchplate.api.errors import NotFoundError
from touchplate.api.explain import Explanation, evidence_lines, need_line, rule_line, summary_of
from touchplate.api.gate import Decision, Gate
from touchplate.verify.encoding import format_time


def explain_image(judge: ImageJudge, gate: Gate, path: str) -> Explanation:
    """Explain the decision about a path below `/v2/`. Fetches nothing.

    Raises BadNameError, NotFoundError and what `Registries.place` raises.
    """
    asked = parse_registry_path(path)
    if asked.kind != "manifests":
        raise NotFoundError("config and layers share the decision about their manifest; ask about that")
    place = judge.registries.place(asked.name)
    sha256 = asked.sha256 or judge.tags.known(place, asked.reference)
    moves = [] if asked.sha256 else judge.links.moves(place.repository, asked.reference)
    if not asked.sha256 and (refused := judge.tags.refused(place, asked.reference)) is not None:
        return _moved(place, asked, refused)
    served = judge.known(place, sha256) if sha256 else None
    if sha256 is None or served is None:
        return _unseen(judge, gate, place, asked, sha256)
    if served.decision is None:
        return _evidence(place, asked, served)
    return _judged(gate, place, asked, served, moves)


def _judged(
    gate: Gate, place: Place, asked: RegistryRequest, served: Served, moves: list[Move]
) -> Explanation:
    decision = served.decision
    assert decision is not None
    lines = [_tag_line(asked, served.sha256)] if not asked.sha256 else []
    lines += [
        f"The tag moved from `sha256:{move.before}` to `sha256:{move.after}` at {format_time(move.seen)}."
        for move in moves
    ]
    if served.manifest.kind == "index":
        lines += [
            f"{image.label}, `sha256:{image.sha256}`: {image.decision.line or 'everything is there'}."
            for image in served.images
        ]
    else:
        lines += evidence_lines(decision.levels)
    return Explanation(
        name=_name(place, asked),
        repository=place.registry.name,
        path=place.link_path(served.sha256),
        package=str(place.package(served.sha256)),
        verdict=decision.verdict,
        summary=_summary(served, decision),
        rule=rule_line(gate, decision.rule),
        need=_about_image(need_line(decision.need)),
        sha256=served.sha256,
        evidence=lines,
        missing=[reason.line for reason in decision.reasons],
        advice=_advice(decision, place, served),
    )


def _summary(served: Served, decision: Decision) -> str:
    text = _about_image(summary_of(decision))
    if served.manifest.kind == "index":
        text += " It is a list of images for several platforms: one that passes is enough for the list, and "
        text += "each is judged again when it is asked for."
    return text


def _tag_line(asked: RegistryRequest, sha256: str) -> str:
    return f"The tag `{asked.reference}` pointed to `sha256:{sha256}` when it was asked for last."


def _advice(decision: Decision, place: Place, served: Served) -> list[str]:
    digest = f"{place.asked}@sha256:{served.sha256}"
    if decision.passes:
        return [
            f"Check it yourself: the statements about it are referrers of `{digest}`, as Sigstore bundles; "
            f"`/api/v1/artifacts/{served.sha256}/bundle` is the proof bundle for `touchplate verify`."
        ]
    lines = []
    if "reproduced" in decision.need and not decision.levels.reproduced:
        more = decision.levels.needed - len(decision.levels.operators)
        lines.append(
            f"Have it rebuilt by {more} more independent {'operator' if more == 1 else 'operators'}."
        )
    if "recorded" in decision.need and not decision.levels.recorded:
        lines.append(
            "Ask for the image through an upstream with `record = true`, whose first sights go into the log."
        )
    if any(reason.word == "too-young" for reason in decision.reasons):
        lines.append("Wait: the rule lets time pass after the first sight.")
    lines.append("Ask again afterwards: refusals are not cached, the same pull then succeeds.")
    lines.append("If this image should not be asked for so much, add a rule above this one.")
    return lines


def _moved(place: Place, asked: RegistryRequest, move: Move) -> Explanation:
    return Explanation(
        name=_name(place, asked),
        repository=place.registry.name,
        path=place.link_path(move.after),
        package=str(place.package(move.after)),
        verdict="changed",
        summary="This tag is refused whatever the rules say: it is pinned here, and the upstream moved it.",
        rule="No rule is asked.",
        need=f"It must point to `sha256:{move.before}`, as when it was asked for first.",
        sha256=None,
        evidence=[f"At {format_time(move.seen)} the upstream said `sha256:{move.after}`."],
        missing=["The image to which the tag pointed before."],
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
        package=str(place.package(served.sha256)),
        verdict="allow",
        summary="This is an attestation or a bill of materials: it is served and never counts for anything.",
        rule="No rule is asked.",
        need="It must consist of JSON documents, so that nothing can run it.",
        sha256=served.sha256,
        evidence=[],
        missing=[],
        advice=["What counts is in the log; what an upstream says about its own images is not."],
    )


def _unseen(
    judge: ImageJudge, gate: Gate, place: Place, asked: RegistryRequest, sha256: str | None
) -> Explanation:
    question = judge.question(place, sha256 or "0" * 64)
    rule = gate.rule_for(question)
    package = str(place.package(sha256)) if sha256 else f"{place.registry.identity}/{place.path}"
    return Explanation(
        name=_name(place, asked),
        repository=place.registry.name,
        path=f"{place.path}/manifests/{asked.reference}",
        package=package,
        verdict="unseen",
        summary="Nobody asked this node for the image yet: nothing is known about it here.",
        rule=rule_line(gate, rule),
        need=_about_image(need_line(rule.need)),
        sha256=None,
        evidence=[],
        missing=[],
        advice=["Pull it, and come back."],
    )


def _about_image(text: str) -> str:
    return text.replace("This file", "This image").replace("The file", "The image")


def _name(place: Place, asked: RegistryRequest) -> str:
    return f"{place.asked}{'@' if asked.sha256 else ':'}{asked.reference}"
