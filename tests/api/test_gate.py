"""The gate: the table of cases that it shares with verify, and the rules that only it has."""

import hashlib
import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from tests.api.support import ListLog
from tests.verify.cases import CASES, Case, make_trust, provenance, rebuilder_block, record, second
from tests.verify.support import LIB, OPERATOR_A, OPERATOR_B, PUBLISHED, SEEN

from touchplate.api.errors import SettingsError
from touchplate.api.gate import Facts, Gate, Question, Rule, _matches, pattern_mistake
from touchplate.api.index.facts import FactIndex
from touchplate.api.index.observe import Observer
from touchplate.api.index.store import IndexStore
from touchplate.base.sql import sqlite_engine
from touchplate.verify.entry import Entry
from touchplate.verify.errors import TrustError
from touchplate.verify.files import FileDigests, digest_file
from touchplate.verify.levels import Compared, FirstSight, Rebuild, ReproducedRule
from touchplate.verify.purl import PackageURL, maven_purl
from touchplate.verify.trust import TrustFile

TWO = ReproducedRule()
REPRODUCED = Rule(("reproduced",))
RECORDED = Rule(("recorded",))
VCS = frozenset({"vcs"})
BY_TWO = (Rebuild(1, "https://a.example.org", VCS), Rebuild(2, "https://b.example.org", VCS))


def index_of(folder: Path, entries: list[Entry], trust: TrustFile) -> FactIndex:
    store = IndexStore(sqlite_engine(folder / "index.sqlite"), "trust")
    index = FactIndex(store, ListLog(entries), Observer(trust))
    index.catch_up()
    return index


def digests(data: bytes) -> FileDigests:
    return digest_file(io.BytesIO(data))


def asking(package: PackageURL = LIB, **options: bool) -> Question:
    return Question(package, "central", hashlib.sha256(PUBLISHED).hexdigest(), **options)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_answers_as_verify_does(tmp_path: Path, case: Case) -> None:
    trust = case.trust()
    index = index_of(tmp_path, case.entries(), trust)
    facts = index.facts(digests(case.data), case.package)
    question = Question(case.package, "central", digests(case.data).sha256)
    decision = Gate([Rule(case.need)], trust.reproduced).decide(question, facts, SEEN)
    assert decision.verdict == ("allow" if case.refused is None else "refuse")
    assert [reason.word for reason in decision.reasons] == ([case.refused[1]] if case.refused else [])
    lost = tuple((warning.index, warning.step, warning.reason) for warning in facts.warnings)
    assert lost == case.lost
    assert case.says in decision.levels.explain("reproduced")


def test_refuses_after_the_first_operator_and_accepts_after_the_second(tmp_path: Path) -> None:
    trust = make_trust("operators = 2")
    gate = Gate([REPRODUCED], trust.reproduced)
    first = index_of(tmp_path / "1", [provenance()], trust).facts(digests(PUBLISHED), LIB)
    assert gate.decide(asking(), first, SEEN).line == "not reproduced: 1 of 2 operators"
    both = index_of(tmp_path / "2", [provenance(), second()], trust).facts(digests(PUBLISHED), LIB)
    assert gate.decide(asking(), both, SEEN).verdict == "allow"


def test_no_trust_file_gives_one_key_to_two_operators() -> None:
    blocks = [rebuilder_block(OPERATOR_A, "rebuilder-a"), rebuilder_block(OPERATOR_B, "rebuilder-a")]
    with pytest.raises(TrustError):
        make_trust("operators = 2", blocks=blocks)


def test_reports_a_third_operators_different_file() -> None:
    evidence = (*BY_TWO, Compared(3, "https://c.example.org", "different", (), None, "3 differences"))
    decision = Gate([REPRODUCED], TWO).decide(asking(), Facts(evidence), SEEN)
    assert decision.verdict == "allow"
    assert [finding.operator for finding in decision.levels.contradicted_by] == ["https://c.example.org"]


def test_takes_the_first_rule_that_matches() -> None:
    rules = [
        replace(REPRODUCED, package="pkg:maven/org.example/lib@1.0"),
        replace(RECORDED, repository="central"),
        Rule(()),
    ]
    gate = Gate(rules, TWO)
    assert gate.rule_for(asking()) is gate.rules[0]
    assert gate.rule_for(asking(maven_purl("org.example", "other", "1.0"))) is gate.rules[1]
    assert not replace(RECORDED, ecosystem="oci").matches(asking())
    assert replace(RECORDED, ecosystem="maven").matches(asking())
    spelt = asking(maven_purl("org.example", "Lib", "1.0"))
    assert not replace(RECORDED, package="pkg:maven/org.example/lib@*").matches(spelt)
    elsewhere = replace(asking(maven_purl("org.example", "other", "1.0")), repository="mirror")
    assert gate.rule_for(elsewhere) is gate.rules[2]


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("pkg:maven/org.example/lib@1.0", True),
        ("pkg:maven/org.example/lib@*", True),
        ("pkg:maven/org.example/*", True),
        ("*", True),
        ("pkg:maven/org.example/lib@1", False),
        ("pkg:maven/org.example/lib@1.?", False),
        ("pkg:maven/orgXexample/lib@1.0", False),
        ("pkg:maven/org.example/Lib@1.0", False),
        ("maven/org.example/lib@1.0", False),
    ],
)
def test_a_pattern_stands_for_whole_package_urls(pattern: str, *, matches: bool) -> None:
    assert Rule((), package=pattern).matches(asking()) is matches


