"""Several frontends of one log on PostgreSQL: a `Decider` for each, one of which sequences at a time.

    elected       what its own clients submit, and what lies in the database, goes into the next batch
    not elected   what its clients submit is left in the database, and answered when its fate stands there

Any frontend can be killed at any moment. What was acknowledged is in the tree; what waits in the database is
sequenced by whoever is elected next; what waited in memory only was not acknowledged and is sent again.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from logging import getLogger
from threading import Condition, Thread

from touchplate.log.errors import BusyError, FrozenError, LogError, StorageFailedError
from touchplate.log.ports import Apply, PackedEntry, Sequenced
from touchplate.log.sequencer import Limits, next_batch
from touchplate.log.storage.election import Seat
from touchplate.log.storage.shared import GROWN, SUBMITTED, Share, SharedTree

UNDECIDED_SECONDS = 20.0
"""After this a submitter is told that nothing was decided: there is no sequencer. Far above a failover, below
the 30 s that a caller in this process waits."""

STOP_SECONDS = 5.0
"""How long `stop` waits for what the sequencer has not taken yet."""

HANG_SECONDS = 15.0
"""How long `stop` waits for a database that does not answer."""

RETRY_SECONDS = 0.5
"""Between two tries while the database does not answer."""

LOOK_SECONDS = 1.0
"""Between two looks at what waits when nothing is heard: news can get lost with a connection."""

STOPPING_LOOK_SECONDS = 0.1
"""The same while everybody waits for the end."""

logger = getLogger(__name__)

Answer = Callable[[Sequence[PackedEntry], Sequence[Sequenced | LogError]], None]
"""Answers those who wait for entries: as many results as entries."""


@dataclass(slots=True)
class _Pending:
    """An entry that lies in the database."""

    entry: PackedEntry
    submission_id: int
    since: float
    count: int = 1  # submitters that wait for it


class SharedDecider:
    """See the module."""

    def __init__(
        self,
        tree: SharedTree,
        seat: Callable[[], Seat],
        answer: Answer,
        *,
        on_election: Callable[[], None],
        limits: Limits | None = None,
    ) -> None:
        """`seat` connects to the database of `tree`. `on_election` is called when this process was elected,
        before its first batch; the tree is then as it was left."""
        self._tree = tree
        self._on_election = on_election
        self._connect = seat
        self._answer = answer
        self._limits = limits or Limits()
        self._share = Share(self._limits.batch_entries, self._limits.batch_bytes)
        self._changed = Condition()
        self._queue: list[PackedEntry] = []  # this and the next six under _changed
        self._elected = False
        self._term_is_new = False
        self._term_has_begun = False
        self._submitted = False  # something may lie in the database for the sequencer
        self._grown = False  # the tree may have grown
        self._stopping = False
        self._pending: dict[bytes, _Pending] = {}  # by identity; of the working thread
        self._said = ""  # what went wrong in the last round; of the working thread
        self._left = False  # the working thread has ended
        self._threads: list[Thread] = []

    @property
    def is_elected(self) -> bool:
        """Whether this process sequences, as far as it knows."""
        return self._elected

    @property
    def is_writing(self) -> bool:
        """Whether it has also read the tree as the last term left it."""
        with self._changed:
            return self._elected and self._term_has_begun

    # The `Decider`

    def start(self, apply: Apply) -> None:
        """See `Decider.start`."""
        self._stopping = self._left = False
        self._threads = [
            Thread(target=self._work, args=(apply,), name="sequencer", daemon=True),
            Thread(target=self._listen, name="election", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def propose(self, entries: Sequence[PackedEntry]) -> None:
        """See `Decider.propose`."""
        with self._changed:
            self._queue.extend(entries)
            self._changed.notify()

    def stop(self) -> None:
        """See `Decider.stop`. Then another frontend is elected."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        deadline = time.monotonic() + HANG_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():  # a daemon: it does not keep the process
                logger.warning("the database does not answer; it is left as it is")
        self._threads = []

    # One thread hears and is elected

    def _listen(self) -> None:
        seat: Seat | None = None
        while not self._left:
            try:
                if seat is None:
                    seat = self._connect()
                    self._heard({GROWN})
                self._be_elected(seat)
                self._heard(seat.wait())
            except Exception as error:
                self._lose(error)
                if seat is not None:
                    seat.close()
                    seat = None
                time.sleep(RETRY_SECONDS)
        if seat is not None:
            seat.close()

    def _be_elected(self, seat: Seat) -> None:
        held = seat.is_taken
        if seat.take() and not held:
            self._tree.begin_term()
            logger.info("elected: this process sequences the log now")
            with self._changed:
                self._elected = self._term_is_new = self._submitted = True
                self._term_has_begun = False
                self._changed.notify()
        elif held and not self._elected:
            raise StorageFailedError("a batch was not kept; whoever is elected next goes on")

    def _lose(self, error: Exception) -> None:
        with self._changed:
            was, self._elected = self._elected, False
        what = "this process does not sequence the log any more" if was else "not in the election"
        # A bug shows where it is; that the database does not answer needs no traceback.
        logger.warning("%s: %s", what, error, exc_info=not isinstance(error, LogError))

    def _heard(self, told: set[str]) -> None:
        with self._changed:
            self._grown |= GROWN in told
            self._submitted |= SUBMITTED in told
            self._changed.notify()

    # The other one works

    def _work(self, apply: Apply) -> None:
        deadline: float | None = None
        while True:
            with self._changed:
                self._changed.wait_for(
                    self._has_work, LOOK_SECONDS if deadline is None else STOPPING_LOOK_SECONDS
                )
                stopping, elected = self._stopping, self._elected
                batch = next_batch(self._queue, self._limits)
            if stopping and deadline is None:
                deadline = time.monotonic() + STOP_SECONDS
            try:
                if elected:
                    self._sequence(apply, batch)
                elif batch:
                    self._submit(batch)
                self._follow()
                self._said = ""
            except Exception as error:
                # Those of this batch were told. The next round reads everything anew.
                self._say(error)
                self._give_up()
                with self._changed:
                    self._grown = True
                time.sleep(RETRY_SECONDS)
            if deadline is not None and not batch and (not self._pending or time.monotonic() > deadline):
                self._left = True
                return

    def _say(self, error: Exception) -> None:
        """Once for each trouble, however many rounds it lasts."""
        text = str(error)
        if text != self._said:
            logger.warning("entries wait: %s", text, exc_info=not isinstance(error, BusyError))
        self._said = text

    def _has_work(self) -> bool:
        is_over = self._stopping and not self._pending
        return bool(self._queue or is_over or self._grown or (self._elected and self._submitted))

    def _sequence(self, apply: Apply, batch: Sequence[PackedEntry]) -> None:
        """One batch: `batch`, and what lies in the database."""
        with self._changed:
            new, self._term_is_new = self._term_is_new, False
            submitted, self._submitted = self._submitted, False
        try:
            if new:
                self._begin(batch)
            if submitted:
                self._tree.invite(self._share)
            if batch or submitted:
                apply(batch)
        except BaseException:
            with self._changed:
                # The next election finds out; nothing more is tried under this term.
                self._elected, self._submitted = False, True
            raise
        with self._changed:
            self._submitted |= submitted and self._tree.is_more
            self._grown |= submitted

    def _begin(self, batch: Sequence[PackedEntry]) -> None:
        """Read the tree as the last term left it, and let its head be signed."""
        try:
            self._tree.apply([])
            with self._changed:
                self._term_has_begun = True
            self._on_election()
        except Exception as error:
            self._refuse(batch, error)
            raise

    def _refuse(self, batch: Sequence[PackedEntry], error: Exception) -> None:
        told = error if isinstance(error, LogError) else StorageFailedError(f"sequencing: {error}")
        self._answer(batch, [told] * len(batch))

    def _submit(self, batch: Sequence[PackedEntry]) -> None:
        """Leave entries in the database; those which lie there already need not be left twice."""
        fresh: dict[bytes, PackedEntry] = {}
        counts: dict[bytes, int] = {}
        for entry in batch:
            if (known := self._pending.get(entry.identity)) is not None:
                known.count += 1
            else:
                fresh.setdefault(entry.identity, entry)
                counts[entry.identity] = counts.get(entry.identity, 0) + 1
        if not fresh:
            return
        try:
            ids = self._tree.submit(list(fresh.values()))
        except Exception as error:
            self._refuse([entry for entry in batch if entry.identity in fresh], error)
            raise
        now = time.monotonic()
        for identity, entry in fresh.items():
            self._pending[identity] = _Pending(entry, ids[identity], now, counts[identity])

    def _follow(self) -> None:
        """See how far the tree is, and answer those whose entries are in it."""
        with self._changed:
            grown, self._grown = self._grown, False
            elected = self._elected
        if not elected and (grown or self._pending):
            self._tree.follow()
        if self._pending:
            self._answer_pending()
        elif grown:
            self._answer([], [])

    def _answer_pending(self) -> None:
        fate = self._tree.ask(one.submission_id for one in self._pending.values())
        done = [one for one in self._pending.values() if one.submission_id not in fate.waiting]
        new = [one.entry.identity for one in done if one.submission_id not in fate.duplicates]
        # An index was committed with the removal of the submission, so it is there.
        found = self._tree.find_identities(new) if new else {}
        if max([*found.values(), *fate.duplicates.values()], default=-1) >= self._tree.head().size:
            self._tree.follow()
        entries: list[PackedEntry] = []
        results: list[Sequenced | LogError] = []
        for one in done:
            entries += [one.entry] * one.count
            results += _results(one, fate.duplicates.get(one.submission_id), found.get(one.entry.identity))
            del self._pending[one.entry.identity]
        self._answer(entries, results)
        if gone := [*fate.duplicates, *self._give_up()]:
            self._tree.withdraw(gone)

    def _give_up(self) -> list[int]:
        """Tell those who have waited too long; their submissions' ids."""
        error: LogError = BusyError("no frontend of this log sequences at present", reason="undecided")
        if self._tree.head().frozen:
            error = FrozenError("the log was frozen before this entry was decided")
            late = list(self._pending.values())
        else:
            late = [one for one in self._pending.values() if time.monotonic() - one.since > UNDECIDED_SECONDS]
        for one in late:
            self._answer([one.entry] * one.count, [error] * one.count)
            del self._pending[one.entry.identity]
        return [one.submission_id for one in late]


def _results(one: _Pending, duplicate_of: int | None, index: int | None) -> list[Sequenced | LogError]:
    """One result for each who waits for `one`; the first of them brought it, the others repeated it."""
    if duplicate_of is not None:
        return [Sequenced(duplicate_of, duplicate=True)] * one.count
    if index is None:
        lost = StorageFailedError("the database has lost this submission; submit it again")
        return [lost] * one.count
    return [Sequenced(index, duplicate=False), *[Sequenced(index, duplicate=True)] * (one.count - 1)]
