"""Jobs whose time is over: a node empties and deletes them, and is killed at each step of that.

The queue holds more of them than fit into one batch, and beside them jobs that nobody may touch: open ones as
old as those, one of which is signed and waits for its log. A node that starts begins to tidy after some
seconds; one that was killed is started again, and in the end everything is as it should be.
"""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Engine, insert, text
from tests.builder.queue.queuehost import write_host
from tests.builder.rebuildparts import scene
from tests.postgres import Server
from tests.torture.hooks_postgresql import ROOT
from tests.torture.jobs.database import SQLITE_FILE, queue_block, queue_database
from tests.torture.jobs.tally import NODE, Aim, Tally
from tests.torture.oracle import INCONSISTENT, LOST, Finding
from tests.torture.process import Kill, Launcher, Run, SeriesError

from touchplate.base.sql import begin_read, begin_write
from touchplate.builder.queue.prune import MOST_JOBS
from touchplate.builder.queue.schema import jobs, output
from touchplate.builder.queue.store import Queue

DAY = 24 * 3600
LONG_AGO, WEEK_AGO = 400 * DAY, 8 * DAY
"""Longer than a year, for which a job that is done is kept; longer than a week, for which its output is."""

BATCHES = 2
"""A kill is at the second batch: one is committed before it."""

MANY = BATCHES * MOST_JOBS + 10
SECONDS = 60.0
STEPS = ("jobs emptied", "jobs deleted")


def expiry_aims(store: str) -> list[Aim]:
    """The node, before and after each step. `store`: as the table of points has it."""
    return [Aim(NODE, f"{store}: {step}", side) for step in STEPS for side in ("before", "after")]


class Kept(NamedTuple):
    """What is there of a job."""

    state: str
    is_signed: bool
    is_emptied: bool
    pieces: int


OPEN = {
    MANY * 2 + 1: Kept("waiting", is_signed=True, is_emptied=False, pieces=2),
    MANY * 2 + 2: Kept("leased", is_signed=False, is_emptied=False, pieces=2),
}
FAILED = MANY * 2 + 3
"""Number of one that failed long ago, and is kept longer than those that are done."""

FULL = Kept("done", is_signed=True, is_emptied=False, pieces=2)
BEING_EMPTIED = tuple(FULL._replace(pieces=pieces) for pieces in range(FULL.pieces + 1))
EMPTY = Kept("done", is_signed=False, is_emptied=True, pieces=0)
DEAD_LETTER = Kept("failed", is_signed=False, is_emptied=True, pieces=0)


def fill(engine: Engine) -> None:
    """MANY that are to be deleted, as many that are to be emptied, and the others."""
    Queue(engine)  # its tables
    now = int(time.time())
    ended = [("done", LONG_AGO)] * MANY + [("done", WEEK_AGO)] * MANY
    states = [*ended, ("waiting", LONG_AGO), ("leased", LONG_AGO), ("failed", LONG_AGO)]
    rows, pieces = [], []
    for number, (state, age) in enumerate(states, 1):
        when = now - age
        rows.append({
            "job_id": number, "package": f"pkg:maven/org.example/a{number}@1.0?type=jar", "definition": "",
            "priority": 0, "state": state, "client": "", "created": when, "not_before": when,
            "finished": None if number in OPEN else when, "attempts": 1, "secret": "ab" * 32,
            "parcel": b"[]" if state in ("done", "waiting") else None,
        })  # fmt: skip
        pieces += [{"job_id": number, "start": start, "data": b"line\n"} for start in (0, 5)]
    with begin_write(engine) as transaction:
        transaction.execute(insert(jobs), rows)
        transaction.execute(insert(output), pieces)


