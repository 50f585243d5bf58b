"""One question to the database for the keys of all calls that wait: under load a look-up costs a share of a
query."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

MAX_KEYS = 256
"""Keys of one question, unless one call alone has more: others wait for the next one."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Gathered(Generic[K, V]):
    """Asks for the keys of whoever calls; while one question runs, the next one gathers.

    Nobody gets what was read before he asked, so nothing that others did before is missed. A question that
    fails fails for all who are in it. For one event loop.
    """

    def __init__(self, ask: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]]) -> None:
        """`ask`: keys in, the values of those that there are out."""
        self._ask = ask
        self._waiting: list[tuple[Sequence[K], asyncio.Future[Mapping[K, V]]]] = []
        self._running: asyncio.Task[None] | None = None

    async def __call__(self, keys: Sequence[K]) -> Mapping[K, V]:
        """The values of at least these keys, as far as there are any. Raises what the question raises."""
        future: asyncio.Future[Mapping[K, V]] = asyncio.get_running_loop().create_future()
        self._waiting.append((keys, future))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        try:
            while self._waiting:
                await self._answer(self._take())
        finally:
            self._running = None
            for _, future in self._waiting:  # only when this task was cancelled: the loop ends
                future.cancel()

    def _take(self) -> list[tuple[Sequence[K], "asyncio.Future[Mapping[K, V]]"]]:
        """Those who waited longest; never nobody."""
        count = keys = 0
        for wanted, _ in self._waiting:
            keys += len(wanted)
            if count and keys > MAX_KEYS:
                break
            count += 1
        taken = self._waiting[:count]
        del self._waiting[:count]
        return taken

    async def _answer(self, taken: "list[tuple[Sequence[K], asyncio.Future[Mapping[K, V]]]]") -> None:
        wanted = list(dict.fromkeys(key for keys, future in taken if not future.done() for key in keys))
        try:
            found = await self._ask(wanted) if wanted else {}
        except asyncio.CancelledError:
            for _, future in taken:
                future.cancel()
            raise
        except Exception as error:
            for _, future in taken:
                if not future.done():  # its client went away
                    future.set_exception(error)
            return
        for _, future in taken:
            if not future.done():
                future.set_result(found)
