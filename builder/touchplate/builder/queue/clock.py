"""The queue's clock: that of the wall, which does not jump.

Leases and pauses are stored as times of the wall, since they outlive processes and are read by several
nodes. But the wall's clock is set by people and programs. A jump must not end every lease at once, nor make
the lease of a dead worker last for the length of the jump.
"""

import threading
import time
from collections.abc import Callable

SLEW = 0.5
"""How much faster or slower than time itself the clock goes until it shows the wall's time again. A worker
renews its lease at a quarter of it: no lease that is kept ends early, and none lasts twice as long."""

STEP_SECONDS = 2 * 3600
"""A difference of more than that is not slewed: it was or is a clock that is plainly wrong, and to follow it
slowly would take most of a day. The queue waits for no time so far ahead (`store`)."""


class SteadyClock:
    """Call it for the time in unix seconds. Safe from any thread."""

    def __init__(
        self, *, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._wall = wall
        self._steady = steady
        self._lock = threading.Lock()
        self._shown = wall()
        self._at = steady()

    def __call__(self) -> float:
        """The wall's time, or on the way to it."""
        with self._lock:
            at, wall = self._steady(), self._wall()
            passed, self._at = at - self._at, at
            self._shown += passed
            behind = wall - self._shown
            if abs(behind) > STEP_SECONDS:
                self._shown = wall
            else:
                most = SLEW * passed
                self._shown += min(max(behind, -most), most)
            return self._shown
