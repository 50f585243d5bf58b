"""What a definition demands of the sandbox that builds it, and whether a probe saw all of it.

    sandbox: {backend: gvisor, needs: [memory-group, process-group]}

A demand that this host cannot meet is a lack of the host: nothing is built, nothing is logged, and a job goes
back to the queue for another worker.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from touchplate.builder.definitions.schema import Reader
from touchplate.builder.errors import HostLack
from touchplate.builder.sandbox.probe import Probe
from touchplate.verify.names import BACKENDS

FEATURES: Mapping[str, Callable[[Probe], bool]] = {
    "empty-network": lambda probe: probe.empty_network,
    "memory-group": lambda probe: probe.limits.get("memory", "").startswith("cgroup"),
    "no-capabilities": lambda probe: probe.no_capabilities,
    "no-nested-user-namespace": lambda probe: probe.no_nested_user_namespace,
    "no-new-privileges": lambda probe: probe.no_new_privileges,
    "own-ids": lambda probe: probe.own_uid,
    "own-kernel": lambda probe: bool(probe.own_kernel),
    "process-group": lambda probe: probe.limits.get("pids", "").startswith("cgroup"),
    "seccomp": lambda probe: probe.seccomp,
}
"""Name in a definition → whether a probe saw it. `touchplate builder probe` lists the same names."""

MAX_NEEDS = 32
"""Items of `needs`: a few times as many as there are features."""


@dataclass(frozen=True)
class Demands:
    """The least that a definition takes. `backend` is empty where any will do."""

    backend: str = ""
    needs: tuple[str, ...] = ()


def read_demands(reader: Reader) -> Demands:
    """The field `sandbox`. Mistakes go to the reader."""
    if not reader.has("sandbox"):
        return Demands()
    reader.known("sandbox", optional=("backend", "needs"))
    backend = reader.choice("sandbox.backend", BACKENDS) if reader.has("sandbox.backend") else ""
    items = reader.items("sandbox.needs", low=1, high=MAX_NEEDS) if reader.has("sandbox.needs") else ()
    needs = [reader.choice(item, tuple(FEATURES)) for item in items]
    return Demands(backend, tuple(needs))


def choose_backend(demanded: str, configured: str) -> str:
    """The backend to open: the definition's, else this host's (`configured`), else "", the usual one.

    Raises HostLack when both say something and not the same.
    """
    if demanded and configured and demanded != configured:
        detail = f"the definition demands {demanded}, and this host was told to use {configured}"
        raise HostLack(detail, reason="no-sandbox")
    return demanded or configured


def check_demands(demands: Demands, probe: Probe) -> None:
    """Raise HostLack unless the probe saw all that is needed."""
    lacking = [name for name in demands.needs if not FEATURES[name](probe)]
    if lacking:
        raise HostLack(
            f"the definition demands {', '.join(lacking)} of the sandbox, which this host does not give; "
            "touchplate builder probe says what it gives",
            reason="no-sandbox",
        )
