"""For how long one node has seen a lease, or a pause before another try, as it is: by no clock of the wall.

Walls' clocks of two nodes may be hours apart, and are set by people and programs. So no time that another
node wrote, or this one in an earlier life, decides over a job. A lease is over when *this node* has seen the
same one, renewed by nobody, for as long as one lasts on its own monotonic clock; so is a pause. A node that
has just started has seen nothing yet: it waits that long once, and takes over nothing before.

Every renewal changes the row's `beats` and every lease has a secret of its own, so no two states of a job
look the same. How long a lease has been held is counted by whoever renews it, and kept in the row (`held`).
All sums are of times that a node has seen pass: they are never too great, and too small by as much as lies
between two renewals for each start of a node.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from touchplate.builder.queue.jobs import QueueLimits
from touchplate.builder.queue.schema import jobs

MAX_SEEN = 100_000
"""Jobs that are remembered, some ten megabytes. Beyond, all are forgotten, and those still open are seen
anew: a node that nobody asks for jobs hears of their renewals all the same."""

COLUMNS = tuple(
    jobs.c[name]
    for name in ("job_id", "state", "secret", "beats", "attempts", "lease_until", "not_before", "held")
)
"""What has to be read of a job to look at it."""


@dataclass
class _Seen:
    """One job. Times are monotonic, in seconds."""

    mark: tuple[object, ...]
    """What is another with each lease, renewal and pause. The times of walls count as words only: an older
    node, which does not write `beats`, renews by them."""
    since: float
    """When this was first seen."""
    secret: str | None
    begun: float
    """When the lease of this secret was first seen, and how long it had been held then."""
    held: int


class LeaseWatch:
    """What one node has seen. Safe from any thread."""

    def __init__(self, limits: QueueLimits, steady: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._steady = steady
        self._lock = threading.Lock()
        self._seen: dict[int, _Seen] = {}

    def now(self) -> float:
        """The monotonic clock, in seconds."""
        return self._steady()

    def note(self, row: Row[Any]) -> None:
        """This is what the database says of a job."""
        with self._lock:
            self._note(row)

    def is_over(self, row: Row[Any], now: float) -> bool:
        """Whether the lease in `row`, or its pause, has lasted out: nobody touched it while this node looked
        on until `now`, which was read before the row. One that was not seen like this before is noted."""
        with self._lock:
            seen = self._note(row)
        return now - seen.since >= self._seconds(row)

    def held(self, row: Row[Any]) -> int:
        """Seconds since the lease in `row` began, as far as anybody saw them pass."""
        with self._lock:
            seen = self._note(row)
            return max(int(row.held), seen.held + int(self._steady() - seen.begun))

    def forget_others(self, numbers: set[int]) -> None:
        """Those of `numbers` are all jobs that are leased or have been."""
        with self._lock:
            self._seen = {number: seen for number, seen in self._seen.items() if number in numbers}

    def _seconds(self, row: Row[Any]) -> int:
        if row.state == "waiting":
            return self._limits.retry_seconds
        left = self._limits.longest_lease_seconds - int(row.held)
        return max(0, min(self._limits.lease_seconds, left))

    def _note(self, row: Row[Any]) -> _Seen:
        mark = (row.state, row.secret, row.beats, row.attempts, row.lease_until, row.not_before)
        before = self._seen.get(row.job_id)
        if before is not None and before.mark == mark:
            return before
        # The clock is read after the row: what was seen is at least as old as that.
        now = self._steady()
        begun, held = now, int(row.held)
        if before is not None and before.secret == row.secret:
            begun, held = before.begun, before.held
        elif len(self._seen) >= MAX_SEEN:
            self._seen.clear()
        found = self._seen[row.job_id] = _Seen(mark, now, row.secret, begun, held)
        return found
