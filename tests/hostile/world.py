"""Where an attack happens: one backend with some walls left out, a folder of the host with a secret, jobs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.builder.sandboxes import own_ranges
from tests.hostile.walls import SANDBOXES, Walls

from touchplate.builder.plan import GIB, MIB, Limits
from touchplate.builder.process import OnLine, Outcome, Watch
from touchplate.builder.sandbox.bubblewrap import Job, Sandbox, SandboxConfig
from touchplate.builder.sandbox.ids import processes_of
from touchplate.builder.sandbox.workspace import Workspace

SECRET = "the secret of the supervisor"

SECONDS = 20.0
"""Wall clock of a job: twenty times what the slowest attack takes on a quiet machine."""

PRELUDE = """
import ctypes, os, socket, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    words = (ctypes.c_long(one) if isinstance(one, int) else one for one in arguments)
    return libc.syscall(ctypes.c_long(number), *words)
"""

_UIDS = range(33_000 + os.getpid() % 1_000 * 4, 33_000 + os.getpid() % 1_000 * 4 + 4)


@dataclass
class World:
    """One attempt. `off`: the walls that are left out."""

    backend: str
    off: frozenset[str]
    folder: Path
    """Open to every user; `folder/host` is the host's, and no build may see it."""
    said: list[str] = field(default_factory=list)
    """What the builds of this attempt printed last, for a person who looks for the reason."""

    def __post_init__(self) -> None:
        self.host = self.folder / "host"
        self.host.mkdir()
        self.host.chmod(0o755)
        self.source = self.folder / "source"
        self.source.mkdir()
        self.source.chmod(0o755)
        uids = _UIDS if self.backend == "bubblewrap" else own_ranges()
        config = SandboxConfig(self.folder / "work", self.folder / "locks", uids)
        config.work.mkdir(mode=0o711)
        config.work.chmod(0o711)
        self.sandbox: Sandbox = SANDBOXES[self.backend](config, Walls(self.off, self.host))

    def has(self, wall: str) -> bool:
        """Whether this wall stands."""
        return wall not in self.off

    def put(self, name: str, text: str = SECRET, mode: int = 0o644) -> Path:
        """A file of the host that no build may see."""
        path = self.host / name
        path.write_text(text)
        path.chmod(mode)
        return path

    def limits(self, **tight: int | float) -> Limits:
        """Limits of a job."""
        return Limits(**{"wall_seconds": SECONDS, "memory_bytes": 2 * GIB, "workspace_bytes": GIB, **tight})  # type: ignore[arg-type]

    def run(
        self,
        script: str,
        *,
        workspace: Workspace | None = None,
        watch: Watch | None = None,
        on_line: OnLine | None = None,
        **job: Any,
    ) -> Outcome:
        """Run a Python script as a build; `job`: fields of a Job."""
        if workspace is None:
            with self.sandbox.workspace(self.source) as own:
                outcome = self.run(script, workspace=own, watch=watch, on_line=on_line, **job)
            self.check_clean()
            return outcome
        command = ("/usr/bin/python3", "-I", "-S", "-c", PRELUDE + script)
        made = Job(command, **{"limits": self.limits(), **job})
        more: Mapping[str, Any] = {"watch": watch} if watch is not None else {}
        outcome = self.sandbox.run(workspace, made, on_line=on_line or (lambda _: None), **more)
        self.said.append(
            f"[{outcome.exit_code} {outcome.stopped}] {outcome.tail.decode(errors='replace')[-400:]}"
        )
        # Nothing is contained by a sandbox that did not start.
        assert b"creating container:" not in outcome.tail, outcome.tail
        assert b"starting container:" not in outcome.tail, outcome.tail
        return outcome

    def says(self, script: str, **job: Any) -> str:
        """What the script printed."""
        return self.run(script, **job).log.decode(errors="replace")

    def works(self, script: str, **job: Any) -> bool:
        """Whether the script printed ESCAPED."""
        return "ESCAPED" in self.says(script, **job)

    def steals(self, script: str, **job: Any) -> bool:
        """Whether the script printed the secret."""
        return SECRET in self.says(script, **job)

    def processes(self, workspace: Workspace) -> list[int]:
        """Processes of the job's ids that live (zombies are dead)."""
        return [pid for pid in processes_of(workspace.uid, workspace.ids) if _is_alive(pid)]

    def check_clean(self) -> None:
        """After a job: no folder and, with all walls, no process of it."""
        left = list(self.sandbox.config.work.iterdir())
        assert left == [], f"left behind: {left}"
        if not self.off:
            uids = self.sandbox.config.uids
            there = [pid for uid in uids for pid in processes_of(uid, uids.step)]
            assert there == [], f"processes left behind, or not reaped: {there}"


def _is_alive(pid: int) -> bool:
    try:
        state = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


__all__ = ["MIB", "PRELUDE", "SECONDS", "SECRET", "World"]
