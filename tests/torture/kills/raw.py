"""The lives of a raw tree: the same series over Trillian's interface, with leaves of any bytes.

Two kinds: a LOG, whose leaves are queued one by one, and a PREORDERED_LOG, whose writer gives the indexes.
Nothing of such a tree is signed, so there is nothing for a witness; every root that was shown must be a
beginning of the tree all the same, and the times of roots must rise.
"""

import contextlib
import itertools
import random
import re
import threading
import time
from collections.abc import Callable, Iterator

import grpc
from tests.log.trillian.support import Client
from tests.torture.kills.lives import Lives
from tests.torture.kills.promises import Acknowledged
from tests.torture.kills.watching import POLL_SECONDS
from tests.torture.oracle import INCONSISTENT, LOST
from tests.torture.process import Run, SeriesError

from touchplate.log.storage.registry import raw_name
from touchplate.log.trillian.roots import LogRoot
from touchplate.proto.trillian.trillian_pb2 import TreeType
from touchplate.verify.checkpoints import UnverifiedCheckpoint

RAW, PREORDERED = "raw tree", "preordered tree"
"""Kinds of logs."""

WRITERS = 4
REPEATED = 0.1
PLACED = (1, 3, 40)
"""Leaves of one AddSequencedLeaves."""

BUSY = (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
"""The last is what gRPC says of a call that comes to a server which has begun to stop."""

ADDRESS_SECONDS = 20.0
_ADDRESS = re.compile(r"Trillian's interface listens on (127\.0\.0\.1:\d+)")


class RawLives(Lives):
    """One raw tree in a database of its own."""

    _id = 0
    _numbers: Iterator[int] = iter(())
    _nanos = 0

    @property
    def _table(self) -> str:
        return '[log.trillian]\nlisten = "127.0.0.1:0"\n'

    @property
    def _tree(self) -> str | None:
        return raw_name(self._id)

    def _look(self, run: Run, url: str) -> int:
        with self._connected(run) as client:
            if not self._id:
                self._id = client.make(TreeType.LOG if self.kind == RAW else TreeType.PREORDERED_LOG)
                self._numbers = itertools.count()
                self._policy = None
            return self._see(client.root(self._id))

    def _see(self, root: LogRoot) -> int:
        self.told.saw(UnverifiedCheckpoint("", root.size, root.root))
        if root.nanos < self._nanos:
            self.told.note(INCONSISTENT, f"a root has the time {root.nanos}, an earlier one {self._nanos}")
        self._nanos = root.nanos
        return root.size

    @contextlib.contextmanager
    def _connected(self, run: Run) -> Iterator[Client]:
        address = address_of(run)
        with grpc.insecure_channel(address) as channel:
            yield Client(channel, address)

    @contextlib.contextmanager
    def _loading(self, run: Run, url: str, seed: float) -> Iterator[None]:
        stopping = threading.Event()
        with self._connected(run) as client:

            def observe() -> None:
                while not stopping.wait(POLL_SECONDS):
                    with contextlib.suppress(grpc.RpcError):
                        self._see(client.root(self._id))

            write = self._queue if self.kind == RAW else self._place
            count = WRITERS if self.kind == RAW else 1  # who gives the indexes is alone
            threads = [threading.Thread(target=observe)]
            for number in range(count):
                chooser = random.Random(f"{seed} {number}")
                threads.append(
                    threading.Thread(target=_repeat, args=(write, client, chooser, run, stopping, self.told))
                )
            for thread in threads:
                thread.start()
            try:
                yield
            finally:
                stopping.set()
                for thread in threads:
                    thread.join()

    def _queue(self, client: Client, chooser: random.Random) -> None:
        """One leaf, sometimes one that is there."""
        if self.told.count and chooser.random() < REPEATED:
            value = b"leaf %d" % chooser.randrange(self.told.count)
        else:
            value = b"leaf %d" % next(self._numbers)
        self.told.told(value, client.queue(self._id, value).leaf.leaf_index)

    def _place(self, client: Client, chooser: random.Random) -> None:
        """Leaves from where the tree ends; those before it may be there already, which is no error."""
        first = client.root(self._id).size
        again = min(first, chooser.choice((0, 0, 2)))
        values = [b"leaf %d" % number for number in range(first - again, first + chooser.choice(PLACED))]
        answer = client.place(self._id, first - again, *values)
        for index, (value, result) in enumerate(zip(values, answer.results, strict=True), first - again):
            if result.status.code in (0, grpc.StatusCode.ALREADY_EXISTS.value[0]):
                self.told.told(value, index)
            else:
                self.told.note(LOST, f"leaf {index} was refused: {result.status.message}")


def _repeat(
    write: Callable[[Client, random.Random], None],
    client: Client,
    chooser: random.Random,
    run: Run,
    stopping: threading.Event,
    told: Acknowledged,
) -> None:
    while not stopping.is_set():
        try:
            write(client, chooser)
        except grpc.RpcError as error:
            if run.ended(0):
                return
            if error.code() not in BUSY:
                told.note(LOST, f"a call failed, and nothing was in its way: {error}")
                return
            stopping.wait(POLL_SECONDS)


def address_of(run: Run) -> str:
    """Where Trillian's interface of this process listens."""
    deadline = time.monotonic() + ADDRESS_SECONDS
    while time.monotonic() < deadline:
        if found := _ADDRESS.search(run.err()):
            return found[1]
        if run.ended(0.01):
            break
    raise SeriesError(f"Trillian's interface does not listen: {run.err()[-1000:]}")
