"""From a signal to an orderly end."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import pytest

from touchplate.base.errors import ShutdownError
from touchplate.base.shutdown import Shutdown


def test_a_signal_stops_the_parts_in_reverse_order() -> None:
    stopped: list[str] = []

    async def stop_async() -> None:
        stopped.append("async")

    def stop_in_a_thread() -> None:
        assert threading.current_thread() is not threading.main_thread()
        stopped.append("thread")

    async def main() -> str:
        async with Shutdown() as shutdown:
            shutdown.add("first", stop_async)
            shutdown.add("second", stop_in_a_thread)
            shutdown.add("third", lambda: stop_async())
            os.kill(os.getpid(), signal.SIGTERM)
            await asyncio.wait_for(shutdown.wait(), 10)
            assert shutdown.is_requested
            return shutdown.reason

    assert asyncio.run(main()) == "SIGTERM"
    assert stopped == ["async", "thread", "async"]


def test_parts_are_stopped_after_an_error_too_and_the_error_comes_through() -> None:
    stopped: list[str] = []

    async def main() -> None:
        async with Shutdown() as shutdown:
            shutdown.add("part", lambda: stopped.append("part"))
            raise LookupError("in the block")

    with pytest.raises(LookupError):
        asyncio.run(main())
    assert stopped == ["part"]


def test_one_part_that_hangs_or_fails_does_not_keep_the_others() -> None:
    stopped: list[str] = []

    async def hang() -> None:
        await asyncio.Event().wait()

    def fail() -> None:
        raise OSError("disk")

    async def main() -> None:
        async with Shutdown() as shutdown:
            shutdown.add("good", lambda: stopped.append("good"))
            shutdown.add("hanging", hang, seconds=0.05)
            shutdown.add("failing", fail)
            shutdown.request("done")
            shutdown.request("again")
            assert shutdown.reason == "done"

    with pytest.raises(ShutdownError, match="failing, hanging"):
        asyncio.run(main())
    assert stopped == ["good"]


def test_a_second_signal_ends_the_process_as_if_nobody_listened() -> None:
    before = signal.getsignal(signal.SIGINT)

    async def main() -> None:
        async with Shutdown((signal.SIGINT,)) as shutdown:
            os.kill(os.getpid(), signal.SIGINT)
            await asyncio.wait_for(shutdown.wait(), 10)
            assert signal.getsignal(signal.SIGINT) in (signal.default_int_handler, before)

    asyncio.run(main())
