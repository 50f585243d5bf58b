"""`make bench`: each figure beside its peer, measured in the same run, interleaved.

It prints a table and asserts nothing. Results worth keeping go to RESULTS.md by hand, with machine and date.
"""

import os
import platform
import sys
import time

from tests.bench.cold_start import cold_start


def main() -> int:
    machine = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    print(f"{time.strftime('%Y-%m-%d')}  {machine}")
    print(f"{'figure':<34} {'ours':>10} {'peer':>10} {'ratio':>7}  goal")
    for row in (cold_start(),):
        print(f"{row.name:<34} {row.ours:>10} {row.peer:>10} {row.ratio:>7.2f}  {row.goal}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
