"""`make fuzz`: every target for some seconds, a table of what came out, and the input of each finding.

    python -m tests.fuzz run [--seconds N] [TARGET ...]   fuzz; fails on a finding
    python -m tests.fuzz repeat TARGET FILE               one input again, with its traceback
    python -m tests.fuzz keep [TARGET ...]                the best of the grown corpus into tests/fuzz/corpus

Only `run` needs atheris.
"""

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz import corpus
from tests.fuzz.machines import MACHINES
from tests.fuzz.minimise import smallest
from tests.fuzz.runner import PLANTED, Outcome, run_machine, run_target
from tests.fuzz.targets import TARGETS
from tests.fuzz.tool import MissingToolError, ensure_atheris

JOBS = 2
"""Targets at a time: a development machine has two cores or more."""

HEADER = f"{'target':<20}{'executions':>12}{'corpus':>8}{'new':>6}{'coverage':>10}{'more':>6}   finding"


def main(arguments: list[str]) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, dest="command")
    run = commands.add_parser("run", help="fuzz every target")
    run.add_argument("--seconds", type=int, default=6, metavar="N", help="for each target (default: 6)")
    run.add_argument("targets", nargs="*", metavar="TARGET")
    repeat = commands.add_parser("repeat", help="check one input again")
    repeat.add_argument("target", choices=sorted(TARGETS))
    repeat.add_argument("file", type=Path)
    keep = commands.add_parser("keep", help="write the smallest corpus into the tree")
    keep.add_argument("targets", nargs="*", metavar="TARGET")
    args = parser.parse_args(arguments)
    if args.command == "repeat":
        accepted = TARGETS[args.target].check(args.file.read_bytes())
        print("accepted" if accepted else "refused")
        return 0
    known = [*TARGETS, *(MACHINES if args.command == "run" else ())]
    names = args.targets or known
    unknown = [name for name in names if name not in known]
    if unknown:
        parser.error(f"there is no target {unknown[0]!r}; known: {', '.join(known)}")
    if args.command == "keep":
        return _keep(names)
    try:
        ensure_atheris()
    except MissingToolError as error:
        print(f"fuzz: SKIPPED: {error}", file=sys.stderr)
        return 1 if os.environ.get("CI") == "true" else 0
    return _run(names, args.seconds)


def _run(names: list[str], seconds: int) -> int:
    planted = run_target(PLANTED, 60)
    if planted.finding is None:
        print("fuzz: FAILED: the planted bug was not found, so nothing here would be", file=sys.stderr)
        return 1
    print(f"fuzz: {seconds} s each; the planted bug was found after {planted.executions} executions")
    print(HEADER)
    with ThreadPoolExecutor(JOBS) as pool:
        outcomes = list(pool.map(lambda name: _one(name, seconds), names))
    found = [outcome for outcome in outcomes if outcome.finding is not None]
    for outcome in found:
        print(f"\n{outcome.name}: {outcome.finding}\n{outcome.explanation}")
    print(f"fuzz: {'FAILED' if found else 'ok'}: {len(found)} findings in {len(names)} targets")
    return 1 if found else 0


def _one(name: str, seconds: int) -> Outcome:
    outcome = run_machine(name, seconds) if name in MACHINES else run_target(name, seconds)
    print(outcome.row(), flush=True)
    return outcome


def _keep(names: list[str]) -> int:
    for name in names:
        inputs = smallest(TARGETS[name], [*corpus.kept(name), *corpus.grown(name)])
        print(f"{name}: {corpus.keep(name, inputs)} of {len(inputs)} inputs kept")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
