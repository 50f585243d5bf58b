"""What holds a build down: resource limits per process, control groups for all of its processes together.

Control groups are used as far as this host lets us write them, version 1 and 2, each controller for itself;
what could not be had is said in the sandbox report, never assumed.
"""

import contextlib
import os
import resource
import secrets
import signal
from dataclasses import dataclass, field
from pathlib import Path

from touchplate.builder.delegation import CONTROLLERS, find_places
from touchplate.builder.plan import MIB, Limits

OPEN_FILES = 16384
"""Descriptors per process: a linker or JVM opens thousands, the host has to bear 512 such processes."""

FILE_SLACK_BYTES = 64 * MIB
"""A single file may pass the workspace's limit by this much, so that the watcher finds it too large: at the
limit itself the kernel would end the writer first, and the failure would look like the build's own."""

NO_CORE_BYTES = 1
"""Not 0: where core_pattern names a program, the kernel starts it, as root of the host and fed by the build,
whatever this limit is, except for 1 (core(5), fs/coredump.c). A core file needs a page at least, so there is
none either. The filter keeps a build from setting another."""

_PREFIX = "touchplate-"
_TASK_SHARES, _TASK_WEIGHT, _MOST_WEIGHT = 1024, 100, 10_000  # sched(7), cgroup v1 and v2: of one process


@dataclass
class ControlGroups:
    """The control groups of one job. Made by `make_groups`; owned by the thread that runs the job."""

    folders: dict[str, Path] = field(default_factory=dict)
    """Controller → folder of this job, for those that could be had."""
    versions: dict[str, int] = field(default_factory=dict)
    lacks: list[str] = field(default_factory=list)
    """Why the others could not be had, with the remedy; empty when all are there."""
    _limits: dict[Path, str] = field(default_factory=dict)

    def add(self, pid: int) -> None:
        """Move a process (and all it will start) into the groups. Raises OSError."""
        for folder in set(self.folders.values()):
            (folder / "cgroup.procs").write_text(str(pid))

    def members(self) -> set[int]:
        """Process ids that are in any of the groups now."""
        found: set[int] = set()
        for folder in set(self.folders.values()):
            with contextlib.suppress(OSError):
                found.update(int(line) for line in (folder / "cgroup.procs").read_text().split())
        return found

    def kill(self) -> None:
        """SIGKILL every member; to be repeated until `members` is empty."""
        for folder in set(self.folders.values()):
            with contextlib.suppress(OSError):
                (folder / "cgroup.kill").write_text("1")
        for pid in self.members():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def was_out_of_memory(self) -> bool:
        """Whether the kernel killed a member for memory."""
        if "memory" not in self.folders:
            return False
        name = "memory.events" if self.versions["memory"] == 2 else "memory.oom_control"
        with contextlib.suppress(OSError):
            for line in (self.folders["memory"] / name).read_text().splitlines():
                key, _, value = line.partition(" ")
                if key == "oom_kill":
                    return value.strip() != "0"
        return False

    def lost(self) -> list[str]:
        """Controllers whose limit is no longer what was set: whoever owns the tree has taken them back."""
        return sorted(
            {path.name.partition(".")[0] for path, set_to in self._limits.items() if _read(path) != set_to}
        )

    def keep(self, controller: str, version: int, folder: Path, limit: Path) -> None:
        """Take in a folder whose limit is set."""
        self.folders[controller] = folder
        self.versions[controller] = version
        self._limits[limit] = _read(limit)

    def close(self) -> None:
        """Remove the groups; they must be empty."""
        for folder in set(self.folders.values()):
            with contextlib.suppress(OSError):
                folder.rmdir()
        self.folders.clear()
        self._limits.clear()

    def describe(self) -> dict[str, str]:
        """For the sandbox report: what limits memory, processes and processor time here."""
        return {
            name: f"cgroup-v{self.versions[name]}" if name in self.folders else "rlimit"
            for name in CONTROLLERS
        }


def make_groups(limits: Limits, *, proc: Path = Path("/proc/self")) -> ControlGroups:
    """New groups with their limits set, where this process may make them; as many as the host gives."""
    places = find_places(proc)
    groups = ControlGroups()
    lacks = list(places.lacks)
    name = f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
    for place in places.usable:
        if place.controller in groups.folders:
            continue
        _remove_stale(place.parent)
        folder = place.parent / name
        try:
            folder.mkdir(exist_ok=True)
            limit = _set(folder, place.controller, place.version, limits)
        except OSError as error:
            lacks.append(f"no {place.controller} in {place.parent}: {error.strerror}")
            if folder not in groups.folders.values():
                with contextlib.suppress(OSError):
                    folder.rmdir()
            continue
        groups.keep(place.controller, place.version, folder, limit)
    if missing := [one for one in CONTROLLERS if one not in groups.folders]:
        groups.lacks = lacks or [f"no control groups for {', '.join(missing)} are mounted here"]
    return groups


def group_lacks() -> tuple[str, ...]:
    """Why control groups do not hold all that they could here, with remedies; empty when they do."""
    groups = make_groups(Limits())
    groups.close()
    return tuple(groups.lacks)


def _set(folder: Path, controller: str, version: int, limits: Limits) -> Path:
    """Set the limit of one controller; the file in which it stands."""
    if controller == "pids":
        name, value = "pids.max", limits.processes
    elif controller == "cpu":
        # A job counts as one process for each processor, however many it starts: the rest of the host lives.
        cores = os.cpu_count() or 1
        weight = min(_TASK_WEIGHT * cores, _MOST_WEIGHT)
        name, value = ("cpu.weight", weight) if version == 2 else ("cpu.shares", _TASK_SHARES * cores)
    else:
        name, value = ("memory.max" if version == 2 else "memory.limit_in_bytes"), limits.memory_bytes
        # Swap would only make a build that is too big slow as well; without swap accounting there is no file.
        swap = "memory.swap.max" if version == 2 else "memory.swappiness"
        with contextlib.suppress(OSError):
            (folder / swap).write_text("0")
    (folder / name).write_text(str(value))
    return folder / name


def _read(path: Path) -> str:
    with contextlib.suppress(OSError):
        return path.read_text()
    return ""


def _remove_stale(parent: Path) -> None:
    """Remove empty groups that a killed supervisor left."""
    with contextlib.suppress(OSError):
        for folder in parent.glob(f"{_PREFIX}*-*"):
            pid = folder.name[len(_PREFIX) :].partition("-")[0]
            if pid.isdigit() and not Path("/proc", pid).exists():
                with contextlib.suppress(OSError):
                    folder.rmdir()  # refused by the kernel while a process is in it


def set_resource_limits(pid: int, limits: Limits, groups: ControlGroups, *, own_uid: bool) -> None:
    """Limits per process, set from outside on a process that has not started the build yet."""
    pairs = {
        resource.RLIMIT_CORE: NO_CORE_BYTES,
        resource.RLIMIT_FSIZE: limits.workspace_bytes + FILE_SLACK_BYTES,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        # A process that spins on every core until the wall clock ends stays below this.
        resource.RLIMIT_CPU: int(limits.wall_seconds) * (os.cpu_count() or 1) + 1,
    }
    if own_uid:
        # Counted per uid: under a shared uid it would count the operator's other processes too.
        pairs[resource.RLIMIT_NPROC] = limits.processes
    if "memory" not in groups.folders:
        # Not RLIMIT_AS: a JVM reserves far more address space than it uses.
        pairs[resource.RLIMIT_DATA] = limits.memory_bytes
    for which, value in pairs.items():
        _, hard = resource.prlimit(pid, which)
        bounded = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.prlimit(pid, which, (bounded, bounded))
