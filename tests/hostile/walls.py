"""The product's three sandboxes, each with chosen walls left out. Only here: the product has no such switch.

A wall is one protection by name. `Bubblewrap`, `Runc` and `Gvisor` are the product's classes; what they start
is edited just before it starts, so that everything else stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from touchplate.builder.sandbox.bubblewrap import Job, Sandbox, SandboxConfig
from touchplate.builder.sandbox.gvisor import GvisorSandbox
from touchplate.builder.sandbox.runc import TEMPORARY, RuncSandbox
from touchplate.builder.sandbox.workspace import Workspace

ALLOW_ALL = bytes.fromhex("06000000 0000ff7f")
"""A filter that refuses nothing: BPF_RET, SECCOMP_RET_ALLOW."""

_ALL = (
    "--unshare-user",
    "--unshare-pid",
    "--unshare-net",
    "--unshare-ipc",
    "--unshare-uts",
    "--unshare-cgroup",
)
_NAMESPACES = {
    "network namespace": "--unshare-net",
    "process namespace": "--unshare-pid",
    "ipc namespace": "--unshare-ipc",
}
_HOSTS = {"private /dev/shm": "/dev/shm", "private /tmp": "/tmp"}


class Walls:
    """What was left out, and what then shows."""

    def __init__(self, off: frozenset[str] = frozenset(), exposed: Path | None = None) -> None:
        self.off = off
        self.exposed = exposed
        """A folder of the host that stands inside when the wall `private root` is left out."""

    def edit(self, arguments: list[str], job: Job) -> list[str]:
        """Bubblewrap's options without these walls."""
        words = _swap(arguments, ("--unshare-all", "--unshare-user"), _ALL)
        for name, option in _NAMESPACES.items():
            if name in self.off:
                words.remove(option)
        if not {"process namespace", "private /proc"}.isdisjoint(self.off):
            words = _swap(words, ("--proc", "/proc"), ("--bind", "/proc", "/proc"))
        for name, path in _HOSTS.items():
            if name in self.off:
                place = words.index(path)  # after `--perms 1777 --size N --tmpfs`
                words[place - 5 : place + 1] = ["--bind", path, path]
        if "die-with-parent" in self.off:
            words.remove("--die-with-parent")
        if {"user namespace limit", "second user namespace"} & self.off and "--disable-userns" in words:
            words.remove("--disable-userns")
        if "no capabilities" in self.off:
            words = _swap(words, ("--cap-drop", "ALL"), ("--cap-add", "ALL"))
        if "second user namespace" in self.off:
            uid = str(job.surroundings.uid)
            words = _swap(words, ("--uid", uid, "--gid", uid), ("--uid", "0", "--gid", "0"))
        if "read-only" in self.off:
            for inside in job.shown:
                words[words.index(inside) - 2] = "--bind"
        if "private /sys" in self.off:
            words = _swap(words, ("--tmpfs", "/sys"), ())
            words = ["--bind", "/sys", "/sys", *words]
        if "private root" in self.off and self.exposed is not None:
            words = [*_expose(self.exposed), *_swap(words, ("--symlink", TEMPORARY, "/var/tmp"), ())]
        return words


def _expose(folder: Path) -> list[str]:
    above = [
        word for parent in [*folder.parents][-2::-1] for word in ("--perms", "0755", "--dir", str(parent))
    ]
    return [*above, "--bind", str(folder), str(folder)]


def _swap(words: Sequence[str], old: tuple[str, ...], new: tuple[str, ...]) -> list[str]:
    for place in range(len(words)):
        if tuple(words[place : place + len(old)]) == old:
            return [*words[:place], *new, *words[place + len(old) :]]
    return list(words)


class Bubblewrap(Sandbox):
    """The usual sandbox."""

    def __init__(self, config: SandboxConfig, walls: Walls) -> None:
        self.walls = walls
        super().__init__(config)
        if "own uid" in walls.off:
            self._setpriv = None

    def _make_filter(self) -> bytes:
        return ALLOW_ALL if "filter" in self.walls.off else super()._make_filter()

    def _arguments(self, workspace: Workspace, job: Job) -> list[str]:
        return self.walls.edit(super()._arguments(workspace, job), job)


class Runc(RuncSandbox):
    """That of images; a job's command is root in its user namespace, as after breaking out of runc."""

    def __init__(self, config: SandboxConfig, walls: Walls) -> None:
        self.walls = walls
        super().__init__(config)

    def _make_filter(self) -> bytes:
        return ALLOW_ALL if "filter" in self.walls.off else super()._make_filter()

    def _argv(self, workspace: Workspace, job: Job, descriptors: tuple[int, int, int]) -> tuple[str, ...]:
        words = super()._argv(workspace, job, descriptors)
        return words[words.index(str(self._bwrap)) :] if "own uid" in self.walls.off else words

    def _arguments(self, workspace: Workspace, job: Job) -> list[str]:
        return self.walls.edit(super()._arguments(workspace, job), job)

    def _inside(self, job: Job) -> tuple[str, ...]:
        # As real root it cannot prepare the sandbox: the user namespace is no longer its own.
        unprepared = {"user namespace limit", "own uid"} & self.walls.off
        return job.command if unprepared else super()._inside(job)


class Gvisor(GvisorSandbox):
    """The one with a kernel of its own."""

    def __init__(self, config: SandboxConfig, walls: Walls) -> None:
        self.walls = walls
        super().__init__(config)

    def _make_filter(self) -> bytes:
        # Without a filter, too, when it is to have the network of the host: it asks for that by netlink.
        unfiltered = {"filter", "gVisor's network"} & self.walls.off
        return ALLOW_ALL if unfiltered else super()._make_filter()

    def _arguments(self, workspace: Workspace, job: Job) -> list[str]:
        return self.walls.edit(super()._arguments(workspace, job), job)

    def _flags(self, job: Job) -> list[str]:
        flags = super()._flags(job)
        if "gVisor's network" in self.walls.off:
            flags = _swap(flags, ("--network=none",), ("--network=host",))
        if "gVisor's sockets" in self.walls.off:
            flags = _swap(flags, ("--host-uds=none",), ("--host-uds=open",))
        return flags

    def _inside(self, job: Job) -> tuple[str, ...]:
        return job.command if "own kernel" in self.walls.off else super()._inside(job)

    def _config(self, job: Job) -> dict[str, Any]:
        config = super()._config(job)
        if "gVisor's network" in self.walls.off:
            config["linux"]["namespaces"].remove({"type": "network"})
        if "clean environment" in self.walls.off:
            config["process"]["env"].append("TOUCHPLATE_HOSTILE_SECRET=the secret of the supervisor")
        return config


SANDBOXES: dict[str, type[Bubblewrap] | type[Runc] | type[Gvisor]] = {
    "bubblewrap": Bubblewrap,
    "runc": Runc,
    "gvisor": Gvisor,
}
