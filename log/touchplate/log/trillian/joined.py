"""One read of the database for all calls that want the same at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Joined(Generic[T]):
    """Calls `read` for whoever asks; all who ask while it runs share the next run.

    Nobody gets what was read before they asked, so nothing that others did before is missed. For one event
    loop.
    """

    def __init__(self, read: Callable[[], Awaitable[T]]) -> None:
        self._read = read
        self._running: asyncio.Task[T] | None = None
        self._next: asyncio.Task[T] | None = None  # has not begun to read

    async def __call__(self) -> T:
        """The result of a run that begins after this call. Raises what it raises."""
        if self._next is None:
            self._next = asyncio.create_task(self._run(self._running))
            self._next.add_done_callback(_look)
        # One caller who gives up does not end it for the others.
        return await asyncio.shield(self._next)

    async def _run(self, before: "asyncio.Task[T] | None") -> T:
        if before is not None:
            await asyncio.wait([before])
        self._running, self._next = self._next, None
        return await self._read()


def _look(task: "asyncio.Task[T]") -> None:
    # When all who waited gave up, nobody else would, and asyncio would complain.
    if not task.cancelled():
        task.exception()
