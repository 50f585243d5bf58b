"""Faults of system calls: `python -m tests.torture.faults [--each N] [--only WORD] [--seed N]`.

strace lets one call of a real process fail (EIO, ENOSPC, EINTR) in the place of the kernel, as Tessera's own
tests do; then the same thing is tried again. Nothing acknowledged may be lost, nothing that was not synced
may be acknowledged, errors are clear, and the next start is clean. Ends with `0 lost, 0 inconsistent`.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Lock

from tests.torture.faults.programs import PROGRAMS, Program, World
from tests.torture.faults.serving import SERVE, Serving
from tests.torture.faults.tracing import CALLS, ERRORS, Call, Fault, Tracer
from tests.torture.oracle import LOST, Finding
from tests.torture.process import Launcher, launching
from tests.torture.sqlite_calls import has_strace

from touchplate.base.environment import read_environment

WORKERS = 3
TRIES = 40
"""Of a fault that did not meet a file of ours: threads differ from run to run, and a server also writes to
its own wake-up descriptors, as often as they happen to run."""

SHOWN = 40


@dataclass
class Results:
    """Hits and findings of all programs."""

    passed: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    """(program, call) → the numbers at which an undisturbed run makes that call for a file of ours."""
    hits: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    findings: list[tuple[str, Finding]] = field(default_factory=list)
    lock: Lock = field(default_factory=Lock)

    def missed(self, each: int) -> list[str]:
        """Calls that never failed; with `each` faults for as many errors as there are, never with one of
        them."""
        missed = []
        for program, call in self.passed:
            lacking = [error for error in ERRORS if not self.hits[program, call, error]]
            if len(lacking) > max(0, len(ERRORS) - each):
                missed.append(f"{call} of {program} with {', '.join(lacking)}")
        return missed

    def table(self) -> str:
        """A row for each program and call, a column for each error."""
        rows = [f"{'program':10} {'call':10} {'made':>5} " + " ".join(f"{error:>7}" for error in ERRORS)]
        for (program, call), numbers in sorted(self.passed.items()):
            counts = " ".join(f"{self.hits[program, call, error]:7}" for error in ERRORS)
            rows.append(f"{program:10} {call:10} {len(numbers):5} {counts}")
        return "\n".join(rows)


class Series:
    """All programs, each in folders of its own."""

    def __init__(self, folder: Path, launcher: Launcher, seed: int) -> None:
        self.results = Results()
        self._folder = folder
        self._launcher = launcher
        self._tracer = Tracer(launcher, folder / "traces")
        self._world = World(folder / "world", launcher)
        self._programs: dict[str, Program] = {made.name: made(self._world) for made in PROGRAMS}
        self._chooser = random.Random(seed)
        self._numbers = 0

    def plan(self, each: int, only: str) -> list[tuple[str, Fault]]:
        """`each` faults for every call of every program: with every error once before any comes again."""
        plan = []
        for program in (*self._programs, SERVE):
            if only not in program:
                continue
            calls, found = self._run(program, None)
            self._report(f"{program}, undisturbed", found)
            for name in CALLS:
                numbers = sorted({call.number for call in calls if call.name == name})
                if not numbers:
                    continue
                self.results.passed[program, name] = set(numbers)
                first = self._chooser.randrange(len(ERRORS))
                for number in range(each):
                    error = ERRORS[(first + number) % len(ERRORS)]
                    plan.append((program, Fault(name, error, self._chooser.choice(numbers))))
        self._chooser.shuffle(plan)
        return plan

    def run(self, program: str, fault: Fault) -> None:
        """One fault, and what came of it."""
        for _ in range(TRIES):
            calls, found = self._run(program, fault)
            self._report(f"{program}, {fault}", found)
            if any(call.is_injected for call in calls):
                with self.results.lock:
                    self.results.hits[program, fault.call, fault.error] += 1
                return
            with self.results.lock:
                # As this run had them, if it came that far: nearer than those of the undisturbed one.
                seen = {call.number for call in calls if call.name == fault.call}
                numbers = sorted(seen or self.results.passed[program, fault.call])
                fault = replace(fault, number=self._chooser.choice(numbers))

    def _run(self, program: str, fault: Fault | None) -> tuple[list[Call], list[Finding]]:
        with self.results.lock:
            self._numbers += 1
            folder = self._folder / f"run-{self._numbers:04d}"
            is_cut, seed = self._chooser.random() < 0.5, self._chooser.random()
        if program == SERVE:
            serving = Serving(folder, self._tracer, self._launcher)
            calls, found = serving.live(fault, is_cut=is_cut and fault is not None, seed=seed)
        else:
            calls, found = self._command(self._programs[program], folder, fault)
        shutil.rmtree(folder)
        return [call for call in calls if call.is_below(folder)], found

    def _command(
        self, program: Program, folder: Path, fault: Fault | None
    ) -> tuple[list[Call], list[Finding]]:
        program.prepare(folder)
        traced = self._tracer.start(program.argv(folder), fault)
        code = traced.run.wait()
        calls = traced.calls()
        found = []
        is_ours = all(call.is_below(folder) for call in calls if call.is_injected)
        if not traced.run.is_explained() and is_ours:
            found.append(Finding(LOST, f"ended with {code} and no clear error: {traced.run.err()[-1500:]}"))
        found += program.look(folder, is_done=code == 0)
        if (argv := program.again(folder)) is not None:
            run = self._launcher.start(argv, {"state": folder})
            if run.wait() != 0:
                found.append(Finding(LOST, f"the next try ended with {run.code}: {run.err()[-1000:]}"))
            found += program.look(folder, is_done=True)
        return calls, found

    def _report(self, where: str, found: Sequence[Finding]) -> None:
        with self.results.lock:
            self.results.findings += [(where, finding) for finding in found]


def run_series(folder: Path, each: int, only: str, seed: int) -> Results:
    """The whole series in `folder`."""
    with launching(folder / "runs") as launcher:
        series = Series(folder, launcher, seed)
        plan = series.plan(each, only)
        with ThreadPoolExecutor(WORKERS) as pool:
            waiting = {pool.submit(series.run, *one): one for one in plan}
            for done, future in enumerate(as_completed(waiting), 1):
                if (error := future.exception()) is not None:
                    program, fault = waiting[future]
                    found = Finding(LOST, f"{type(error).__name__}: {error}")
                    series.results.findings.append((f"{program}, {fault}", found))
                if done % 25 == 0 or done == len(plan):
                    print(
                        f"faults: {done} of {len(plan)}, {len(series.results.findings)} findings", flush=True
                    )
    return series.results


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture.faults", description=__doc__)
    parser.add_argument(
        "--each", type=int, default=1, metavar="N", help="faults for each call of each program"
    )
    parser.add_argument("--only", default="", metavar="WORD", help="programs whose name has this word")
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    args = parser.parse_args(arguments)
    if not has_strace():
        print("faults: NOT TESTED: strace is missing, or may not trace here", flush=True)
        return 1 if read_environment().is_ci else 0
    started = time.monotonic()
    print(f"faults: seed {args.seed}, {args.each} for each call", flush=True)
    with tempfile.TemporaryDirectory(prefix="touchplate-faults-") as folder:
        Path(folder).chmod(0o755)
        results = run_series(Path(folder), args.each, args.only, args.seed)
    print(f"faults: {time.monotonic() - started:.0f} s")
    print(results.table())
    missed = results.missed(args.each)
    for name in missed:
        print(f"never failed: {name}")
    for where, finding in results.findings[:SHOWN]:
        print(f"{where}: {finding}")
    lost = sum(finding.kind == LOST for _, finding in results.findings)
    print(f"{lost} lost, {len(results.findings) - lost} inconsistent")
    return 1 if results.findings or missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
