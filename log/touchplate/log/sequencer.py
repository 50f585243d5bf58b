"""The sequencer: hands entries to a decider, executes what was decided, and answers whoever waits.

Solo, the decider is natural group commit: one thread takes all that waits, commits it as one batch, and
meanwhile the next batch gathers. There is no timer, so a lone entry is as fast as one commit, and under load
the batches grow by themselves.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from logging import getLogger
from threading import Condition, Lock, Thread
from typing import Protocol

from touchplate.log.errors import FrozenError, LogError, OverloadedError, StoppedError, StorageFailedError
from touchplate.log.ports import Apply, Decider, PackedEntry, Sequenced, Sign, Tree

logger = getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """What one log holds in memory for those who wait."""

    batch_entries: int = 4096
    """Entries in one transaction: commits take tens of milliseconds, so a waiting reader of the file is not
    starved."""
    batch_bytes: int = 8 * 1024 * 1024
    """Bytes in one transaction: bounds the write-ahead log's growth and the memory of a batch."""
    outstanding: int = 8192
    """Entries taken and not yet answered, over all submitters: two full batches, so that one gathers while
    one commits."""
    outstanding_bytes: int = 64 * 1024 * 1024
    """Bytes of those entries; while there are more, no others are taken. A leaf of Trillian's interface can
    have a mebibyte, and nothing else holds back who submits and does not wait for the answer."""

    def check(self) -> list[str]:
        """Mistakes, for the configuration."""
        return [f"{name}: must be at least 1, not {value}" for name, value in vars(self).items() if value < 1]


@dataclass(frozen=True, slots=True)
class _Waiter:
    """Somebody's future. `loop` is None for a future that threads wait on. `entry`: what was submitted."""

    future: "Future[Sequenced] | asyncio.Future[Sequenced]"
    loop: asyncio.AbstractEventLoop | None
    entry: PackedEntry


Outcome = Sequenced | LogError


class Observer(Protocol):
    """Is told what happens to entries; from any thread, and must not take long."""

    def answered(self, outcome: str, count: int = 1) -> None:
        """So many submitters were told "new", "duplicate", or the reason of a refusal."""

    def committed(self, entries: int, seconds: float) -> None:
        """A batch is durable; it took `seconds`."""

    def failed(self) -> None:
        """A batch was not kept, or nobody knows."""


