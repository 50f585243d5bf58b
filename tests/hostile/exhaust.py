"""Attacks on the host's memory, disk, processes, time and log. Their walls are limits: left out is raised."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

from tests.hostile.attack import Attack, everywhere
from tests.hostile.world import MIB, World

from touchplate.builder import delegation
from touchplate.builder import limits as limits_module
from touchplate.builder.plan import GIB
from touchplate.builder.sandbox import bubblewrap as sandbox
from touchplate.builder.sandbox import gvisor, workspace


def processes(world: World) -> bool:
    """A fork bomb of 90 processes where 60 are allowed."""
    script = """
count = 0
while count < 90 and os.fork():
    count += 1
if count < 90:
    time.sleep(1000)
print("ESCAPED")
"""
    return world.works(script, limits=world.limits(processes=60 if world.has("limit of processes") else 512))


def memory(world: World) -> bool:
    limits = world.limits(memory_bytes=(150 if world.has("limit of memory") else 1500) * MIB)
    return world.works("x = b'1' * 400_000_000\nprint('ESCAPED')", limits=limits)


def memory_of_many(world: World) -> bool:
    """Eight processes, each below the limit."""
    limits = world.limits(memory_bytes=(150 if world.has("limit of memory") else 1500) * MIB)
    script = """
for _ in range(7):
    if os.fork() == 0:
        x = b"1" * 50_000_000
        time.sleep(1000)
x = b"1" * 50_000_000
time.sleep(0.5)
os.waitpid(-1, os.WNOHANG)[0] or print("ESCAPED")
"""
    return world.works(script, limits=limits)


def _fill(count: int) -> str:
    """Python that writes so many megabytes into /dev/shm."""
    return f"""
with open("/dev/shm/x", "wb") as file:
    for _ in range({count}):
        file.write(b"1" * 1_000_000)
print("ESCAPED")
"""


def memory_in_shm(world: World) -> bool:
    limits = world.limits(memory_bytes=(150 if world.has("limit of memory") else 1500) * MIB)
    return world.works(_fill(220), limits=limits)


def overfull_shm(world: World) -> bool:
    """Fill /dev/shm beyond its own size, within the limit of memory."""
    size = sandbox.SHM_BYTES if world.has("size of /dev/shm") else 600 * MIB
    with patch.object(sandbox, "SHM_BYTES", size):
        return world.works(_fill(280))


def _disk(world: World, script: str) -> bool:
    """Whether the job came to its end with so much written."""
    limits = world.limits(workspace_bytes=20 * MIB if world.has("limit of disk") else GIB)
    outcome = world.run(script, limits=limits)
    return outcome.stopped == "" and b"ESCAPED" in outcome.log


def disk(world: World) -> bool:
    return _disk(world, "open('bomb', 'wb').write(b'1' * 50_000_000)\nprint('ESCAPED')")


def disk_in_home(world: World) -> bool:
    script = """
for n in range(50):
    open(os.environ["HOME"] + f"/{n}", "wb").write(b"1" * 1_000_000)
print("ESCAPED")
"""
    return _disk(world, script)


def disk_without_a_name(world: World) -> bool:
    """A file that was removed and is still open: no walk finds it."""
    script = """
file = open("bomb", "wb")
os.unlink("bomb")
file.write(b"1" * 50_000_000)
file.flush()
time.sleep(2)
print("ESCAPED")
"""
    return _disk(world, script)


def huge_file(world: World) -> bool:
    """A sparse file of 300 MB, of which no block is written."""
    script = """
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
os.truncate(os.open("x", os.O_CREAT | os.O_RDWR), 300_000_000)
print("ESCAPED")
"""
    return _disk(world, script)


def inodes(world: World) -> bool:
    """More files than any build makes (the limit is lowered, for speed)."""
    limit = 500 if world.has("limit of files") else workspace.TREE_ENTRIES
    with patch.object(workspace, "TREE_ENTRIES", limit):
        outcome = world.run(
            "for n in range(1000):\n    os.close(os.open(str(n), os.O_CREAT))\nprint('ESCAPED')"
        )
    return outcome.stopped == "" and b"ESCAPED" in outcome.log


def deep_tree(world: World) -> bool:
    limit = workspace.TREE_DEPTH if world.has("limit of depth") else 1000
    with patch.object(workspace, "TREE_DEPTH", limit):
        outcome = world.run("for n in range(300):\n    os.mkdir('d')\n    os.chdir('d')\nprint('ESCAPED')")
    return outcome.stopped == "" and b"ESCAPED" in outcome.log


def open_files(world: World) -> bool:
    limit = 300 if world.has("limit of open files") else limits_module.OPEN_FILES
    with patch.object(limits_module, "OPEN_FILES", limit), patch.object(gvisor, "OPEN_FILES", limit):
        return world.works("kept = [os.open('/dev/null', os.O_RDONLY) for _ in range(600)]\nprint('ESCAPED')")


def log(world: World) -> bool:
    limits = world.limits(log_bytes=100_000 if world.has("limit of the log") else 50 * MIB)
    outcome = world.run("for _ in range(50):\n    os.write(1, b'flood ' * 10_000)", limits=limits)
    return len(outcome.log) > 200_000


def wall_clock(world: World) -> bool:
    """Ignore every signal and stay."""
    limits = world.limits(wall_seconds=1 if world.has("limit of time") else 20)
    script = """
