"""Everything behind the routes blocks (databases, disks, upstreams), so it runs in one pool of threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
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
