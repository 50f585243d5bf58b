"""A running log that also keeps itself as files: in a folder (`[log.export]`) or a bucket (`[log.bucket]`).

The thread follows what is durable, so no submitter waits for it, and a reader of the files costs the log
nothing. They are behind by at most the interval and the time of one update. They never get ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from threading import Event, Thread

from touchplate.base.errors import TouchplateError
from touchplate.base.values import Duration
from touchplate.log.export import OVERTAKEN, Exported, Exporter
from touchplate.verify.errors import VerifyError

POLL_SECONDS = 60.0
"""The longest wait for growth; only a bound, since growth and the end wake the thread."""

DEFAULT_INTERVAL = Duration(1)

logger = getLogger(__name__)


@dataclass(frozen=True)
class ExportConfig:
    """The table `[log.export]`."""

    folder: Path
    """Where the files are; made if missing."""
    interval: Duration = DEFAULT_INTERVAL
    """Between two updates: each is a durable checkpoint of its own, and leaves one set of partial tiles until
    the full ones are there."""

    def check(self) -> list[str]:
        """Mistakes that a single field does not show."""
        return [] if self.interval >= 1 else ['interval: at least "1s"']


class ExportThread:
    """One export of one log. `start` and `stop` around its use."""

    def __init__(
        self,
        exporter: Exporter,
        source: Exported,
        interval: Duration,
        wait_for_growth: Callable[[int, float], int],
        *,
        by_time: bool = False,
    ) -> None:
        """`by_time`: look for a new checkpoint at each interval, since it comes some time after the growth
        that it speaks of, or without any (witnesses)."""
        self._exporter = exporter
        self._source = source
        self._interval = interval
        self._wait_for_growth = wait_for_growth
        self._by_time = by_time
        self._exported: bytes | None = None
        self._stopping = Event()
        self._thread: Thread | None = None
        self._said = ""

    @property
    def kind(self) -> str:
        """ "folder" or "bucket": what its destination is."""
        return self._exporter.destination.kind

    @property
    def size(self) -> int:
        """Size of the tree that is shown there, as far as this process knows; -1 for none."""
        head = self._exporter.destination.head
        return -1 if head is None else head.size

    def start(self) -> None:
        """Begin to follow the tree."""
        self._thread = Thread(target=self._run, name="export", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write the newest checkpoint (if the last could be written), and let go of where the files are. The
        sequencer must have stopped (that wakes the thread). Safe to call twice."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._exporter.close()

    def _run(self) -> None:
        size = -1
        while not self._stopping.is_set():
            self._update()
            if not self._by_time:
                size = self._wait_for_growth(size, POLL_SECONDS)
            self._stopping.wait(self._interval)
        if not self._said:  # a store that did not answer a moment ago must not hold up the end
            self._update()

    def _update(self) -> None:
        try:
            _, _, note = self._source.head()
            if self._by_time and note is not None and note == self._exported:
                return
            self._exporter.update(self._source)
            self._exported = note
        except (TouchplateError, VerifyError) as error:
            # The log itself is durable, and what is shown is whole: only older. Said once for each trouble.
            if error.reason == OVERTAKEN:
                logger.info("not exported this time: %s", error)
                return
            if str(error) != self._said:
                logger.error("the log could not be exported to %s: %s", self._exporter.destination, error)
            self._said = str(error)
        except Exception:
            # This thread must not end: nobody else keeps what is shown.
            logger.exception("the log could not be exported to %s", self._exporter.destination)
        else:
            if self._said:
                logger.info("the log is exported to %s again", self._exporter.destination)
            self._said = ""
