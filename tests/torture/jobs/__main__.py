"""The series of jobs: `python -m tests.torture.jobs [--sqlite N] [--postgresql N] [--clocks N] [--seed N]`.

A real node with a queue of rebuilds and two real workers, with two slots each, whose builds run in real
sandboxes. Node, workers and job processes are killed with -9 at each durable step of a job and at random
moments. `--clocks`: the same with two nodes on PostgreSQL, whose clocks are years, hours or seconds apart and
jump with each kill. After each of the first two, nodes are killed while they delete jobs of long ago. Ends
with `0 lost, 0 inconsistent` and exit code 0, or says what was wrong.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from tests.postgres import Server
from tests.torture.jobs.expiry import expiry_aims, run_expiry
from tests.torture.jobs.lives import CLOCKS, POSTGRESQL, SQLITE, choose, run_lives
from tests.torture.jobs.tally import Tally
from tests.torture.kills.__main__ import has_postgresql
from tests.torture.process import launching

SHOWN = 40
"""Findings that are printed: one mistake shows at many points."""


def run_series(folder: Path, counts: dict[str, int], chooser: random.Random) -> list[Tally]:
    """One queue after the other, each with at least so many kills."""
    tallies = []
    with launching(folder / "runs") as launcher:
        for kind, count in counts.items():
            tally = Tally(kind, choose(kind, count, chooser))
            tallies.append(tally)
            if kind == SQLITE:
                run_lives(folder / kind, tally, launcher, chooser, is_shown=True)
                tallies.append(Tally(f"{kind}, deleting", expiry_aims("queue")))
                run_expiry(folder / "deleting", tallies[-1], launcher)
            else:
                with closing(Server()) as server:
                    server.start()
                    url = server.make_database()
                    run_lives(
                        folder / kind.replace(" ", "-"), tally, launcher, chooser,
                        storage=url, is_shown=True, is_skewed=kind == CLOCKS,
                    )  # fmt: skip
                    if kind == POSTGRESQL:
                        tallies.append(Tally(f"{kind}, deleting", expiry_aims("shared queue")))
                        run_expiry(folder / "shared-deleting", tallies[-1], launcher, server)
    return tallies


def print_tallies(tallies: Sequence[Tally]) -> None:
    """The tables, then everything that is wrong, then the last line."""
    for tally in tallies:
        print(tally.table())
        for name in tally.missed():
            print(f"never hit: {name}")
        for call in sorted(tally.unlisted):
            print(f"not in the table of points: {call}")
    findings = [found for tally in tallies for found in tally.findings]
    for where, finding in findings[:SHOWN]:
        print(f"{where}: {finding}")
    lost = sum(finding.kind == "lost" for _, finding in findings)
    print(f"{lost} lost, {len(findings) - lost} inconsistent")


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture.jobs", description=__doc__)
    parser.add_argument("--sqlite", type=int, default=0, metavar="N", help="kills over SQLite, at least")
    parser.add_argument("--postgresql", type=int, default=0, metavar="N", help="kills over PostgreSQL")
    parser.add_argument(
        "--clocks", type=int, default=0, metavar="N", help="kills with two nodes' wrong clocks"
    )
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    args = parser.parse_args(arguments)
    counts = {SQLITE: args.sqlite, POSTGRESQL: args.postgresql, CLOCKS: args.clocks}
    if (args.postgresql or args.clocks) and not has_postgresql():
        del counts[POSTGRESQL], counts[CLOCKS]
    counts = {kind: count for kind, count in counts.items() if count}
    started = time.monotonic()
    print(f"jobs: seed {args.seed}, {sum(counts.values())} kills or more", flush=True)
    with tempfile.TemporaryDirectory(prefix="touchplate-jobs-") as folder:
        Path(folder).chmod(0o755)
        tallies = run_series(Path(folder), counts, random.Random(args.seed))
    print(f"jobs: {time.monotonic() - started:.0f} s")
    print_tallies(tallies)
    return 0 if all(tally.is_good for tally in tallies) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
