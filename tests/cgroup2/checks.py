"""Checks of the sandbox where control groups are of version 2 only; `guest.py` has pytest run them there."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.builder.sandboxes import Rig, open_folder, open_rig

from touchplate.builder.delegation import LEAF
from touchplate.builder.errors import HostLack
from touchplate.builder.limits import make_groups
from touchplate.builder.plan import MIB, Limits
from touchplate.builder.sandbox.bubblewrap import Job, Sandbox, SandboxConfig, open_sandbox

SECONDS = 60.0
LIMITS = Limits(wall_seconds=SECONDS, memory_bytes=200 * MIB, processes=77)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with open_folder() as folder:
        yield open_sandbox(SandboxConfig(folder / "work", folder / "locks", range(33_000, 33_004)))


@pytest.fixture
def rig(sandbox: Sandbox) -> Iterator[Rig]:
    with open_rig(sandbox) as opened:
        yield opened


def own_group() -> Path:
    return Path("/sys/fs/cgroup" + Path("/proc/self/cgroup").read_text().strip().partition("::")[2])


def python(script: str) -> Job:
    return Job(("/usr/bin/python3", "-I", "-S", "-c", script), limits=LIMITS)


def test_jobs_of_a_delegated_group_stand_in_it_beside_the_supervisor() -> None:
    groups = make_groups(LIMITS)
    try:
        assert own_group().name == LEAF
        assert {folder.parent for folder in groups.folders.values()} == {own_group().parent}
        assert (own_group().parent / "cgroup.procs").read_text() == ""
        assert groups.lacks == []
    finally:
        groups.close()


def test_limits_of_memory_swap_processes_and_processors_are_set() -> None:
    groups = make_groups(LIMITS)
    try:
        assert set(groups.versions.values()) == {2}
        (folder,) = set(groups.folders.values())
        assert (folder / "memory.max").read_text() == f"{200 * MIB}\n"
        assert (folder / "memory.swap.max").read_text() == "0\n"
        assert (folder / "pids.max").read_text() == "77\n"
        assert (folder / "cpu.weight").read_text() == f"{100 * (os.cpu_count() or 1)}\n"
    finally:
        groups.close()


def test_job_that_takes_too_much_memory_is_told_and_the_next_one_runs(rig: Rig) -> None:
    with rig.sandbox.workspace(rig.source) as workspace:
        ended = rig.sandbox.run(workspace, python("b'1' * 400_000_000"))
        assert ended.out_of_memory
        assert ended.exit_code != 0
        ended = rig.sandbox.run(workspace, python("print('ran')"))
        assert (ended.log, ended.out_of_memory) == (b"ran\n", False)


def test_members_of_a_group_are_killed_at_once(rig: Rig) -> None:
    groups = make_groups(LIMITS)
    script = "import os, time\nfor _ in range(20):\n    os.fork() or time.sleep(1000)\ntime.sleep(1000)"
    gated = 'read -r go; exec "$@"'
    process = subprocess.Popen(
        ["/bin/sh", "-c", gated, "sh", sys.executable, "-c", script], stdin=subprocess.PIPE
    )
    try:
        groups.add(process.pid)
        assert groups.members() == {process.pid}
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.close()
        while len(groups.members()) < 21:
            assert process.poll() is None
    finally:
        groups.kill()
        process.wait()
    while groups.members():
        groups.kill()
    groups.close()
    assert groups.folders == {}


def test_groups_of_a_killed_supervisor_are_removed_by_the_next_one() -> None:
    script = (
        "import os, signal\nfrom touchplate.builder.limits import make_groups\n"
        "from touchplate.builder.plan import Limits\n"
        "print(make_groups(Limits()).folders['memory'], flush=True)\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=False)
    left = Path(done.stdout.strip())
    assert left.is_dir()
    make_groups(LIMITS).close()
    assert not left.exists()


def test_job_in_a_delegated_group_whose_limit_is_taken_back_counts_as_a_lack_of_the_host(rig: Rig) -> None:
    make_groups(LIMITS).close()  # so that we are in the leaf
    control = own_group().parent / "cgroup.subtree_control"

    def take_back(line: str) -> None:
        control.write_text("-memory")

    try:
        with (
            rig.sandbox.workspace(rig.source) as workspace,
            pytest.raises(HostLack, match="no longer limited memory at its end") as caught,
        ):
            rig.sandbox.run(workspace, python("print('now', flush=True)"), on_line=take_back)
    finally:
        control.write_text("+memory")
    assert caught.value.reason == "no-limits"
    with rig.sandbox.workspace(rig.source) as workspace:
        assert rig.sandbox.run(workspace, python("print('ran')")).log == b"ran\n"


def test_job_in_a_delegated_group_outlives_no_reload_of_systemd_without_its_limits(rig: Rig) -> None:
    def reload(line: str) -> None:
        subprocess.run(["systemctl", "daemon-reload"], check=True)

    with rig.sandbox.workspace(rig.source) as workspace:
        ended = rig.sandbox.run(workspace, python("print('now', flush=True)"), on_line=reload)
    assert ended.log == b"now\n"  # run raises when a limit is lost
