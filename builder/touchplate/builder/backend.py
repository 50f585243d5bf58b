"""What holds the two phases of a rebuild, as `rebuild` sees it; and bubblewrap, which most builds use.

A backend runs a plan and says under which name its results may be signed (`builder.id`). An ecosystem chooses
it (`Ecosystem.open_backend`): images are built by tools that need another isolation than a compiler.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from touchplate.builder.phases import run_build, run_fetch

if TYPE_CHECKING:
    from touchplate.builder.cache import Cache
    from touchplate.builder.lock import InputLock
    from touchplate.builder.plan import BuildPlan, BuildResult, Progress
    from touchplate.builder.sandbox import Sandbox
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

    def fetch(self, plan: BuildPlan, cache: Cache, progress: Progress) -> InputLock:
        """Find out and record what the build is given. Raises PhaseFailed, HostLack; see `run_fetch`."""
        ...

    def build(self, plan: BuildPlan, lock: InputLock, cache: Cache, progress: Progress) -> BuildResult:
        """Build from the locked inputs alone, offline. Raises PhaseFailed, HostLack; see `run_build`.

        The report in the result says what held this build, as found out on this host.
        """
        ...


class Bubblewrap:
    """The sandbox as a backend (`sandbox.py`, `phases.py`)."""

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

    def fetch(self, plan: BuildPlan, cache: Cache, progress: Progress) -> InputLock:
        """Run the command with the recording mirror as its only way out."""
        return run_fetch(plan, self._sandbox, cache, progress)

    def build(self, plan: BuildPlan, lock: InputLock, cache: Cache, progress: Progress) -> BuildResult:
        """Run the command without any network."""
        return run_build(plan, lock, self._sandbox, cache, progress)


def open_bubblewrap(workshop: Workshop) -> Backend:
    """A probed bubblewrap sandbox over the workshop's work folder. Raises HostLack."""
    return Bubblewrap(workshop.open_sandbox())
