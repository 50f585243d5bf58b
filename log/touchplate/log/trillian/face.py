"""Trillian's interface of one log, wired: a thread with an event loop of its own, beside the HTTP face's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from logging import getLogger
from threading import Thread
from typing import TYPE_CHECKING

import uvloop
from prometheus_client import CollectorRegistry

from touchplate.log.ports import Head
from touchplate.log.sequencer import Limits
from touchplate.log.storage.raw import RawTree
from touchplate.log.storage.registry import DRAINING, LOG, Registry, TreeFields
from touchplate.log.storage.removal import Removal
from touchplate.log.storage.sql import ATTESTATIONS, SQLTree
from touchplate.log.trillian.admin_service import AdminService
from touchplate.log.trillian.auth import Gatekeeper
from touchplate.log.trillian.calls import make_calls
from touchplate.log.trillian.config import TrillianConfig, read_tls
from touchplate.log.trillian.log_service import LogService
from touchplate.log.trillian.metrics import Metrics
from touchplate.log.trillian.opened import Bounds, Trees
from touchplate.log.trillian.quota import Quota
from touchplate.log.trillian.served import ServedLog, Threads
from touchplate.log.trillian.server import Guard, Server

if TYPE_CHECKING:
    from touchplate.base.sql import Engine

THREADS = 8
"""Calls that wait for the database at the same time: each takes a connection."""

SWEEP_SECONDS = 10.0
"""Between two looks for trees that nobody uses."""

REMOVAL_SECONDS = 60.0
"""Between two looks for trees that were deleted long ago."""

STEP_PAUSE_SECONDS = 0.01
"""Between two transactions that remove rows: about as long as they take, so that writers come in between."""

logger = getLogger(__name__)


class TrillianFace:
    """TrillianLog and TrillianAdmin for the trees in one database. `start`, `stop`: from any thread."""

    def __init__(
        self,
        config: TrillianConfig,
        engine: Engine,
        tree: SQLTree,
        origin: str,
        *,
        follow: Callable[[], Head] | None = None,
        limits: Limits | None = None,
        metrics: CollectorRegistry | None = None,
        held: Mapping[int, RawTree] | None = None,
    ) -> None:
        """`tree`: the log of attestations in the same database, `follow` reads its head again. `metrics`:
        where calls are counted. `held`: raw trees that this process has open, by id: they are written
        through those objects.

        The engine stays open when this is stopped. Raises ConfigError (tokens, certificate),
        StorageFailedError.
        """
        self._config = config
        self._engine = engine
        self._tree = tree
        self._follow = follow or tree.head
        self._limits = limits or Limits()
        self._registered = metrics or CollectorRegistry()
        self._held = held or {}
        self._gatekeeper = Gatekeeper(config.tokens)
        self._tls = read_tls(config)
        self._registry = Registry(engine)
        self._public_id = tree.tree_id
        self._registry.register(tree.tree_id, log_fields(tree.tree_id, origin))
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self.address = config.address
        """Host and port; the port is known after `start`."""

    def start(self) -> None:
        """Listen. Raises ConfigError when the address cannot be used."""
        ready: Future[int] = Future()
        self._thread = Thread(target=self._run, args=(ready,), name="trillian", daemon=True)
        self._thread.start()
        try:
            self.address = (self.address[0], ready.result())
        except BaseException:
            self._thread.join()
            self._thread = None
            raise
        logger.info("Trillian's interface listens on %s:%d", *self.address)

    def stop(self) -> None:
        """Finish the calls that run, append what was taken, and end. Safe to call twice."""
        thread, loop, stopping = self._thread, self._loop, self._stopping
        if thread is not None and loop is not None and stopping is not None:
            with suppress(RuntimeError):  # it ended by itself
                loop.call_soon_threadsafe(stopping.set)
            thread.join()
        self._thread = None

    def _run(self, ready: Future[int]) -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve(ready))
        except BaseException as error:
            if ready.done():
                logger.exception("Trillian's interface ended")
            else:
                ready.set_exception(error)

    async def _serve(self, ready: Future[int]) -> None:
        self._loop, self._stopping = asyncio.get_running_loop(), asyncio.Event()
        with ThreadPoolExecutor(THREADS, "trillian") as executor:
            threads = Threads(executor)
            trees = self._make_trees(threads)
            metrics = Metrics(self._registered, lambda: len(trees))
            calls = make_calls(LogService(trees), AdminService(trees, threads))
            quota = Quota(self._config.quota, time.monotonic)
            has_certificates = self._tls is not None and self._tls.client_ca is not None
            guard = Guard(self._gatekeeper, quota, has_certificates=has_certificates)
            server = Server(calls, guard, metrics)
            async with AsyncExitStack() as stack:  # what is left in reverse order
                stack.push_async_callback(trees.close)
                stack.push_async_callback(server.stop)
                port = server.listen(*self._config.address, self._tls)
                await server.start()
                ready.set_result(port)
                if self._config.remove_after:
                    stack.push_async_callback(_end, asyncio.create_task(self._remove(trees, threads)))
                await self._sweep(trees, self._stopping)

    def _make_trees(self, threads: Threads) -> Trees:
        is_shared = self._engine.dialect.name == "postgresql"
        trees = Trees(
            self._registry,
            threads,
            lambda row: self._held.get(row.fields.public_id) or RawTree(self._engine, row),
            Bounds(self._config.open_trees, self._limits),
            is_shared=is_shared,
        )
        row = self._registry.find(self._public_id)
        trees.add_log(
            ServedLog(self._tree, row, self._registry, threads, follow=self._follow, now=time.time_ns)
        )
        return trees

    async def _sweep(self, trees: Trees, stopping: asyncio.Event) -> None:
        while not stopping.is_set():
            with suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS):
                    await stopping.wait()
            try:
                await trees.close_idle()
            except Exception:  # the calls go on without it
                logger.exception("trees that nobody uses could not be closed")

    async def _remove(self, trees: Trees, threads: Threads) -> None:
        """Remove trees that were deleted long ago, a little at a time."""
        removal = Removal(self._engine)
        while True:
            try:
                before = time.time_ns() // 1_000_000 - self._config.remove_after * 1000
                for public_id in await threads(removal.begin, before):
                    logger.info("the tree %d was deleted long ago, and is removed", public_id)
                    trees.changed(public_id)
                while await threads(removal.step):
                    await asyncio.sleep(STEP_PAUSE_SECONDS)
            except Exception:  # the next round goes on
                logger.exception("trees that were deleted long ago could not be removed")
            await asyncio.sleep(REMOVAL_SECONDS)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def log_fields(tree_id: int, origin: str) -> TreeFields:
    """How the log of attestations looks to Trillian's clients: DRAINING, since it grows and takes nothing
    here."""
    now = time.time_ns() // 1_000_000
    return TreeFields(
        public_id=tree_id,
        state=DRAINING,
        type=LOG,
        display_name=ATTESTATIONS,
        description=origin[:200],
        storage_settings=None,
        max_root_nanos=0,
        created=now,
        updated=now,
    )
