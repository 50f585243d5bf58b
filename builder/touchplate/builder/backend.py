"""What holds the two phases of a rebuild, as `rebuild` sees it; and the two sandboxes that most builds use.

A backend runs a plan and says under which name its results may be signed (`builder.id`). An ecosystem chooses
it (`Ecosystem.open_backend`): images are built by tools that need another isolation than a compiler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from touchplate.builder.definitions.demands import choose_backend
from touchplate.builder.errors import HostLack
from touchplate.builder.phases import run_build, run_fetch
from touchplate.builder.repeatability.vary import EVERYWHERE
from touchplate.builder.sandbox.bubblewrap import SandboxConfig
from touchplate.builder.sandbox.gvisor import open_gvisor_sandbox
from touchplate.builder.sandbox.ranged import ID_RANGES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from touchplate.builder.cache import Cache
    from touchplate.builder.inputs.lock import InputLock
    from touchplate.builder.plan import BuildPlan, BuildResult, Progress
    from touchplate.builder.sandbox.bubblewrap import Sandbox
    from touchplate.builder.sandbox.probe import Probe
    from touchplate.builder.workshop import Workshop


class Backend(Protocol):
    """An isolation that was probed on this host, and the two phases in it."""

    @property
    def name(self) -> str | None:
        """Name to sign under, the last part but one of `builder.id`; None: results may not be signed."""
        ...

    @property
    def missing(self) -> tuple[str, ...]:
        """What a signature would need and this host does not give, in words; empty when all is there."""
        ...

    @property
    def probe(self) -> Probe:
        """What this host gives, as found out."""
        ...

    @property
    def factors(self) -> frozenset[str]:
        """What it can vary around a build (`vary.FACTORS`)."""
        ...

    def fetch(self, plan: BuildPlan, cache: Cache, progress: Progress) -> InputLock:
        """Find out and record what the build is given. Raises PhaseFailed, HostLack; see `run_fetch`."""
        ...

    def build(self, plan: BuildPlan, lock: InputLock, cache: Cache, progress: Progress) -> BuildResult:
        """Build from the locked inputs alone, offline. Raises PhaseFailed, HostLack; see `run_build`.

        The report in the result says what held this build, as found out on this host.
        """
        ...


class Probed:
    """What every backend says of itself: what the probe of its sandbox found."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    @property
    def name(self) -> str | None:
        """As the probe grants it."""
        return self._sandbox.probe.backend

    @property
    def missing(self) -> tuple[str, ...]:
        """As the probe found it."""
        return self._sandbox.probe.missing

    @property
    def probe(self) -> Probe:
        """The sandbox's."""
        return self._sandbox.probe


class Sandboxed(Probed):
    """A sandbox as a backend, bubblewrap's or gVisor's (`phases.py`)."""

    @property
    def factors(self) -> frozenset[str]:
        """All."""
        return EVERYWHERE

    def fetch(self, plan: BuildPlan, cache: Cache, progress: Progress) -> InputLock:
        """Run the command with the recording mirror as its only way out."""
        return run_fetch(plan, self._sandbox, cache, progress)

    def build(self, plan: BuildPlan, lock: InputLock, cache: Cache, progress: Progress) -> BuildResult:
        """Run the command without any network."""
        return run_build(plan, lock, self._sandbox, cache, progress)


def open_sandboxed(workshop: Workshop, demanded: str) -> Backend:
    """A probed sandbox over the workshop's work folder: gVisor's when the definition demands it or this host
    was told to use it, else bubblewrap's.

    Raises HostLack when this host cannot give it, or when another backend is demanded.
    """
    wanted = choose_backend(demanded, workshop.backend)
    if wanted == "gvisor":
        workshop.tidy()
        return Sandboxed(open_gvisor_sandbox(SandboxConfig(work=workshop.work, uids=ID_RANGES)))
    need_backend_of(wanted, ("", "bubblewrap", "gvisor"))
    return Sandboxed(workshop.open_sandbox())


def need_backend_of(wanted: str, known: Sequence[str]) -> None:
    """Raise HostLack when what is wanted is none of those that an ecosystem can be built under."""
    if wanted not in known:
        detail = f"such packages are not built under {wanted}, only under {' or '.join(filter(None, known))}"
        raise HostLack(detail, reason="no-sandbox")
