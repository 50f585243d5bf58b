"""How long `touchplate verify` takes to start, against what importing cryptography alone costs."""

import subprocess
import tempfile
from pathlib import Path

from tests.bench.harness import (
    Goal,
    Row,
    SkippedError,
    check,
    in_turns,
    median,
    ratio,
    spent_by_children,
)
from tests.bench.whole_check import write_case
from tests.verify.support import LIB

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 40
GOAL = Goal("<=", 1.5, "x")


def run(command: list[str], expected: int) -> None:
    """Run a command that must end with this exit code."""
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
    what = f"{command} ended with {done.returncode}, not {expected}: {done.stderr.decode()[-300:]}"
    check(done.returncode == expected, what)


def cold_start(rounds: int = ROUNDS) -> list[Row]:
    """The auditors' venv: the wheel and `cryptography`, nothing else. The command verifies a jar against a
    bundle of four entries and three cosignatures, and prints the verdict."""
    python = ROOT / "build" / "auditor" / "venv" / "bin" / "python"
    if not python.exists():
        raise SkippedError("build/auditor is missing: run make bench, or deploy/dev/setup auditor")
    peer = [str(python), "-c", "import cryptography.hazmat.primitives.serialization"]
    with tempfile.TemporaryDirectory() as folder:
        trust, bundle, file = write_case(Path(folder))
        options = ["--bundle", str(bundle), "--trust", str(trust), "--package", str(LIB)]
        ours = [str(python.parent / "touchplate"), "verify", str(file), *options]
        mine, theirs = in_turns(
            rounds,
            lambda: spent_by_children(lambda: run(ours, 0)),
            lambda: spent_by_children(lambda: run(peer, 0)),
        )
        file.write_bytes(b"another file")
        run(ours, 1)  # the same command says no
    cpu = [f"{median(one.cpu for one in side) * 1000:.1f} ms" for side in (mine, theirs)]
    value = ratio(mine, theirs)
    note = f"CPU, ratio {value:.2f} to `import cryptography…serialization`"
    return [Row("touchplate verify, start and whole check", cpu[0], cpu[1], value, GOAL, note)]
