"""The bench itself: its arithmetic, its exit codes, and each figure once in small, so that it still
measures."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.bench.__main__ import main, measure_all
from tests.bench.add import add
from tests.bench.entry_check import entry_check
from tests.bench.gate import gate
from tests.bench.harness import (
    Goal,
    Row,
    SkippedError,
    Spent,
    WrongResultError,
    in_turns,
    percentile,
    ratio,
)
from tests.bench.inclusion import inclusion
from tests.bench.raw_leaves import raw_leaves
from tests.bench.trillian import trillian
from tests.bench.whole_check import whole_check


def row(value: float, goal: Goal | None = None) -> Row:
    return Row("a figure", "1", "2", value, goal)


def failing(error: Exception) -> Callable[[], list[Row]]:
    def measure() -> list[Row]:
        raise error

    return measure


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(value) for value in range(100, 0, -1)]
    assert percentile(values, 0.5) == 50
    assert percentile(values, 0.99) == 99
    assert percentile(values, 1) == 100
    assert percentile([7.0], 0.01) == 7


@pytest.mark.parametrize(
    ("better", "below", "at", "above"),
    [("<=", True, True, False), ("<", True, False, False), (">=", False, True, True)],
)
def test_a_goal_is_met_on_its_side_of_the_limit(better: str, below: bool, at: bool, above: bool) -> None:
    goal = Goal(better, 1.5)  # type: ignore[arg-type]
    assert [goal.is_met(value) for value in (1.4, 1.5, 1.6)] == [below, at, above]


def test_a_row_says_met_or_missed() -> None:
    goal = Goal(">=", 3000, "/s")
    assert row(3000, goal).verdict == "met"
    assert row(2999, goal).verdict == "MISSED"
    assert row(1).verdict == ""


def test_both_sides_are_measured_in_turns_and_neither_always_first() -> None:
    order = []

    def side(name: str) -> Callable[[], Spent]:
        def run() -> Spent:
            order.append(name)
            return Spent(1, len(order))

        return run

    mine, theirs = in_turns(4, side("ours"), side("peer"))
    assert order == ["ours", "peer", "peer", "ours", "ours", "peer", "peer", "ours"]
    assert [one.cpu for one in mine] == [1, 4, 5, 8]
    assert ratio(mine, theirs) == 4.5 / 4.5


def test_a_missed_goal_is_shown_and_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert measure_all([("a", lambda: [row(2, Goal("<=", 1, "x"))])], in_ci=True) == 0
    assert "MISSED" in capsys.readouterr().out


def test_a_wrong_result_is_an_error_and_the_others_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    figures = [
        ("a", failing(WrongResultError("other bytes"))),
        ("b", failing(KeyError("x"))),
        ("c", lambda: [row(1)]),
    ]
    assert measure_all(figures, in_ci=False) == 1
    said = capsys.readouterr().out
    assert "WRONG" in said
    assert "FAILED" in said
    assert "a figure" in said


def test_a_missing_tool_is_a_skip_for_people_and_a_failure_in_ci(capsys: pytest.CaptureFixture[str]) -> None:
    figures = [("files", failing(SkippedError("install nginx-light")))]
    assert measure_all(figures, in_ci=False) == 0
    assert measure_all(figures, in_ci=True) == 1
    assert capsys.readouterr().out.count("install nginx-light") == 2


def test_an_unknown_figure_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["speed"])
    assert "gate" in capsys.readouterr().err


def test_each_figure_measures_something(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rows = [
        *inclusion(leaves=300, proofs=30, rounds=1),
        *whole_check(rounds=2),
        *entry_check(entries=6, rounds=1),
        *gate(files=60, asked=20),
        *raw_leaves(leaves=700, rounds=1),
        *trillian(leaves=200, proofs=100, rounds=1),
        *add(entries=600, single=3),
    ]
    assert len(rows) == 14
    assert all(one.value > 0 for one in rows)


def test_a_check_that_lets_everything_through_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.bench.inclusion.check_inclusion", lambda *_: None)
    with pytest.raises(WrongResultError, match="a proof held"):
        inclusion(leaves=300, proofs=30, rounds=1)
