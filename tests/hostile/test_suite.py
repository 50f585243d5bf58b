"""The suite itself: it fails for what is not contained, and for what has no control."""

import pytest
from tests.builder.sandboxes import require_sandbox
from tests.hostile.__main__ import ALL, LEAST, attempt, main
from tests.hostile.attack import Attack, everywhere
from tests.hostile.walls import SANDBOXES
from tests.hostile.world import World

ONE_WALL = {"bubblewrap": ("network namespace",)}


def test_attack_that_is_not_contained_fails() -> None:
    require_sandbox()
    row = attempt(Attack("always", ONE_WALL, lambda world: True), "bubblewrap")
    assert len(row.mistakes) == 1
    assert row.mistakes[0].startswith("NOT CONTAINED with all walls")


def test_attack_without_a_working_control_fails() -> None:
    require_sandbox()
    row = attempt(Attack("never", ONE_WALL, lambda world: False), "bubblewrap")
    assert len(row.mistakes) == 1
    assert row.mistakes[0].startswith("the control does not succeed without network namespace")


def test_wall_that_does_not_hold_alone_fails() -> None:
    require_sandbox()
    walls = {"bubblewrap": ("network namespace", "paper")}
    row = attempt(Attack("once", walls, lambda world: not world.has("network namespace")), "bubblewrap")
    assert len(row.mistakes) == 1
    assert row.mistakes[0].startswith("NOT CONTAINED without network namespace;")


def test_attack_that_breaks_is_no_containment() -> None:
    require_sandbox()

    def broken(world: World) -> bool:
        raise OSError("broken")

    row = attempt(Attack("broken", ONE_WALL, broken), "bubblewrap")
    assert len(row.mistakes) == 2


def test_every_attack_has_a_name_of_its_own_and_walls() -> None:
    assert len({attack.name for attack in ALL}) == len(ALL) >= LEAST
    for attack in ALL:
        assert attack.walls
        assert attack.walls.keys() <= SANDBOXES.keys()
        assert all(walls and len(set(walls)) == len(walls) for walls in attack.walls.values()), attack.name
    assert everywhere("a", gvisor=("b",)) == {"bubblewrap": ("a",), "runc": ("a",), "gvisor": ("b",)}


def test_missing_tool_is_a_loud_skip_and_a_failure_in_ci(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr("sys.argv", ["tests.hostile", "--backend", "gvisor", "no such attack"])
    monkeypatch.delenv("CI", raising=False)
    assert main() == 0
    assert "GVISOR NOT ATTACKED: this needs bwrap, runsc" in capsys.readouterr().out
    monkeypatch.setenv("CI", "true")
    assert main() == 1
