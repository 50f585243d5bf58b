"""A foreign verifier's verdicts on our Sigstore form, and our own beside them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from tests.conformance.go_programs import program
from tests.conformance.sigstore_cases import Case, all_cases, our_answer, write_cases
from tests.conformance.sigstore_go import Verdict, run_checker

CASES = {case.name: case for case in all_cases()}


@pytest.fixture(scope="session")
def verdicts(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Verdict]:
    """The verdict of sigstore-go on every case."""
    path = write_cases(list(CASES.values()), tmp_path_factory.mktemp("sigstore"))
    return run_checker(program("sigstore"), path)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_sigstore_go_answers_as_our_documentation_says(name: str, verdicts: Mapping[str, Verdict]) -> None:
    assert verdicts[name].got == CASES[name].go, verdicts[name].detail


@pytest.mark.slow
def test_refusals_are_about_bundles_and_not_about_the_set_up(verdicts: Mapping[str, Verdict]) -> None:
    starts = ("failed to verify log inclusion: ", "failed to verify signature: ", "bundle: ")
    refused = [verdict.detail for verdict in verdicts.values() if verdict.got == "refused"]
    assert [detail for detail in refused if not detail.startswith(starts)] == []


@pytest.mark.parametrize(
    "case", [case for case in CASES.values() if case.ours is not None], ids=lambda case: case.name
)
def test_our_own_check_refuses_for_the_right_reason_and_accepts_the_rest(case: Case) -> None:
    assert our_answer(case) == case.ours


def test_ours_refuses_whatever_sigstore_go_refuses() -> None:
    """A stock verifier must never be the stricter one, except for a threshold that its user sets."""
    assert not [case.name for case in CASES.values() if case.go == "refused" and case.ours == ""]


def test_there_are_cases_on_both_sides() -> None:
    accepted = [case for case in CASES.values() if case.go == "ok"]
    stricter = [case for case in accepted if case.ours]
    assert len(accepted) - len(stricter) >= 10
    assert len(stricter) >= 12
    assert len(CASES) - len(accepted) >= 25
