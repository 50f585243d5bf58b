"""The crash series: `python -m tests.torture [--rounds N] [--only WORD] [--seed N]`.

Kills real processes before and after every durable step of every store, one at a time, restarts each in the
normal way, and asks the oracle. Ends with `0 lost, 0 inconsistent` and exit code 0, or says what was wrong.
"""

import argparse
import contextlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path

from tests.torture.builder import BuilderSeries
from tests.torture.builder import Scenario as BuilderScenario
from tests.torture.export import ExportSeries
from tests.torture.hooks import CUT, ERRORS, KILL
from tests.torture.mirror import MirrorSeries
from tests.torture.mirror import Scenario as MirrorScenario
from tests.torture.moving import MovingSeries
from tests.torture.moving import Scenario as MovingScenario
from tests.torture.node import NodeSeries
from tests.torture.node import Scenario as NodeScenario
from tests.torture.oracle import LOST, Finding
from tests.torture.points import POINTS
from tests.torture.process import Kill, launching
from tests.torture.prune import PruneSeries
from tests.torture.prune import Scenario as PruneScenario
from tests.torture.results import SIDES, Results
from tests.torture.sqlite_calls import CASES, TracingLauncher, has_strace
from tests.torture.trillian import Scenario as TrillianScenario
from tests.torture.trillian import TrillianSeries

from touchplate.base.environment import read_environment

WORKERS = 3
"""Lives at the same time: each waits for disks and sandboxes about a third of it, and there are two cores."""

LOAD_ROUNDS = 4
"""Kills at random moments, for each round of the series."""

SHOWN = 40
"""Findings that are printed: one mistake shows at many points."""

Series = NodeSeries | BuilderSeries | MirrorSeries | MovingSeries | TrillianSeries | PruneSeries
Scenario = NodeScenario | BuilderScenario | MirrorScenario | MovingScenario | TrillianScenario | PruneScenario


@dataclass(frozen=True)
class Task:
    """One life to be run: a kill at `side` of `point`, the `number`-th time that the scenario passes it."""

    series: Series
    scenario: Scenario
    kill: Kill

    def run(self) -> None:
        """The life; a moment that did not come this time (threads differ) is replaced by the first one."""
        run: object = self.series.run
        assert callable(run)
        if not run(self.scenario, self.kill) and self.kill.number > 1:
            run(self.scenario, replace(self.kill, number=1))


@dataclass(frozen=True)
class TracedTask:
    """The life of a node under strace."""

    series: NodeSeries
    scenario: NodeScenario
    kill: Kill
    launcher: TracingLauncher

    def run(self) -> None:
        """The life."""
        self.series.run(self.scenario, self.kill, launcher=self.launcher)


def make_tasks(series: Series, rounds: int, chooser: random.Random) -> Iterator[Task]:
    """Every point and side: `rounds` times in the cheapest scenario that passes it; with more than one round
    also once in every other. In one round either the error or the power cut of a point comes."""
    for point in series.points:
        other = chooser.randrange(len(SIDES))
        for number, side in enumerate(SIDES):
            passing = [one for one in series.scenarios if one.passed[point.name, side]]
            passing.sort(key=lambda one: one.seconds)
            for scenario in passing if rounds > 1 else passing[:1]:
                times = scenario.passed[point.name, side]
                wanted = rounds if scenario is passing[0] else 1
                for chosen in chooser.sample(range(1, times + 1), min(wanted, times)):
                    yield Task(series, scenario, Kill(point.name, side, chosen, KILL))
                for action in _others(rounds, number, chooser) if rounds > 1 or number == other else ():
                    yield Task(series, scenario, Kill(point.name, side, chooser.randint(1, times), action))