class TreeSequencer:
    """The `Sequencer` of one tree, over a decider."""

    def __init__(
        self,
        tree: Tree,
        decider: Decider,
        *,
        sign: Sign | None,
        limits: Limits | None = None,
        observer: Observer | None = None,
    ) -> None:
        """`sign` makes the checkpoint inside each batch; None when checkpoints are published some other
        way."""
        self._observer = observer
        self._tree = tree
        self._decider = decider
        self._sign = sign
        self._limits = limits or Limits()
        self._lock = Lock()
        self._waiting: dict[bytes, list[_Waiter]] = {}  # by identity; under _lock
        self._outstanding = 0  # entries; under _lock
        self._outstanding_bytes = 0  # under _lock
        self._running = False  # under _lock
        self._grown = Condition()  # told after each batch

    @property
    def outstanding(self) -> int:
        """Entries taken and not yet answered."""
        with self._lock:
            return self._outstanding

    def start(self) -> None:
        """Begin to take entries."""
        self._decider.start(self._execute)
        with self._lock:
            self._running = True

    def stop(self) -> None:
        """Refuse new entries, execute what was taken, answer everybody."""
        with self._lock:
            self._running = False
        self._decider.stop()
        with self._lock:
            left, self._waiting = list(self._waiting.values()), {}
            self._outstanding = self._outstanding_bytes = 0
        error = StoppedError("the log stopped before this entry was decided; submit it again later")
        _resolve([(waiter, error) for waiters in left for waiter in waiters])
        with self._grown:
            self._grown.notify_all()

    def submit(self, entries: Sequence[PackedEntry]) -> list[Future[Sequenced]]:
        """See `Sequencer.submit`."""
        futures: list[Future[Sequenced]] = [Future() for _ in entries]
        self._take(
            entries, [_Waiter(future, None, one) for future, one in zip(futures, entries, strict=True)]
        )
        return futures

    def submit_here(self, entries: Sequence[PackedEntry]) -> "list[asyncio.Future[Sequenced]]":
        """See `Sequencer.submit_here`."""
        loop = asyncio.get_running_loop()
        futures = [loop.create_future() for _ in entries]
        self._take(
            entries, [_Waiter(future, loop, one) for future, one in zip(futures, entries, strict=True)]
        )
        return futures

    def wait_for_growth(self, size: int, timeout_seconds: float) -> int:
        """Block until the tree has more than `size` entries, or the time is up, or the log stops; its size
        then."""
        with self._grown:
            self._grown.wait_for(lambda: self._tree.head().size > size or not self._running, timeout_seconds)
        return self._tree.head().size

    def _take(self, entries: Sequence[PackedEntry], waiters: Sequence[_Waiter]) -> None:
        if self._running and self._tree.head().frozen:
            self._answer_frozen(entries, waiters)
            return
        with self._lock:
            if not self._running:
                raise StoppedError("the log is not running; submit again later")
            if self._outstanding + len(entries) > self._limits.outstanding:
                raise OverloadedError(
                    f"{self._outstanding} entries are waiting, at most {self._limits.outstanding} may;"
                    " submit again later"
                )
            if self._outstanding_bytes > self._limits.outstanding_bytes:
                raise OverloadedError(
                    f"{self._outstanding_bytes} bytes of entries are waiting, more than"
                    f" {self._limits.outstanding_bytes}; submit again later"
                )
            self._outstanding += len(entries)
            self._outstanding_bytes += sum(entry.weight for entry in entries)
            for entry, waiter in zip(entries, waiters, strict=True):
                self._waiting.setdefault(entry.identity, []).append(waiter)
            # Inside the lock: what was taken is proposed before `stop` can end the decider.
            self._decider.propose(entries)

    def _answer_frozen(self, entries: Sequence[PackedEntry], waiters: Sequence[_Waiter]) -> None:
        """What is in a frozen tree is a duplicate as ever; nothing else gets in."""
        known = self._tree.find_identities([entry.identity for entry in entries])
        error = FrozenError("this log is frozen: it takes no new entries; write to its successor")
        for entry, waiter in zip(entries, waiters, strict=True):
            index = known.get(entry.identity)
            outcome = error if index is None else Sequenced(index, duplicate=True)
            _set(waiter, outcome)
            self._observe([(waiter, outcome)])

    def refuse(self, entries: Sequence[PackedEntry], error: LogError) -> None:
        """Answer whoever waits for `entries` with `error`: the decider will not decide them (now)."""
        self._answer(entries, [error] * len(entries), {})

    def answer(self, entries: Sequence[PackedEntry], results: Sequence[Outcome]) -> None:
        """Answer whoever waits for `entries`, which another process appended: as many results as entries.

        `tree` must show them already. Without entries, only tells those who wait for growth.
        """
        if entries:
            self._answer(entries, results, {})
        with self._grown:
            self._grown.notify_all()

    def _execute(self, batch: Sequence[PackedEntry], decided: bytes | None = None) -> None:
        """Called by the decider with decided batches, in order, one at a time."""
        outcomes: dict[bytes, list[Outcome]] = {}
        begun = time.monotonic()
        try:
            results: Sequence[Outcome] = self._tree.apply(batch, self._sign, decided)
        except Exception as error:
            if self._observer is not None:
                self._observer.failed()
            # Nobody may be told an index. Whoever submits again gets the right one, whatever COMMIT did.
            failed = (
                error if isinstance(error, LogError) else StorageFailedError(f"appending a batch: {error}")
            )
            self._answer(batch, [failed] * len(batch), outcomes)
            raise
        # From here the batch is durable and integrated, and its checkpoint, if one is made here, is stored.
        if self._observer is not None:
            self._observer.committed(len(batch), time.monotonic() - begun)
        self._answer(batch, results, outcomes)
        with self._grown:
            self._grown.notify_all()

    def _answer(
        self, batch: Sequence[PackedEntry], results: Sequence[Outcome], outcomes: dict[bytes, list[Outcome]]
    ) -> None:
        logged: dict[bytes, bytes] = {}
        for entry, result in zip(batch, results, strict=True):
            outcomes.setdefault(entry.identity, []).append(result)
            logged.setdefault(entry.identity, entry.packed)
        with self._lock:
            answers = self._claim(outcomes, logged)
            self._outstanding -= len(answers)
            self._outstanding_bytes -= sum(waiter.entry.weight for waiter, _ in answers)
        _resolve(answers)
        self._observe(answers)

    def _observe(self, answers: Sequence[tuple[_Waiter, Outcome]]) -> None:
        if self._observer is None:
            return
        for outcome, count in Counter(_named(outcome) for _, outcome in answers).items():
            self._observer.answered(outcome, count)

    def _claim(
        self, outcomes: Mapping[bytes, Sequence[Outcome]], logged: Mapping[bytes, bytes]
    ) -> list[tuple[_Waiter, Outcome]]:
        """Take the waiters of these identities, oldest first: as many as there are outcomes of each."""
        answers: list[tuple[_Waiter, Outcome]] = []
        for identity, results in outcomes.items():
            # A decider of many peers also executes what was submitted elsewhere: nobody here waits for that.
            waiters = self._waiting.get(identity, [])
            for waiter, result in zip(waiters, results, strict=False):
                if isinstance(result, Sequenced) and waiter.entry.packed != logged[identity]:
                    # The same statement with another signature came first, by way of another peer.
                    result = Sequenced(result.index, duplicate=True)
                answers.append((waiter, result))
            if len(waiters) > len(results):
                self._waiting[identity] = waiters[len(results) :]
            else:
                self._waiting.pop(identity, None)
        return answers


