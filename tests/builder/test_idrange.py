"""The helper that maps a range of user ids: it becomes the command, or says why not and ends."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.builder.sandboxes import open_folder, require_sandbox

from touchplate.builder.errors import HostLack
from touchplate.builder.sandbox import idrange, ids, workspace
from touchplate.builder.sandbox.ranged import FIRST_ID, IDS, RANGES

PROGRAM = str(Path(idrange.__file__))


def run(supervisor: int, first: int, count: int, *command: str) -> "subprocess.CompletedProcess[str]":
    arguments = [sys.executable, "-I", "-S", PROGRAM, str(supervisor), str(first), str(count), *command]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


def test_command_is_root_of_the_range_and_nobody_outside() -> None:
    require_sandbox()
    script = "import os; os.chown(os.open('made', os.O_CREAT), 5, 6); print(os.getuid(), os.getgroups())"
    with open_folder() as folder:
        folder.chmod(0o777)
        command = ("/usr/bin/env", "-C", str(folder), "/usr/bin/python3", "-c", script)
        done = run(os.getpid(), FIRST_ID, IDS, *command)
        made = (folder / "made").stat()
    assert done.stdout.strip() == "0 []"
    assert (made.st_uid, made.st_gid) == (FIRST_ID + 5, FIRST_ID + 6)


def test_exit_code_is_the_commands_and_a_signal_too() -> None:
    require_sandbox()
    assert run(os.getpid(), FIRST_ID, IDS, "/bin/sh", "-c", "exit 7").returncode == 7
    assert run(os.getpid(), FIRST_ID, IDS, "/bin/sh", "-c", "kill -9 $$").returncode == -9


@pytest.mark.parametrize(
    ("supervisor", "first", "count", "said"),
    [
        (None, 0, IDS, "no range for a job"),
        (None, 1000, 1, "no range for a job"),
        (None, 1 << 32, 1, "no range for a job"),  # which a kernel takes for 0
        (None, FIRST_ID, -1, "no range for a job"),
        (None, FIRST_ID, 0, "the ids cannot be mapped"),
        (1, FIRST_ID, IDS, ""),
    ],
)
def test_command_does_not_start_without_ids_or_supervisor(
    supervisor: int | None, first: int, count: int, said: str
) -> None:
    require_sandbox()
    done = run(supervisor or os.getpid(), first, count, "/bin/echo", "started")
    assert done.returncode == idrange.LOST
    assert "started" not in done.stdout
    assert said in done.stderr


def test_command_that_is_not_there_is_said() -> None:
    require_sandbox()
    done = run(os.getpid(), FIRST_ID, IDS, "/nonexistent")
    assert done.returncode == idrange.LOST
    assert "no range of user ids can be had here" in done.stderr


def test_range_that_was_given_to_a_user_of_the_host_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_sandbox()
    given = tmp_path / "subuid"
    first = FIRST_ID + (RANGES + 30) * IDS
    given.write_text(f"# comment\nsomebody:{first + 5}:10\nbroken:line\n")
    monkeypatch.setattr(ids, "_SUBORDINATE", (given, tmp_path / "missing"))
    source = tmp_path / "source"
    source.mkdir()
    with open_folder() as folder:
        (folder / "work").mkdir(mode=0o755)
        two = range(first, first + 2 * IDS, IDS)
        with workspace.open_workspace(folder / "work", folder / "locks", source, two) as job:
            assert (job.uid, job.ids) == (first + IDS, IDS)
        with (
            pytest.raises(HostLack, match="no free uid"),
            workspace.open_workspace(folder / "work", folder / "locks", source, two[:1]),
        ):
            pass
        given.unlink()
        with workspace.open_workspace(folder / "work", folder / "locks", source, two[:1]) as job:
            assert job.uid == first  # the control


def test_ids_that_have_processes_are_passed_over_and_taken_again_when_those_are_gone(tmp_path: Path) -> None:
    require_sandbox()
    first = 36_000 + os.getpid() % 1_000 * 4
    source = tmp_path / "source"
    source.mkdir()
    with open_folder() as folder, contextlib.ExitStack() as stack:
        (folder / "work").mkdir(mode=0o755)
        uids = range(first, first + 3)
        sleepers = [
            stack.enter_context(
                subprocess.Popen(
                    ["setpriv", f"--reuid={uid}", "--clear-groups", "cat"], stdin=subprocess.PIPE
                )
            )
            for uid in uids[:2]
        ]
        while not all(ids.processes_of(uid) for uid in uids[:2]):
            assert all(one.poll() is None for one in sleepers)
        for taken, given in ((uids, first + 2), (uids[1:], first + 2)):
            with workspace.open_workspace(folder / "work", folder / "locks", source, taken) as job:
                assert job.uid == given
        with (
            pytest.raises(HostLack, match="no free uid"),
            workspace.open_workspace(folder / "work", folder / "locks", source, uids[:2]),
        ):
            pass
        for one in sleepers:
            one.communicate()
        with workspace.open_workspace(folder / "work", folder / "locks", source, uids) as job:
            assert job.uid == first
