"""Starting a sandbox: `/usr/bin/true` through our own path, less the same command started bare.

Beside it the plain working line of bubblewrap under `setpriv`, without workspace, control groups and gate.
Each start is whole: the job's folders are made and removed, and all that it started is dead at its end.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.bench.builder.measuring import load_now, minus, open_folder, opened, spent_by_all
from tests.bench.harness import Goal, Row, Spent, check, in_turns

from touchplate.builder.sandbox.bubblewrap import Job, Sandbox, program, root_options
from touchplate.builder.sandbox.seccomp import make_filter

ROUNDS = 60
SLOW_ROUNDS = 12
"""Of the other backends, which take longer."""

GOAL = Goal("<", 30, " ms")
TRUE = ("/usr/bin/true",)
UID = "39999"
"""Of the plain line: a job's range starts lower, a user's would be in use."""


def start(rounds: int = ROUNDS) -> list[Row]:
    """Milliseconds of one start under bubblewrap, beside the plain line."""
    with open_folder() as folder, opened() as sandbox, (folder / "filter").open("w+b") as filter_file:
        (folder / "empty").mkdir()
        filter_file.write(make_filter())
        filter_file.flush()
        line = _plain_line(folder, filter_file.fileno())
        plain = _timed(lambda: _run(line, filter_file.fileno()))
        ours = _timed(lambda: start_once(sandbox, folder / "empty"))
        mine, peer, nothing = in_turns(rounds, ours, plain, _timed(lambda: _run(TRUE)))
        return [_row("bubblewrap", minus(mine, nothing), minus(peer, nothing), GOAL)]


def start_runc(rounds: int = SLOW_ROUNDS) -> list[Row]:
    """The same under the sandbox of images, before any container is made in it."""
    return _start_other("runc", rounds)


def start_gvisor(rounds: int = SLOW_ROUNDS) -> list[Row]:
    """The same under gVisor, its kernel's start included."""
    return _start_other("gvisor", rounds)


def _start_other(kind: str, rounds: int) -> list[Row]:
    with open_folder() as folder, opened(kind) as sandbox:
        (folder / "empty").mkdir()
        ours = _timed(lambda: start_once(sandbox, folder / "empty"))
        found, nothing = in_turns(rounds, ours, _timed(lambda: _run(TRUE)))
        return [_row(kind, minus(found, nothing), None, None)]


def start_once(sandbox: Sandbox, source: Path) -> None:
    """A workspace, one trivial command in it, and nothing left."""
    with sandbox.workspace(source) as workspace:
        outcome = sandbox.run(workspace, Job(TRUE))
    check(
        outcome.exit_code == 0 and not outcome.stopped and outcome.status.get("exit-code") == 0,
        f"the command did not run: {outcome.tail!r}",
    )


def _timed(work: Callable[[], object]) -> Callable[[], Spent]:
    return lambda: spent_by_all(work)


def _run(command: tuple[str, ...], descriptor: int | None = None) -> None:
    if descriptor is not None:
        os.lseek(descriptor, 0, os.SEEK_SET)  # bubblewrap read it to its end
    kept = () if descriptor is None else (descriptor,)
    done = subprocess.run(command, pass_fds=kept, capture_output=True, check=False)
    check(done.returncode == 0, f"{command[0]} ended with {done.returncode}: {done.stderr.decode()[-300:]}")
    with contextlib.suppress(ChildProcessError):
        # What bubblewrap leaves behind comes to this process, which is a sub-reaper: its CPU counts, too.
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def _plain_line(folder: Path, descriptor: int) -> tuple[str, ...]:
    """Bubblewrap as an unprivileged uid with all namespaces and our filter, and nothing else of ours."""
    drop: tuple[str, ...] = ()
    if os.getuid() == 0:
        drop = (str(program("setpriv", "util-linux")), f"--reuid={UID}", f"--regid={UID}", "--clear-groups")
        drop += ("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all")
    return (
        *drop,
        *(str(program("bwrap", "bubblewrap")), "--unshare-all", "--unshare-user", "--disable-userns"),
        *("--die-with-parent", "--new-session", "--seccomp", str(descriptor)),
        *(*root_options(None), "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"),
        *("--ro-bind", str(folder / "empty"), "/build", "--remount-ro", "/", "--clearenv"),
        *("--hostname", "build", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL", "--", *TRUE),
    )


def _row(kind: str, ours: Spent, plain: Spent | None, goal: Goal | None) -> Row:
    peer = "" if plain is None else f"{plain.wall * 1000:.1f} ms"
    beside = "" if plain is None else f" and {plain.cpu * 1000:.1f} ms; peer: plain bwrap"
    note = f"wall, median, less the bare command's; CPU {ours.cpu * 1000:.1f}{beside or ' ms'}; {load_now()}"
    milliseconds = ours.wall * 1000
    return Row(f"sandbox start, {kind}", f"{milliseconds:.1f} ms", peer, milliseconds, goal, note)
