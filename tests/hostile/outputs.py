"""Attacks on the collecting of outputs, and processes that stay to change them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from tests.hostile.attack import Attack, everywhere
from tests.hostile.world import MIB, SECRET, World

from touchplate.builder.cache import Cache
from touchplate.builder.errors import PhaseFailed
from touchplate.builder.limits import ControlGroups
from touchplate.builder.plan import GIB
from touchplate.builder.sandbox import bubblewrap as sandboxes
from touchplate.builder.sandbox import collect as collecting
from touchplate.builder.sandbox.workspace import Workspace

HANGING_SECONDS = 3.0
"""After this an open that waits for a writer counts as waiting for ever."""

CHANGING_SECONDS = 5.0
"""How long a process that stays may take to change the output."""


@contextlib.contextmanager
def _walls(world: World) -> Iterator[None]:
    """The flags of collecting, without what is left out."""
    file, folder = collecting._OPEN_FILE, collecting._OPEN_FOLDER
    if not world.has("links not followed"):
        file, folder = file & ~os.O_NOFOLLOW, folder & ~os.O_NOFOLLOW
    if not world.has("pipes not waited for"):
        file &= ~os.O_NONBLOCK
    with contextlib.ExitStack() as stack:
        stack.enter_context(patch.object(collecting, "_OPEN_FILE", file))
        stack.enter_context(patch.object(collecting, "_OPEN_FOLDER", folder))
        if not world.has("regular files only"):
            stack.enter_context(patch.object(stat, "S_ISREG", lambda mode: True))
        yield


def _collect(world: World, workspace: Workspace, output: str, max_bytes: int = MIB) -> bytes | None:
    """What the supervisor takes; None when it refuses."""
    with _walls(world):
        try:
            found = collecting.collect(
                workspace.build, (output,), Cache(world.folder / "cache"), max_bytes=max_bytes
            )
        except PhaseFailed as refused:
            world.said.append(refused.detail)
            return None
        return found[output].path.read_bytes()


def _made(world: World, script: str, output: str = "out", max_bytes: int = MIB) -> bytes | None:
    with world.sandbox.workspace(world.source) as workspace:
        world.run(script, workspace=workspace)
        return _collect(world, workspace, output, max_bytes)


def link(world: World) -> bool:
    """Have a file of the supervisor taken for the output."""
    key = world.put("key.pem", mode=0o600)
    return _made(world, f"os.symlink({str(key)!r}, 'out')") == SECRET.encode()


def linked_folder(world: World) -> bool:
    key = world.put("key.pem", mode=0o600)
    return _made(world, f"os.symlink({str(key.parent)!r}, 'target')", "target/key.pem") == SECRET.encode()


def device(world: World) -> bool:
    return _made(world, "os.symlink('/dev/null', 'out')") is not None


def pipe(world: World) -> bool:
    return _made(world, "os.mkfifo('out')") is not None


def waiting_pipe(world: World) -> bool:
    """Have the supervisor wait for ever."""
    with world.sandbox.workspace(world.source) as workspace:
        world.run("os.mkfifo('out')", workspace=workspace)
        collector = threading.Thread(target=_collect, args=(world, workspace, "out"))
        collector.start()
        collector.join(HANGING_SECONDS)
        hangs = collector.is_alive()
        if hangs:
            os.close(os.open(workspace.build / "out", os.O_WRONLY))
        collector.join()
        return hangs


def huge_output(world: World) -> bool:
    most = MIB if world.has("largest output") else GIB
    made = _made(world, "os.truncate(os.open('out', os.O_CREAT | os.O_RDWR), 20_000_000)", max_bytes=most)
    return made is not None


DAEMON = """
if os.fork() == 0:
    os.setsid()
    import signal
    for one in (1, 2, 3, 15):
        signal.signal(one, signal.SIG_IGN)
    if os.fork():
        os._exit(0)
    null = os.open("/dev/null", os.O_RDWR)
    for number in range(3):
        os.dup2(null, number)
    for number in range(100_000):
        with open("out", "w") as file:
            file.write(str(number))
        time.sleep(0.02)
    os._exit(0)
while not os.path.exists("out"):
    time.sleep(0.01)
print("left")
"""


def daemon(world: World) -> bool:
    """Leave a daemon that changes the output while it is collected."""
    groups = contextlib.nullcontext()
    if not world.has("control groups"):
        groups = patch.object(sandboxes, "make_groups", lambda limits: ControlGroups())  # type: ignore[assignment]
    with world.sandbox.workspace(world.source) as workspace, groups:
        world.run(DAEMON, workspace=workspace)
        try:
            return _changes(workspace.build / "out") if world.processes(workspace) else False
        finally:
            while pids := world.processes(workspace):
                _end({pid: os.pidfd_open(pid) for pid in pids})


def _changes(path: Path) -> bool:
    first = path.read_text()
    until = time.monotonic() + CHANGING_SECONDS
    while time.monotonic() < until:
        if path.read_text() != first:
            return True
        time.sleep(0.02)
    return False


def outlive_the_supervisor(world: World) -> bool:
    """Go on when the supervisor is killed."""
    command = [
        sys.executable,
        "-m",
        "tests.hostile.dying",
        world.backend,
        str(world.folder / "dying"),
        *world.off,
    ]
    supervisor = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
    assert supervisor.stdout is not None
    with supervisor:
        line = supervisor.stdout.readline().split()
        assert line[:1] == ["running"], line
        job = Workspace(world.folder, int(line[1]), True, int(line[2]))
        pids = {pid: os.pidfd_open(pid) for pid in world.processes(job)}
        supervisor.kill()
    assert pids
    try:
        return not all(select.select([descriptor], [], [], 1.5)[0] for descriptor in pids.values())
    finally:
        _end(pids)


def _end(pids: dict[int, int]) -> None:
    """Kill processes, and take in those that came to us as orphans: a job has made us their sub-reaper."""
    for pid, descriptor in pids.items():
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        select.select([descriptor], [], [], 20.0)
        os.close(descriptor)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, 0)


_COLLECTED = {"bubblewrap": ("links not followed",), "gvisor": ("links not followed",)}

ATTACKS = (
    Attack("give a link to the supervisor's key as output", _COLLECTED, link),
    Attack("give an output behind a linked folder", _COLLECTED, linked_folder),
    Attack("give a device as output", {"bubblewrap": ("links not followed", "regular files only")}, device),
    Attack("give a pipe as output", {"bubblewrap": ("regular files only",)}, pipe),
    Attack("have the supervisor wait for a pipe", {"bubblewrap": ("pipes not waited for",)}, waiting_pipe),
    Attack(
        "give a giant sparse output",
        {"bubblewrap": ("largest output",), "gvisor": ("largest output",)},
        huge_output,
    ),
    Attack(
        "change the output while it is collected (daemon)",
        dict.fromkeys(("bubblewrap", "runc"), ("process namespace", "control groups")),
        daemon,
    ),
    Attack("outlive a killed supervisor", everywhere("die-with-parent"), outlive_the_supervisor),
)
