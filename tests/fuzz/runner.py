"""Starts the children and reads what libFuzzer says."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.demo_world import ROOT
from tests.fuzz import corpus
from tests.fuzz.minimise import smallest
from tests.fuzz.targets import TARGETS
from tests.fuzz.tool import PACKAGES

BUILD = ROOT / "build" / "fuzz"
PLANTED = "planted"

INPUT_SECONDS = 20
"""For one input: a reader that is quadratic in some way takes minutes for `max_bytes`, a busy machine not."""

MEMORY_MIB = 1024
"""For one target: the corpus and the instrumented code take 100."""

GRACE_SECONDS = 120
"""Beyond the time asked for, until a child that does not end is ended: reading the corpus takes some."""

SHOWN_LINES = 25
"""Last lines of a child that found something: its traceback."""


@dataclass(frozen=True)
class Outcome:
    """What one run of a target gave. `finding`: None, or what it was and where its input lies."""

    name: str
    executions: int = 0
    corpus: int = 0
    new: int = 0
    coverage: int = 0
    more: int = 0
    finding: str | None = None
    explanation: str = ""

    def row(self) -> str:
        """One line of the table: `new` inputs, `coverage` in edges, `more` edges than at the start."""
        numbers = f"{self.executions:>12}{self.corpus:>8}{self.new:>6}{self.coverage:>10}{self.more:>6}"
        return f"{self.name:<20}{numbers}   {self.finding or '-'}"


def run_target(name: str, seconds: int) -> Outcome:
    """Fuzz one target."""
    findings = _fresh(BUILD / "findings" / name)
    cache, seeds = corpus.cache_folder(name), _fresh(BUILD / "seeds" / name)
    options = [f"-max_total_time={seconds}", "-print_final_stats=1", f"-artifact_prefix={findings}/"]
    if name == PLANTED:
        cache = _fresh(BUILD / "seeds" / "planted-corpus")
    else:
        corpus.spread(seeds, [*TARGETS[name].seeds(), *corpus.kept(name)])
        options += [f"-max_len={TARGETS[name].max_bytes}"]
        options += [f"-dict={_dictionary(name)}"] if TARGETS[name].words else []  # an empty one is an error
    cache.mkdir(parents=True, exist_ok=True)
    if name != PLANTED:
        _trim(name, cache)
    status, text = _child(name, [*options, str(cache), str(seeds)], seconds + GRACE_SECONDS)
    return _outcome(name, status, text, findings)


def _trim(name: str, cache: Path) -> None:
    grown = corpus.grown(name)
    if len(grown) > corpus.MAX_GROWN:
        best = smallest(TARGETS[name], grown)
        corpus.spread(_fresh(cache), best)


def run_machine(name: str, seconds: int) -> Outcome:
    """Run a state machine of Hypothesis for some seconds, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.machines", name, str(seconds)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    counted = re.search(r"^examples (\d+)$", done.stdout, re.MULTILINE)
    executions = int(counted[1]) if counted else 0
    if done.returncode == 0:
        return Outcome(name, executions)
    explanation = "\n".join(done.stderr.splitlines()[-SHOWN_LINES:])
    return Outcome(name, executions, finding="a sequence of calls, printed below", explanation=explanation)


def _child(name: str, options: list[str], seconds: int) -> tuple[int, str]:
    command = [sys.executable, "-m", "tests.fuzz.child", name]
    limits = [f"-timeout={INPUT_SECONDS}", f"-rss_limit_mb={MEMORY_MIB}"]
    try:
        done = subprocess.run(
            [*command, *limits, *options],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(PACKAGES)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return 1, f"{error}: no end after {seconds} s"
    return done.returncode, done.stdout


def _outcome(name: str, status: int, text: str, findings: Path) -> Outcome:
    coverage = [int(number) for number in re.findall(r" cov: (\d+) ", text)]
    sizes = re.findall(r" corp: (\d+)/", text)
    finding, explanation = None, ""
    if status != 0:
        inputs = sorted(findings.iterdir())
        explanation = "\n".join(text.splitlines()[-SHOWN_LINES:])
        finding = f"status {status}, no input left"
        if inputs:
            path = inputs[0].relative_to(ROOT)
            finding = str(path)
            explanation += f"\nagain: .venv/bin/python -m tests.fuzz repeat {name} {path}"
    first, last = (coverage[0], coverage[-1]) if coverage else (0, 0)
    return Outcome(
        name,
        _stat(text, "number_of_executed_units"),
        int(sizes[-1]) if sizes else 0,
        _stat(text, "new_units_added"),
        last,
        last - first,
        finding,
        explanation,
    )


def _stat(text: str, name: str) -> int:
    match = re.search(rf"^stat::{name}:\s+(\d+)$", text, re.MULTILINE)
    counted = re.findall(r"^#(\d+)\s", text, re.MULTILINE) if name == "number_of_executed_units" else []
    return int(match[1]) if match else int(counted[-1]) if counted else 0


def _dictionary(name: str) -> Path:
    path = BUILD / "words" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    escaped = ["".join(f"\\x{byte:02x}" for byte in word.encode()) for word in TARGETS[name].words]
    path.write_text("".join(f'"{word}"\n' for word in escaped))
    return path


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
