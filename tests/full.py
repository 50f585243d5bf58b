"""Last step of `make full`: write the summary (commit, date, counts) to tests/FULL.md.

Its arguments are the targets: it runs only when each of them succeeded, so only counts are collected.
"""

import subprocess
import sys
import time
from pathlib import Path

from tests.e2e.demo_world import ROOT, commit


def collected(marker: str, *folders: str) -> str:
    """The number of tests that pytest finds for a marker expression."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", marker, *folders],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip().splitlines()[-1].split(" in ")[0]


def main() -> int:
    path: Path = ROOT / "tests" / "FULL.md"
    lines = [
        "# The last full run",
        "",
        f"- commit: {commit()}",
        f"- date: {time.strftime('%Y-%m-%d', time.gmtime())}",
        f"- targets, all green: {', '.join(sys.argv[1:])}",
        f"- `make test`: {collected('not slow and not wheel')}",
        f"- `make conformance`: {collected('slow', 'tests/conformance')} beside those of `make test`",
        f"- `make exhaustive`: {collected('slow', 'tests/fuzz')} beside those of `make test`",
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(path.read_text(encoding="utf-8"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