def _named(outcome: Outcome) -> str:
    if isinstance(outcome, LogError):
        return outcome.reason
    return "duplicate" if outcome.duplicate else "new"


def _resolve(answers: Sequence[tuple[_Waiter, Outcome]]) -> None:
    """Answer all. Each event loop is woken once, however many of its futures are answered."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Waiter, Outcome]]] = {}
    for waiter, outcome in answers:
        if waiter.loop is None:
            _set(waiter, outcome)
        else:
            by_loop.setdefault(waiter.loop, []).append((waiter, outcome))
    for loop, parts in by_loop.items():
        try:
            loop.call_soon_threadsafe(_set_all, parts)
        except RuntimeError:  # that loop is closed: nobody waits any more
            logger.info("%d answers found their event loop closed", len(parts))


def _set_all(answers: Sequence[tuple[_Waiter, Outcome]]) -> None:
    for waiter, outcome in answers:
        _set(waiter, outcome)


def _set(waiter: _Waiter, outcome: Outcome) -> None:
    if waiter.future.done():  # its client went away; the entry is in the log all the same
        return
    if isinstance(outcome, Sequenced):
        waiter.future.set_result(outcome)
    else:
        waiter.future.set_exception(outcome)


class SoloDecider:
    """Decides alone: the order of arrival, in batches of whatever waits."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._queue: list[PackedEntry] = []  # under _changed
        self._stopping = False  # under _changed
        self._changed = Condition()
        self._thread: Thread | None = None

    def start(self, apply: Apply) -> None:
        """See `Decider.start`."""
        self._stopping = False
        self._thread = Thread(target=self._run, args=(apply,), name="sequencer", daemon=True)
        self._thread.start()

    def propose(self, entries: Sequence[PackedEntry]) -> None:
        """See `Decider.propose`."""
        with self._changed:
            self._queue.extend(entries)
            self._changed.notify()

    def stop(self) -> None:
        """See `Decider.stop`."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, apply: Apply) -> None:
        while batch := self._next_batch():
            try:
                apply(batch)
            except Exception:
                # Its submitters were told. The next batch first reads the head back from the database.
                logger.exception("a batch of %d entries was not kept", len(batch))

    def _next_batch(self) -> list[PackedEntry]:
        """All that waits, up to the limits; blocks while nothing does. Empty when all is done for good."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._stopping)
            return next_batch(self._queue, self._limits)


def next_batch(queue: list[PackedEntry], limits: Limits) -> list[PackedEntry]:
    """Take what is first in `queue`, up to the limits of a batch. Whoever else adds to it must wait
    meanwhile."""
    count, weight = 0, 0
    for entry in queue[: limits.batch_entries]:
        weight += entry.weight
        if count and weight > limits.batch_bytes:
            break
        count += 1
    batch = queue[:count]
    del queue[:count]
    return batch
