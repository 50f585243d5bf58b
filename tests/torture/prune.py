"""Build roots that are removed: `touchplate builder root prune`, killed at every step.

Three small roots stand there: one that was used last, one that was used long ago, and one that nobody has
marked. All but the first go, and of three downloaded packages all but the one of which that was made.
Whatever happens, what stands under a tree digest is of that digest.
"""

import contextlib
import hashlib
import os
import random
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from tests.builder.rootparts import EPOCH, PACKAGE
from tests.torture.builder import judge_end
from tests.torture.oracle import INCONSISTENT, LOST, Finding
from tests.torture.points import ROOTS
from tests.torture.process import Kill, Launcher, Run
from tests.torture.results import Results
from tests.torture.series import Series, Undisturbed, passed_by

from touchplate.base.durable import DigestFolder
from touchplate.builder.roots.lock import make_root_lock
from touchplate.builder.trees import tree_digest

KEPT = 0
"""Which of the three stays."""


@dataclass
class Scenario(Undisturbed):
    """The one command."""

    name: str = "roots pruned"


class PruneSeries(Series):
    """Runs it, one kill at a time, each in a data folder of its own."""

    points = tuple(ROOTS)

    def __init__(self, folder: Path, launcher: Launcher, results: Results) -> None:
        super().__init__(folder, launcher, results)
        self.scenarios = [Scenario()]

    @contextlib.contextmanager
    def opened(self) -> Iterator["PruneSeries"]:
        """With what an undisturbed command passes."""
        for scenario in self.scenarios:
            self.run(scenario, None)
        yield self

    def run(self, scenario: Scenario, kill: Kill | None) -> bool:
        """One prune that ends at `kill`, the same after it, and a look at what stands. Whether it ended
        there."""
        data, trees = self._lay_out()
        found: list[Finding] = []
        reached = False
        if kill is not None:
            run = self._start(data, kill)
            run.wait()
            reached = self._results.note(run.hits(), kill)
            found += [*judge_end(run, kill, 0, reached=reached), *check_standing(data, trees[KEPT])]
        started = time.monotonic()
        run = self._start(data)
        run.wait()
        self._results.note(run.hits(), None)
        if kill is None:
            scenario.passed.update(passed_by(run.hits()))
            scenario.seconds = time.monotonic() - started
        self._results.report(f"{scenario.name}, {kill}", [*found, *check_pruned(data, trees[KEPT], run)])
        shutil.rmtree(data)
        return reached

    def load(self, rounds: int, chooser: random.Random) -> None:
        """One folder, killed at random moments; at the end it is as it should be."""
        data, trees = self._lay_out()
        found: list[Finding] = []
        for _ in range(rounds):
            run = self._start(data)
            timer = threading.Timer(chooser.uniform(0.0, 0.3), run.kill)
            timer.start()
            run.wait()
            timer.join()
            self._results.note(run.hits(), None)
            self._results.note_random()
            found += check_standing(data, trees[KEPT])
        run = self._start(data)
        run.wait()
        self._results.report(
            "roots pruned, killed at random", [*found, *check_pruned(data, trees[KEPT], run)]
        )
        shutil.rmtree(data)

    def _start(self, data: Path, kill: Kill | None = None) -> Run:
        argv = ["builder", "root", "prune", "--keep", "1", "--data", str(data), "--json"]
        return self._launcher.start(argv, {"builder": data}, kill)

    def _lay_out(self) -> tuple[Path, list[str]]:
        data = self._next_folder("data-")
        roots, trees = data / "roots", []
        for number in range(3):
            made = roots / "made"
            (made / "usr/lib/deep/er").mkdir(parents=True)
            for name in ("usr/a", "usr/lib/b", "usr/lib/deep/er/c"):
                (made / name).write_text(f"{number} {name}")
            trees.append(tree_digest(made))
            made.rename(roots / trees[-1])
        now = int(time.time())
        debs = DigestFolder(data / "debs")
        packages = [debs.put(f"package {number}".encode()) for number in range(3)]
        kept = replace(PACKAGE, sha256=packages[KEPT].sha256, size=packages[KEPT].size)
        lock = make_root_lock("bookworm", "amd64", EPOCH, [kept], trees[KEPT])
        DigestFolder(data / "evidence").put(lock.data)
        for tree, used in zip(trees, (now + 1000, now - 1000), strict=False):
            mark = roots / f".used-{tree}"
            mark.write_text(lock.sha256)
            os.utime(mark, (used, used))
        return data, trees


def check_standing(data: Path, kept: str) -> Iterator[Finding]:
    """What must be right at any moment."""
    standing = [path for path in (data / "roots").iterdir() if not path.name.startswith(".")]
    for path in standing:
        if tree_digest(path) != path.name:
            yield Finding(INCONSISTENT, f"half a root stands under the tree digest {path.name}")
    if kept not in [path.name for path in standing]:
        yield Finding(LOST, "the root that was used last is gone")
    if not DigestFolder(data / "debs").has(hashlib.sha256(b"package 0").hexdigest()):
        yield Finding(LOST, "a package of the root that was used last is gone")


def check_pruned(data: Path, kept: str, run: Run) -> Iterator[Finding]:
    """What must be right when a prune has ended by itself."""
    if run.code != 0:
        yield Finding(LOST, f"the next prune ended with {run.code}: {run.err()[-1000:]}")
    yield from check_standing(data, kept)
    for path in (data / "roots").iterdir():
        if path.name not in (kept, f".used-{kept}"):
            yield Finding(LOST, f"room: {path.name} is left over")
    if len(left := list(DigestFolder(data / "debs").digests())) != 1:
        yield Finding(LOST, f"room: of three packages {len(left)} are left, not one")
