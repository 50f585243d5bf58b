"""Each variation reaches the inside of the sandbox, and nothing but it: a build that looks around says so."""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.builder.sandboxes import SECONDS, Rig, gvisor_sandbox, open_folder, open_rig

from touchplate.base.environment import read_environment
from touchplate.builder.errors import PhaseFailed
from touchplate.builder.plan import HOME_FOLDER, MIB, USUAL, BuildPlan, Limits, Surroundings
from touchplate.builder.repeatability.vary import (
    BUILD_PATH,
    EVERYWHERE,
    FACTORS,
    HOME_PATH,
    YEAR_AND_MORE,
    Variations,
    apply,
    find_variations,
)
from touchplate.builder.sandbox.bubblewrap import Sandbox
from touchplate.builder.sandbox.layout import find_listing, lay_out
from touchplate.builder.sandbox.workspace import ELSEWHERE, MEMORY_FILES, locked_folder, tidy

LOOK = r"""
import ctypes, json, os, pathlib, socket, subprocess, time
umask = os.umask(0)
os.umask(umask)
libc = ctypes.CDLL(None, use_errno=True)
print("SEEN " + json.dumps({
    "timezone": [os.environ["TZ"], time.strftime("%z")],
    "locale": [os.environ["LANG"], os.environ["LC_ALL"]],
    "umask": umask,
    "clock": int(time.time()),
    "shell-clock": int(subprocess.check_output(["date", "+%s"])),
    "source-times": int(pathlib.Path("many/a").stat().st_mtime),
    "file-order": os.listdir("many"),
    "cpus": int(subprocess.check_output(["nproc"])),
    "build-path": os.getcwd(),
    "home": os.environ["HOME"],
    "user": [os.getuid(), os.getgid(), os.environ.get("USER")],
    "hostname": socket.gethostname(),
    "argument": os.environ["PLACE"],
}))
pathlib.Path("out").write_text("made")
"""
"""What a build can see of its surroundings."""

NAMES = tuple("abcdefgh")


