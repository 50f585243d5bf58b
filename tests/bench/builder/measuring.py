"""What the builder's figures share: a sandbox of their own, and what work costs with all it starts."""

from __future__ import annotations

import contextlib
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.bench.harness import SkippedError, Spent, median

from touchplate.builder.errors import HostLack
from touchplate.builder.limits import make_groups
from touchplate.builder.plan import Limits
from touchplate.builder.sandbox.bubblewrap import Sandbox, SandboxConfig, open_sandbox
from touchplate.builder.sandbox.gvisor import open_gvisor_sandbox
from touchplate.builder.sandbox.ranged import ID_RANGES
from touchplate.builder.sandbox.runc import open_runc_sandbox

RUN_SECONDS = 900
"""Of one build of a peer, also on a busy machine."""

MB = 1_000_000
"""Bytes; rates are in these, as the goals are."""


@contextlib.contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that the uids of jobs can reach, gone at the end."""
    with tempfile.TemporaryDirectory(prefix="touchplate-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


@contextlib.contextmanager
def opened(kind: str = "bubblewrap") -> Iterator[Sandbox]:
    """A probed sandbox. Raises SkippedError where this host cannot give it."""
    with open_folder() as folder:
        work = folder / "work"
        try:
            match kind:
                case "runc":
                    sandbox: Sandbox = open_runc_sandbox(SandboxConfig(work=work, uids=ID_RANGES))
                case "gvisor":
                    sandbox = open_gvisor_sandbox(SandboxConfig(work=work, uids=ID_RANGES))
                case _:
                    sandbox = open_sandbox(SandboxConfig(work=work))
        except HostLack as lack:
            raise SkippedError(str(lack)) from lack
        yield sandbox


def spent_by_all(work: Callable[[], object]) -> Spent:
    """Seconds of `work`; CPU is that of this process, all its threads, and of every process it waited for."""
    began, before = time.perf_counter(), _used()
    work()
    return Spent(time.perf_counter() - began, _used() - before)


def _used() -> float:
    found = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in found)


def minus(whole: Sequence[Spent], part: Sequence[Spent]) -> Spent:
    """Median of `whole` less the median of `part`, clock by clock."""
    return Spent(
        median(one.wall for one in whole) - median(one.wall for one in part),
        median(one.cpu for one in whole) - median(one.cpu for one in part),
    )


def wall_ratio(ours: Sequence[Spent], peer: Sequence[Spent]) -> float:
    """Median of our wall seconds over the median of the peer's."""
    return median(one.wall for one in ours) / median(one.wall for one in peer)


def run_as_job(
    command: Sequence[str], folder: Path, variables: Mapping[str, str], umask: int = 0o022
) -> subprocess.CompletedProcess[bytes]:
    """Run a peer's command in `folder`, outside, but in the control groups of a job: a busy machine would
    otherwise give the sandbox, which counts as one process for each core, a larger share than the peer."""
    groups = make_groups(Limits())
    gated = ["/bin/sh", "-c", 'read -r go && exec "$@" </dev/null', "sh", *command]
    try:
        with subprocess.Popen(
            gated,
            cwd=folder,
            env=dict(variables),
            umask=umask,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as process:
            groups.add(process.pid)
            try:
                said, _ = process.communicate(b"go\n", timeout=RUN_SECONDS)
            except BaseException:
                process.kill()
                raise
        return subprocess.CompletedProcess(command, process.returncode, said)
    finally:
        groups.close()


def load_now() -> str:
    """How busy the machine is, for a remark: what else ran is in every wall time."""
    return f"load {os.getloadavg()[0]:.0f}"
