"""A node with a queue, and its workers, all of which may be killed at any time and are started again."""

import contextlib
import ctypes
import itertools
import os
import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from sqlalchemy import Engine
from tests.builder.queue.queuehost import Host, opened_host, write_host
from tests.builder.rebuildparts import scene
from tests.e2e.worlds import free_port
from tests.torture.hooks_postgresql import ROOT
from tests.torture.jobs.database import SQLITE_FILE, queue_block, queue_database
from tests.torture.jobs.skew import Skew
from tests.torture.oracle import LOST, Finding, leftovers, read_log
from tests.torture.process import Launcher, Run, SeriesError

WORKERS = 2
SLOTS = 2
POLL_SECONDS = 0.01
GONE_SECONDS = 20.0
"""How long what a killed process had started may take to be gone: its sandbox's processes die with it."""

_PR_SET_CHILD_SUBREAPER = 36


class Fleet:
    """One node and its workers. `storage`: of the queue, as a node's configuration has it. `skew`: there is a
    second node, and both clocks are wrong."""

    def __init__(
        self, host: Host, config: Path, launcher: Launcher, storage: str, skew: Skew | None = None
    ) -> None:
        self.host = host
        self._config = config
        self._launcher = launcher
        self._storage = storage
        self._skew = skew
        self._orders = config.parent / "orders"
        self._numbers = itertools.count(1)
        self.hits: list[str] = []
        """Of the lives of the node that are over."""
        self.node: Run | None = None
        self.workers: list[Run] = []
        self._orphans: set[int] = set()
        self._reached, self._before = "", 0

    @property
    def data(self) -> Path:
        """The node's data folder."""
        return self.host.folder / "data"

    def start_node(self) -> None:
        """Start it, and return when it is ready. Raises SeriesError."""
        argv = ["serve", "--config", str(self._config)]
        roots = {"node": self.data, "postgresql": Path(ROOT)}
        wall = None if self._skew is None else self._skew.wall
        self.node = self._launcher.start(argv, roots, orders=self._orders, wall=wall)
        if self.node.url() is None:
            raise SeriesError(f"the node ended with {self.node.wait()}: {self.node.err()[-1500:]}")
        if self._skew is not None:
            self._skew.start()

    def start_workers(self) -> None:
        """Start those that do not run."""
        self.workers += [self._start_worker(number) for number in range(len(self.workers), WORKERS)]
        for number, run in enumerate(self.workers):
            if run.ended(0):
                self.workers[number] = self._start_worker(number)

    def _start_worker(self, number: int) -> Run:
        if self._skew is not None and number % 2:
            return self._launcher.start(self._skew.worker_argv(number, SLOTS), {})
        return self._launcher.start(self.host.worker_argv(number, slots=SLOTS), {})

    @property
    def is_skewed(self) -> bool:
        """Whether there are two nodes with wrong clocks."""
        return self._skew is not None

    def jump(self) -> None:
        """The clocks change, where they are wrong."""
        if self._skew is not None:
            self._skew.jump()

    def hold(self, side: str, point: str) -> None:
        """Let the node hold when it comes there next."""
        assert self.node is not None
        self._reached = f"! {side} {point}"
        self._before = self.node.hits().count(self._reached)
        aside = self._orders.with_suffix(".new")
        aside.write_text(f"{next(self._numbers)}\t{side}\t{point}")
        aside.rename(self._orders)

    def wait_held(self, seconds: float) -> bool:
        """Whether it came there within so long."""
        assert self.node is not None
        deadline = time.monotonic() + seconds
        while self.node.hits().count(self._reached) == self._before:
            if time.monotonic() > deadline or self.node.ended(POLL_SECONDS):
                return False
        return True

    def go_on(self) -> None:
        """Let a node that holds go on."""
        self._orders.unlink(missing_ok=True)

    def kill_node(self) -> int:
        """Kill it with -9, wait for its end, and keep what it noted. How many processes died."""
        assert self.node is not None
        self.node.kill()
        self.node.wait()
        self.go_on()
        self.hits += self.node.hits()
        return 1 + (0 if self._skew is None else self._skew.maybe_kill())

    def kill_workers(self) -> int:
        """Kill all of them with -9, and so their jobs. How many processes died."""
        self._orphans = set(self.jobs())
        for run in self.workers:
            run.kill()
        for run in self.workers:
            run.wait()
        return len(self.workers)

    def check_killed_workers(self) -> Iterator[Finding]:
        """Job processes that outlive their killed workers. Ask while the node is held: a job that waits for
        it does not end by itself."""
        yield from check_gone(lambda: self._orphans)

    def jobs(self) -> list[int]:
        """Process ids of the job processes of all workers."""
        return [pid for run in self.workers for pid in _children(run.pid)]

    def kill_jobs(self) -> int:
        """Kill their job processes with -9, not them. How many died."""
        pids = self.jobs()
        for pid in pids:
            kill(pid)
        return len(pids)

    def stop_workers(self) -> Iterator[Finding]:
        """End the workers in order; whatever is wrong with how they end and what they leave."""
        for number, run in enumerate(self.workers):
            if run.stop() != 0:
                yield Finding(LOST, f"worker {number} ended with {run.code}: {run.err()[-1000:]}")
            for path in leftovers(self.host.data(number)):
                yield Finding(LOST, f"room: {path} of worker {number} is left over")
        self.workers.clear()

    def stop_node(self) -> Iterator[Finding]:
        """End the node in order; whatever is wrong with how it ends."""
        assert self.node is not None
        if self._skew is not None and (code := self._skew.stop()) != 0:
            yield Finding(LOST, f"the second node ended with {code}")
        if self.node.stop() != 0:
            yield Finding(LOST, f"the node ended with {self.node.code}: {self.node.err()[-1000:]}")
        self.hits += self.node.hits()

    def queue_database(self) -> AbstractContextManager[Engine]:
        """The queue's rows. The node must be down when they are in a file."""
        return queue_database(self._storage, self.data)

    def log(self) -> list[bytes]:
        """The packed entries of the node's log. The node must be down."""
        return read_log(self.data)

    def close(self) -> None:
        """Kill what still runs, after a series that broke off."""
        for run in (*self.workers, *([] if self.node is None else [self.node])):
            run.kill()
            run.wait()
        if self._skew is not None:
            self._skew.close()


