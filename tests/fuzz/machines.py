"""State machines of Hypothesis that `make fuzz` runs for longer than `make test` does.

`python -m tests.fuzz.machines NAME SECONDS` runs one with new random examples until the time is up.
"""

import sys
import time

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test
from tests.log.machine import LogMachine

MACHINES: dict[str, type[RuleBasedStateMachine]] = {"log-machine": LogMachine}

EXAMPLES = 10
"""Between two looks at the clock."""

STEPS = 40
"""Calls of one example: twice as many as in `make test`."""


def main(arguments: list[str]) -> None:
    """Raises what the machine finds, with the calls that lead to it."""
    name, seconds = arguments
    end, made = time.monotonic() + int(seconds), 0

    class Counted(MACHINES[name]):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            nonlocal made
            made += 1
            super().__init__()

    chosen = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    try:
        while time.monotonic() < end:
            run_state_machine_as_test(Counted, settings=chosen)
    finally:
        print(f"examples {made}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
