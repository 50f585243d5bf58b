"""`make bench`: each figure beside its goal, and beside a peer where there is one, measured in the same run.

`make bench ONLY=gate` runs one. A missed goal is shown, not an error, since machines differ; a wrong result
is one. Results worth keeping go to RESULTS.md by hand, with machine and date.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path

from tests.bench.harness import Row, SkippedError, WrongResultError

from touchplate.base.environment import read_environment

Measure = Callable[[], list[Row]]

FIGURES = (
    *("cold_start", "inclusion", "whole_check", "entry_check", "gate"),
    *("raw_leaves", "storage", "trillian", "add", "files"),
)
"""The modules of this folder, each with a function of its own name that returns rows; cheapest first."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. 0, or 1 when some measured work was not done right (under CI: or not done)."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("only", nargs="*", choices=[[], *FIGURES], help="figures to measure; default: all")
    chosen = parser.parse_args(arguments).only or FIGURES
    print(machine())
    show(HEADER)
    return measure_all([(name, _figure(name)) for name in chosen], in_ci=read_environment().is_ci)


def _figure(name: str) -> Measure:
    return lambda: getattr(import_module(f"tests.bench.{name}"), name)()


def measure_all(figures: Iterable[tuple[str, Measure]], *, in_ci: bool) -> int:
    """Run the figures one after the other, whatever becomes of one; the exit code."""
    failed = False
    for name, measure in figures:
        try:
            for row in measure():
                show((row.figure, row.ours, row.peer, str(row.goal or ""), row.verdict, row.note))
        except SkippedError as error:
            failed = failed or in_ci
            show((name, "SKIPPED", "", "", "", str(error)))
        except WrongResultError as error:
            failed = True
            show((name, "WRONG", "", "", "", str(error)))
        except Exception:
            failed = True
            traceback.print_exc()
            show((name, "FAILED", "", "", "", "see the lines above"))
    return 1 if failed else 0


HEADER = ("figure", "ours", "peer", "goal", "verdict", "remark")
WIDTHS = (52, 12, 12, 15, 8, 0)


def show(cells: Sequence[str]) -> None:
    """One line of the table, at once: the next figure may take a minute."""
    line = "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, WIDTHS, strict=True))
    print(line.rstrip(), flush=True)


def machine() -> str:
    """What the figures were measured on, and how busy it was."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    return (
        f"{time.strftime('%Y-%m-%d')}  {os.cpu_count()} cores, {model}, {platform.system()}"
        f" {platform.release()}, Python {platform.python_version()}, load {load}"
    )


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text().splitlines() if file.exists() else []


if __name__ == "__main__":
    sys.exit(main())
