"""From a signal to an orderly end: parts stop in the reverse order of their start, each within its time."""

from __future__ import annotations

import asyncio
import inspect
import logging
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType

from touchplate.base.errors import ShutdownError

# Seconds that one part gets to stop, unless it says otherwise: systemd kills after 90 in all.
STOP_SECONDS = 15.0
SIGNALS = (signal.SIGTERM, signal.SIGINT)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Part:
    name: str
    stop: Callable[[], Awaitable[object] | object]
    seconds: float


class Shutdown:
    """Waits for SIGTERM or SIGINT (or `request`) and stops what was registered.

        async with Shutdown() as shutdown:
            service.start()
            shutdown.add("log", service.stop)
            await shutdown.wait()

    Leaving the block stops all parts, the last added first, also after an error in the block. A second signal
    ends the process at once, as if nobody listened: parts that hang cannot keep it. Used on the event loop's
    thread only.
    """

    def __init__(self, signals: tuple[signal.Signals, ...] = SIGNALS) -> None:
        self._signals = signals
        self._event = asyncio.Event()
        self._parts: list[_Part] = []
        self.reason = ""

    @property
    def is_requested(self) -> bool:
        """Whether the end was asked for."""
        return self._event.is_set()

    def add(
        self, name: str, stop: Callable[[], Awaitable[object] | object], *, seconds: float = STOP_SECONDS
    ) -> None:
        """Register how a part is stopped: a plain function runs in a thread, an async one on the loop."""
        self._parts.append(_Part(name, stop, seconds))

    def request(self, reason: str) -> None:
        """Ask for the end; the first reason stays. Signals can end the process from now on."""
        if not self._event.is_set():
            self.reason = reason
            _log.info("stopping: %s", reason)
            self._event.set()
            self._release()

    async def wait(self) -> None:
        """Return when the end was asked for."""
        await self._event.wait()

    async def __aenter__(self) -> Shutdown:
        loop = asyncio.get_running_loop()
        for number in self._signals:
            loop.add_signal_handler(number, self.request, number.name)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()
        failed = [part.name for part in reversed(self._parts) if not await _stopped(part)]
        self._parts.clear()
        if failed and error is None:
            raise ShutdownError(f"not stopped in order: {', '.join(failed)}; the log says why")

    def _release(self) -> None:
        loop = asyncio.get_running_loop()
        for number in self._signals:
            loop.remove_signal_handler(number)


async def _stopped(part: _Part) -> bool:
    try:
        async with asyncio.timeout(part.seconds):
            if inspect.iscoroutinefunction(part.stop):
                await part.stop()
            else:
                result = await asyncio.to_thread(part.stop)
                if inspect.isawaitable(result):
                    await result
    except TimeoutError:
        _log.error("part %s did not stop within %g s", part.name, part.seconds)
        return False
    except Exception:
        _log.exception("part %s failed to stop", part.name)
        return False
    _log.info("part %s stopped", part.name)
    return True
