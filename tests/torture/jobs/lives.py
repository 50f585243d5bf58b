"""The lives of one fleet: one kill after the other, a check after each, and a whole one at the end."""

import random
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.torture.jobs.customer import Customer
from tests.torture.jobs.database import SQLITE_FILE
from tests.torture.jobs.fleet import Fleet, check_orphans, collecting_orphans, fleet, kill
from tests.torture.jobs.promises import Row, check_end, check_moment, read_rows
from tests.torture.jobs.skew import check_apart
from tests.torture.jobs.tally import JOBS, NODE, RANDOM, WORKERS, Aim, Tally
from tests.torture.oracle import LOST, Finding, Promises, check_node
from tests.torture.process import Launcher, SeriesError

from touchplate.base.errors import StorageError

SQLITE, POSTGRESQL, CLOCKS = "SQLite", "PostgreSQL", "wrong clocks"

REACH_SECONDS = 60.0
"""How long the fleet may take to come to a step: a worker is noted every twenty seconds."""

TRIES = 5
"""At one step, until there is a process to be killed."""

RANDOM_SECONDS = (0.2, 1.2)
"""Before a kill at a random moment."""

_STORES = {SQLITE: "queue", POSTGRESQL: "shared queue", CLOCKS: "shared queue"}
_QUEUE_STEPS = (
    "lease given",
    "lease kept",
    "result judged",
    "statements stored",
    "job finished",
    "output stored",
)
"""Of a job that is done: whoever does it may die at each."""

_OTHER_STEPS = ("job added", "job failed", "worker noted")
"""At which only the node is killed: no build is under way, or another step says the same."""

BATCH = "log: batch committed"
"""The statements are in the log; the queue does not know it yet."""


def all_aims(kind: str) -> list[Aim]:
    """Each of them once."""
    aims = []
    for side in ("before", "after"):
        for step in (*(f"{_STORES[kind]}: {one}" for one in _QUEUE_STEPS), BATCH):
            aims += [Aim(victim, step, side) for victim in (NODE, WORKERS, JOBS)]
        aims += [Aim(NODE, f"{_STORES[kind]}: {one}", side) for one in _OTHER_STEPS]
    return aims + [Aim(victim, RANDOM) for victim in (NODE, WORKERS, JOBS)]


def choose(kind: str, count: int, chooser: random.Random) -> list[Aim]:
    """`count` aims or more in a random order: each at a step once, the rest of any kind."""
    aims = all_aims(kind)
    aims += [chooser.choice(aims) for _ in range(count - len(aims))]
    chooser.shuffle(aims)
    return aims


def choose_random(count: int, chooser: random.Random) -> list[Aim]:
    """`count` aims at random moments, of workers and jobs, each at least once."""
    aims = [Aim(WORKERS, RANDOM), Aim(JOBS, RANDOM)]
    return aims + [chooser.choice(aims) for _ in range(count - len(aims))]


