"""What must not go unnoticed: raised in the log of the process, and shown on the start page until it is
restarted."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MAX_ALARMS = 100
"""Different alarms that are kept: more than anybody reads, and no way to fill the memory."""

_LOG = "touchplate.api"


@dataclass(frozen=True)
class Alarm:
    """One alarm: what happened, when it was seen first and last (unix seconds), and how often.

    `explain`: the path of the page about the file that it concerns, empty when it concerns none.
    """

    message: str
    first: int
    last: int
    times: int
    explain: str = ""


class Alarms:
    """The alarms since the start, each once. Safe to use from several threads."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._lock = threading.Lock()
        self._alarms: OrderedDict[str, Alarm] = OrderedDict()  # under self._lock

    def raise_alarm(self, message: str, *, explain: str = "") -> None:
        """Log at ERROR, and remember."""
        logging.getLogger(_LOG).error("%s", message)
        now = int(self._now())
        with self._lock:
            known = self._alarms.pop(message, None)
            first, times = (known.first, known.times) if known else (now, 0)
            self._alarms[message] = Alarm(message, first, now, times + 1, explain)
            while len(self._alarms) > MAX_ALARMS:
                self._alarms.popitem(last=False)

    def about(self, explain: str) -> Alarm | None:
        """The newest alarm whose page is `explain`."""
        with self._lock:
            return next((one for one in reversed(self._alarms.values()) if one.explain == explain), None)

    def list(self) -> list[Alarm]:
        """The alarms, the newest first."""
        with self._lock:
            return list(reversed(self._alarms.values()))
