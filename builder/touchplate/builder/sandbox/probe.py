"""What a host's sandboxes really give, found out by looking from inside and from outside: what probes share.

The name under which results are signed (`builder.id`) depends on it: `bubblewrap` only with a uid of its own,
the system call filter and an empty network namespace. With less, builds run and are compared, and nothing is
signed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from touchplate.builder.errors import HostLack
from touchplate.builder.plan import Limits
from touchplate.builder.sandbox.workspace import JOB, Workspace, locked_folder

if TYPE_CHECKING:
    from touchplate.builder.sandbox.bubblewrap import Sandbox

BACKEND = "bubblewrap"

PYTHON = "/usr/bin/python3"
"""Interpreter that runs our helpers inside: /usr is shown there, a virtual environment is not."""

LIMITS = Limits(wall_seconds=30.0)
"""Of a look around, which takes a tenth of a second where the machine is not busy."""

SECCOMP_FILTER = "2"
"""How /proc says that a process has a filter: SECCOMP_MODE_FILTER, proc(5)."""

LOOK = """
import json, os, socket, subprocess, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
def can_open(path):
    try:
        open(path).close()
    except OSError:
        return False
    return True
def can_socket(family, kind):
    try:
        socket.socket(family, kind).close()
    except OSError:
        return False
    return True
def interfaces():
    return [line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line]
def nested_user_namespace():
    command = ["/usr/bin/unshare", "-U", "/usr/bin/true"]
    return not subprocess.run(command, stderr=subprocess.DEVNULL).returncode
def leave_marker():
    open("/build/marker", "w").close()
def seen():
    return {
        "ambient": status["CapAmb"].strip(), "bounding": status["CapBnd"].strip(),
        "capabilities": status["CapEff"].strip(), "permitted": status["CapPrm"].strip(),
        "interfaces": interfaces(),
        "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in os.listdir("/proc/self/ns")},
        "no_new_privileges": status["NoNewPrivs"].strip() == "1",
        "secret": can_open("/secret"), "seccomp": status["Seccomp"].strip(),
        "sockets": [n for n in ("AF_INET6", "AF_NETLINK", "AF_PACKET") if can_socket(getattr(socket, n), 3)],
    }
"""
"""Python that defines `seen()`, what a process finds around itself, and the parts of it."""

_SECRET = "/secret"  # noqa: S105  an inside path
_NAMESPACES = frozenset({"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"})
_NOTHING: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class Probe:
    """What was seen. Every field states a protection; False or empty means that it is not there."""

    bubblewrap: str
    """Version."""
    own_uid: bool = False
    """The build runs as another kernel uid than the supervisor, and cannot read the supervisor's files."""
    seccomp: bool = False
    """The filter is active, and refuses what it should."""
    empty_network: bool = False
    """A network namespace of its own that holds nothing but `lo`."""
    namespaces: tuple[str, ...] = ()
    """Namespaces that differ from the supervisor's."""
    no_new_privileges: bool = False
    no_capabilities: bool = False
    no_nested_user_namespace: bool = False
    limits: dict[str, str] = field(default_factory=dict)
    """What holds memory, processes and processor time: cgroup-v1, cgroup-v2, or rlimit (each process for
    itself)."""
    own_kernel: str = ""
    """Release of the kernel that the command talks to; empty when that is the host's."""

    @property
    def missing(self) -> tuple[str, ...]:
        """What a signature would need and this host does not give; empty when all is there."""
        needed = {
            "a uid of its own (run the builder as root)": self.own_uid,
            "the system call filter": self.seccomp,
            "an empty network namespace": self.empty_network,
        }
        return tuple(name for name, given in needed.items() if not given)

    @property
    def groups(self) -> bool:
        """Whether control groups hold memory and processes of all the job's ids together."""
        return all(self.limits.get(name, "").startswith("cgroup") for name in ("memory", "pids"))

    @property
    def backend(self) -> str | None:
        """Name to sign under (last part but one of `builder.id`); None: results may not be signed."""
        return None if self.missing else BACKEND

    def describe(self) -> dict[str, Any]:
        """For the sandbox report: JSON without floats."""
        return {**asdict(self), "namespaces": list(self.namespaces)}


@dataclass(frozen=True)
class Lookout:
    """Where a probe looks around: an empty workspace, and in it a file that only the supervisor may read."""

    workspace: Workspace
    secret: Path

    def look(
        self, sandbox: Sandbox, script: str, what: str, environment: Mapping[str, str] = _NOTHING
    ) -> dict[str, Any]:
        """What `script`, run after LOOK in `sandbox`, prints as JSON.

        Raises HostLack when it cannot be run; `what` is then said not to work.
        """
        from touchplate.builder.sandbox.bubblewrap import Job

        job = Job(
            command=(PYTHON, "-I", "-S", "-c", LOOK + script),
            shown={_SECRET: self.secret},
            environment=environment,
            limits=LIMITS,
        )
        outcome = sandbox.run(self.workspace, job)
        if outcome.exit_code or outcome.stopped:
            said = outcome.log.decode(errors="replace").strip() or outcome.stopped
            raise HostLack(f"{what} does not work on this host: {said[-500:]!r}", reason="no-sandbox")
        seen: dict[str, Any] = json.loads(outcome.log)
        return seen

    @property
    def is_nobodys(self) -> bool:
        """Whether the marker that a script left is of an id of the job's own, as the kernel counts."""
        owner = (self.workspace.build / "marker").stat().st_uid
        ids = range(self.workspace.uid, self.workspace.uid + self.workspace.ids)
        return owner not in (0, os.getuid()) and owner in ids


@contextmanager
def opened_lookout(sandbox: Sandbox) -> Iterator[Lookout]:
    """A place to look around in, gone afterwards. Raises HostLack."""
    # In the work folder, which the next start tidies up: in /tmp each killed process would leave another one.
    with locked_folder(sandbox.config.work, JOB) as empty, sandbox.workspace(empty) as workspace:
        secret = workspace.place(0, b"secret")
        secret.chmod(0o600)
        yield Lookout(workspace, secret)


def differing_namespaces(seen: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the namespaces in `seen` (name → link in /proc/self/ns) that are not the supervisor's."""
    # By name: a process that has given up root may not list the folder, and reads what stands in it.
    own = {name: str(Path("/proc/self/ns", name).readlink()) for name in _NAMESPACES}
    return tuple(sorted(name for name, link in own.items() if seen.get(name, link) != link))
