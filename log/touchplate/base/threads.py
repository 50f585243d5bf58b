"""How the threads of a server take turns at Python's lock."""

import sys

SWITCH_SECONDS = 0.001
"""How long a thread that computes may go on while others wait; Python's own is 5 ms. A log's commit asks for
the lock some ten times: beside readers that fill the event loops, each of those was a wait of 5 ms."""


def take_short_turns() -> None:
    """Call once, when a server starts."""
    sys.setswitchinterval(SWITCH_SECONDS)
