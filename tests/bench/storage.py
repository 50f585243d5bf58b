"""The two databases behind one log, in turns: batches and single entries through the sequencer's port.

Raw leaves of 1 KiB, signed checkpoints included, no HTTP. CPU is that of this process and, for PostgreSQL, of
its server, too. The server is the tests' own, with fsync on, reached by its socket.
"""

from __future__ import annotations

import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from pathlib import Path

from tests.bench.harness import Row, SkippedError, Spent, check, in_turns, median, percentile, process_cpu
from tests.bench.raw_leaves import raw
from tests.postgres import MissingError, Server
from tests.simkeys import ORIGIN, log_signer

from touchplate.base.postgresql import parse_address, postgresql_engine
from touchplate.base.sql import Engine, sqlite_engine
from touchplate.log.frontends.decider import SharedDecider
from touchplate.log.keys import LogKeys
from touchplate.log.ports import PackedEntry, Sequenced, Tree
from touchplate.log.publishing import Publisher
from touchplate.log.sequencer import SoloDecider, TreeSequencer
from touchplate.log.storage.election import Seat
from touchplate.log.storage.shared import SharedTree, open_shared
from touchplate.log.storage.sql import open_tree
from touchplate.verify.rfc6962 import CompactRange

BATCHES, BATCH = 32, 512
SINGLES = 300
OUTSTANDING = 4
ROUNDS = 3
SECONDS = 60


def storage() -> list[Row]:
    """Rows for batches and for single entries; PostgreSQL's stands as ours, SQLite's as the peer."""
    try:
        server = Server()
    except MissingError as error:
        raise SkippedError(str(error)) from error
    with ExitStack() as stack:
        stack.callback(server.close)
        server.start()
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        numbers = iter(range(10**6))
        sides = (
            Side(lambda: OnPostgreSQL(server)),
            Side(lambda: OnSQLite(folder / f"{next(numbers)}.sqlite")),
        )
        batches = in_turns(ROUNDS, *(side.batches for side in sides))
        in_turns(ROUNDS, *(side.singles for side in sides))
    rates = [BATCHES * BATCH / median(one.wall for one in side) for side in batches]
    costs = [median(one.cpu for one in side) / BATCHES / BATCH * 1e6 for side in batches]
    ours, theirs = (percentile(side.latencies, 0.5) * 1000 for side in sides)
    slow = [percentile(side.latencies, 0.99) * 1000 for side in sides]
    return [
        Row(
            f"PostgreSQL beside SQLite, batches of {BATCH}, wall",
            f"{rates[0]:,.0f}/s",
            f"{rates[1]:,.0f}/s",
            rates[0],
            None,
            f"CPU {costs[0]:.0f} us an entry, its server's included; SQLite {costs[1]:.0f} us",
        ),
        Row(
            "PostgreSQL beside SQLite, one entry at a time, p50",
            f"{ours:.2f} ms",
            f"{theirs:.2f} ms",
            ours,
            None,
            f"p99 {slow[0]:.1f} ms; SQLite {slow[1]:.1f} ms",
        ),
    ]


class OnSQLite:
    """A log in a new file."""

    def __init__(self, path: Path) -> None:
        self.tree: Tree = open_tree(sqlite_engine(path), ORIGIN, "raw")
        self._publisher = Publisher(self.tree, LogKeys(log_signer()), ORIGIN)
        self.sequencer = TreeSequencer(self.tree, SoloDecider(), sign=self._publisher.sign)

    def start(self) -> None:
        """Take entries."""
        self._publisher.start()
        self.sequencer.start()

    def server_cpu(self) -> float:
        """There is no server."""
        return 0.0


class OnPostgreSQL:
    """A log in a new database, by the one frontend that it has."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._engine: Engine = postgresql_engine(parse_address(server.make_database()))
        self.tree: SharedTree = open_shared(self._engine, ORIGIN)
        publisher = Publisher(self.tree, LogKeys(log_signer()), ORIGIN)
        self._decider = SharedDecider(
            self.tree,
            lambda: Seat(self._engine, self.tree.tree_id),
            lambda entries, results: self.sequencer.answer(entries, results),
            on_election=publisher.start,
        )
        self.sequencer = TreeSequencer(self.tree, self._decider, sign=publisher.sign)

    def start(self) -> None:
        """Take entries, once elected."""
        self.sequencer.start()
        deadline = time.monotonic() + SECONDS
        while self.tree.head().checkpoint is None and time.monotonic() < deadline:
            time.sleep(0.01)
        check(self._decider.is_elected, "the only frontend was not elected")

    def server_cpu(self) -> float:
        """CPU seconds of the server's living processes."""
        return process_cpu(self._server.pid, *self._server.children())


class Side:
    """One of the two. `latencies`: seconds of each single entry so far."""

    def __init__(self, make: Callable[[], OnSQLite | OnPostgreSQL]) -> None:
        self._make = make
        self.latencies: list[float] = []

    def batches(self) -> Spent:
        """A new log filled with batches, some of which wait while one is committed."""
        return self._fill([make_batch(number, BATCH) for number in range(BATCHES)], OUTSTANDING, warm=BATCH)

    def singles(self) -> Spent:
        """A new log, one entry after the other."""

        def note(seconds: float) -> None:
            self.latencies.append(seconds)

        return self._fill([make_batch(number, 1) for number in range(SINGLES)], 1, warm=1, note=note)

    def _fill(
        self,
        batches: Sequence[Sequence[PackedEntry]],
        outstanding: int,
        *,
        warm: int,
        note: Callable[[float], None] = lambda _: None,
    ) -> Spent:
        log = self._make()
        log.start()
        first = make_batch(10**6, warm)
        for future in log.sequencer.submit(first):
            future.result(SECONDS)
        began, used = time.perf_counter(), time.process_time() + log.server_cpu()
        waiting: deque[tuple[float, list[Future[Sequenced]]]] = deque()
        results: list[Sequenced] = []

        def finish() -> None:
            since, futures = waiting.popleft()
            results.extend(future.result(SECONDS) for future in futures)
            note(time.perf_counter() - since)

        for batch in batches:
            if len(waiting) == outstanding:
                finish()
            waiting.append((time.perf_counter(), log.sequencer.submit(batch)))
        while waiting:
            finish()
        spent = Spent(time.perf_counter() - began, time.process_time() + log.server_cpu() - used)
        head = log.tree.head()
        log.sequencer.stop()
        log.tree.close()
        grown = CompactRange()
        for entry in [*first, *(entry for batch in batches for entry in batch)]:
            grown.append(entry.leaf_hash)
        count = sum(map(len, batches))
        check([one.index for one in results] == list(range(warm, warm + count)), "an entry got a wrong index")
        check((head.size, head.root) == (warm + count, grown.root()), "the tree has another root")
        return spent


def make_batch(number: int, count: int) -> list[PackedEntry]:
    """Different leaves of 1 KiB."""
    return [raw(b"%d %d " % (number, index) + bytes(1000)) for index in range(count)]
