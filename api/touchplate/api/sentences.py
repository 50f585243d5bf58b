"""The sentences of an explanation: facts and decisions put into words. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from touchplate.api.answers import FileView
from touchplate.api.gate import Decision, Facts, Rule
from touchplate.api.links import Link
from touchplate.api.reasons import REFUSALS, meaning
from touchplate.api.rule_text import format_span
from touchplate.verify.encoding import format_time
from touchplate.verify.levels import (
    Compared,
    Counted,
    Levels,
    Rebuild,
    ReproducedRule,
    Uncounted,
    judge_levels,
)
from touchplate.verify.predicates.provenance import SOURCE_KINDS
from touchplate.verify.purl import PackageURL

_LEVELS = {
    "recorded": "the log holds these very bytes as the first that anybody saw under this name",
    "reproduced": "enough operators, independent of each other, built these very bytes from source",
}
_SOURCES = {
    "vcs": "version control",
    "source-release": "the source release",
    "sources-jar": "the sources jar",
}
_NUMBERS = ("No", "One", "Two", "Three", "Four", "Five", "Six")
_WEAKER = (
    "That would be the weaker claim: a sources jar comes from the same build as the jar, so it shows "
    "what the published sources compile to, and nothing about the repository that they came from."
)
_EQUAL = (
    "That would be the weaker claim: other bytes, equal once what each stabilizer names is taken out of "
    "both; what each could hide stands in the builder's README."
)


class JudgedFile(Protocol):
    """What sentences say about any kind of file."""

    @property
    def name(self) -> str:
        """Its last path segment."""

    @property
    def is_supporting(self) -> bool:
        """Whether it only supports another file, and is asked for less."""


@dataclass(frozen=True)
class Case:
    """A file that was judged: who it is, the decision, the facts behind it, and what the trust file
    counts."""

    file: JudgedFile
    package: PackageURL
    decision: Decision
    facts: Facts
    trusted: ReproducedRule

    @property
    def levels(self) -> Levels:
        """The verdict of step 6."""
        return self.decision.levels

    @property
    def words(self) -> set[str]:
        """The reasons, as stable words."""
        return {reason.word for reason in self.decision.reasons}

    @property
    def short_of(self) -> int:
        """How many operators are missing for `reproduced`; 0 when that is not asked for, or reached."""
        if "reproduced" not in self.decision.need or "snapshot" in self.words:
            return 0
        return max(0, self.levels.needed - len(self.levels.operators))


def summary(case: Case) -> str:
    """The verdict in a sentence or two."""
    decision = case.decision
    if decision.passes:
        return "This file is served: everything that its rule asks for is in the log."
    if decision.verdict == "warn":
        return (
            "This file is served with a warning: its rule asks for more than the log holds, and only warns."
        )
    if decision.verdict == "allow":
        return (
            "This file is served although its rule asks for more than the log holds: the rule only observes."
        )
    if "wrong-package" in case.words:
        return "This file is refused: the log knows these bytes as another file than the one you asked for."
    if case.words == {"too-young"}:
        return "This file is refused for now: its rule wants it to be known for some time first."
    start = "This file is refused: its rule asks for more than the log holds"
    if case.levels.contradicted_by:
        return f"{start}, and somebody who rebuilt it got different bytes."
    return f"{start}. This does not say that it is bad: nobody has shown enough yet."


def held(link: Link) -> str:
    """What was judged."""
    when = f" on {moment(link.seen)}" if link.seen else ""
    what = f"{link.size:,} bytes with the sha256 `{link.sha256}`"
    return f"This node fetched it{when}: {what}. These bytes are judged."


def rule_place(rules: Sequence[Rule], rule: Rule, *, would: bool = False) -> str:
    """Which rule decides, and why it is this one."""
    number = rules.index(rule) + 1
    why = (
        "no rule before it matches, and it matches everything"
        if number == len(rules)
        else "it is the first that matches"
    )
    return f"Rule {number} of {len(rules)} {'would decide' if would else 'decides'}: {why}."


def needs(need: Sequence[str], rule: Rule, file: JudgedFile, trusted: ReproducedRule) -> list[str]:
    """What the rule asks of this file, and what the trust file counts for it."""
    lines = [f"The file must be “{level}”: {_LEVELS[level]}." for level in need]
    lines = lines or ["It asks for nothing."]
    if tuple(need) != rule.need and file.is_supporting:
        lines.append("Nothing more is asked of a POM, a signature, a sources or a javadoc jar.")
    if "reproduced" in need:
        operators = max(trusted.operators, rule.operators or 0)
        whose = "the rule" if operators > trusted.operators else "the trust file of this node"
        lines.append(
            f"Enough are {operators} {_plural('operator', operators)}, says {whose}; builds count from "
            f"{_either(trusted.sources)}, and {_equal_enough(trusted)}."
        )
    if rule.minimum_age:
        lines.append(f"It also asks that the first sight is at least {format_span(rule.minimum_age)} ago.")
    if rule.enforce != "enforce":
        lines.append(
            "It only warns: what is missing is told to the client and does not stop it."
            if rule.enforce == "warn"
            else "It only observes: what is missing is written down here and does not stop anybody."
        )
    return lines


def known(case: Case) -> list[str]:
    """Everything that entries of the log say about the bytes that were judged."""
    levels, lines = case.levels, []
    for number, sight in enumerate(levels.recorders):
        first = number == 0 and case.facts.first_seen is not None
        when = f" on {moment(case.facts.first_seen or 0)}" if first else ""
        lines.append(
            f"{sight.operator} saw these bytes first{when}, and put that into the log (entry {sight.index})."
        )
    for counted in levels.operators:
        how = "exactly these bytes" if counted.how == "identical" else _equal_after(levels, counted)
        tools = "" if counted.tools_pinned else ", with tools of its host that are not pinned"
        lines.append(
            f"{counted.operator} built {how} from {_sources(counted.sources)}{tools} (entry {counted.index})."
        )
    for left in levels.uncounted:
        did = _uncounted(case, left, "built exactly these bytes")
        lines.append(f"{did}; the trust file does not count that.")
    for finding in levels.contradicted_by:
        lines.append(
            f"{finding.operator} rebuilt it and got different bytes (entry {finding.index}): "
            f"{finding.detail}. That takes nothing away from what others showed, and is reason enough to "
            "look."
        )
    for finding in levels.not_built:
        lines.append(
            f"{finding.operator} tried and could not build it (entry {finding.index}): {finding.detail}. "
            "That says nothing about the file."
        )
    return lines or ["No entry of the log that counts here speaks of these bytes as this file."]


def known_elsewhere(package: PackageURL, contents: Sequence[FileView], versions: Sequence[str]) -> list[str]:
    """What the log says about a file that was never fetched here."""
    lines = []
    for content in contents:
        state = f"{content.levels.explain('recorded')}; rebuilt by {content.levels.explain('reproduced')}"
        what = (
            "These bytes were published under this name"
            if content.is_published
            else "A rebuilder got these bytes"
        )
        lines.append(f"{what}, says the log: `{content.sha256}` ({state}).")
    if contents:
        lines.append("If the upstream sends other bytes than the ones recorded first, they are refused.")
        return lines
    lines.append("The log says nothing about a file of this name.")
    others = [version for version in versions if version != package.version]
    if others:
        lines.append(
            f"It does speak of other versions: {', '.join(others[:8])}{' and more' if others[8:] else ''}."
        )
    return lines


def missing(case: Case) -> list[str]:
    """What the rule asks for and is not there; empty for a file that passes."""
    lines = []
    if case.short_of:
        lines.append(_missing_operators(case))
    if "recorded" in case.decision.need and not case.levels.recorded:
        lines.append(REFUSALS["not-recorded"].what)
    if "snapshot" in case.words:
        lines.append(REFUSALS["snapshot"].what)
    if "too-young" in case.words:
        lines.append(_missing_age(case))
    cost = case.words & {warning.reason for warning in case.facts.warnings}
    if cost:
        count = len(case.facts.warnings)
        lines.append(
            f"{_number(count)} {'entry' if count == 1 else 'entries'} about these bytes or this name "
            f"could have helped and {'counts' if count == 1 else 'count'} for nothing here; below it says "
            "why."
        )
    return lines


def changes(case: Case) -> list[str]:
    """What would change the verdict."""
    if case.decision.passes:
        return [
            "Nothing that somebody adds to the log: a level once reached is never taken away by a "
            "further entry.",
            "A rule or a trust file that asks for more, or no longer lists one of the keys that count now.",
        ]
    lines = []
    if case.short_of:
        lines += [_one_more(case), *_if_more_counted(case)]
    if "recorded" in case.decision.need and not case.levels.recorded:
        lines.append("A record of first sight of these bytes, by a recorder that the trust file lists.")
    if "too-young" in case.words and case.facts.first_seen is not None:
        due = case.facts.first_seen + case.decision.rule.minimum_age
        lines.append(f"Time alone: from {moment(due)} on the file is old enough.")
    elif "too-young" in case.words:
        lines.append("A record of first sight, and then time: the age counts from it.")
    if "snapshot" in case.words:
        lines.append("Nothing for this version: only a release can be reproduced.")
    lines.append(
        "A rule above this one that asks for less of this package; that is this node's operator's choice."
    )
    return lines


def advice(case: Case) -> list[str]:
    """What the reader can do."""
    name = case.file.name
    if case.decision.passes:
        return [
            f"Check it yourself, offline: fetch `{name}.touchplate.json` beside the file, and give both to "
            "`touchplate verify` with a trust file of your own."
        ]
    lines = [
        meaning(word).remedy
        for word in sorted(case.words & {"not-recorded", "snapshot", "too-young", "wrong-package"})
    ]
    if case.levels.contradicted_by:
        lines.append(
            "Look at the differences on the page of these bytes. More often than an attack it is another "
            "JDK or an old plugin; `class-code`, `content` or `set-id` among the causes deserves a closer "
            "look."
        )
    if case.short_of:
        lines.append(
            "Have it rebuilt: the first command below tells whether it can be reproduced on your "
            "machine, and the second one submits the result. Rebuilding it twice yourself does not help: "
            "operators count, not tries."
        )
    if case.decision.verdict == "refuse":
        lines.append("Ask again afterwards: refusals are not cached, the same request then succeeds.")
    else:
        lines.append("Nothing stops you meanwhile; whether that suits you is yours to decide.")
    return lines


def moment(seconds: int) -> str:
    """Unix seconds as people write a time."""
    return format_time(seconds).replace("T", " ").removesuffix("Z") + " UTC"


def _missing_operators(case: Case) -> str:
    levels, more = case.levels, case.short_of
    parts = [
        f"{one.operator} did, at index {one.index}, from {_sources(one.sources)}" for one in levels.operators
    ]
    parts += [
        f"{_uncounted(case, left, 'did')}, which this policy does not count" for left in levels.uncounted
    ]
    if not parts:
        who = "operator" if more == 1 else "operators, independent of each other,"
        return f"{_number(more)} {who} must build these bytes from source; so far nobody did."
    who = "rebuilder of another operator" if more == 1 else "rebuilders of different operators"
    only = "only " if len(parts) == 1 else ""
    return f"{_number(more)} more {who} must build these bytes; so far {only}{'; '.join(parts)}."


def _missing_age(case: Case) -> str:
    asked, seen = format_span(case.decision.rule.minimum_age), case.facts.first_seen
    if seen is None:
        return f"The rule asks that the first sight is at least {asked} ago, and nobody recorded one yet."
    return f"The rule asks that the first sight is at least {asked} ago; it was on {moment(seen)}."


def _one_more(case: Case) -> str:
    more = case.short_of
    names = [one.operator for one in case.levels.operators]
    others = f" (other than {_and(names)})" if names else ""
    what = (
        "rebuild of exactly these bytes by an operator"
        if more == 1
        else "rebuilds of exactly these bytes, each by an operator of its own"
    )
    return f"{_number(more)} {'more ' if names else ''}{what}{others}, from {_either(case.trusted.sources)}."


def _if_more_counted(case: Case) -> list[str]:
    """What the evidence would come to, were the trust file more generous."""
    asked = _with(case.trusted, operators=case.levels.needed)
    if judge_levels(case.facts.evidence, _with(asked, sources=SOURCE_KINDS)).reproduced:
        kinds = _and([f"`{kind}`" for kind in SOURCE_KINDS if kind not in case.trusted.sources])
        return [
            f"A trust file whose `sources` hold {kinds}, too: then what is logged already would be "
            f"enough. {_WEAKER}"
        ]
    compared = [piece for piece in case.facts.evidence if isinstance(piece, Compared)]
    named = {name for piece in compared for name in piece.stabilizers}
    more = sorted(named - set(case.trusted.stabilizers))
    if more and judge_levels(case.facts.evidence, _with(asked, stabilizers=more)).reproduced:
        names = _and([f"`{name}`" for name in more])
        return [
            f"A trust file whose `stabilizers` hold {names}, too: then what is logged already would be "
            f"enough. {_EQUAL}"
        ]
    return []


def _with(
    rule: ReproducedRule,
    *,
    operators: int | None = None,
    sources: Sequence[str] | None = None,
    stabilizers: Sequence[str] = (),
) -> ReproducedRule:
    """`rule` with other demands; `stabilizers` beside its own."""
    return ReproducedRule(
        operators or rule.operators, tuple(sources or rule.sources), (*rule.stabilizers, *stabilizers)
    )


def _equal_after(levels: Levels, counted: Counted) -> str:
    """What an operator built whose bytes are equal only after stabilizers, all of them listed."""
    names = next(
        (one.detail for one in levels.equivalent if one.index == counted.index), "listed stabilizers"
    )
    return f"a file that is equal after {_and([f'`{name}`' for name in names.split(', ')])}"


def _uncounted(case: Case, left: Uncounted, did: str) -> str:
    """What an operator did that does not count, without a full stop; `did` for who built the very bytes."""
    source = next(
        (why for why in ("only", "in part") if left.why.startswith("from ") and left.why.endswith(why)), ""
    )
    if source:
        kinds = left.why.removeprefix("from ").removesuffix(source).strip().split(" and ")
        exact = any(isinstance(piece, Rebuild) and piece.index == left.index for piece in case.facts.evidence)
        part = "" if source == "only" else " in part"
        what = did if exact else "built an equivalent file"
        return f"{left.operator} {what}, at index {left.index}, from {_sources(kinds)}{part}"
    return f"{left.operator} rebuilt it, at index {left.index}, {left.why}"


def _equal_enough(trusted: ReproducedRule) -> str:
    if not trusted.stabilizers:
        return "only equal bytes count"
    return f"files count that are equal after {_and([f'`{name}`' for name in trusted.stabilizers])}"


def _sources(kinds: Sequence[str]) -> str:
    return _and([_SOURCES.get(kind, kind) for kind in kinds]) or "no source"


def _either(kinds: Sequence[str]) -> str:
    return " or ".join(f"`{kind}`" for kind in kinds) or "no kind of source at all"


def _and(parts: Sequence[str]) -> str:
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def _number(count: int) -> str:
    return _NUMBERS[count] if count < len(_NUMBERS) else str(count)


def _plural(word: str, count: int) -> str:
    return word if count == 1 else f"{word}s"
