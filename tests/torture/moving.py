"""A log that is moved: `touchplate log import` and `log backup`, killed at every step.

What they work on and what must hold afterwards is that of the series of faults (`faults/programs.py`).
"""

import contextlib
import itertools
import random
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.torture.builder import judge_end
from tests.torture.faults.programs import Backup, Import, Program, World
from tests.torture.oracle import LOST, Finding
from tests.torture.points import BACKUP, IMPORT
from tests.torture.process import Kill, Launcher, Run
from tests.torture.results import Results
from tests.torture.series import Series, Undisturbed, passed_by


@dataclass
class Scenario(Undisturbed):
    """One command."""

    program: Program

    @property
    def name(self) -> str:
        """As it is printed."""
        return self.program.name


class MovingSeries(Series):
    """Runs the commands, one kill at a time, each in a folder of its own."""

    points = (*IMPORT, *BACKUP)

    def __init__(self, folder: Path, launcher: Launcher, results: Results) -> None:
        super().__init__(folder, launcher, results)
        self._world = World(folder / "world", launcher)
        self.scenarios = [Scenario(Import(self._world)), Scenario(Backup(self._world))]

    @contextlib.contextmanager
    def opened(self) -> Iterator["MovingSeries"]:
        """With what undisturbed commands pass."""
        for scenario in self.scenarios:
            self.run(scenario, None)
        yield self

    def run(self, scenario: Scenario, kill: Kill | None) -> bool:
        """One command that ends at `kill`, the next try, and what is there after each. Whether it ended
        there."""
        program, folder = scenario.program, self._next_folder()
        program.prepare(folder)
        started = time.monotonic()
        run = self._start(program.argv(folder), folder, kill)
        code = run.wait()
        reached = self._results.note(run.hits(), kill)
        if kill is None:
            scenario.passed.update(passed_by(run.hits()))
            scenario.seconds = time.monotonic() - started
        found = [] if kill is None else list(judge_end(run, kill, 0, reached=reached))
        found += program.look(folder, is_done=code == 0)
        found += self._again(program, folder)
        self._results.report(f"{scenario.name}, {kill}", found)
        shutil.rmtree(folder)
        return reached

    def load(self, rounds: int, chooser: random.Random) -> None:
        """Killed at random moments."""
        for scenario, _ in itertools.product(self.scenarios, range(rounds)):
            program, folder = scenario.program, self._next_folder("load-")
            program.prepare(folder)
            run = self._start(program.argv(folder), folder)
            timer = threading.Timer(chooser.uniform(0.05, 0.5), run.kill)
            timer.start()
            code = run.wait()
            timer.join()
            self._results.note_random()
            found = [*program.look(folder, is_done=code == 0), *self._again(program, folder)]
            self._results.report(f"{scenario.name}, killed at random", found)
            shutil.rmtree(folder)

    def _again(self, program: Program, folder: Path) -> Iterator[Finding]:
        """The next try, with which all is done."""
        argv = program.again(folder)
        if argv is None:
            return
        run = self._start(argv, folder)
        if run.wait() != 0:
            yield Finding(LOST, f"the next try ended with {run.code}: {run.err()[-1000:]}")
        self._results.note(run.hits(), None)
        yield from program.look(folder, is_done=True)

    def _start(self, argv: Sequence[str], folder: Path, kill: Kill | None = None) -> Run:
        data = self._world.config.parent / "data"
        is_import = "import" in argv
        roots = {"imported": folder / "data"} if is_import else {"backup": folder, "exported": data}
        return self._launcher.start(argv, roots, kill)
