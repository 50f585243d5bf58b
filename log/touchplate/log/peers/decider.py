"""The peers' `Decider`: entries become transactions, and blocks that the peers decided become batches.

An entry waits here until it stands in a decided block, whoever put it there. Meanwhile it is handed to the
engine, and again when the engine may have forgotten it (it keeps waiting transactions in memory only).
Few transactions fly at a time, and what comes meanwhile gathers: group commit, without a timer.
Answers go by identity, so it does not matter in whose transaction an entry came.
"""

import secrets
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from logging import getLogger
from threading import Condition, Lock, Thread

from touchplate.log.errors import AdmissionError, BusyError, LogError, StoppedError
from touchplate.log.peers.machine import REPEATED
from touchplate.log.peers.rpc import EngineError, RefusedTxError
from touchplate.log.peers.transactions import NONCE_BYTES, count_fitting, format_tx
from touchplate.log.ports import Apply, PackedEntry

RESEND_SECONDS = 5.0
"""After this an entry is handed in again: many times the interval of blocks, short against a client's
patience."""

LOOK_SECONDS = 1.0
"""After this an entry that was handed in is looked up in the tree: a few blocks later."""

UNDECIDED_SECONDS = 20.0
"""After this a submitter is told that nothing was decided: fewer than a quorum of the peers are in touch.
Below the 30 s that a caller in this process waits."""

MAX_FLIGHTS = 4
"""Transactions of this peer that are undecided at a time. A lone entry is handed in at once; what comes while
these fly gathers into the next one, so that transactions grow with the load and no timer is needed. More of
them would only wait in every engine's memory, and be checked again after each block."""

FULL_TX_BYTES = 128 * 1024
"""Bytes of the transactions that are made here, a quarter of what the format allows: some fifty entries. A
longer one holds up the votes behind it on the way to every peer, and saves nothing."""

STOP_SECONDS = 5.0
"""How long `stop` waits for what was taken to be decided."""

RETRY_SECONDS = 0.25
"""Between two tries while the engine takes nothing, and between two looks at what waits."""

logger = getLogger(__name__)

Submit = Callable[[bytes], None]
"""Hands a transaction to the engine. Raises RefusedTxError, EngineError."""

Refuse = Callable[[Sequence[PackedEntry], LogError], None]


@dataclass(slots=True)
class _Flight:
    """A transaction that the engine has: how many of its entries are still undecided."""

    left: int = 0


