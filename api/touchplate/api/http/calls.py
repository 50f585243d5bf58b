"""Everything behind the routes blocks (databases, disks, upstreams), so it runs in pools of threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Calls:
    """A pool of threads for blocking calls, so that a slow upstream never stops the event loop."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="api")

    async def run(self, call: Callable[[], T]) -> T:
        """The result of `call`, or its error."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, call)

    def stop(self) -> None:
        """Wait for the calls that run; those that wait are dropped."""
        self._pool.shutdown(cancel_futures=True)


class Lanes:
    """A pool for each upstream: one that is slow or dead holds up those who want something of it, and nobody
    else."""

    def __init__(self, threads: int, upstreams: Iterable[str]) -> None:
        """`threads`: of each pool, at most; `upstreams`: `<ecosystem>:<name>`."""
        self._pools = {name: Calls(threads) for name in upstreams}

    def of(self, ecosystem: str, name: str) -> Calls:
        """The pool of one upstream."""
        return self._pools[f"{ecosystem}:{name}"]

    def stop(self) -> None:
        """As `Calls.stop`, for all."""
        for pool in self._pools.values():
            pool.stop()
