"""What judges the places: a wrong word, exit code or missing tool is no success."""

import pytest
from tests.cgroup2 import __main__ as suite
from tests.cgroup2.guest import PLACES, Step, count, find_mistakes


def test_step_is_right_only_with_its_code_and_words() -> None:
    step = Step("probe", (), right=("limits +cpu by cgroup-v2",), wrong=("control groups ",), code=2)
    said = "signs       no\nlimits      cpu by cgroup-v2\n"
    assert find_mistakes(step, 2, said) == []
    assert find_mistakes(step, 0, said) == ["exit code 0, not 2"]
    assert find_mistakes(step, 2, "limits  cpu by rlimit") == ["does not say 'limits +cpu by cgroup-v2'"]
    assert find_mistakes(step, 2, f"{said}control groups  none") == ["says 'control groups '"]


def test_attacks_are_right_only_when_some_were_made_and_none_failed() -> None:
    (attacks,) = [step for step in PLACES["unit"] if step.name == "attacks gvisor"]
    row = "gvisor      fork bomb        contained    2.6  by limit of processes\n"
    assert find_mistakes(attacks, 0, f"{row}hostile: 1 attacks, 1 by backend, 0 failed") == []
    assert count(attacks, row) == 1
    assert find_mistakes(attacks, 0, "hostile: 0 attacks, 0 by backend, 0 failed")
    assert find_mistakes(attacks, 0, f"{row}hostile: 11 attacks, 11 by backend, 10 failed")
    assert find_mistakes(attacks, 0, "hostile: GVISOR NOT ATTACKED: this needs runsc")


def test_missing_tool_is_a_loud_skip_and_a_failure_in_ci(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("sys.argv", ["tests.cgroup2"])
    monkeypatch.delenv("CI", raising=False)
    assert suite.main() == 0
    assert "NOTHING TRIED: this needs qemu-system-x86_64, mmdebstrap, mke2fs" in capsys.readouterr().out
    monkeypatch.setenv("CI", "true")
    assert suite.main() == 1
