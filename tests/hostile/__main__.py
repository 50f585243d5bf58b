"""`make hostile`: every attack on every backend, contained and with its walls taken away; the list of both.

Exit 1 when an attack is not contained, or when its control does not succeed. A backend whose tool is missing
is a loud skip, and under CI=true a failure.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.hostile import exhaust, kernel, mirror, outputs, reach
from tests.hostile.attack import Attack
from tests.hostile.walls import SANDBOXES
from tests.hostile.world import World

from touchplate.base.environment import read_environment
from touchplate.builder.errors import HostLack

LEAST = 25
"""Attacks that the suite must hold, each with a control."""

TOOLS = {"bubblewrap": ("bwrap", "setpriv"), "runc": ("bwrap", "runc"), "gvisor": ("bwrap", "runsc")}


@dataclass(frozen=True)
class Row:
    """One attack on one backend."""

    attack: Attack
    backend: str
    mistakes: tuple[str, ...]
    seconds: float

    def value(self) -> dict[str, object]:
        """For `--json`."""
        return {
            "attack": self.attack.name,
            "backend": self.backend,
            "stopped_by": list(self.attack.walls[self.backend]),
            "contained": not self.mistakes,
            "control": "succeeds without" if not self.mistakes else "",
            "mistakes": list(self.mistakes),
        }


@contextmanager
def _world(backend: str, off: frozenset[str]) -> Iterator[World]:
    folder = Path(tempfile.mkdtemp(prefix="touchplate-hostile-", dir="/var/tmp"))
    folder.chmod(0o755)
    try:
        yield World(backend, off, folder)
    finally:
        shutil.rmtree(folder)


def attempt(attack: Attack, backend: str) -> Row:
    """Every composition of one attack."""
    start = time.monotonic()
    mistakes = []
    for off, must_succeed in attack.compositions(backend):
        what = f"without {' and '.join(sorted(off))}" if off else "with all walls"
        with _world(backend, off) as world:
            try:
                succeeded = attack.attempt(world)
            except (HostLack, AssertionError, OSError) as error:
                trace = traceback.format_exc(limit=-2).strip().splitlines()[-1]
                mistakes.append(f"{what}: {type(error).__name__}: {trace}; said {world.said}")
                continue
            if succeeded and not must_succeed:
                mistakes.append(f"NOT CONTAINED {what}; said {world.said}")
            elif must_succeed and not succeeded:
                mistakes.append(f"the control does not succeed {what}; said {world.said}")
    return Row(attack, backend, tuple(mistakes), time.monotonic() - start)


def show(row: Row) -> None:
    """One line, and one for each mistake."""
    walls = row.attack.walls[row.backend]
    by = f"by {walls[0]}" if len(walls) == 1 else f"by each of {', '.join(walls)}"
    verdict = "contained" if not row.mistakes else "FAILED"
    if not row.mistakes:
        by += f"; succeeds without {'it' if len(walls) == 1 else 'them'}"
    print(f"{row.backend:<10}  {row.attack.name:<50}  {verdict:<9}  {row.seconds:5.1f}  {by}", flush=True)
    for mistake in row.mistakes:
        print(f"            {mistake}", flush=True)


def _usable(backends: list[str]) -> tuple[list[str], bool]:
    """Those whose tools are here, and whether that is all."""
    environment = read_environment()
    missing = {
        backend: [name for name in TOOLS[backend] if environment.find_program(name) is None]
        for backend in backends
    }
    for backend, names in missing.items():
        if names:
            print(f"hostile: {backend.upper()} NOT ATTACKED: this needs {', '.join(names)}", flush=True)
    usable = [backend for backend in backends if not missing[backend]]
    return usable, len(usable) == len(backends) or not environment.is_ci


def main() -> int:
    """Attack. 0 when all is contained and every control succeeds."""
    parser = argparse.ArgumentParser(prog="tests.hostile", description=__doc__)
    parser.add_argument("--backend", action="append", choices=list(SANDBOXES), default=[])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("words", nargs="*", help="only attacks whose name holds one of these")
    args = parser.parse_args()
    backends, complete = _usable(args.backend or list(SANDBOXES))
    attacks = [one for one in ALL if not args.words or any(word in one.name for word in args.words)]
    rows = []
    for attack in attacks:
        for backend in backends:
            if backend in attack.walls:
                rows.append(attempt(attack, backend))
                if not args.json:
                    show(rows[-1])
    if args.json:
        print(json.dumps([row.value() for row in rows], indent=1))
    failed = sum(bool(row.mistakes) for row in rows)
    enough = len({row.attack.name for row in rows}) >= LEAST or bool(args.words)
    print(f"hostile: {len(attacks)} attacks, {len(rows)} by backend, {failed} failed", file=sys.stderr)
    return 0 if complete and enough and not failed else 1


ALL = (*reach.ATTACKS, *kernel.ATTACKS, *exhaust.ATTACKS, *outputs.ATTACKS, *mirror.ATTACKS)

if __name__ == "__main__":
    sys.exit(main())