@pytest.fixture(scope="module", params=["bubblewrap", "gvisor"])
def kind(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[Sandbox]:
    """Each backend that runs the command itself."""
    if request.param == "bubblewrap":
        yield sandbox
        return
    with gvisor_sandbox() as opened:
        yield opened


@pytest.fixture
def guest(kind: Sandbox) -> Iterator[Rig]:
    with open_rig(kind) as opened:
        (opened.source / "look.py").write_text(LOOK)
        many = opened.source / "many"
        many.mkdir()
        for name in NAMES:
            (many / name).write_text(name)
        yield opened


def plan_of(rig: Rig) -> BuildPlan:
    return rig.plan(
        "exec /usr/bin/python3 look.py",
        environment={"PLACE": f"x=/build/look.py:{HOME_FOLDER}/y"},
        outputs=("out",),
    )


def look(rig: Rig, plan: BuildPlan) -> dict[str, Any]:
    lines = rig.output(plan).splitlines()
    (seen,) = [line.removeprefix("SEEN ") for line in lines if line.startswith("SEEN ")]
    found = json.loads(seen)
    assert isinstance(found, dict)
    return found


def possible(rig: Rig) -> Variations:
    """All that can be varied here; under CI nothing may be missing."""
    found = find_variations(plan_of(rig), rig.config.work)
    lacking = {name: why for name, why in found.impossible.items() if name != "cpus"}
    if lacking and read_environment().is_ci:
        pytest.fail(f"variations need {lacking}")
    return found


CONTROLS: dict[str, Callable[[Any, Any], bool]] = {
    "timezone": lambda usual, varied: usual == ["UTC", "+0000"] and varied == ["Pacific/Kiritimati", "+1400"],
    "locale": lambda usual, varied: usual == ["C.UTF-8"] * 2 and varied == ["tr_TR.UTF-8"] * 2,
    "umask": lambda usual, varied: (usual, varied) == (0o022, 0o007),
    "clock": lambda usual, varied: 0 <= varied - usual - YEAR_AND_MORE < 600,
    "source-times": lambda usual, varied: usual - varied == YEAR_AND_MORE,
    "file-order": lambda usual, varied: varied == usual[::-1] and sorted(usual) == list(NAMES),
    "cpus": lambda usual, varied: (
        usual == len(os.sched_getaffinity(0)) and varied == max(usual // 2, 1) < usual
    ),
    "build-path": lambda usual, varied: (usual, varied) == ("/build", BUILD_PATH),
    "home": lambda usual, varied: (usual, varied) == (HOME_FOLDER, HOME_PATH),
    "user": lambda usual, varied: usual == [1000, 1000, None] and varied == [4321, 4321, "somebody"],
    "hostname": lambda usual, varied: (usual, varied) == ("build", "elsewhere"),
}
"""For each factor: whether what was seen without and with it shows that it was varied."""


def test_each_variation_is_seen_inside_and_changes_nothing_else(guest: Rig) -> None:
    usual = look(guest, plan_of(guest))
    found = possible(guest)
    assert set(CONTROLS) == EVERYWHERE
    for variation in found.possible:
        seen = look(guest, apply(plan_of(guest), [variation]))
        factor = variation.factor
        assert CONTROLS[factor](usual[factor], seen[factor]), (factor, usual[factor], seen[factor])
        for other in EVERYWHERE - {factor, "clock"}:
            assert seen[other] == usual[other], (factor, other)
        if factor != "clock":
            assert abs(seen["clock"] - usual["clock"]) < YEAR_AND_MORE / 2


def test_all_variations_hold_at_once(guest: Rig) -> None:
    usual = look(guest, plan_of(guest))
    found = possible(guest)
    seen = look(guest, apply(plan_of(guest), found.possible))
    for variation in found.possible:
        factor = variation.factor
        assert CONTROLS[factor](usual[factor], seen[factor]), (factor, usual[factor], seen[factor])
    assert seen["argument"] == f"x={BUILD_PATH}/look.py:{HOME_PATH}/y"


def test_the_clock_of_programs_that_are_started_is_moved_too(guest: Rig) -> None:
    varied = [one for one in possible(guest).possible if one.factor == "clock"]
    if not varied:
        pytest.skip("CLOCK NOT VARIED: this needs libfaketime")
    seen = look(guest, apply(plan_of(guest), varied))
    assert abs(seen["shell-clock"] - seen["clock"]) < 600


def test_nothing_of_a_varied_build_is_left(guest: Rig) -> None:
    guest.build(apply(plan_of(guest), possible(guest).possible))
    assert [
        path for path in MEMORY_FILES.glob(f"{ELSEWHERE}*") if os.path.lexists(path / "build/look.py")
    ] == []


@pytest.mark.parametrize("how", ["> big", "> gone"])
def test_a_build_folder_in_memory_is_limited_like_any_other(guest: Rig, how: str) -> None:
    plan = guest.plan(
        f"exec 3{how}; rm -f gone; head -c 40000000 /dev/zero >&3; sleep {SECONDS / 2}",
        limits=Limits(wall_seconds=SECONDS, workspace_bytes=8 * MIB),
    )
    varied = [one for one in possible(guest).possible if one.factor == "file-order"]
    if not varied:
        pytest.skip(f"FILE ORDER NOT VARIED: {MEMORY_FILES} lists files by their names")
    with pytest.raises(PhaseFailed) as caught:
        guest.build(apply(plan, varied))
    assert caught.value.failure == "too-large"


def test_what_a_killed_supervisor_left_in_memory_is_removed_and_nothing_of_others(tmp_path: Path) -> None:
    left = MEMORY_FILES / f"{ELSEWHERE}killed-{os.getpid()}"
    other = MEMORY_FILES / f"{ELSEWHERE}other-{os.getpid()}"
    for folder in (left, other):
        (folder / "build/deep").mkdir(parents=True)
        (folder / "build/deep/file").write_text("big")
    if os.getuid() == 0:
        os.chown(left / "build/deep/file", 31_999, 31_999)
        os.chown(other, 31_998, 31_998)
    try:
        with locked_folder(MEMORY_FILES, ELSEWHERE) as living:
            tidy(tmp_path)
            assert living.is_dir()
        assert not left.exists()
        assert other.exists() == (os.getuid() == 0)
    finally:
        shutil.rmtree(left, ignore_errors=True)
        shutil.rmtree(other, ignore_errors=True)


def test_factors_that_a_backend_does_not_know_are_said_to_be_left_out(guest: Rig) -> None:
    found = find_variations(plan_of(guest), guest.config.work, {"umask"})
    assert [one.factor for one in found.possible] == ["umask"]
    assert set(found.impossible) == set(FACTORS) - {"umask"}


def test_a_plan_that_has_the_varied_value_already_gets_another(guest: Rig) -> None:
    plan = apply(plan_of(guest), possible(guest).possible)
    again = {one.factor: one for one in find_variations(plan, guest.config.work).possible}
    for factor in ("timezone", "locale", "umask"):
        assert again[factor].before != again[factor].after


def test_a_copy_is_listed_the_other_way_round_at_every_depth(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for folder in (source, source / "in", source / "in" / "deep"):
        folder.mkdir()
        for name in NAMES:
            (folder / name).write_text(name)
    (source / "link").symlink_to("a")
    with open_folder() as usual, tempfile.TemporaryDirectory(dir=MEMORY_FILES) as made:
        other = Path(made)
        if find_listing(other) == "fixed":
            pytest.skip(f"FILE ORDER NOT VARIED: {MEMORY_FILES} lists files by their names")
        lay_out(source, usual / "build", USUAL, usual=usual)
        lay_out(source, other / "build", Surroundings(order_in=other), usual=usual)
        for inner in ("", "in", "in/deep"):
            one, two = ([path.name for path in (top / "build" / inner).iterdir()] for top in (usual, other))
            assert one == two[::-1]
        assert (other / "build/link").readlink() == Path("a")
