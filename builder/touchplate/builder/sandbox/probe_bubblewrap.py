"""What bubblewrap alone gives on this host, seen from inside and from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from touchplate.builder.sandbox.probe import (
    LIMITS,
    SECCOMP_FILTER,
    Probe,
    differing_namespaces,
    opened_lookout,
)

if TYPE_CHECKING:
    from touchplate.builder.sandbox.bubblewrap import Sandbox

_INSIDE = """
leave_marker()
print(json.dumps({**seen(), "nested": nested_user_namespace()}))
"""

_SETS = ("ambient", "bounding", "capabilities", "permitted")


def probe_sandbox(sandbox: Sandbox) -> Probe:
    """Run a look-around inside and judge it. Raises HostLack when no sandbox starts at all."""
    with opened_lookout(sandbox) as lookout:
        seen = lookout.look(sandbox, _INSIDE, "the sandbox")
        own_uid = lookout.is_nobodys
    namespaces = differing_namespaces(seen["namespaces"])
    return Probe(
        bubblewrap=sandbox.version,
        own_uid=own_uid and not seen["secret"],
        seccomp=seen["seccomp"] == SECCOMP_FILTER and not seen["sockets"],
        empty_network="net" in namespaces and seen["interfaces"] == ["lo"],
        namespaces=namespaces,
        no_new_privileges=seen["no_new_privileges"],
        no_capabilities=not any(int(seen[name], 16) for name in _SETS),
        no_nested_user_namespace=not seen["nested"],
        limits=sandbox.limits_by(LIMITS),
    )
