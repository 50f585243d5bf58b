"""What the gVisor sandbox really gives on this host, seen from under gVisor and from beside it.

`gvisor` is signed under only when all of it was seen: a kernel that is not the host's, ids that are nobody's,
files of the supervisor out of reach, an empty network, the filter around gVisor's own processes, and control
groups for memory and processes (a command's own limits are kept by gVisor, whose processes they do not bind).
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from touchplate.builder.errors import HostLack
from touchplate.builder.plan import Limits
from touchplate.builder.sandbox.probe import PYTHON, Probe, differing_namespaces
from touchplate.builder.sandbox.probe_runc import LOOK
from touchplate.builder.sandbox.workspace import JOB, Workspace, locked_folder

if TYPE_CHECKING:
    from touchplate.builder.sandbox.gvisor import GvisorSandbox

BACKEND = "gvisor"

_SECRET = "/secret"  # noqa: S105  an inside path
_PROBE_LIMITS = Limits(wall_seconds=30.0)
_SECCOMP_FILTER = "2"  # SECCOMP_MODE_FILTER, proc(5)
_BANNER = "Starting gVisor..."

_AROUND = "print(json.dumps(seen()))\n"

_INSIDE = """
import ctypes, subprocess
def nested_user_namespace():
    command = ["/usr/bin/unshare", "-U", "/usr/bin/true"]
    return not subprocess.run(command, stderr=subprocess.DEVNULL).returncode
def kernel_log():
    buffer = ctypes.create_string_buffer(1 << 16)
    count = ctypes.CDLL(None).klogctl(3, buffer, len(buffer))
    return buffer.raw[:max(count, 0)].decode(errors="replace")
open("/build/marker", "w").close()
print(json.dumps({
    "bounding": status["CapBnd"].strip(), "capabilities": status["CapEff"].strip(),
    "interfaces": [line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line],
    "log": kernel_log(), "nested": nested_user_namespace(), "release": os.uname().release,
    "secret": can_open("/secret"),
}))
"""


@dataclass(frozen=True)
class GvisorProbe(Probe):
    """What was seen. `own_uid` means the whole range here; filter and namespaces are those around gVisor's
    own processes, `no_capabilities` is about the command."""

    runsc: str = ""
    """Version."""

    @property
    def missing(self) -> tuple[str, ...]:
        """What a signature would need and this host does not give; empty when all is there."""
        needed = {
            "a kernel of its own": bool(self.own_kernel),
            "a range of user ids of its own": self.own_uid,
            "the system call filter": self.seccomp,
            "an empty network namespace": self.empty_network,
            "control groups for memory and processes": self.groups,
        }
        return tuple(name for name, given in needed.items() if not given)

    @property
    def backend(self) -> str | None:
        """`gvisor`; None: results may not be signed."""
        return None if self.missing else BACKEND


def probe_gvisor(sandbox: GvisorSandbox) -> GvisorProbe:
    """Look around under gVisor, and where gVisor's own processes are. Raises HostLack when either does not
    start."""
    with locked_folder(sandbox.config.work, JOB) as empty, sandbox.workspace(empty) as workspace:
        secret = workspace.place(0, b"secret")
        secret.chmod(0o600)
        around = _run(sandbox.around(), workspace, secret, _AROUND)
        inside = _run(sandbox, workspace, secret, _INSIDE)
        owner = (workspace.build / "marker").stat().st_uid
        is_nobody = owner not in (0, os.getuid()) and workspace.uid <= owner < workspace.uid + workspace.ids
        return _judge(sandbox, around, inside, own_range=is_nobody)


def _run(sandbox: GvisorSandbox, workspace: Workspace, secret: Path, script: str) -> dict[str, Any]:
    from touchplate.builder.sandbox.bubblewrap import Job

    command = (PYTHON, "-I", "-S", "-c", LOOK + script)
    outcome = sandbox.run(workspace, Job(command, shown={_SECRET: secret}, limits=_PROBE_LIMITS))
    if outcome.exit_code or outcome.stopped:
        said = outcome.log.decode(errors="replace").strip() or outcome.stopped
        raise HostLack(f"gVisor does not work on this host: {said[-500:]!r}", reason="no-sandbox")
    seen: dict[str, Any] = json.loads(outcome.log)
    return seen


def _judge(
    sandbox: GvisorSandbox, around: dict[str, Any], inside: dict[str, Any], *, own_range: bool
) -> GvisorProbe:
    is_own = inside["release"] != os.uname().release and _BANNER in inside["log"]
    namespaces = differing_namespaces(around["namespaces"])
    return GvisorProbe(
        bubblewrap=sandbox.version,
        runsc=sandbox.runsc_version,
        own_kernel=inside["release"] if is_own else "",
        own_uid=own_range and not around["secret"] and not inside["secret"] and "user" in namespaces,
        seccomp=around["seccomp"] == _SECCOMP_FILTER and not around["sockets"],
        empty_network="net" in namespaces and around["interfaces"] == inside["interfaces"] == ["lo"],
        namespaces=namespaces,
        no_new_privileges=around["no_new_privileges"],
        no_capabilities=not any(int(inside[name], 16) for name in ("bounding", "capabilities")),
        no_nested_user_namespace=not inside["nested"],
        limits=sandbox.limits_by(_PROBE_LIMITS),
    )
