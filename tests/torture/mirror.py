"""The mirror's part of the series: `touchplate log follow`, killed on its way from one head to the next.

What is left is looked at as readers of the folder would, then followed on by the normal start, and compared
with the mirror of a follower that nobody disturbed.
"""

import contextlib
import json
import random
import shutil
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.log.mirrors import entries_in, files_in, wrong_with
from tests.simkeys import ORIGIN
from tests.simlog import SimLog
from tests.torture.builder import judge_end
from tests.torture.oracle import INCONSISTENT, LOST, Finding
from tests.torture.points import MIRROR
from tests.torture.process import Kill, Launcher, Run, SeriesError
from tests.torture.results import Results
from tests.torture.series import Series, Undisturbed, passed_by

from touchplate.verify.policy import format_policy

OLD, NEW = 250, 520
"""From one partial bundle to two full ones and a third that is partial: partials come, grow and go."""

RESTS = (f".checkpoint.{'ab' * 8}.tmp", f"tile/0/.001.{'ab' * 8}.tmp")
"""What a killed follower may leave."""


@dataclass
class Scenario(Undisturbed):
    """One update of a mirror that has `size` entries (0: it is made)."""

    name: str
    size: int


class MirrorSeries(Series):
    """Runs the updates of a mirror, one kill at a time, each in a folder of its own."""

    points = MIRROR

    def __init__(self, folder: Path, launcher: Launcher, results: Results) -> None:
        super().__init__(folder, launcher, results)
        self._log = SimLog(folder / "log")
        self.scenarios = [Scenario("first mirror", 0), Scenario("next update", OLD)]

    @contextlib.contextmanager
    def opened(self) -> Iterator["MirrorSeries"]:
        """With a log that has grown, and an undisturbed mirror before and after that."""
        self._log.grow(OLD)
        self._publish()
        (self._folder / "policy.txt").write_text(format_policy(self._log.policy))
        old = self._folder / "old"
        self._follow(old)
        self._log.grow(NEW - OLD)
        self._publish()
        for scenario in self.scenarios:
            undisturbed = self._undisturbed(scenario)
            undisturbed.mkdir()
            if scenario.size:
                shutil.copytree(old / "mirror", undisturbed / "mirror")
            self._follow(undisturbed)
            self.run(scenario, None)
        yield self

    def run(self, scenario: Scenario, kill: Kill | None) -> bool:
        """One update that ends at `kill`, the next start after it, and the oracle. Whether it ended there."""
        folder = self._next_folder()
        folder.mkdir()
        if scenario.size:
            shutil.copytree(self._folder / "old" / "mirror", folder / "mirror")
            for rest in RESTS:
                path = folder / "mirror" / rest
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(b"half")
        reached = False
        found: list[Finding] = []
        if kill is not None:
            run = self._start(folder, kill)
            run.wait()
            reached = self._results.note(run.hits(), kill)
            found += judge_end(run, kill, 0, reached=reached)
            found += self._look(folder / "mirror", {scenario.size, NEW})
        started = time.monotonic()
        found += self._recover(scenario, folder)
        if kill is None:
            scenario.seconds = time.monotonic() - started
        self._results.report(f"{scenario.name}, {kill}", found)
        shutil.rmtree(folder)
        return reached

    def load(self, rounds: int, chooser: random.Random) -> None:
        """One mirror, killed at random moments until it has everything."""
        scenario = self.scenarios[0]
        folder = self._next_folder("load-")
        folder.mkdir()
        found: list[Finding] = []
        for _ in range(rounds):
            run = self._start(folder)
            timer = threading.Timer(chooser.uniform(0.05, 1.0), run.kill)
            timer.start()
            run.wait()
            timer.join()
            self._results.note(run.hits(), None)
            found += self._look(folder / "mirror", {0, NEW})
            self._results.note_random()
        found += self._recover(scenario, folder)
        self._results.report("updates killed at random", found)
        shutil.rmtree(folder)

    def _undisturbed(self, scenario: Scenario) -> Path:
        return self._folder / f"undisturbed-{scenario.size}"

    def _recover(self, scenario: Scenario, folder: Path) -> Iterator[Finding]:
        """The next start: it goes on with what is there, and comes to the same files."""
        run = self._start(folder)
        run.wait()
        self._results.note(run.hits(), None)
        scenario.passed.update(passed_by(run.hits()) if not scenario.seconds else ())
        if run.code != 0:
            yield Finding(LOST, f"the next update ended with {run.code}: {run.err()[-1000:]}")
            return
        if json.loads(run.out())["healed"]:
            yield Finding(INCONSISTENT, "the mirror had to be checked from its beginning")
        yield from self._look(folder / "mirror", {NEW})
        here, there = files_in(folder / "mirror"), files_in(self._undisturbed(scenario) / "mirror")
        for path in sorted(here.keys() ^ there.keys()):
            yield Finding(INCONSISTENT, f"mirror: {path} is {'left over' if path in here else 'missing'}")
        yield from self._look_beside(folder)

    def _publish(self) -> None:
        self._log.publish()

    def _look_beside(self, folder: Path) -> Iterator[Finding]:
        """What the update leaves beside the mirror."""
        if (folder / "state" / f"head-{ORIGIN}").read_bytes() != self._log.note():
            yield Finding(LOST, "the head that was mirrored is not remembered")

    def _look(self, mirror: Path, sizes: set[int]) -> Iterator[Finding]:
        """What a reader of the folder finds: a whole log of one of these sizes, 0 for none yet."""
        checkpoint = mirror / "checkpoint"
        size = int(checkpoint.read_text().splitlines()[1]) if checkpoint.exists() else 0
        if size not in sizes:
            yield Finding(LOST, f"mirror: has size {size}, not one of {sorted(sizes)}")
        if size:
            yield from (Finding(LOST, f"mirror: {each}") for each in wrong_with(mirror, self._log.policy))
            if entries_in(mirror, self._log.policy) != self._log.entries[:size]:
                yield Finding(INCONSISTENT, "mirror: has other entries than the log")

    def _follow(self, folder: Path) -> None:
        run = self._start(folder)
        if run.wait() != 0:
            raise SeriesError(f"the log cannot be followed: {run.err()}")

    def _start(self, folder: Path, kill: Kill | None = None) -> Run:
        mirror, state = folder / "mirror", folder / "state"
        argv = ["log", "follow", "--url", str(self._log.folder), "--to", str(mirror), "--once", "--json"]
        argv += ["--policy", str(self._folder / "policy.txt"), "--state", str(state)]
        return self._launcher.start(argv, {"mirror": mirror, "state": state}, kill)
