"""Memory of the supervisor while a build floods its log: 500 MB in lines, and 500 MB without a line end.

A supervisor of its own (this module run as a program, with all that `touchplate rebuild` imports) runs the
Build phase, and tells its peak at the end: VmHWM of proc(5), since getrusage's figure is inherited by a child
from the larger process that started it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.bench.builder.measuring import MB, load_now, open_folder, opened
from tests.bench.harness import Goal, Row, SkippedError, check

FLOOD_BYTES = 500 * MB
GOAL = Goal("<", 100, " MB")
RUN_SECONDS = 900
LACK = 2
"""Exit code of the supervisor where this host has no sandbox; it says why."""

LINE = "[INFO] a line of output as builds print them, of about a hundred bytes, which says nothing at all new"
FLOODS = {
    "lines": f"yes '{LINE}' | head -c {FLOOD_BYTES}",
    "one line": f"tr '\\0' x < /dev/zero | head -c {FLOOD_BYTES}",
}


def flood() -> list[Row]:
    """Peak memory (RSS) of the supervisor, beside what it has before the flood."""
    return [_row(name, script) for name, script in FLOODS.items()]


def _row(name: str, script: str) -> Row:
    said = run_supervisor(script)
    check(said["seen"] == FLOOD_BYTES, f"the supervisor saw {said['seen']} bytes, not {FLOOD_BYTES}")
    peak, before = said["peak"] / MB, said["before"] / MB
    rate = FLOOD_BYTES / MB / said["seconds"]
    note = (
        f"peak RSS; {before:.0f} MB of it before the build; {said['kept'] / MB:.0f} MB of the log kept; "
        f"{rate:.0f} MB/s, {said['cpu']:.1f} s CPU of the supervisor; {load_now()}"
    )
    return Row(f"supervisor, log of {FLOOD_BYTES // MB} MB, {name}", f"{peak:.0f} MB", "", peak, GOAL, note)


def run_supervisor(script: str) -> dict[str, Any]:
    """Run the build `script` under a new supervisor; what that tells of itself, in bytes and seconds."""
    command = [sys.executable, "-m", "tests.bench.builder.flood", script]
    done = subprocess.run(command, capture_output=True, timeout=RUN_SECONDS, check=False)
    said = done.stderr.decode()[-500:]
    if done.returncode == LACK:
        raise SkippedError(said.strip())
    check(done.returncode == 0, f"the supervisor ended with {done.returncode}: {said}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def main(script: str) -> int:
    """Be the supervisor of one build; see the module's text."""
    import time

    from touchplate.base.progress import QuietProgress
    from touchplate.builder.cache import Cache
    from touchplate.builder.cli import rebuild as cli  # noqa: F401  all that a rebuild has in memory
    from touchplate.builder.display import PhaseDisplay
    from touchplate.builder.inputs.lock import InputLock
    from touchplate.builder.phases import run_build
    from touchplate.builder.plan import BuildPlan

    try:
        with open_folder() as folder, opened() as sandbox:
            source = folder / "source"
            source.mkdir()
            before, began, cpu = peak_bytes(), time.monotonic(), time.process_time()
            plan = BuildPlan(source, ("/bin/sh", "-c", script))
            display = PhaseDisplay(QuietProgress())
            done = run_build(plan, InputLock(()), sandbox, Cache(folder / "cache"), display)
            kept = plan.limits.log_bytes
            seconds, cpu = time.monotonic() - began, time.process_time() - cpu
            cut = done.report["log_bytes_cut"]
    except SkippedError as skip:
        print(skip, file=sys.stderr)
        return LACK
    seen = min(kept, len(done.log)) + cut
    told = {"before": before, "peak": peak_bytes(), "kept": len(done.log), "seen": seen}
    print(json.dumps({**told, "seconds": seconds, "cpu": cpu}))
    return 0


def peak_bytes() -> int:
    """The most memory (RSS) that this process ever held, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise SkippedError("this kernel does not tell a process's peak memory (VmHWM)")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
