"""The series of kills: `python -m tests.torture.kills [--sqlite N] [--postgresql N] [--raw N] [--seed N]`.

Real servers are killed with -9 while clients write to them, at named crash points and at random moments, and
started again. After each kill fsck, every acknowledged entry and every head that was ever shown are checked;
a witness that lives through it all cosigns the heads. Ends with `0 lost, 0 inconsistent` and exit code 0.
"""

import argparse
import itertools
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests.torture.kills.lives import CLOSED, RANDOM, SQLITE, STARTING, WITNESSED, Lives
from tests.torture.kills.raw import PREORDERED, RAW, RawLives
from tests.torture.kills.tally import Aim, Tally
from tests.torture.kills.watching import Witness
from tests.torture.oracle import LOST, INCONSISTENT, Finding
from tests.torture.points import BATCH, SIGNED
from tests.torture.points import RAW as RAW_POINTS
from tests.torture.process import launching

WORKERS = 3
"""Logs at the same time: each waits for its disk a third of the time, and there are two cores."""

KILLS_OF_A_LOG = 20
"""Then a new log begins: recomputing a long one takes longer than the kills."""

SHOWN = 40
"""Findings that are printed: one mistake shows at many points."""

_FILE_STEPS = ("temporary file made", "temporary file synced", "renamed", "name of the file synced")
_ALONE = (
    *(point.name for point in BATCH),
    "log: batch committed",
    *(f"log's head: {step}" for step in _FILE_STEPS),
    CLOSED,
)
_WITNESSED = (
    *_ALONE,
    "log: checkpoint committed",
    *(point.name for point in SIGNED if "abandoned" not in point.name),
)
_RAW = (*(point.name for point in (*BATCH, *RAW_POINTS) if "written" in point.name), "raw tree: batch committed", CLOSED)


def aims_of(kind: str, steps: Sequence[str], moments: Sequence[str]) -> list[Aim]:
    """Before and after each step, and the other moments."""
    at = [Aim(kind, step, side) for step in steps for side in ("before", "after")]
    return at + [Aim(kind, moment) for moment in moments]


SQLITE_AIMS = (
    *aims_of(SQLITE, _ALONE, (RANDOM, STARTING)),
    *aims_of(WITNESSED, _WITNESSED, (RANDOM, STARTING)),
)
RAW_AIMS = tuple(aim for kind in (RAW, PREORDERED) for aim in aims_of(kind, _RAW, (RANDOM, STARTING)))
ALL = (*SQLITE_AIMS, *RAW_AIMS)
"""In the order of the table."""


def chosen(aims: Sequence[Aim], count: int, chooser: random.Random) -> list[Aim]:
    """`count` aims: each at least once (or `count` is too small), half of the rest at random moments."""
    found = list(aims)
    rest = [aim for aim in aims if aim.point == RANDOM]
    while len(found) < count:
        found.append(chooser.choice(rest if chooser.random() < 0.5 else aims))
    chooser.shuffle(found)
    return found


Log = Callable[[Path, int, list[Aim]], None]
"""Runs one log, of this number and in this folder, through the lives of these aims."""


def chunks(aims: Sequence[Aim]) -> list[list[Aim]]:
    """The aims of each log: all of one kind."""
    found = []
    for kind in dict.fromkeys(aim.kind for aim in aims):
        mine = [aim for aim in aims if aim.kind == kind]
        found += [mine[at : at + KILLS_OF_A_LOG] for at in range(0, len(mine), KILLS_OF_A_LOG)]
    return found


def run_series(folder: Path, aims: Sequence[Aim], seed: int) -> Tally:
    """All of them, a few logs at a time."""
    planned = set(aims)
    tally = Tally([aim for aim in ALL if aim in planned])
    logs = chunks(aims)
    with launching(folder / "runs") as launcher:
        witness = Witness(folder / "witness", launcher, len(logs))

        def run(number: int) -> None:
            kind = logs[number][0].kind
            made = RawLives if kind in (RAW, PREORDERED) else Lives
            lives = made(folder / f"log-{number}", number, kind, launcher, witness, tally)
            lives.run(logs[number], random.Random(f"{seed} {number}"))

        with ThreadPoolExecutor(WORKERS) as pool:
            waiting = {pool.submit(run, number): number for number in range(len(logs))}
            for done, future in enumerate(as_completed(waiting), 1):
                if (error := future.exception()) is not None:
                    tally.report(f"log {waiting[future]}", [Finding(LOST, f"{type(error).__name__}: {error}")])
                kills = sum(tally.hits.values())
                print(f"kills: {kills} of {len(aims)}, {done} logs, {len(tally.findings)} findings", flush=True)
        tally.report("the witness", [Finding(INCONSISTENT, line) for line in witness.close()])
    return tally


def print_tally(tally: Tally) -> None:
    """The tables, then everything that is wrong, then the last line."""
    print(tally.table())
    print(f"heads that the witness cosigned: {tally.heads}")
    for name in tally.missed():
        print(f"never hit: {name}")
    for text in tally.starved():
        print(text)
    for where, finding in tally.findings[:SHOWN]:
        print(f"{where}: {finding}")
    print(tally.summary())


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture.kills", description=__doc__)
    parser.add_argument("--sqlite", type=int, default=0, metavar="N", help="kills over SQLite, at least")
    parser.add_argument("--raw", type=int, default=0, metavar="N", help="kills of raw trees, at least")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    args = parser.parse_args(arguments)
    chooser = random.Random(args.seed)
    aims = chosen(SQLITE_AIMS, args.sqlite, chooser) if args.sqlite else []
    aims += chosen(RAW_AIMS, args.raw, chooser) if args.raw else []
    started = time.monotonic()
    print(f"kills: seed {args.seed}, {len(aims)} kills", flush=True)
    with tempfile.TemporaryDirectory(prefix="touchplate-kills-") as folder:
        tally = run_series(Path(folder), aims, args.seed)
    print(f"kills: {time.monotonic() - started:.0f} s")
    print_tally(tally)
    return 0 if tally.is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
