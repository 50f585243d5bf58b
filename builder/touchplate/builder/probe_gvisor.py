"""What the gVisor sandbox really gives on this host, found out by looking from inside and from outside.

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
from touchplate.builder.probe import PYTHON, Probe, differing_namespaces
from touchplate.builder.workspace import JOB, Workspace, locked_folder, processes_of

if TYPE_CHECKING:
    from touchplate.builder.gvisor import GvisorSandbox

BACKEND = "gvisor"

_SECRET = "/secret"  # noqa: S105  an inside path
_PROBE_LIMITS = Limits(wall_seconds=30.0)
_SECCOMP_FILTER = "2"  # SECCOMP_MODE_FILTER, proc(5)
_BANNER = "Starting gVisor..."
_SEEN = "seen"

_SCRIPT = """
import ctypes, json, os, socket, subprocess
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
def can_open(path):
    try:
        open(path).close()
    except OSError:
        return False
    return True
def kernel_log():
    buffer = ctypes.create_string_buffer(1 << 16)
    count = ctypes.CDLL(None).klogctl(3, buffer, len(buffer))
    return buffer.raw[:max(count, 0)].decode(errors="replace")
nested = not subprocess.run(["/usr/bin/unshare", "-U", "/usr/bin/true"], stderr=subprocess.DEVNULL).returncode
open("/build/marker", "w").close()
print(json.dumps({
    "capabilities": [status[name].strip() for name in ("CapPrm", "CapEff", "CapBnd")],
    "interfaces": [line.split(":")[0].strip() for line in open("/proc/net/dev") if ":" in line],
    "log": kernel_log(), "nested": nested, "release": os.uname().release,
    "secret": can_open("/secret"),
}), flush=True)
"""


@dataclass(frozen=True)
class GvisorProbe(Probe):
    """What was seen. `own_uid` means the whole range here; `seccomp` and namespaces are those around gVisor's
    own processes."""

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
            "control groups for memory and processes": len(self.limits) > 1
            and "rlimit" not in self.limits.values(),
        }
        return tuple(name for name, given in needed.items() if not given)

    @property
    def backend(self) -> str | None:
        """`gvisor`; None: results may not be signed."""
        return None if self.missing else BACKEND


def probe_gvisor(sandbox: GvisorSandbox) -> GvisorProbe:
    """Run a look-around inside and judge it. Raises HostLack when the sandbox or runsc does not start."""
    from touchplate.builder.sandbox import Job

    with locked_folder(sandbox.config.work, JOB) as empty, sandbox.workspace(empty) as workspace:
        secret = workspace.place(0, b"secret")
        secret.chmod(0o600)
        outside: list[_Outside] = []
        # It speaks and stays, so that its processes can be looked at; then it is stopped.
        script = f"{_SCRIPT}\nimport time\ntime.sleep(1000)\n"
        job = Job(command=(PYTHON, "-I", "-S", "-c", script), shown={_SECRET: secret}, limits=_PROBE_LIMITS)
        outcome = sandbox.run(
            workspace,
            job,
            watch=lambda: _SEEN if outside else "",
            on_line=lambda _: outside.append(_look_outside(workspace)),
        )
        if outcome.stopped != _SEEN or len(outside) != 1:
            said = outcome.log.decode(errors="replace").strip()
            raise HostLack(f"gVisor does not work on this host: {said[-500:]!r}", reason="no-sandbox")
        owner = (workspace.build / "marker").stat().st_uid
        is_nobody = owner not in (0, os.getuid()) and workspace.uid <= owner < workspace.uid + workspace.ids
        return _judge(sandbox, json.loads(outcome.log), outside[0], own_range=is_nobody)


@dataclass(frozen=True)
class _Outside:
    """gVisor's processes as the host sees them: whether each is filtered, the namespaces that all are in."""

    filtered: bool
    namespaces: tuple[str, ...]


def _look_outside(workspace: Workspace) -> _Outside:
    filtered, namespaces = [], []
    for pid in processes_of(workspace.uid, workspace.ids):
        folder = Path("/proc", str(pid))
        try:
            text = (folder / "status").read_text()
            links = {path.name: str(path.readlink()) for path in (folder / "ns").iterdir()}
        except OSError:
            continue
        status = dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)
        if "NSpid" in status and len(status["NSpid"].split()) > 1:  # bubblewrap's outer process only waits
            filtered.append(status["Seccomp"] == _SECCOMP_FILTER)
            namespaces.append(set(differing_namespaces(links)))
    common = set.intersection(*namespaces) if namespaces else set()
    return _Outside(bool(filtered) and all(filtered), tuple(sorted(common)))


def _judge(
    sandbox: GvisorSandbox, seen: dict[str, Any], outside: _Outside, *, own_range: bool
) -> GvisorProbe:
    is_own = seen["release"] != os.uname().release and _BANNER in seen["log"]
    return GvisorProbe(
        bubblewrap=sandbox.version,
        runsc=sandbox.runsc_version,
        own_kernel=seen["release"] if is_own else "",
        own_uid=own_range and not seen["secret"] and "user" in outside.namespaces,
        seccomp=outside.filtered,
        empty_network="net" in outside.namespaces and seen["interfaces"] == ["lo"],
        namespaces=outside.namespaces,
        no_new_privileges=True,
        no_capabilities=all(int(value, 16) == 0 for value in seen["capabilities"]),
        no_nested_user_namespace=not seen["nested"],
        limits=sandbox.limits_by(_PROBE_LIMITS),
    )
