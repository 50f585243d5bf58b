"""The sandbox of a second opinion: gVisor, a kernel of its own in user space, inside the walls of the first.

    supervisor ─ idrange.py = bwrap ─ runsc (kernel and file server of gVisor) ─ the command

The command never calls the host's kernel: gVisor's `ptrace` platform stops each of its system calls and
answers it from a kernel written in Go. That kernel and its file server are held by what holds every build
(`ranged.py`: namespaces, empty network, filter, control groups, die-with-parent, no capability of the host),
so whoever breaks out of gVisor stands where the tools of an image's build stand: root of ids that are
nobody's, with a filter that leaves mounts, namespaces and tracing. The host's Linux and gVisor share no code,
and two results under both depend less on either.
"""

import json
from copy import copy
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, Self

from touchplate.builder.limits import FILE_SLACK_BYTES, OPEN_FILES
from touchplate.builder.plan import RESERVED_FOLDER, Limits, Surroundings
from touchplate.builder.process import run_tool
from touchplate.builder.sandbox.bubblewrap import (
    SHM_BYTES,
    TMP_BYTES,
    Job,
    SandboxConfig,
    environment_of,
    prepare_work,
    program,
    root_options,
    show_options,
)
from touchplate.builder.sandbox.probe_gvisor import probe_gvisor
from touchplate.builder.sandbox.ranged import RangedSandbox
from touchplate.builder.sandbox.seccomp import make_filter
from touchplate.builder.sandbox.workspace import Workspace

CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETFCAP", "SETGID", "SETPCAP"),
    *("SETUID", "SYS_ADMIN", "SYS_CHROOT", "SYS_PTRACE"),
)
"""What runsc has in the namespace of the job's ids (capabilities(7)): to change into gVisor's own namespaces,
and to own files as the build says. None of them reaches beyond those ids, and the command has none."""

TASKS_PER_PROCESS = 6
"""Tasks of the host that stand for one process of the command; 5 were seen, and fewer for its threads."""

OWN_TASKS = 64
"""Tasks of gVisor itself, 42 when nothing else runs."""

MEMORY_FILE_BYTES = 1 << 40
"""Largest file that gVisor's own processes may make: the memory of the command is one, full of holes, and its
size says little. The command's own files are limited by gVisor."""

_BUNDLE = f"{RESERVED_FOLDER}/gvisor"
_RUNSC = f"{RESERVED_FOLDER}/runsc"  # one static program, also where the root is not the host's
_STATE = "/tmp/runsc"  # noqa: S108  in the outer /tmp, which the command does not see
_CONFIG_NUMBER = -1  # among a workspace's placed files: what a job places is counted from 0

# Sets the umask, which this runsc does not take from its configuration, and becomes the command.
_START = 'umask "$1"; shift; exec "$@"'