@contextlib.contextmanager
def fleet(
    folder: Path,
    launcher: Launcher,
    *,
    storage: str = SQLITE_FILE,
    wrong: random.Random | None = None,
) -> Iterator[Fleet]:
    """A fleet over a repository of its own; nothing runs yet. All of it has ended afterwards.

    `wrong`: chooses by how much the clocks of two nodes are wrong.
    """
    port = free_port()  # the same for each life: workers know the address
    with scene() as one:
        config, script = write_host(folder, one, queue=queue_block(storage), listen=f"127.0.0.1:{port}")
        with opened_host(f"http://127.0.0.1:{port}", config, one, script) as host:
            skew = None if wrong is None else Skew(host, config, launcher, wrong)
            made = Fleet(host, config, launcher, storage, skew)
            try:
                yield made
            finally:
                made.close()


@contextlib.contextmanager
def collecting_orphans() -> Iterator[set[int]]:
    """Let what outlives its parents be this process's, for the time of the block. Gives the processes below
    this one at its beginning."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        yield descendants()
    finally:
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def check_orphans(known: set[int]) -> Iterator[Finding]:
    """Processes that are still alive below this one and were not at the beginning; killed by their number."""
    yield from check_gone(lambda: descendants() - known)


def check_gone(find: Callable[[], set[int]]) -> Iterator[Finding]:
    """Those of `find` that do not end; killed by their number."""
    deadline = time.monotonic() + GONE_SECONDS
    while (left := {pid for pid in find() if not _reaped(pid)}) and time.monotonic() < deadline:
        time.sleep(0.1)
    for pid in sorted(left):
        with contextlib.suppress(OSError):
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
            yield Finding(LOST, f"process {pid} is left over: {words[:200].decode(errors='replace')}")
            kill(pid)


def descendants() -> set[int]:
    """Process ids of all processes below this one."""
    found: set[int] = set()
    waiting = [os.getpid()]
    while waiting:
        children = _children(waiting.pop())
        waiting += children
        found.update(children)
    return found


def kill(pid: int) -> None:
    """SIGKILL, if it still runs."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _children(pid: int) -> list[int]:
    with contextlib.suppress(OSError):
        tasks = Path(f"/proc/{pid}/task").iterdir()
        return [int(one) for task in tasks for one in (task / "children").read_text().split()]
    return []


def _reaped(pid: int) -> bool:
    """Whether it has ended; an orphan that has is taken away."""
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:  # not our own child, or gone
        return not Path(f"/proc/{pid}").exists()
