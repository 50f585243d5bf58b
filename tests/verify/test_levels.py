"""Levels as a function of evidence: what the shared cases do not show."""

from touchplate.verify.levels import (
    Compared,
    Evidence,
    FirstSight,
    Rebuild,
    ReproducedRule,
    judge_levels,
)

A, B, C = "https://a.example.org", "https://b.example.org", "https://c.example.org"
VCS = frozenset({"vcs"})
JAR = frozenset({"sources-jar"})


def explain(*evidence: Evidence, rule: ReproducedRule | None = None) -> str:
    return judge_levels(evidence, rule or ReproducedRule()).explain("reproduced")


def test_explains_what_is_not_counted() -> None:
    assert (
        explain(Rebuild(1, A, VCS), Rebuild(2, B, JAR)) == "1 of 2 operators (1 more from sources-jar only)"
    )
    assert (
        explain(Rebuild(1, A, JAR), Rebuild(2, B, JAR)) == "0 of 2 operators (2 more from sources-jar only)"
    )
    assert (
        explain(Rebuild(1, A, JAR), Compared(2, B, "equivalent", ("x@1", "y@2")))
        == "0 of 2 operators (1 more equivalent by x@1 and y@2 only; 1 more from sources-jar only)"
    )


def test_a_rebuild_without_source_never_counts() -> None:
    assert explain(Rebuild(1, A, frozenset())) == "0 of 2 operators (1 more without a source)"


def test_equivalent_without_stabilizers_never_counts() -> None:
    rule = ReproducedRule(operators=1, stabilizers=("x@1",))
    assert not judge_levels([Compared(1, A, "equivalent", (), Rebuild(0, A, VCS))], rule).reproduced


def test_identical_bytes_are_the_best_entry_of_an_operator() -> None:
    rule = ReproducedRule(operators=1, stabilizers=("x@1",))
    equivalent = Compared(1, A, "equivalent", ("x@1",), Rebuild(0, A, VCS))
    levels = judge_levels([equivalent, Rebuild(5, A, VCS)], rule)
    assert [(one.index, one.how) for one in levels.operators] == [(5, "identical")]
    assert [(one.index, one.how) for one in judge_levels([equivalent], rule).operators] == [(1, "equivalent")]


def test_equivalent_rebuilds_are_not_slsa_reproduced() -> None:
    rule = ReproducedRule(stabilizers=("x@1",))
    pieces: list[Evidence] = [Rebuild(1, A, VCS), Compared(3, B, "equivalent", ("x@1",), Rebuild(2, B, VCS))]
    levels = judge_levels(pieces, rule)
    assert levels.reproduced
    assert not levels.slsa_reproduced
    assert judge_levels([*pieces, Rebuild(4, C, VCS)], rule).slsa_reproduced


def test_the_order_of_evidence_does_not_matter() -> None:
    pieces: list[Evidence] = [
        Rebuild(3, A, VCS),
        Rebuild(1, A, VCS),
        FirstSight(2, C),
        Compared(4, B, "different", detail="x"),
    ]
    assert judge_levels(pieces, ReproducedRule()) == judge_levels(pieces[::-1], ReproducedRule())


def test_recorded_counts_recorders() -> None:
    levels = judge_levels([FirstSight(1, A), FirstSight(2, A), FirstSight(3, B)], ReproducedRule())
    assert levels.explain("recorded") == "first seen by 2 recorders"
    assert judge_levels([], ReproducedRule()).explain("recorded") == "no record of first sight"
    assert levels.reached == ("recorded",)


def test_a_comparison_with_several_provenances_is_reported_once() -> None:
    pieces = [Compared(4, B, "different", rebuild=Rebuild(index, B, VCS), detail="x") for index in (1, 2)]
    assert len(judge_levels(pieces, ReproducedRule()).contradicted_by) == 1
