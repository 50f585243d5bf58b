"""What the sandbox of this host really gives, found out by looking from inside and from outside.

The name under which results are signed (`builder.id`) depends on it: `bubblewrap` only with a uid of its own,
the system call filter and an empty network namespace. With less, builds run and are compared, and nothing is
signed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from touchplate.builder.errors import HostLack
from touchplate.builder.plan import Limits
from touchplate.builder.sandbox.workspace import JOB, locked_folder

if TYPE_CHECKING:
    from touchplate.builder.sandbox.bubblewrap import Sandbox

BACKEND = "bubblewrap"

PYTHON = "/usr/bin/python3"
"""Interpreter that runs our helpers inside: /usr is shown there, a virtual environment is not."""

_SECRET = "/secret"  # noqa: S105  an inside path
_NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
_COMPARED = (*_NAMESPACES, "user")
_PROBE_LIMITS = Limits(wall_seconds=30.0)
_SECCOMP_FILTER = "2"  # SECCOMP_MODE_FILTER, proc(5)

_SCRIPT = """
import json, os, socket, subprocess
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
nested = not subprocess.run(["/usr/bin/unshare", "-U", "/usr/bin/true"], stderr=subprocess.DEVNULL).returncode
open("/build/marker", "w").close()
print(json.dumps({
    "capabilities": [status[name].strip() for name in ("CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "interfaces": [line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line],
    "nested": nested, "no_new_privileges": status["NoNewPrivs"].strip() == "1",
    "secret": can_open("/secret"), "seccomp": status["Seccomp"].strip(),
    "sockets": [n for n in ("AF_INET6", "AF_NETLINK", "AF_PACKET") if can_socket(getattr(socket, n), 3)],
    "user": os.readlink("/proc/self/ns/user"),
}))
"""


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


def probe_sandbox(sandbox: Sandbox) -> Probe:
    """Run a look-around inside and judge it. Raises HostLack when no sandbox starts at all."""
    from touchplate.builder.sandbox.bubblewrap import Job

    # In the work folder, which the next start tidies up: in /tmp each killed process would leave another one.
    with locked_folder(sandbox.config.work, JOB) as empty, sandbox.workspace(empty) as workspace:
        secret = workspace.place(0, b"secret")
        secret.chmod(0o600)
        job = Job(command=(PYTHON, "-I", "-S", "-c", _SCRIPT), shown={_SECRET: secret}, limits=_PROBE_LIMITS)
        outcome = sandbox.run(workspace, job)
        if outcome.exit_code or outcome.stopped:
            said = outcome.log.decode(errors="replace").strip()
            raise HostLack(f"the sandbox does not work on this host: {said[-500:]!r}", reason="no-sandbox")
        marker = workspace.build / "marker"
        own_uid = marker.stat().st_uid not in (0, os.getuid())
        seen = json.loads(outcome.log)
        return _judge(sandbox, seen, outcome.status, own_uid=own_uid)


def _judge(sandbox: Sandbox, seen: dict[str, Any], status: dict[str, Any], *, own_uid: bool) -> Probe:
    namespaces = [name for name in _NAMESPACES if status.get(f"{name}-namespace") not in (None, _own(name))]
    if seen["user"] != str(Path("/proc/self/ns/user").readlink()):
        namespaces.append("user")
    return Probe(
        bubblewrap=sandbox.version,
        own_uid=own_uid and not seen["secret"],
        seccomp=seen["seccomp"] == _SECCOMP_FILTER and not seen["sockets"],
        empty_network="net" in namespaces and seen["interfaces"] == ["lo"],
        namespaces=tuple(sorted(namespaces)),
        no_new_privileges=seen["no_new_privileges"],
        no_capabilities=all(int(value, 16) == 0 for value in seen["capabilities"]),
        no_nested_user_namespace=not seen["nested"],
        limits=sandbox.limits_by(_PROBE_LIMITS),
    )


def differing_namespaces(seen: Mapping[str, str]) -> tuple[str, ...]:
    """Names of the namespaces in `seen` (name → link in /proc/self/ns) that are not the supervisor's."""
    own = {path.name: str(path.readlink()) for path in Path("/proc/self/ns").iterdir()}
    return tuple(sorted(name for name, link in seen.items() if name in _COMPARED and link != own.get(name)))


def _own(name: str) -> int:
    return Path("/proc/self/ns", name).stat().st_ino