@pytest.mark.parametrize("pattern", ["*a*a*a*b", "a*a*", "*", "**", "ab*ba", "a*b*a", "*a", "b*", "", "a"])
@pytest.mark.parametrize("text", ["", "a", "b", "ab", "aba", "abba", "aab", "aaab", "baab", "ababab"])
def test_a_star_stands_for_any_characters_and_nothing_else_does(pattern: str, text: str) -> None:
    expected = re.fullmatch(pattern.replace("*", ".*"), text) is not None
    assert _matches(pattern, text) is expected


def test_many_stars_and_a_long_name_take_no_time() -> None:
    assert not _matches("*a" * 40 + "b", "a" * 100_000)


@pytest.mark.parametrize(
    "pattern",
    [
        "*",
        "pkg:*",
        "pkg:maven/*",
        "pkg:maven/org.example/*",
        "pkg:maven/org.example.*/*",
        "pkg:maven/org.example/lib@*",
        "pkg:maven/org.example/lib@1.*",
        "pkg:maven/org.example/lib@1.0",
        "pkg:maven/org.example/lib@1.0?repository_url=mirror",
        "pkg:maven/org.example/lib@*?repository_url=*",
        "*/lib@1.0",
        "*commons*@*",
        "pkg:oci/*",
        "pkg:conan/zlib@*",
    ],
)
def test_takes_patterns_that_can_match(pattern: str) -> None:
    assert pattern_mistake(pattern) is None


@pytest.mark.parametrize(
    "pattern",
    [
        "",
        "org.example:lib:*",
        "pkg:maven/org.example:lib:*",
        "pkg:maven/org.example:lib@*",
        "maven/org.example/*",
        "PKG:maven/*",
        "pkg:Maven/*",
        "pkg:npm/*",
        "pkg:maven/org.example/lib",
        "pkg:maven/org/example/lib@*",
        "pkg:maven/org.example/lib@1.0+build",
        "pkg:maven/org.example/lib@1.0?type=jar",
        "pkg:maven/org.example/lib@*?classifier=sources",
        "pkg:maven/org.example/lib@1.0 ",
    ],
)
def test_a_pattern_that_can_match_nothing_is_a_mistake(pattern: str) -> None:
    assert "matches no package version" in str(pattern_mistake(pattern))


def test_a_rule_about_a_package_does_not_hold_for_another_upstreams() -> None:
    other = maven_purl("org.example", "lib", "1.0", repository_url="mirror.example.org")
    assert not Rule((), package="pkg:maven/org.example/lib@1.0").matches(asking(other))


@pytest.mark.parametrize(
    ("enforce", "verdict"), [("enforce", "refuse"), ("warn", "warn"), ("observe", "allow")]
)
def test_says_what_is_missing_in_every_mode(enforce: str, verdict: str) -> None:
    rule = replace(REPRODUCED, enforce=enforce)  # type: ignore[arg-type]
    decision = Gate([rule], TWO).decide(asking(), Facts(), SEEN)
    assert decision.verdict == verdict
    assert not decision.passes
    assert decision.line == "not reproduced: 0 of 2 operators"


def test_asks_of_a_supporting_file_recorded_at_most() -> None:
    gate = Gate([REPRODUCED], TWO)
    pom = maven_purl("org.example", "lib", "1.0", "pom")
    recorded = Facts((FirstSight(0, "https://r.example.org"),))
    assert gate.decide(asking(pom, is_supporting=True), recorded, SEEN).verdict == "allow"
    assert gate.decide(asking(pom, is_supporting=True), Facts(), SEEN).reasons[0].word == "not-recorded"
    free = Gate([Rule(())], TWO).decide(asking(pom, is_supporting=True), Facts(), SEEN)
    assert free.verdict == "allow"


def test_never_calls_a_snapshot_reproduced() -> None:
    decision = Gate([REPRODUCED], TWO).decide(asking(is_snapshot=True), Facts(BY_TWO), SEEN)
    assert [reason.word for reason in decision.reasons] == ["snapshot"]
    recorded = Facts((FirstSight(0, "https://r.example.org"),))
    assert Gate([RECORDED], TWO).decide(asking(is_snapshot=True), recorded, SEEN).verdict == "allow"


def test_a_rule_may_demand_more_operators_than_the_trust_file() -> None:
    decision = Gate([replace(REPRODUCED, operators=3)], TWO).decide(asking(), Facts(BY_TWO), SEEN)
    assert decision.line == "not reproduced: 2 of 3 operators"


def test_a_rule_may_not_demand_fewer_operators_than_the_trust_file() -> None:
    with pytest.raises(SettingsError, match="never less"):
        Gate([replace(REPRODUCED, operators=1)], TWO)


def test_refuses_rules_that_cannot_hold_all_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        Gate([Rule(("signed",)), Rule(("blessed",), package="*", minimum_age=-1)], TWO)
    for mistake in ("'signed' does not exist yet", "'blessed'", "minimum_age", "must match everything"):
        assert mistake in str(caught.value)


def test_refuses_to_be_without_rules() -> None:
    with pytest.raises(SettingsError, match="must match everything"):
        Gate([], TWO)


def test_lets_a_file_grow_old_enough(tmp_path: Path) -> None:
    gate = Gate([replace(RECORDED, minimum_age=3600)], TWO)
    facts = index_of(tmp_path, [record()], make_trust()).facts(digests(PUBLISHED), LIB)
    assert facts.first_seen == SEEN
    assert gate.decide(asking(), facts, SEEN + 3599).reasons[0].word == "too-young"
    assert gate.decide(asking(), facts, SEEN + 3600).verdict == "allow"
    assert [reason.word for reason in gate.decide(asking(), Facts(), SEEN).reasons] == [
        "not-recorded",
        "too-young",
    ]
