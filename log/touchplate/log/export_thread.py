"""A running log that also keeps itself as files in a folder: the table `[log.export]`.

The thread follows what is durable, so no submitter waits for it, and a reader of the folder costs the log
nothing. The folder is behind by at most the interval and the time of one update. It never gets ahead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from logging import getLogger
from pathlib import Path
from threading import Event, Thread

from touchplate.base.errors import TouchplateError
from touchplate.base.values import Duration
from touchplate.log.export import Exporter, TreeSource
from touchplate.log.mirror import Mirror
from touchplate.log.ports import Tree
from touchplate.verify.errors import VerifyError
from touchplate.verify.policy import Policy

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
    """The export of one log. `start` and `stop` around its use."""

    def __init__(
        self,
        config: ExportConfig,
        tree: Tree,
        policy: Policy,
        wait_for_growth: Callable[[int, float], int],
        *,
        by_time: bool = False,
    ) -> None:
        """Opens the folder. `by_time`: look for a new checkpoint at each interval, since it comes some time
        after the growth that it speaks of, or without any (witnesses).

        Raises StorageError (`locked` when another process writes there), TrustError when it holds another
        log.
        """
        self._mirror = Mirror(config.folder, policy)
        self._exporter = Exporter(self._mirror, policy)
        self._source = TreeSource(tree)
        self._interval = config.interval
        self._wait_for_growth = wait_for_growth
        self._by_time = by_time
        self._exported: bytes | None = None
        self._stopping = Event()
        self._thread: Thread | None = None
        self._said = ""

    def start(self) -> None:
        """Begin to follow the tree."""
        self._thread = Thread(target=self._run, name="export", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write the newest checkpoint, and let go of the folder. The sequencer must have stopped (that wakes
        the thread). Safe to call twice."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._mirror.close()

    def _run(self) -> None:
        size = -1
        while not self._stopping.is_set():
            self._update()
            if not self._by_time:
                size = self._wait_for_growth(size, POLL_SECONDS)
            self._stopping.wait(self._interval)
        self._update()

    def _update(self) -> None:
        try:
            _, _, note = self._source.head()
            if self._by_time and note is not None and note == self._exported:
                return
            self._exporter.update(self._source)
            self._exported = note
        except (TouchplateError, VerifyError) as error:
            # The log itself is durable, and the folder whole: only older. Said once for each trouble.
            if str(error) != self._said:
                logger.error("the log could not be exported to %s: %s", self._mirror.folder, error)
            self._said = str(error)
        except Exception:
            # This thread must not end: nobody else keeps the folder.
            logger.exception("the log could not be exported to %s", self._mirror.folder)
        else:
            self._said = ""
