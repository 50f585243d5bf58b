"""`make bench-log`: how fast the log is, beside Trillian and Tessera on the same machine, in turns.

`make bench-log ONLY=queue` measures one row; LONG=1 the long forms (5 million entries, five minutes of mixed
load). Servers, database and generator share the machine, so CPU per entry and the ratios say most; the load
at the end shows who else was there. What is kept goes to RESULTS.md by hand.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

from tests.bench.__main__ import HEADER, machine, measure_all, show
from tests.bench.harness import Row
from tests.bench.log.bare import bare
from tests.bench.log.entries import http, signed, single
from tests.bench.log.large import large
from tests.bench.log.mixed import mixed
from tests.bench.log.raw_http import raw_add
from tests.bench.log.raw_trees import proofs, queue, sequenced

from touchplate.base.environment import read_environment

Measure = Callable[[], list[Row]]


def figures(*, long: bool) -> dict[str, Measure]:
    """All rows, by name."""
    return {
        "signed": signed,
        "single": single,
        "http": http,
        "raw-http": raw_add,
        "bare": bare,
        "queue": queue,
        "sequenced": sequenced,
        "proofs": proofs,
        "large": partial(large, long=long),
        "mixed": partial(mixed, long=long),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. 0, or 1 when some measured work was not done right (under CI: or not done)."""
    parser = argparse.ArgumentParser(prog="make bench-log", description=__doc__)
    parser.add_argument("only", nargs="*", choices=[[], *figures(long=False)], help="rows; default: all")
    parser.add_argument("--long", action="store_true", help="5 million entries, five minutes of mixed load")
    args = parser.parse_args(arguments)
    all_figures = figures(long=args.long)
    began = time.monotonic()
    print(machine())
    show(HEADER)
    code = measure_all(
        [(name, all_figures[name]) for name in args.only or all_figures], in_ci=read_environment().is_ci
    )
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{time.strftime('%Y-%m-%d %H:%M')}  {time.monotonic() - began:.0f} s, load at the end {load}")
    return code


if __name__ == "__main__":
    sys.exit(main())
