"""`make bench-builder`: what sandbox, phases and whole rebuilds cost, beside the same work outside.

`make bench-builder ONLY="start proxy"` measures some. Times inside and outside are taken in turns; where the
machine is shared, CPU and the ratios of a row say most. What is kept goes to RESULTS.md by hand.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence

from tests.bench.__main__ import HEADER, machine, measure_all, show
from tests.bench.builder.flood import flood
from tests.bench.builder.inside import c_build, maven_build
from tests.bench.builder.proxy import proxy
from tests.bench.builder.rebuild import cold, rebuild, small_rebuild
from tests.bench.builder.start import start, start_gvisor, start_runc
from tests.bench.harness import Row

from touchplate.base.environment import read_environment

FIGURES: dict[str, Callable[[], list[Row]]] = {
    "start": start,
    "start-runc": start_runc,
    "start-gvisor": start_gvisor,
    "flood": flood,
    "proxy": proxy,
    "c": c_build,
    "maven": maven_build,
    "rebuild": rebuild,
    "small-rebuild": small_rebuild,
    "cold": cold,
}
"""All rows by name, cheapest first; `cold` fetches 40 MB from the upstream."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print. 0, or 1 when some measured work was not done right (under CI: or not done)."""
    parser = argparse.ArgumentParser(prog="make bench-builder", description=__doc__)
    parser.add_argument("only", nargs="*", choices=[[], *FIGURES], help="rows to measure; default: all")
    chosen = parser.parse_args(arguments).only or FIGURES
    began = time.monotonic()
    print(machine())
    show(HEADER)
    code = measure_all([(name, FIGURES[name]) for name in chosen], in_ci=read_environment().is_ci)
    load = " ".join(f"{value:.1f}" for value in os.getloadavg())
    print(f"{time.strftime('%Y-%m-%d %H:%M')}  {time.monotonic() - began:.0f} s, load at the end {load}")
    return code


if __name__ == "__main__":
    sys.exit(main())
