"""Show that the demo can fail: with one thing broken it must end at the step that is there to notice it."""

import subprocess
import sys
import time

from tests.e2e.demo_world import ROOT, say

EXPECTED = {
    "gate-off": "refused before any rebuild",
    "copying-builder": "rebuild by operator one",
    "leaf-changed": "audit the log",
    "log-key-swapped": "audit the log",
}
RUN_SECONDS = 900  # five times what a whole demo takes


def run(sabotage: str, step: str) -> bool:
    """Run one sabotaged demo; True when it failed at `step`."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.demo", "--sabotage", sabotage],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=RUN_SECONDS,
        check=False,
    )
    lines = done.stdout.decode("utf-8", "replace").splitlines()
    failed = [line for line in lines if line.startswith("demo: ")]
    right = (
        done.returncode == 1 and len(failed) == 1 and failed[0].startswith(f"demo: FAILED at step {step}:")
    )
    verdict = "ok   " if right else "WRONG"
    say(f"{verdict} {sabotage:<16} {time.monotonic() - start:4.0f} s  {failed[-1] if failed else lines[-5:]}")
    if not right:
        say("\n".join(lines))
    return right


def main() -> int:
    results = [run(sabotage, step) for sabotage, step in EXPECTED.items()]
    say(f"demo-negative: {sum(results)} of {len(results)} failed at the right step")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