def make_traced_tasks(series: NodeSeries, folder: Path) -> Iterator[TracedTask]:
    """SQLite's own calls: killed at each, and with an error in its place. None, loudly, without strace."""
    if has_strace():
        launcher = TracingLauncher(folder)
        for case in CASES:
            for action in (KILL, case.error):
                kill = Kill(case.name, "before", case.number, action)
                yield TracedTask(series, series.scenarios[case.scenario], kill, launcher)
    else:
        print("torture: SQLITE'S OWN CALLS NOT TESTED: strace is missing, or may not trace here", flush=True)


def _others(rounds: int, number: int, chooser: random.Random) -> list[str]:
    """What happens at a point beside kills: an error in its place, and a power cut after it, or both."""
    error = chooser.choice(sorted(ERRORS))
    if rounds > 1:
        return [error, CUT]
    return [error] if number == 0 else [CUT]


def run_tasks(tasks: Sequence[Task | TracedTask], results: Results, folder: Path) -> None:
    """All of them, a few at a time."""
    with ThreadPoolExecutor(WORKERS) as pool:
        waiting = {pool.submit(task.run): task for task in tasks}
        for done, future in enumerate(as_completed(waiting), 1):
            if (error := future.exception()) is not None:
                task = waiting[future]
                found = Finding(LOST, f"{type(error).__name__}: {error}")
                results.report(f"{task.scenario.name}, {task.kill}", [found])
            if done % 25 == 0 or done == len(tasks):
                print(f"torture: {done} of {len(tasks)} lives, {len(results.findings)} findings", flush=True)


def run_series(folder: Path, rounds: int, only: str, seed: int) -> Results:
    """The whole series in `folder`."""
    chooser = random.Random(seed)
    # In CI a missing tool is a failure: its cases stay in the table, never hit.
    is_traced = has_strace() or read_environment().is_ci
    cases = tuple((case.name, case.error) for case in CASES if is_traced)
    results = Results(tuple(POINTS), cases, only)
    with launching(folder / "runs") as launcher:
        node = NodeSeries(folder / "node", launcher, results)
        builder = BuilderSeries(folder / "builder", launcher, results)
        mirror = MirrorSeries(folder / "mirror", launcher, results)
        export = ExportSeries(folder / "export", launcher, results)
        moving = MovingSeries(folder / "moving", launcher, results)
        kept = TrillianSeries(folder / "kept", launcher, results)
        prune = PruneSeries(folder / "prune", launcher, results)
        every: Sequence[Series] = (node, builder, mirror, export, moving, kept, prune)
        with contextlib.ExitStack() as stack:
            for series in every:
                stack.enter_context(series.opened())
            tasks: list[Task | TracedTask] = [
                *(task for series in every for task in make_tasks(series, rounds, chooser)),
                *make_traced_tasks(node, folder / "runs"),
            ]
            tasks = [task for task in tasks if only in task.kill.point]
            chooser.shuffle(tasks)
            run_tasks(tasks, results, folder)
            if not only:
                for series in every:
                    series.load(LOAD_ROUNDS * rounds, chooser)
    return results


def print_results(results: Results) -> None:
    """The table, then everything that is wrong, then the last line."""
    print(results.table())
    print(f"kills at random moments under load: {results.random}")
    for name in results.missed():
        print(f"never hit: {name}")
    for call in sorted(results.unlisted):
        print(f"not in the table of points: {call}")
    for where, finding in results.findings[:SHOWN]:
        print(f"{where}: {finding}")
    print(results.summary())


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--rounds", type=int, default=1, help="kills at each point in each scenario")
    parser.add_argument("--only", default="", metavar="WORD", help="points whose name has this word")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    args = parser.parse_args(arguments)
    started = time.monotonic()
    print(f"torture: seed {args.seed}, {args.rounds} rounds", flush=True)
    with tempfile.TemporaryDirectory(prefix="touchplate-torture-") as folder:
        Path(folder).chmod(0o755)
        results = run_series(Path(folder), args.rounds, args.only, args.seed)
    print(f"torture: {time.monotonic() - started:.0f} s")
    print_results(results)
    return 0 if results.is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
