"""How long `touchplate verify` takes to start, against what importing cryptography alone costs."""

import resource
import statistics
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 40


@dataclass(frozen=True)
class Row:
    name: str
    ours: str
    peer: str
    ratio: float
    goal: str


def seconds(command: list[str], expected: int) -> float:
    """CPU seconds (user and system) of one run; wall time would measure the neighbours too."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False
    ).returncode
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if code != expected:
        raise RuntimeError(f"{command} ended with {code}, not {expected}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def cold_start(rounds: int = ROUNDS) -> Row:
    """Median of interleaved runs in the auditors' venv: the wheel and `cryptography`, nothing else.

    The command verifies a real bundle of the demo when one is there, else it stops at a missing file, after
    all imports.
    """
    python = ROOT / "build" / "auditor" / "venv" / "bin" / "python"
    touchplate = python.parent / "touchplate"
    evidence = ROOT / "build" / "demo" / "evidence"
    jar = evidence / "commons-lang3-3.17.0.jar"
    package = "pkg:maven/org.apache.commons/commons-lang3@3.17.0?type=jar"
    ours = [
        str(touchplate),
        "verify",
        str(jar),
        "--trust",
        str(evidence / "trust.toml"),
        "--package",
        package,
    ]
    expected = 0 if jar.exists() else 2
    peer = [str(python), "-c", "import cryptography.hazmat.primitives.serialization"]
    pairs = [(seconds(ours, expected), seconds(peer, 0)) for _ in range(rounds)]
    mine, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    what = "whole check" if expected == 0 else "start"
    return Row(
        f"touchplate verify, {what} (ms)",
        f"{mine * 1000:.1f}",
        f"{theirs * 1000:.1f}",
        mine / theirs,
        "<= 1.5 x import cryptography",
    )