class JobLives:
    """One queue with its fleet, through all kills."""

    def __init__(self, one: Fleet, tally: Tally, chooser: random.Random, *, is_shown: bool = False) -> None:
        self._fleet = one
        self._tally = tally
        self._chooser = chooser
        self._customer = Customer(one.host)
        self._is_shown = is_shown

    def run(self) -> None:
        """All aims, then the end. What is wrong is in the tally."""
        one = self._fleet
        try:
            one.start_node()
            one.start_workers()
            self._customer.start()
            for number, aim in enumerate(self._tally.aims, 1):
                self._live(aim)
                self._say(number)
            self._customer.stop()
            self._customer.wait_for_all()
            self._end()
        except (SeriesError, StorageError, OSError) as error:
            self._tally.report("the series", [Finding(LOST, f"{type(error).__name__}: {error}")])
        finally:
            self._customer.close()

    def _say(self, number: int) -> None:
        tally = self._tally
        if self._is_shown and (number % 10 == 0 or number == len(tally.aims)):
            found = f"{len(tally.findings)} findings"
            print(f"jobs: {tally.kind}: {number} of {len(tally.aims)} kills, {found}", flush=True)

    def _live(self, aim: Aim) -> None:
        """One kill, and a start of what died."""
        one = self._fleet
        one.jump()
        if aim.point == RANDOM:
            threading.Event().wait(self._chooser.uniform(*RANDOM_SECONDS))
            killed = self._kill_random(aim.victim)
        else:
            killed = self._kill_at(aim)
        if killed:
            self._tally.hit(aim, killed)
        else:
            self._tally.report(str(aim), [Finding(LOST, "it was never reached")])
        if aim.victim == NODE and killed:
            self._check(aim)
            one.start_node()
        one.start_workers()

    def _kill_at(self, aim: Aim) -> int:
        """At the step; again when nobody was there to be killed: between two jobs there is no process."""
        one, killed = self._fleet, 0
        # Of two nodes the other one has half of the jobs.
        seconds = 3 * REACH_SECONDS if one.is_skewed else REACH_SECONDS
        for _ in range(TRIES):
            one.hold(aim.side, aim.point)
            is_held = one.wait_held(seconds)
            if is_held:
                killed = self._kill(aim.victim)
            if killed and aim.victim == WORKERS:
                self._tally.report(str(aim), one.check_killed_workers())
            one.go_on()
            if killed or not is_held:
                break
        return killed

    def _kill(self, victim: str) -> int:
        one = self._fleet
        return {NODE: one.kill_node, WORKERS: one.kill_workers, JOBS: one.kill_jobs}[victim]()

    def _kill_random(self, victim: str) -> int:
        """The node, one worker, or one job process."""
        one = self._fleet
        if victim == NODE:
            return one.kill_node()
        if victim == WORKERS:
            run = self._chooser.choice(one.workers)
            run.kill()
            return int(run.wait() == -9)
        for _ in range(int(REACH_SECONDS * 20)):  # between two jobs there is none
            if pids := one.jobs():
                kill(self._chooser.choice(pids))
                return 1
            threading.Event().wait(0.05)
        return 0

    def _check(self, aim: Aim) -> None:
        """While the node is down."""
        with self._fleet.queue_database() as engine:
            rows = read_rows(engine)
        self._tally.report(f"after {aim}", check_moment(rows, self._fleet.log()))

    def _end(self) -> None:
        """Everything is stopped in order, and all promises are looked at."""
        one = self._fleet
        self._tally.report("the end", [*one.stop_workers(), *one.stop_node()])
        with one.queue_database() as engine:
            rows = read_rows(engine)
            if one.is_skewed:
                self._tally.report("the end", check_apart(engine))
        log = one.log()
        self._tally.report("at rest", self._check_rest(rows, log))
        self._tally.jobs.update(row.state for row in rows)
        self._tally.attempts = sum(row.attempts for row in rows)
        self._tally.entries = len(log)
        self._tally.unlisted.update(line[2:] for line in one.hits if line.startswith("? "))

    def _check_rest(self, rows: Sequence[Row], log: Sequence[bytes]) -> Iterator[Finding]:
        yield from check_end(rows, log, self._customer.promised)
        promises = Promises()
        for row in rows:
            for envelope, index in zip(row.envelopes, row.indexes, strict=False):
                promises.answered(envelope, index)
        yield from check_node(self._fleet.data, self._fleet.host.folder / "trust.toml", promises)


def run_lives(
    folder: Path,
    tally: Tally,
    launcher: Launcher,
    chooser: random.Random,
    *,
    storage: str = SQLITE_FILE,
    is_shown: bool = False,
    is_skewed: bool = False,
) -> None:
    """A whole series over one queue in `folder`; nothing is alive afterwards. `tally` has what is wrong.
    `is_skewed`: two nodes have the queue, and their clocks are wrong and jump with each kill."""
    with collecting_orphans() as known:
        wrong = chooser if is_skewed else None
        with fleet(folder, launcher, storage=storage, wrong=wrong) as one:
            JobLives(one, tally, chooser, is_shown=is_shown).run()
        tally.report("the end", check_orphans(known))
