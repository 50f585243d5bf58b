"""The gate: may this file be sent? Pure: facts, rules and the time in, a decision with its reasons out.

It judges one file by the sha256 of the bytes that would be sent and the package that was asked for. Steps 3
to 5 of the check were taken when the entries were indexed; the steps 6 and 7 are taken here, by the same code
and with the same reasons as `touchplate verify` (tests/verify/cases.py holds for both).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from touchplate.api.errors import SettingsError
from touchplate.api.rebuilds import RebuildMode
from touchplate.verify.check import EntryWarning, Judgement
from touchplate.verify.errors import MalformedError
from touchplate.verify.levels import LEVELS, Evidence, Levels, ReproducedRule, judge_levels
from touchplate.verify.purl import PackageURL, normalise_purl

TRIED_STARS = 4
"""Stars of a pattern of which it is tried whether it can match at all: each makes that 16 times slower."""

_DIGEST = "sha256:" + "0" * 64
# What a star may stand for, so that some package URL comes out if there is one that the pattern matches.
_FILLINGS = (
    "x", "", "@1", "x@1", "x/x@1", "/x@1", "x/x", "maven/x/x@1", "pkg:maven/x/x@1", "pkg:maven/",
    f"pkg:oci/x@{_DIGEST}?repository_url=x/x", f"@{_DIGEST}?repository_url=x/x", _DIGEST,
    "x?repository_url=x", "?repository_url=x", "g/x@", "pkg:maven/x",
    f"x@{_DIGEST}?repository_url=x/x", f"x@{_DIGEST}",
)  # fmt: skip

Mode = Literal["enforce", "warn", "observe"]
Verdict = Literal["allow", "warn", "refuse"]

SUPPORTING_NEED = "recorded"
"""All that a POM, signature, sources or javadoc jar is ever asked for: nobody rebuilds signatures, and a POM
is input of a build rather than its output."""


@dataclass(frozen=True)
class Rule:
    """One rule of the gate. None matches everything; `package` may hold `*` (any characters, also none).

    `need`: levels of touchplate.verify.levels. `operators`: a demand above the trust file's. `minimum_age`:
    seconds since the file was first seen. `rebuild`: whose requests for a refused file ask for its rebuild.
    """

    need: tuple[str, ...]
    enforce: Mode = "enforce"
    ecosystem: str | None = None
    repository: str | None = None
    package: str | None = None
    minimum_age: int = 0
    operators: int | None = None
    rebuild: RebuildMode = "never"

    def matches(self, question: Question) -> bool:
        """Whether this rule speaks about the file."""
        return (
            self.ecosystem in (None, question.package.ecosystem)
            and self.repository in (None, question.repository)
            and (self.package is None or _matches(self.package, str(question.package.package)))
        )

    def __str__(self) -> str:
        """The rule as one line for people, such as `maven pkg:maven/a/* needs reproduced (warn)`."""
        scope = (
            " ".join(part for part in (self.ecosystem, self.repository, self.package) if part) or "everything"
        )
        demands = [" and ".join(self.need) or "nothing"]
        if self.operators is not None:
            demands.append(f"by {self.operators} operators")
        if self.minimum_age:
            demands.append(f"first seen {self.minimum_age} s ago or earlier")
        mode = "" if self.enforce == "enforce" else f" ({self.enforce})"
        return f"{scope} needs {', '.join(demands)}{mode}"


@dataclass(frozen=True)
class Question:
    """What is asked: these bytes, for this package file, through this repository."""

    package: PackageURL
    repository: str
    sha256: str
    is_supporting: bool = False
    is_snapshot: bool = False


@dataclass(frozen=True)
class Facts:
    """What the log says about the bytes of one question. `first_seen`: unix seconds of the earliest good
    record."""

    evidence: tuple[Evidence, ...] = ()
    warnings: tuple[EntryWarning, ...] = ()
    first_seen: int | None = None


@dataclass(frozen=True)
class Reason:
    """Why a file is not let through: a stable word, and one line for people."""

    word: str
    line: str


@dataclass(frozen=True)
class Decision:
    """The answer. `reasons` is empty when nothing is missing; `need` is what was asked for after all
    relief."""

    verdict: Verdict
    rule: Rule
    need: tuple[str, ...]
    reasons: tuple[Reason, ...]
    levels: Levels

    @property
    def passes(self) -> bool:
        """Whether the file would be sent if its rule was enforced."""
        return not self.reasons

    @property
    def line(self) -> str:
        """All reasons in one line; empty when there is none."""
        return "; ".join(reason.line for reason in self.reasons)


class Gate:
    """The rules, in order. The first one that matches wins; the last one matches everything."""

    def __init__(self, rules: Sequence[Rule], reproduced: ReproducedRule) -> None:
        """Raises SettingsError for rules that cannot be used, all mistakes at once."""
        mistakes = [
            line for number, rule in enumerate(rules, 1) for line in _mistakes(number, rule, reproduced)
        ]
        if not rules or (rules[-1].ecosystem, rules[-1].repository, rules[-1].package) != (None, None, None):
            mistakes.append(
                "the last [[gate.rule]] must match everything: leave out ecosystem, repository and package"
            )
        if mistakes:
            raise SettingsError("gate: " + "; ".join(mistakes))
        self.rules = tuple(rules)
        self.reproduced = reproduced

    def rule_for(self, question: Question) -> Rule:
        """The first rule that matches."""
        return next(rule for rule in self.rules if rule.matches(question))

    def decide(self, question: Question, facts: Facts, now: int) -> Decision:
        """Judge one file at the time `now` (unix seconds)."""
        rule = self.rule_for(question)
        need = needed(rule, question)
        base = self.reproduced
        operators = max(base.operators, rule.operators or 0)
        demand = ReproducedRule(operators, base.sources, base.stabilizers)
        levels = judge_levels(facts.evidence, demand)  # 6
        reasons = []
        refused = Judgement(question.package, levels, facts.warnings).refusal(need)  # 7
        if "reproduced" in need and question.is_snapshot:
            reasons.append(Reason("snapshot", "a snapshot is not a release and never counts as reproduced"))
        elif refused is not None:
            reasons.append(Reason(refused.reason, str(refused)))
        if age := _too_young(rule, facts, now):
            reasons.append(age)
        verdict: Verdict = "allow"
        if reasons and rule.enforce != "observe":
            verdict = "warn" if rule.enforce == "warn" else "refuse"
        return Decision(verdict, rule, need, tuple(reasons), levels)


def needed(rule: Rule, question: Question) -> tuple[str, ...]:
    """What the file must reach: the rule's need, or `recorded` at most for a file that only supports
    another."""
    if question.is_supporting and rule.need:
        return (SUPPORTING_NEED,)
    return rule.need


def _too_young(rule: Rule, facts: Facts, now: int) -> Reason | None:
    if not rule.minimum_age:
        return None
    if facts.first_seen is None:
        return Reason(
            "too-young", f"nobody recorded it yet; the rule asks for {rule.minimum_age} s since first sight"
        )
    age = now - facts.first_seen
    if age >= rule.minimum_age:
        return None
    return Reason("too-young", f"first seen {age} s ago; the rule asks for {rule.minimum_age} s")


def _matches(pattern: str, text: str) -> bool:
    """Whether `pattern` covers the whole text. No regular expression: the text is the client's choice, and
    backtracking over several stars would let a long one stop the node."""
    first, *parts = pattern.split("*")
    if not parts:
        return text == first
    *middle, last = parts
    if not text.startswith(first) or not text.endswith(last) or len(first) + len(last) > len(text):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True


def pattern_mistake(pattern: str) -> str | None:
    """Why `pattern` can match no package version, such as a package URL with a type; None when it can.

    A rule that never matches would silently leave its packages to the rules after it.
    """
    stars = pattern.count("*")
    if stars > TRIED_STARS:
        return None
    rest = pattern.removeprefix("pkg:").partition("?")[0]
    if ":" not in rest or "sha256:" in rest:
        parts = pattern.split("*")
        for fill in itertools.product(_fillings(pattern), repeat=stars):
            text = "".join(itertools.chain.from_iterable(zip(parts, (*fill, ""), strict=True)))
            try:
                if str(normalise_purl(text).package) == text:
                    return None
            except MalformedError:
                continue
    return (
        f"package {pattern[:80]!r} matches no package version; write pkg:maven/GROUP/ARTIFACT@VERSION "
        "(without type and classifier), pkg:conan/NAME@VERSION or "
        "pkg:oci/NAME@DIGEST?repository_url=REGISTRY/PATH/NAME, with * for any characters"
    )


def _fillings(pattern: str) -> tuple[str, ...]:
    """What its stars may stand for: of an image, the name is the last segment of its repository."""
    name = pattern.rpartition("/")[2] if "repository_url=" in pattern else ""
    return (*_FILLINGS, f"{name}@{_DIGEST}", name) if name and "*" not in name else _FILLINGS


def _mistakes(number: int, rule: Rule, reproduced: ReproducedRule) -> list[str]:
    found = []
    for level in rule.need:
        if level == "signed":
            found.append(f"rule {number}: the level 'signed' does not exist yet; use {' or '.join(LEVELS)}")
        elif level not in LEVELS:
            found.append(f"rule {number}: {level!r} is no level; use {' or '.join(LEVELS)}")
    if rule.operators is not None and rule.operators < reproduced.operators:
        found.append(
            f"rule {number}: operators = {rule.operators} is below the trust file's {reproduced.operators}; "
            "a rule may demand more than the trust file, never less"
        )
    if rule.minimum_age < 0:
        found.append(f"rule {number}: minimum_age is negative")
    return found