import signal
for one in (1, 2, 3, 15):
    signal.signal(one, signal.SIG_IGN)
time.sleep(2.5)
print("ESCAPED")
"""
    return world.works(script, limits=limits)


def starve(world: World) -> bool:
    """Sixty processes that spin: whether a process outside gets less than a twelfth of what they get."""
    script = """
import signal
start, go = os.pipe()
children = []
for _ in range(60):
    child = os.fork()
    if child == 0:
        os.close(go)
        os.read(start, 1)
        os.setsid()  # where the kernel gives each session a share of its own
        while True:
            pass
    children.append(child)
print("now", flush=True)
os.close(go)
time.sleep(1.2)
for child in children:
    os.kill(child, signal.SIGKILL)
for child in children:
    os.waitpid(child, 0)
print(sum(os.times()[2:4]))
"""
    outside = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    before: list[float] = []
    try:
        with _share_of_the_processors(world):
            outcome = world.run(script, on_line=lambda _: before.append(_processor_seconds(outside.pid)))
        taken = before[1] - before[0]
        world.said.append(f"outside {taken:.2f} s")
        return taken < float(outcome.log.split()[-1]) / 12
    finally:
        outside.kill()
        outside.wait()


@contextlib.contextmanager
def _share_of_the_processors(world: World) -> Iterator[None]:
    """The share of a job, or what it takes without this wall: as much as its sixty processes ask for."""
    with contextlib.ExitStack() as stack:
        if not world.has("share of the processors"):
            # In version 2 whatever stands beside groups that share the processors has a share, too.
            groups = limits_module.make_groups(world.limits())
            version = groups.versions.get("cpu", 0)
            groups.close()
            if version == 2:
                stack.enter_context(patch.object(limits_module, "_TASK_WEIGHT", limits_module._MOST_WEIGHT))
            else:
                stack.enter_context(patch.object(delegation, "CONTROLLERS", ("memory", "pids")))
        yield


def _processor_seconds(pid: int) -> float:
    fields = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def core_dump(world: World) -> bool:
    """Set the one limit with which the kernel neither writes a core file nor starts the host's handler."""
    script = """
import resource
resource.setrlimit(resource.RLIMIT_CORE, (0, 1))
if resource.getrlimit(resource.RLIMIT_CORE) != (1, 1):
    print("ESCAPED")
"""
    return world.works(script)


ATTACKS = (
    Attack("fork bomb", everywhere("limit of processes"), processes),
    Attack("memory bomb", everywhere("limit of memory"), memory),
    Attack("memory bomb of many processes", everywhere("limit of memory"), memory_of_many),
    Attack("memory bomb in /dev/shm", everywhere("limit of memory"), memory_in_shm),
    Attack("overfill /dev/shm", {"bubblewrap": ("size of /dev/shm",)}, overfull_shm),
    Attack("disk bomb", everywhere("limit of disk"), disk),
    Attack("disk bomb in HOME", everywhere("limit of disk"), disk_in_home),
    Attack("disk bomb without a name", everywhere("limit of disk"), disk_without_a_name),
    Attack("giant sparse file", everywhere("limit of disk"), huge_file),
    Attack("inode bomb", everywhere("limit of files"), inodes),
    Attack("tree too deep for its watcher", everywhere("limit of depth"), deep_tree),
    Attack("open too many files", everywhere("limit of open files"), open_files),
    Attack("endless log", everywhere("limit of the log"), log),
    Attack("never end", everywhere("limit of time"), wall_clock),
    Attack(
        "starve what else runs on the host",
        {"bubblewrap": ("share of the processors",), "runc": ("share of the processors",)},
        starve,
    ),
    Attack("wake the host's core dump handler", {"bubblewrap": ("filter",), "runc": ("filter",)}, core_dump),
)
