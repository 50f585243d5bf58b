"""What a build sees of the recording mirror: bridge, unix socket, recording, storing, upstream.

The upstream is nginx on loopback; a client inside the sandbox, in Fetch, asks as a build does and counts what
comes. The peer is the same client outside, which asks that nginx itself: what this machine gives without us.
Every file is new to the cache, and is looked through for the answer as in every rebuild.
"""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.bench.builder.measuring import MB, load_now, open_folder, opened, spent_by_all
from tests.bench.harness import Goal, Row, check, median
from tests.bench.nginx import running_nginx
from tests.bench.serving import Server

from touchplate.base.upstreams import Upstream
from touchplate.builder.cache import Cache
from touchplate.builder.inputs.lock import InputLock
from touchplate.builder.phases import run_fetch
from touchplate.builder.plan import MIRROR_PORT, BuildPlan, Forbidden, Quiet
from touchplate.builder.sandbox.bubblewrap import Sandbox
from touchplate.builder.sandbox.probe import PYTHON

GOAL = Goal(">=", 200, " MB/s")
ROUNDS = 3
CLIENT_SECONDS = 600

CLIENT = Path(__file__).with_name("proxy_client.py")
NEVER_FETCHED = hashlib.sha256(b"the published file").hexdigest()


@dataclass(frozen=True)
class Load:
    """So many files of one size, asked for over so many connections."""

    name: str
    files: int
    size: int
    connections: int
    goal: Goal | None

    @property
    def megabytes(self) -> float:
        """All together."""
        return self.files * self.size / MB


LOADS = (
    Load("one file of 256 MB", 1, 256 * MB, 1, GOAL),
    Load("8 files of 32 MB, 5 connections", 8, 32 * MB, 5, None),
    Load("1,000 files of 16 kB, 5 connections", 1000, 16_000, 5, None),
)
"""Maven opens five connections."""


@dataclass(frozen=True)
class Turn:
    """One load, once: seconds as the client counted them, CPU of all processes but the upstream's."""

    seconds: float
    cpu: float


def proxy(loads: Sequence[Load] = LOADS, rounds: int = ROUNDS) -> list[Row]:
    """MB/s as the client inside sees it, for each load."""
    rows = []
    with ExitStack() as stack:
        folder = stack.enter_context(open_folder())
        root = folder / "root"
        root.mkdir(mode=0o755)
        digests = [_write(root / f"load{number}", load) for number, load in enumerate(loads)]
        upstream, _ = stack.enter_context(running_nginx(folder, root, None))
        sandbox = stack.enter_context(opened())
        for number, load in enumerate(loads):
            ours, peer = [], []
            for _ in range(rounds):
                ours.append(_inside(sandbox, upstream, number, load, digests[number]))
                peer.append(_outside(upstream, number, load))
            rows.append(_row(load, ours, peer))
    return rows


def _write(folder: Path, load: Load) -> set[str]:
    """The files of a load; their digests. Random bytes: nothing between here and there can press them."""
    folder.mkdir(mode=0o755)
    digests = set()
    for number in range(load.files):
        body = random.Random(f"{load.name} {number}").randbytes(load.size)
        (folder / f"{number}.bin").write_bytes(body)
        digests.add(hashlib.sha256(body).hexdigest())
    return digests


def _inside(sandbox: Sandbox, upstream: Server, number: int, load: Load, digests: set[str]) -> Turn:
    heard = _Heard()
    with open_folder() as folder:
        (folder / "source").mkdir()
        (folder / "source" / "client.py").write_bytes(CLIENT.read_bytes())
        plan = BuildPlan(
            folder / "source",
            (PYTHON, "-I", "-S", "client.py", *_words(MIRROR_PORT, f"central/load{number}", load)),
            upstreams=(Upstream("central", "maven", "central", f"http://127.0.0.1:{upstream.port}/"),),
            forbidden=Forbidden(frozenset({NEVER_FETCHED})),
        )
        cache = Cache(folder / "cache")
        spent = spent_by_all(lambda: heard.locks.append(run_fetch(plan, sandbox, cache, heard)))
        (lock,) = heard.locks
        check({one.sha256 for one in lock.inputs} == digests, "the lock is not what the upstream has")
        check(all(cache.inputs.size(one) == load.size for one in digests), "an input is not in the cache")
    return _turn(heard.lines, load, spent.cpu)


def _outside(upstream: Server, number: int, load: Load) -> Turn:
    said: list[str] = []

    def ask() -> None:
        command = [PYTHON, "-I", "-S", str(CLIENT), *_words(upstream.port, f"load{number}", load)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=CLIENT_SECONDS, check=False)
        check(done.returncode == 0, f"the client failed: {done.stderr[-300:]}")
        said.extend(done.stdout.splitlines())

    return _turn(said, load, spent_by_all(ask).cpu)


def _words(port: int, path: str, load: Load) -> tuple[str, ...]:
    return (str(port), path, str(load.files), str(load.connections))


def _turn(lines: Sequence[str], load: Load, cpu: float) -> Turn:
    said = json.loads(lines[-1])
    check(said["bytes"] == load.files * load.size, f"the client got {said['bytes']} bytes")
    return Turn(said["seconds"], cpu)


class _Heard(Quiet):
    """A Progress that keeps what the client prints."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.locks: list[InputLock] = []

    def line(self, text: str) -> None:
        """One line of the client."""
        self.lines.append(text)


def _row(load: Load, ours: Sequence[Turn], peer: Sequence[Turn]) -> Row:
    rates = [load.megabytes / median(one.seconds for one in side) for side in (ours, peer)]
    best = load.megabytes / min(one.seconds for one in ours)
    cpu = [median(one.cpu for one in side) / load.megabytes * 1000 for side in (ours, peer)]
    files = f", {load.files / load.megabytes * rates[0]:.0f} files/s" if load.files > 1 else ""
    note = (
        f"wall, median (best {best:.0f}){files}; CPU s/GB {cpu[0]:.1f} (sandbox start included) and "
        f"{cpu[1]:.1f}; peer: the upstream asked directly; {load_now()}"
    )
    shown, direct = (f"{rate:.0f} MB/s" for rate in rates)
    return Row(f"fetch proxy, {load.name}", shown, direct, rates[0], load.goal, note)
