"""The main job, end to end, on a real package: `make demo`. The last line is `demo: ok` or `demo: FAILED`.

A real library is refused, rebuilt by two operators, served to a real Maven, verified offline by an
installation that trusts only keys; then a flipped byte, a wrong version and a forged entry are refused, each
with the reason.
"""

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.e2e import demo_attacks, demo_steps
from tests.e2e.demo_world import ROOT, StepFailedError, World, commit, new_world, say, table

SHOWN_CHARACTERS = 70
"""Of what a step showed, in the table at the end: with the step's name a line that can be read."""

SABOTAGES = ("gate-off", "copying-builder", "leaf-changed", "log-key-swapped")


@dataclass(frozen=True)
class Step:
    name: str
    run: Callable[[World], str]


STEPS = (
    Step("set up", demo_steps.set_up),
    Step("serve", demo_steps.serve),
    Step("refused before any rebuild", demo_steps.refused_before),
    Step("rebuild by operator one", demo_steps.rebuild_one),
    Step("refused with one operator", demo_steps.refused_with_one),
    Step("audit the log", demo_steps.audit),
    Step("rebuild by operator two", demo_steps.rebuild_two),
    Step("served to Maven", demo_steps.served),
    Step("verified offline", demo_steps.verified_offline),
    Step("a flipped byte", demo_attacks.flipped_byte),
    Step("the right jar under a wrong version", demo_attacks.wrong_version),
    Step("an entry by an unknown key", demo_attacks.forged_entry),
    Step("stopped in order", demo_steps.stopped),
)


def run(world: World, steps: Sequence[Step] = STEPS) -> tuple[list[dict[str, object]], str]:
    """Run the steps in order until one fails; what each showed, and the failure (`step: reason`) if any."""
    shown: list[dict[str, object]] = []
    for number, step in enumerate(steps, 1):
        say(f"[{number:2}/{len(steps)}] {step.name}")
        start = time.monotonic()
        try:
            detail = step.run(world)
        except StepFailedError as error:
            return shown, f"{step.name}: {error}"
        except Exception as error:  # the last line must tell the step, whatever went wrong in it
            traceback.print_exc(file=sys.stdout)
            return shown, f"{step.name}: {error!r}"
        seconds = round(time.monotonic() - start, 1)
        say("\n".join(f"        {line}" for line in detail.splitlines()) + f"  ({seconds} s)")
        shown.append({"step": step.name, "shows": detail, "seconds": seconds})
    return shown, ""


def write_evidence(world: World, shown: list[dict[str, object]]) -> Path:
    """`evidence.json`: everything that was shown, and where the files for an own check lie."""
    path = ROOT / "evidence.json"
    value = {
        "commit": commit(),
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "folder": str(world.evidence.relative_to(ROOT)),
        **world.facts,
        "steps": shown,
    }
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def cut(text: str) -> str:
    """As much as a line of a terminal has room for; the whole stood above, and is in the evidence."""
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 1]}…"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument(
        "--sabotage", choices=SABOTAGES, default="", help="break one thing; the demo must then fail"
    )
    sabotage: str = parser.parse_args(argv).sabotage
    folder = ROOT / "build" / ("demo" + ("-" + sabotage if sabotage else ""))
    start = time.monotonic()
    with new_world(folder, sabotage) as world:
        shown, failure = run(world)
        if failure:
            say(f"what was written is kept in {folder.relative_to(ROOT)}/ (node.log: the service)")
            say(
                "demo: FAILED at step "
                + "; ".join(line.strip() for line in failure.splitlines() if line.strip())
            )
            return 1
        path = write_evidence(world, shown) if not sabotage else None
    say("\n" + table([(str(row["step"]), cut(str(row["shows"]).splitlines()[0])) for row in shown]))
    if path:
        say(f"\n{path.name} and {world.evidence.relative_to(ROOT)}/ hold the evidence.")
    say(f"{time.monotonic() - start:.0f} s")
    say("demo: ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
