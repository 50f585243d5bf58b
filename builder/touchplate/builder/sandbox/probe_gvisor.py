"""What the gVisor sandbox really gives on this host, seen from under gVisor and from beside it.

`gvisor` is signed under only when all of it was seen: a kernel that is not the host's, ids that are nobody's,
files of the supervisor out of reach, an empty network, the filter around gVisor's own processes, and control
groups for memory and processes (a command's own limits are kept by gVisor, whose processes they do not bind).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from touchplate.builder.sandbox.probe import (
    LIMITS,
    SECCOMP_FILTER,
    Probe,
    differing_namespaces,
    opened_lookout,
)

if TYPE_CHECKING:
    from touchplate.builder.sandbox.gvisor import GvisorSandbox

BACKEND = "gvisor"

_BANNER = "Starting gVisor..."

_AROUND = "print(json.dumps(seen()))\n"

_INSIDE = """
import ctypes
def kernel_log():
    buffer = ctypes.create_string_buffer(1 << 16)
    count = ctypes.CDLL(None).klogctl(3, buffer, len(buffer))
    return buffer.raw[:max(count, 0)].decode(errors="replace")
leave_marker()
print(json.dumps({
    "bounding": status["CapBnd"].strip(), "capabilities": status["CapEff"].strip(),
    "interfaces": interfaces(), "log": kernel_log(), "nested": nested_user_namespace(),
    "release": os.uname().release, "secret": can_open("/secret"),
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
    with opened_lookout(sandbox) as lookout:
        around = lookout.look(sandbox.around(), _AROUND, "gVisor")
        inside = lookout.look(sandbox, _INSIDE, "gVisor")
        return _judge(sandbox, around, inside, own_range=lookout.is_nobodys)


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
        seccomp=around["seccomp"] == SECCOMP_FILTER and not around["sockets"],
        empty_network="net" in namespaces and around["interfaces"] == inside["interfaces"] == ["lo"],
        namespaces=namespaces,
        no_new_privileges=around["no_new_privileges"],
        no_capabilities=not any(int(inside[name], 16) for name in ("bounding", "capabilities")),
        no_nested_user_namespace=not inside["nested"],
        limits=sandbox.limits_by(LIMITS),
    )