class GvisorSandbox(RangedSandbox):
    """Starts jobs under gVisor. Use `open_gvisor_sandbox`, which also probes."""

    has_gvisor = True
    """False only for what `around` gives."""

    def __init__(self, config: SandboxConfig) -> None:
        super().__init__(config)
        self.runsc = program("runsc", "runsc")
        version = run_tool([str(self.runsc), "--version"]).splitlines()
        self.runsc_version = version[0].removeprefix("runsc version ") if version else ""

    def _inner_id(self, around: Surroundings) -> int:
        return around.uid

    def _make_filter(self) -> bytes:
        return make_filter(containers=True, tracing=True)

    def _limits_outside(self, limits: Limits) -> Limits:
        return replace(
            limits,
            processes=limits.processes * TASKS_PER_PROCESS + OWN_TASKS,
            workspace_bytes=max(limits.workspace_bytes, MEMORY_FILE_BYTES),
        )

    def around(self) -> Self:
        """The same walls with nothing of gVisor in them, as whoever breaks out of it finds them: the probe
        looks around there."""
        other = copy(self)
        other.has_gvisor = False
        return other

    def _inside(self, job: Job) -> tuple[str, ...]:
        if not self.has_gvisor:
            return job.command
        return (_RUNSC, *self._flags(job), "run", "--bundle", _BUNDLE, "build")

    def _flags(self, job: Job) -> list[str]:
        """Flags of runsc."""
        return [
            *("--root", _STATE, "--rootless", "--platform=ptrace", "--network=none"),
            "--ignore-cgroups",  # runsc and all it starts are in the job's own already
            f"--host-uds={'open' if job.calls_out else 'none'}",
        ]

    def _arguments(self, workspace: Workspace, job: Job) -> list[str]:
        around = job.surroundings
        config = workspace.place(_CONFIG_NUMBER, json.dumps(self._config(job)).encode())
        return [
            *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup"),
            *("--die-with-parent", "--new-session", *root_options(job.root)),
            *("--proc", "/proc", "--dev", "/dev", "--dir", "/sys", "--remount-ro", "/dev"),
            *("--perms", "0700", "--size", str(SHM_BYTES), "--tmpfs", "/tmp"),  # noqa: S108
            *_open_parents(job),
            *("--bind", str(workspace.build), around.build, "--bind", str(workspace.home), around.home),
            *show_options(job),
            *("--ro-bind", str(config), f"{_BUNDLE}/config.json"),
            *("--ro-bind", str(self.runsc), _RUNSC),
            *("--remount-ro", "/", "--clearenv", "--setenv", "PATH", "/usr/sbin:/usr/bin"),
            *("--hostname", around.host_name, "--chdir", "/", "--cap-drop", "ALL"),
            *(word for name in CAPABILITIES for word in ("--cap-add", f"CAP_{name}")),
        ]

    def _config(self, job: Job) -> dict[str, Any]:
        """What runsc is told to run (OCI runtime specification, config.json)."""
        around = job.surroundings
        return {
            "ociVersion": "1.0.2",
            "process": {
                "user": {"uid": around.uid, "gid": around.uid},
                "cwd": around.build,
                "env": [f"{name}={value}" for name, value in sorted(environment_of(job).items())],
                "noNewPrivileges": True,
                "capabilities": {},
                "rlimits": [
                    _limit("FSIZE", job.limits.workspace_bytes + FILE_SLACK_BYTES),
                    _limit("NOFILE", OPEN_FILES),
                ],
                "args": ["/bin/sh", "-c", _START, "sh", f"{job.umask:04o}", *job.command],
            },
            "root": {"path": "/"},
            "hostname": around.host_name,
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                *(_memory(path, size) for path, size in (("/tmp", TMP_BYTES), ("/dev/shm", SHM_BYTES))),  # noqa: S108
            ],
            "linux": {"namespaces": [{"type": name} for name in ("ipc", "mount", "network", "pid", "uts")]},
        }


def _open_parents(job: Job) -> list[str]:
    """Bubblewrap's options for folders above what is shown: it makes them for itself alone (0700), and the
    command has another id."""
    own = (job.surroundings.build, job.surroundings.home, f"{_BUNDLE}/config.json")
    shown = [*own, *job.shown, *(bind.inside for bind in job.binds)]
    parents = {str(parent) for path in shown for parent in PurePosixPath(path).parents[:-1]}
    made = sorted(parents - set(shown))
    return [word for path in made for word in ("--perms", "0755", "--dir", path)]


def _limit(name: str, value: int) -> dict[str, Any]:
    return {"type": f"RLIMIT_{name}", "hard": value, "soft": value}


def _memory(path: str, size: int) -> dict[str, Any]:
    options = ["nosuid", "nodev", "mode=1777", f"size={size}"]
    return {"destination": path, "type": "tmpfs", "source": "tmpfs", "options": options}


def open_gvisor_sandbox(config: SandboxConfig) -> GvisorSandbox:
    """A gVisor sandbox that was probed and works; leftovers of killed ones are removed.

    Raises HostLack when bubblewrap or runsc is missing or does not start here.
    """
    prepare_work(config)
    sandbox = GvisorSandbox(config)
    sandbox.probe = probe_gvisor(sandbox)
    return sandbox