@dataclass(slots=True)
class _Pending:
    entry: PackedEntry
    count: int  # submissions that wait for it
    since: float
    sent: float | None = None
    flight: _Flight | None = None


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
        self._unsent: dict[bytes, _Pending] = {}  # those that the engine has not got; under _changed
        self._flying = 0  # flights with undecided entries; under _changed
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
                waiting = self._pending.get(entry.identity)
                if waiting is None:
                    waiting = _Pending(entry, 0, now)
                    self._pending[entry.identity] = self._unsent[entry.identity] = waiting
                waiting.count += 1
            if self._flying < MAX_FLIGHTS:
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
                if (waiting := self._forget(identity)) is not None:
                    repeats += [waiting.entry] * (waiting.count - 1)
            self._changed.notify()
        return repeats

    def _forget(self, identity: bytes) -> _Pending | None:
        """Nobody waits for this any more. Under _changed."""
        self._unsent.pop(identity, None)
        waiting = self._pending.pop(identity, None)
        if waiting is not None:
            self._land(waiting)
        return waiting

    def _land(self, one: _Pending) -> None:
        """Take an entry out of its transaction. Under _changed."""
        if one.flight is not None:
            one.flight.left -= 1
            self._flying -= one.flight.left == 0
            one.flight = None

    def _run(self) -> None:
        looked = self._clock()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._may_fly(), RETRY_SECONDS)
                if self._stopping:
                    return
            try:
                taken = True
                if self._clock() - looked >= LOOK_SECONDS:
                    looked = self._clock()
                    taken = self._look()
                if not (taken and self._hand_in(self._boarding())):
                    time.sleep(RETRY_SECONDS)
            except LogError as error:  # the database did not answer
                logger.warning("entries wait: %s", error)
                time.sleep(RETRY_SECONDS)
            except Exception:  # a bug; without this thread nobody would ever be answered
                logger.exception("entries wait")
                time.sleep(RETRY_SECONDS)

    def _may_fly(self) -> bool:
        return bool(self._unsent) and self._flying < MAX_FLIGHTS

    def _boarding(self) -> list[_Pending]:
        """The next transaction's entries: the oldest that wait, as far as they fit."""
        with self._changed:
            if not self._may_fly():
                return []
            count = count_fitting((one.entry.packed for one in self._unsent.values()), FULL_TX_BYTES)
            return list(islice(self._unsent.values(), count))

    def _look(self) -> bool:
        """Look after what has waited for a while: answer, give up or hand in again. False when the engine
        takes nothing now."""
        now = self._clock()
        with self._changed:
            waiting = list(self._pending.values())
        # Those that were just handed in are most likely on their way into a block.
        waiting = [
            one for one in waiting if now - (one.since if one.sent is None else one.sent) >= LOOK_SECONDS
        ]
        late: list[_Pending] = []
        due: list[_Pending] = []
        for one in self._answer_known(waiting):
            if now - one.since > UNDECIDED_SECONDS:
                late.append(one)
            elif one.sent is not None and now - one.sent > RESEND_SECONDS:
                due.append(one)
        if late:
            self._give_up(late, BusyError("the peers have not decided this entry yet", reason="undecided"))
        while due:
            count = count_fitting((one.entry.packed for one in due), FULL_TX_BYTES)
            if not self._hand_in(due[:count]):
                return False
            del due[:count]
        return True

    def _answer_known(self, waiting: Sequence[_Pending]) -> list[_Pending]:
        """Answer for what was in the tree before it was submitted, or came in while it was looked up; the
        rest."""
        there = self._known([one.entry.identity for one in waiting]) if waiting else {}
        if not there:
            return list(waiting)
        with self._applying:
            if self._apply is None or self._stopped:
                return []
            mine: list[PackedEntry] = []
            with self._changed:
                for identity in there:
                    found = self._forget(identity)
                    mine += [found.entry] * found.count if found else []
                self._changed.notify()
            if mine:
                self._apply(mine)
        return [one for one in waiting if one.entry.identity not in there]

    def _give_up(self, late: Sequence[_Pending], error: LogError) -> None:
        gone: list[PackedEntry] = []
        with self._changed:
            for one in late:
                found = self._forget(one.entry.identity)
                gone += [found.entry] * found.count if found else []
            self._changed.notify()
        self._refuse(gone, error)

    def _hand_in(self, due: Sequence[_Pending]) -> bool:
        """Hand these in as one transaction. False when the engine takes nothing now."""
        due = self._answer_known(due)
        if not due:
            return True
        try:
            self._submit_batch(due)
        except EngineError as error:
            logger.info("%s", error)
            return False
        return True

    def _submit_batch(self, batch: Sequence[_Pending]) -> None:
        # Before the engine has it: the block may be decided before it has answered.
        self._take_off(batch)
        try:
            self._submit(format_tx([one.entry.packed for one in batch], secrets.token_bytes(NONCE_BYTES)))
        except RefusedTxError as error:
            if error.code != REPEATED:
                self._part_refused(batch, error)
            else:
                # Most or all of it was decided just now, and is answered as such; the rest is handed in anew.
                self._turn_back(batch)
        except EngineError:
            self._turn_back(batch)
            self._land_all()
            raise

    def _take_off(self, batch: Sequence[_Pending]) -> None:
        now = self._clock()
        flight = _Flight()
        with self._changed:
            for one in batch:
                self._land(one)
                if self._pending.get(one.entry.identity) is one:  # not decided meanwhile
                    self._unsent.pop(one.entry.identity, None)
                    one.sent, one.flight = now, flight
                    flight.left += 1
            self._flying += flight.left > 0

    def _land_all(self) -> None:
        """An engine that does not answer may have forgotten what flies: nothing has to wait for that. Each is
        handed in again in its time."""
        with self._changed:
            for one in self._pending.values():
                self._land(one)

    def _turn_back(self, batch: Sequence[_Pending]) -> None:
        """The engine did not take it: its entries are the first to be handed in again."""
        with self._changed:
            back: dict[bytes, _Pending] = {}
            for one in batch:
                self._land(one)
                if self._pending.get(one.entry.identity) is one:
                    one.sent = None
                    back[one.entry.identity] = one
            self._unsent = back | self._unsent

    def _part_refused(self, batch: Sequence[_Pending], error: RefusedTxError) -> None:
        """One entry of a refused transaction is the reason: hand in both halves, until it stands alone."""
        if len(batch) == 1:
            # Admitted when it came in, and not any more: its key's range of indexes has ended since.
            self._give_up(batch, AdmissionError(str(error), reason="not-admitted"))
            return
        self._turn_back(batch)
        middle = len(batch) // 2
        self._submit_batch(batch[:middle])
        self._submit_batch(batch[middle:])
