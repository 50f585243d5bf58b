"""Publishes the newest head that the policy accepts: sign, ask the witnesses, store, and only then serve.

One thread leads the rounds and stores; one thread per witness asks it, one question at a time. The log takes
entries meanwhile; without a quorum the old checkpoint stays the published one, for as long as it takes.

Durable steps, in this order: the head of the tree (its batch), the memory of what is signed (`guard`), the
witnesses' own memories, the checkpoint with its cosignatures. A crash anywhere is followed by the same round
again. Nothing is served that is not stored, and nothing is stored that the policy does not accept.

Of several frontends, the one that sequences leads, and the checkpoint with its cosignatures lies in the
database under its term. The others only note what it publishes; whoever is elected next begins with a round
of its own about the newest head.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from logging import getLogger
from threading import Condition, Event, Thread

from touchplate.base.errors import TouchplateError
from touchplate.log.cosigning.rounds import Round
from touchplate.log.cosigning.status import PublishingStatus, WitnessStatus
from touchplate.log.cosigning.witness import AskedWitness, ContradictedError, SignedHead
from touchplate.log.errors import CheckpointError
from touchplate.log.guard import SigningGuard
from touchplate.log.ports import Head, Tree
from touchplate.log.publishing import stored_size
from touchplate.log.reading import LogReader
from touchplate.verify.checkpoints import open_checkpoint, sign_checkpoint
from touchplate.verify.errors import VerifyError
from touchplate.verify.notes import NoteSigner, keep_lines, open_note, unverified_text
from touchplate.verify.policy import Policy
from touchplate.verify.proofs import root_of
from touchplate.verify.tiles import TileReader

ROUND_SECONDS = 0.1
"""Between the beginnings of two rounds: under load a witness is asked ten times a second, not per batch."""

HOPELESS_SECONDS = 1.0
"""The same after a round without a quorum: those who do answer are not asked so often for nothing."""

WATCH_SECONDS = 0.02
"""Between two looks at the log's growth: a fifth of a round."""

FIRST_REST_SECONDS = 0.5
"""After a failed question to a witness; doubled with each further one."""

MAX_REST_SECONDS = 60.0
"""The longest rest: by so much a witness that came back may delay a quorum."""

LOOK_SECONDS = 1.0
"""Between two looks at what another process publishes, which is not told here."""

POLL_SECONDS = 60.0
"""The longest wait for growth; only a bound, since growth and the end wake the thread."""

JOIN_SECONDS = 5.0
"""How long `stop` waits for questions that are under way; their threads end with the process."""

logger = getLogger(__name__)

WaitForGrowth = Callable[[int, float], int]