def read(engine: Engine) -> tuple[dict[int, Kept], int]:
    """What is there, by number, and the greatest number that is noted as deleted. By no code of the queue."""
    with begin_read(engine) as transaction:
        count = "(SELECT count(*) FROM job_output WHERE job_output.job_id = jobs.job_id) AS pieces"
        columns = f"job_id, state, parcel IS NOT NULL AS is_signed, emptied, {count}"
        rows = transaction.execute(text(f"SELECT {columns} FROM jobs")).all()
        highest = transaction.execute(text("SELECT max(highest) FROM pruned")).scalar_one()
    found = {row.job_id: Kept(row.state, bool(row.is_signed), bool(row.emptied), row.pieces) for row in rows}
    return found, highest or 0


def check_moment(found: dict[int, Kept], highest: int) -> Iterator[Finding]:
    """What must be right at any moment: a job is whole, or emptied, or gone and noted as gone. Output goes in
    parts, before anything else of its job."""
    for number, kept in OPEN.items():
        if found.get(number) != kept:
            yield Finding(LOST, f"job {number} is open, and was touched: {found.get(number)}")
    for number in range(1, 2 * MANY + 1):
        if number not in found and (number > MANY or number > highest):
            yield Finding(LOST, f"job {number} is gone, and {highest} is the greatest that may be")
        if number in found and found[number] not in (*BEING_EMPTIED, EMPTY):
            yield Finding(INCONSISTENT, f"job {number} is half emptied: {found[number]}")
    if FAILED not in found:
        yield Finding(LOST, "a dead letter is gone before its time")


def check_end(found: dict[int, Kept], highest: int) -> Iterator[Finding]:
    """What must be right when the node has tidied."""
    yield from check_moment(found, highest)
    wanted = {**OPEN, FAILED: DEAD_LETTER, **dict.fromkeys(range(MANY + 1, 2 * MANY + 1), EMPTY)}
    if found != wanted or highest != MANY:
        wrong = sorted(number for number in found | wanted if found.get(number) != wanted.get(number))
        yield Finding(INCONSISTENT, f"jobs {wrong[:5]} are not as they should be, and {highest} is noted")


class Expiry:
    """One queue on one database, with one kill."""

    def __init__(self, folder: Path, launcher: Launcher, storage: str) -> None:
        self._launcher = launcher
        with scene() as one:
            self._config, _ = write_host(folder, one, queue=queue_block(storage))
        self._data = self._config.with_name("data")
        self._storage = storage
        with queue_database(self._storage, self._data) as engine:
            fill(engine)

    def run(self, aim: Aim, tally: Tally) -> None:
        """The kill, a look, the next life, and another look."""
        run = self._start(Kill(aim.point, aim.side, BATCHES))
        if run.wait() == -9:
            tally.hit(aim, 1)
        with queue_database(self._storage, self._data) as engine:
            tally.report(f"after {aim}", check_moment(*read(engine)))
            again = self._start(None)
            deadline = time.monotonic() + SECONDS
            while list(check_end(*read(engine))) and time.monotonic() < deadline:
                time.sleep(0.1)
            if again.stop() != 0:
                raise SeriesError(f"the node ended with {again.code}: {again.err()[-1000:]}")
            found, highest = read(engine)
            tally.report(f"at rest, after {aim}", check_end(found, highest))
            tally.jobs.update(kept.state for kept in found.values())
        for line in (*run.hits(), *again.hits()):
            if line.startswith("? "):
                tally.unlisted.add(line[2:])

    def _start(self, kill: Kill | None) -> Run:
        roots = {"node": self._data, "postgresql": Path(ROOT)}
        return self._launcher.start(["serve", "--config", str(self._config)], roots, kill)


def run_expiry(folder: Path, tally: Tally, launcher: Launcher, server: Server | None = None) -> None:
    """A queue for each aim: in a file, or in a database of its own of `server`. `tally` has what is wrong."""
    for number, aim in enumerate(tally.aims):
        storage = SQLITE_FILE if server is None else server.make_database()
        try:
            Expiry(folder / f"queue{number}", launcher, storage).run(aim, tally)
        except SeriesError as error:
            tally.report(str(aim), [Finding(LOST, str(error))])
