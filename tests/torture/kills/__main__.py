"""The series of kills: `python -m tests.torture.kills [--short] [--sqlite N] [--raw N] [--postgresql N]`.

Real servers are killed with -9 while clients write to them, at named crash points and at random moments, and
started again. After each kill fsck, every acknowledged entry and every head that was ever shown are checked;
a witness that lives through it all cosigns the heads. Ends with `0 lost, 0 inconsistent` and exit code 0.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing
from functools import partial
from pathlib import Path

from tests.postgres import MissingError, Server, programs
from tests.torture.kills.lives import Lives
from tests.torture.kills.plan import ALL, POSTGRESQL_AIMS, RAW_AIMS, SQLITE_AIMS, choose, once, split
from tests.torture.kills.raw import PREORDERED, RAW, RawLives
from tests.torture.kills.shared import POSTGRESQL, SharedLives
from tests.torture.kills.tally import Aim, Tally
from tests.torture.kills.watching import Witness
from tests.torture.oracle import INCONSISTENT, LOST, Finding
from tests.torture.process import Launcher, launching

from touchplate.base.environment import read_environment

WORKERS = 3
"""Logs at the same time: each waits for its disk a third of the time, and there are two cores."""

SHOWN = 40
"""Findings that are printed: one mistake shows at many points."""


class Series:
    """All logs of one run."""

    def __init__(self, folder: Path, aims: Sequence[Aim], seed: int) -> None:
        planned = set(aims)
        self.tally = Tally([aim for aim in ALL if aim in planned])
        self._folder = folder
        self._count = len(aims)
        self._logs = list(enumerate(split(aims)))
        self._seed = seed

    def run(self) -> None:
        """A few logs at a time; those on PostgreSQL one after the other, since they share a server."""
        with launching(self._folder / "runs") as launcher:
            witness = Witness(self._folder / "witness", launcher, len(self._logs))
            shared = [log for log in self._logs if log[1][0].kind == POSTGRESQL]
            work: list[Callable[[], None]] = (
                [partial(self._run_shared, launcher, witness, shared)] if shared else []
            )
            work += [partial(self._run, launcher, witness, *log) for log in self._logs if log not in shared]
            with ThreadPoolExecutor(WORKERS) as pool:
                for future in as_completed([pool.submit(one) for one in work]):
                    if (error := future.exception()) is not None:
                        self.tally.report("a log", [Finding(LOST, f"{type(error).__name__}: {error}")])
            self.tally.report("the witness", [Finding(INCONSISTENT, line) for line in witness.close()])

    def _run(self, launcher: Launcher, witness: Witness, number: int, aims: Sequence[Aim]) -> None:
        kind = aims[0].kind
        made = RawLives if kind in (RAW, PREORDERED) else Lives
        lives = made(self._folder / f"log-{number}", number, kind, launcher, witness, self.tally)
        lives.run(aims, random.Random(f"{self._seed} {number}"))
        self._say()

    def _run_shared(
        self, launcher: Launcher, witness: Witness, logs: Sequence[tuple[int, Sequence[Aim]]]
    ) -> None:
        with closing(Server()) as server:
            server.start()
            for number, aims in logs:
                folder = self._folder / f"log-{number}"
                lives = SharedLives(folder, number, server, launcher, witness, self.tally)
                lives.run(aims, random.Random(f"{self._seed} {number}"))
                self._say()

    def _say(self) -> None:
        kills = sum(self.tally.hits.values())
        print(f"kills: {kills} of {self._count}, {len(self.tally.findings)} findings", flush=True)


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


def has_postgresql() -> bool:
    """Whether it is here. Raises MissingError under CI, where a missing tool is a failure."""
    try:
        programs()
    except MissingError as error:
        if read_environment().is_ci:
            raise
        print(f"kills: POSTGRESQL NOT TESTED: {error}", flush=True)
        return False
    return True


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture.kills", description=__doc__)
    for name in ("sqlite", "raw", "postgresql"):
        parser.add_argument(
            f"--{name}", type=int, default=0, metavar="N", help=f"kills over {name}, at least"
        )
    parser.add_argument("--short", action="store_true", help="every crash point once, and nothing else")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    args = parser.parse_args(arguments)
    chooser = random.Random(args.seed)
    aims: list[Aim] = []
    for name, kind_aims in (("sqlite", SQLITE_AIMS), ("raw", RAW_AIMS), ("postgresql", POSTGRESQL_AIMS)):
        count = getattr(args, name)
        if (args.short or count) and (name != "postgresql" or has_postgresql()):
            aims += once(kind_aims, chooser) if args.short else choose(kind_aims, count, chooser)
    started = time.monotonic()
    print(f"kills: seed {args.seed}, {len(aims)} kills", flush=True)
    with tempfile.TemporaryDirectory(prefix="touchplate-kills-") as folder:
        Path(folder).chmod(0o755)
        series = Series(Path(folder), aims, args.seed)
        series.run()
    print(f"kills: {time.monotonic() - started:.0f} s")
    print_tally(series.tally)
    return 0 if series.tally.is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