class CosignedPublisher:
    """The published checkpoints of one log. `start` and `stop` around it; `status` from any thread."""

    def __init__(
        self,
        tree: Tree,
        signer: NoteSigner,
        policy: Policy,
        witnesses: Sequence[AskedWitness],
        guard: SigningGuard,
        *,
        refresh_seconds: float,
        wait_for_growth: WaitForGrowth,
        published: Callable[[], None] = lambda: None,
        leads: Callable[[], bool] = lambda: True,
        newest: Callable[[], Head] | None = None,
    ) -> None:
        """`published` is called after each new checkpoint is stored, here or by another process. `leads`:
        whether this process signs and asks; when it becomes true, somebody calls `wake`. `newest` reads the
        head again, if other processes write it."""
        self._tree = tree
        self._reader = LogReader(tree)
        self._signer = signer
        self._policy = policy
        self._witnesses = list(witnesses)
        self._guard = guard
        self._refresh = refresh_seconds
        self._wait_for_growth = wait_for_growth
        self._published = published
        self._leads = leads
        self._shared = newest is not None
        self._newest = newest or tree.head
        self._stopping = Event()
        self._changed = Condition()
        self._round: Round | None = None  # under _changed
        self._began = 0.0  # monotonic time of the round's begin; under _changed
        self._errors: dict[int, str] = {}  # why a witness failed last, by its number; under _changed
        self._resting: set[int] = set()  # witnesses that are left alone for a while; under _changed
        self._stored = (-1, 0)  # (size, cosigners) of what this process has stored; under _changed
        self._current_at = 0.0  # monotonic time when a checkpoint was last stored; under _changed
        self._news = False  # a witness has answered or failed; under _changed
        self._said = ""  # leading thread only
        self._threads: list[Thread] = []
        self.failure: str | None = None
        """Why nothing is signed any more; None while it is."""

    def start(self) -> None:
        """Begin to publish."""
        self._current_at = time.monotonic()
        self._threads = [
            Thread(target=self._lead, name="publish", daemon=True),
            Thread(target=self._watch, name="publish-growth", daemon=True),
        ]
        self._threads += [
            Thread(target=self._ask_always, args=(number,), name=f"witness-{number}", daemon=True)
            for number in range(len(self._witnesses))
        ]
        for thread in self._threads:
            thread.start()

    def wake(self) -> None:
        """Look at once whether this process leads now."""
        with self._changed:
            self._changed.notify_all()

    def stop(self) -> None:
        """End; the sequencer has stopped (that wakes the watcher). Safe to call twice."""
        self._stopping.set()
        with self._changed:
            self._changed.notify_all()
        end = time.monotonic() + JOIN_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        self._threads = []
        for witness in self._witnesses:
            witness.close()

    def status(self) -> PublishingStatus:
        """How far publishing is, and what each witness did last."""
        head = self._tree.head()
        with self._changed:
            cosigned = () if self._round is None else self._round.names
            witnesses = tuple(
                WitnessStatus(
                    witness.names,
                    witness.asked.url,
                    witness.size,
                    any(name in cosigned for name in witness.names),
                    self._errors.get(number),
                )
                for number, witness in enumerate(self._witnesses)
            )
            seconds = time.monotonic() - self._current_at
        published = stored_size(head.checkpoint)
        return PublishingStatus(head.size, published, seconds, witnesses, self.failure, self._leads())

    # --- the leading thread ---

    def _watch(self) -> None:
        size, seen = -1, self._tree.head().checkpoint
        while not self._stopping.is_set():
            leads = self._leads()
            size = self._wait_for_growth(size, POLL_SECONDS if leads else LOOK_SECONDS)
            self.wake()
            if not leads and (checkpoint := self._tree.head().checkpoint) != seen:
                seen = checkpoint
                with self._changed:
                    self._current_at = time.monotonic()
                self._published()
            self._stopping.wait(WATCH_SECONDS)

    def _lead(self) -> None:
        while not self._stopping.is_set():
            with self._changed:
                if not self._leads():
                    self._round, self._stored = None, (-1, 0)  # others may store meanwhile
                # Not wait_for: growth changes how long there is to wait.
                if not self._has_work():
                    self._changed.wait(self._seconds_to_next())
                done, begin = self._publishable(), self._may_begin()
                self._news = False
            if self._stopping.is_set() or self.failure is not None:
                return
            try:
                if done is not None:
                    self._store(done)
                elif begin:
                    self._begin()
            except CheckpointError as error:
                self.failure = str(error)
                logger.critical("nothing is signed or published any more: %s", error)
            except (TouchplateError, VerifyError) as error:
                logger.error("publishing failed, and is tried again: %s", error)
                self._stopping.wait(HOPELESS_SECONDS)
            except Exception:
                # This thread must not end: nobody else publishes.
                logger.exception("publishing failed, and is tried again")
                self._stopping.wait(HOPELESS_SECONDS)
            self._tell()

    def _has_work(self) -> bool:
        return self._stopping.is_set() or self._news or self._publishable() is not None or self._may_begin()

    def _publishable(self) -> Round | None:
        """The round whose head is to be stored: a larger one, or more cosignatures under the same."""
        found = self._round
        if found is None or not found.is_satisfied:
            return None
        return found if (found.head.size, len(found.names)) > self._stored else None

    def _may_begin(self) -> bool:
        if self._round is None:
            return self._leads()
        return self._round.is_over and time.monotonic() >= self._began + self._pause()

    def _pause(self) -> float:
        """Seconds from the begin of one round to the begin of the next."""
        assert self._round is not None
        shortest = ROUND_SECONDS if self._round.is_satisfied else HOPELESS_SECONDS
        grown = self._tree.head().size > self._round.head.size
        return shortest if grown else max(shortest, self._refresh)

    def _seconds_to_next(self) -> float:
        """How long to wait at most: the next round may begin by time alone."""
        if self._round is None or not self._round.is_over:
            return POLL_SECONDS
        return min(POLL_SECONDS, max(0.0, self._began + self._pause() - time.monotonic()))

    def _begin(self) -> None:
        """Sign the newest head, and put it to everybody who is not resting."""
        head = self._newest()
        # The guard is durable before the signature exists: never two heads of one size, never back.
        self._guard.permit(head.size, head.root, self._root_at)
        note = sign_checkpoint(self._signer.key.name, head.size, head.root, self._signer)
        with self._changed:
            asked = set(range(len(self._witnesses))) - self._resting
            older = _lines_of(head.checkpoint, note, self._policy)
            self._round = Round(SignedHead(head.size, head.root, note), self._policy, asked, older)
            self._began = time.monotonic()
            if self._stored[0] == head.size:
                self._stored = (head.size, 0)  # fresh cosignatures of the same head are news, too
            self._changed.notify_all()

    def _store(self, done: Round) -> None:
        with self._changed:
            names, note, size = done.names, done.note(), done.head.size
        open_checkpoint(note, self._policy)  # as every reader will: what fails here is never served
        self._tree.store_checkpoint(size, note)
        with self._changed:
            self._stored = (size, len(names))
            self._current_at = time.monotonic()
        self._published()

    def _tell(self) -> None:
        """One line when a quorum is out of reach, one when it is back."""
        with self._changed:
            if self._round is None or (self._round.waits and not self._round.is_satisfied):
                return
            missing = {
                "/".join(witness.names): self._errors.get(number, "resting")
                for number, witness in enumerate(self._witnesses)
                if self._round.lacks(witness.names)
            }
            satisfied, names = self._round.is_satisfied, self._round.names
        if satisfied:
            if self._said:
                logger.info("the quorum is reached again: heads are published")
            self._said = ""
            return
        what = "; ".join(f"{name}: {error}" for name, error in missing.items())
        if what != self._said:
            logger.error(
                "NO QUORUM: the log goes on, and the checkpoint of %d entries stays the published one."
                " Cosigned by %s; not by %s",
                max(0, self.status().published),
                ", ".join(names) or "nobody",
                what,
            )
        self._said = what

    def _root_at(self, size: int) -> bytes:
        return root_of(TileReader(self._tree.read_tile, size), size)

    # --- one thread per witness ---

    def _ask_always(self, number: int) -> None:
        witness, rest = self._witnesses[number], FIRST_REST_SECONDS
        while not self._stopping.is_set():
            found = self._next_for(number)
            if found is None:
                return
            if self._ask(number, witness, found):
                rest = FIRST_REST_SECONDS
                continue
            self._stopping.wait(rest)
            rest = min(2 * rest, MAX_REST_SECONDS)
            with self._changed:
                self._resting.discard(number)

    def _next_for(self, number: int) -> Round | None:
        """The round that lacks this witness's lines; blocks while there is none. None at the end."""
        names = self._witnesses[number].names
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopping.is_set() or (self._round is not None and self._round.lacks(names))
            )
            if self._stopping.is_set() or self._round is None:
                return None
            self._round.expect(number)
            return self._round

    def _ask(self, number: int, witness: AskedWitness, found: Round) -> bool:
        """Ask once. Whether it cosigned."""
        lines, error = {}, None
        try:
            lines = dict(witness.ask(found.head, self._reader.consistency))
        except ContradictedError as failed:
            error = self._contradicted(witness, failed)
        except TouchplateError as failed:
            error = str(failed)
        except Exception as failed:
            # This thread must not end: nobody else asks this witness.
            error = f"asking failed: {type(failed).__name__}"
            logger.exception("asking the witness %s failed", witness.asked.url)
        with self._changed:
            if error is None:
                self._errors.pop(number, None)
            else:
                self._errors[number] = error
                self._resting.add(number)
            found.take(number, lines)
            self._news = True
            self._changed.notify_all()
        return error is None

    def _contradicted(self, witness: AskedWitness, failed: ContradictedError) -> str:
        """Raise the alarm, but for a process that was stopped while another one led and went on."""
        try:
            size = self._newest().size
        except TouchplateError as error:
            return str(error)
        if self._shared and failed.size is not None and size >= failed.size:
            return f"another frontend has gone on to {failed.size} entries"
        logger.critical("the witness %s contradicts this log: %s", witness.asked.url, failed)
        return f"{failed.reason}: {failed}"


def _lines_of(checkpoint: bytes | None, note: bytes, policy: Policy) -> dict[str, str]:
    """The good lines of the policy's witnesses in a stored checkpoint, if it is of the head of `note`."""
    if checkpoint is None or unverified_text(checkpoint) != unverified_text(note):
        return {}
    found = {}
    for witness in policy.witnesses:
        one = keep_lines(checkpoint, {(witness.key.name, witness.key.key_id)})
        try:
            open_note(one, [witness.key])
        except VerifyError:
            continue
        found[witness.name] = one.decode().rpartition("\n\n")[2]
    return found
