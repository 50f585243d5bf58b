"""What a node does beside its requests: jobs whose time is over are deleted, a little at a time."""

import logging
import threading
import time
from collections.abc import Callable
from functools import partial

from touchplate.base.errors import StorageError
from touchplate.builder.queue.jobs import CLOSED
from touchplate.builder.queue.prune import Batch, Pruner, WrongClockError

FIRST_SECONDS = 5.0
"""After the start of a node: its requests come first."""

EVERY_SECONDS = 3600.0
"""Between two looks: what a day or a year is kept may stay an hour longer."""

PAUSE_SECONDS = 0.1
"""Between two batches: workers come in between. A hundred thousand jobs go in some minutes."""


class Housekeeper:
    """A thread that looks now and then. `start` and `stop` once each."""

    def __init__(
        self, pruner: Pruner, clock: Callable[[], float] = time.time, *, first: float = FIRST_SECONDS
    ) -> None:
        self._pruner = pruner
        self._clock = clock
        self._first = first
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="jobs-housekeeping", daemon=True)
        self._logger = logging.getLogger("touchplate.builder.queue")

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the batch that is under way."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def look(self) -> int:
        """Empty and delete all whose time is over; how many jobs were deleted. Raises as batches do."""
        now = int(self._clock())
        retention = self._pruner.retention
        self._repeat(partial(self._pruner.empty, now))
        return sum(
            self._repeat(partial(self._pruner.delete, state, retention.seconds(state), now))
            for state in CLOSED
        )

    def _repeat(self, take: Callable[[], Batch]) -> int:
        count = 0
        while not self._stopping.is_set():
            batch = take()
            count += batch.jobs
            if not batch.is_more or self._stopping.wait(PAUSE_SECONDS):
                break
        return count

    def _run(self) -> None:
        pause = self._first
        while not self._stopping.wait(pause):
            pause = EVERY_SECONDS
            try:
                if count := self.look():
                    self._logger.info("%d jobs were deleted, which ended long ago", count)
            except (StorageError, WrongClockError) as error:
                # The next look does what this one did not.
                self._logger.warning("no jobs are deleted just now: %s", error)
