"""The peers' `Decider`: entries become transactions, and blocks that the peers decided become batches.

An entry waits here until it stands in a decided block, whoever put it there. Meanwhile it is handed to the
engine, and again when the engine may have forgotten it (it keeps waiting transactions in memory only).
Answers go by identity, so it does not matter in whose transaction an entry came.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from logging import getLogger
from threading import Condition, Lock, Thread

from touchplate.log.errors import AdmissionError, BusyError, LogError, StoppedError
from touchplate.log.peers.machine import REPEATED
from touchplate.log.peers.rpc import EngineError, RefusedTxError
from touchplate.log.peers.transactions import NONCE_BYTES, format_tx, group
from touchplate.log.ports import Apply, PackedEntry

RESEND_SECONDS = 5.0
"""After this an entry is handed in again: many times the interval of blocks, short against a client's
patience."""

LOOK_SECONDS = 1.0
"""After this an entry that was handed in is looked up in the tree: a few blocks later."""

UNDECIDED_SECONDS = 20.0
"""After this a submitter is told that nothing was decided: fewer than a quorum of the peers are in touch.
Below the 30 s that a caller in this process waits."""

STOP_SECONDS = 5.0
"""How long `stop` waits for what was taken to be decided."""

RETRY_SECONDS = 0.25
"""Between two tries while the engine takes nothing, and between two looks at what waits."""

logger = getLogger(__name__)

Submit = Callable[[bytes], None]
"""Hands a transaction to the engine. Raises RefusedTxError, EngineError."""

Refuse = Callable[[Sequence[PackedEntry], LogError], None]


@dataclass(slots=True)
class _Pending:
    entry: PackedEntry
    count: int  # submissions that wait for it
    since: float
    sent: float | None = None


class PeerDecider:
    """See the module. `decided` is called by the application, everything else as `Decider` says."""

    def __init__(
        self,
        submit: Submit,
        known: Callable[[Sequence[bytes]], Mapping[bytes, int]],
        refuse: Refuse,
        *,
        halt: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`known`: which identities are in the tree. `refuse` answers who waits in vain. `halt` stops the
        engine: no block is decided after it returned."""
        self._submit = submit
        self._known = known
        self._refuse = refuse
        self._halt = halt
        self._clock = clock
        self._apply: Apply | None = None
        self._applying = Lock()  # held around every `apply`
        self._changed = Condition()
        self._pending: dict[bytes, _Pending] = {}  # by identity, oldest first; under _changed
        self._stopping = False  # under _changed
        self._stopped = False  # under _applying
        self._thread: Thread | None = None

    def start(self, apply: Apply) -> None:
        """See `Decider.start`."""
        self._apply = apply
        self._thread = Thread(target=self._run, name="peers-submit", daemon=True)
        self._thread.start()

    def propose(self, entries: Sequence[PackedEntry]) -> None:
        """See `Decider.propose`."""
        now = self._clock()
        with self._changed:
            for entry in entries:
                waiting = self._pending.setdefault(entry.identity, _Pending(entry, 0, now))
                waiting.count += 1
            self._changed.notify()

    def decided(self, entries: Sequence[PackedEntry], state: bytes) -> None:
        """Execute a decided block. Raises what `apply` raises, StoppedError after `stop`."""
        with self._applying:
            if self._stopped or self._apply is None:
                raise StoppedError("this peer is stopping; the block will be executed at its next start")
            self._apply([*entries, *self._repeats(entry.identity for entry in entries)], state)

    def stop(self) -> None:
        """See `Decider.stop`. What is not decided within `STOP_SECONDS` is left to the sequencer to
        answer."""
        with self._changed:
            self._changed.wait_for(lambda: not self._pending, STOP_SECONDS if self._thread else 0)
            self._stopping = True
            self._changed.notify()
        self._halt()
        with self._applying:
            self._stopped = True
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _repeats(self, identities: Iterable[bytes]) -> list[PackedEntry]:
        """Take what waits for these out of the pending: one copy for each submission beyond the first."""
        repeats: list[PackedEntry] = []
        with self._changed:
            for identity in identities:
                if (waiting := self._pending.pop(identity, None)) is not None:
                    repeats += [waiting.entry] * (waiting.count - 1)
            self._changed.notify()
        return repeats

    def _run(self) -> None:
        while True:
            with self._changed:
                if not self._stopping and not any(one.sent is None for one in self._pending.values()):
                    self._changed.wait(RETRY_SECONDS)
                if self._stopping:
                    return
                waiting = list(self._pending.values())
            try:
                if waiting and not self._work(waiting):
                    time.sleep(RETRY_SECONDS)
            except LogError as error:  # the database did not answer
                logger.warning("entries wait: %s", error)
                time.sleep(RETRY_SECONDS)
            except Exception:  # a bug; without this thread nobody would ever be answered
                logger.exception("entries wait")
                time.sleep(RETRY_SECONDS)

    def _work(self, waiting: Sequence[_Pending]) -> bool:
        """Answer, give up or hand in what waits. False when the engine takes nothing now."""
        now = self._clock()
        # Those that were just handed in are most likely on their way into a block.
        waiting = [one for one in waiting if one.sent is None or now - one.sent > LOOK_SECONDS]
        there = self._known([one.entry.identity for one in waiting])
        if there:
            self._answer_known([one.entry for one in waiting if one.entry.identity in there])
        left = [one for one in waiting if one.entry.identity not in there]
        late = [one for one in left if now - one.since > UNDECIDED_SECONDS]
        if late:
            self._give_up(late, BusyError("the peers have not decided this entry yet", reason="undecided"))
        due = [
            one for one in left if one not in late and (one.sent is None or now - one.sent > RESEND_SECONDS)
        ]
        return self._hand_in(due)

    def _answer_known(self, entries: Sequence[PackedEntry]) -> None:
        """Entries that were in the tree before they were submitted, or came in while they were looked up."""
        with self._applying:
            if self._apply is None or self._stopped:
                return
            mine = []
            for entry in entries:
                with self._changed:
                    found = self._pending.pop(entry.identity, None)
                    self._changed.notify()
                mine += [entry] * (found.count if found else 0)
            if mine:
                self._apply(mine)

    def _give_up(self, late: Sequence[_Pending], error: LogError) -> None:
        gone = []
        for one in late:
            with self._changed:
                found = self._pending.pop(one.entry.identity, None)
                self._changed.notify()
            gone += [one.entry] * (found.count if found else 0)
        self._refuse(gone, error)

    def _hand_in(self, due: Sequence[_Pending]) -> bool:
        by_packed = {one.entry.packed: one for one in due}
        for batch in group([one.entry.packed for one in due]):
            try:
                self._submit_batch([by_packed[packed] for packed in batch])
            except EngineError as error:
                logger.info("%s", error)
                return False
        return True

    def _submit_batch(self, batch: Sequence[_Pending]) -> None:
        try:
            self._submit(format_tx([one.entry.packed for one in batch], secrets.token_bytes(NONCE_BYTES)))
        except RefusedTxError as error:
            # What only repeats was decided just now, and is answered as such.
            if error.code != REPEATED:
                self._part_refused(batch, error)
        now = self._clock()
        for one in batch:
            one.sent = now

    def _part_refused(self, batch: Sequence[_Pending], error: RefusedTxError) -> None:
        """One entry of a refused transaction is the reason: hand in both halves, until it stands alone."""
        if len(batch) == 1:
            # Admitted when it came in, and not any more: its key's range of indexes has ended since.
            self._give_up(batch, AdmissionError(str(error), reason="not-admitted"))
            return
        middle = len(batch) // 2
        self._submit_batch(batch[:middle])
        self._submit_batch(batch[middle:])
