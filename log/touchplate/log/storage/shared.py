"""A tree that several processes serve and one of them writes: PostgreSQL only.

Who writes is elected (`election.py`), and the database has the last word: every election begins a new *term*
in the head row, and each batch moves the head under the condition that its writer's term is still the newest.
A sequencer that was stopped, cut off or too slow, and was replaced meanwhile, therefore changes nothing.

Entries that the others took lie in the table `submissions`. The sequencer takes them into its next batch, in
the same transaction: the row of an entry that got an index is deleted, that of a duplicate says of what.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from time import monotonic

from sqlalchemy import (
    BigInteger,
    Connection,
    Engine,
    any_,
    bindparam,
    delete,
    func,
    literal_column,
    select,
    update,
)

from touchplate.base.sql import begin_write
from touchplate.log.errors import CheckpointError, SupersededError
from touchplate.log.ports import Head, PackedEntry, Sequenced, Sign
from touchplate.log.storage.arrays import PackedArray
from touchplate.log.storage.bulk import ArrayBulk
from touchplate.log.storage.failures import answering
from touchplate.log.storage.schema import heads, submissions
from touchplate.log.storage.sql import SQLTree, State, open_as
from touchplate.log.storage.statements import Statements

GROWN, SUBMITTED = "grown", "submitted"
"""What is told by NOTIFY on a tree's channel: its head moved; entries wait for the sequencer."""

TAKEN_ROWS = 256
"""Submissions read at once: at most 33 MB of entries of the largest kind."""

SETTLED_SECONDS = 20.0
"""After this no submission with a lower number than one that was taken can appear: longer than a transaction
may wait. Rows that were removed are passed over in a look for new ones, but slowly."""

ABANDONED = "10 minutes"
"""After this nobody waits for an answer any more: the frontend that asked has died."""


def channel(tree_id: int) -> str:
    """The channel of NOTIFY for one tree of a database."""
    return f"touchplate_{tree_id}"


@dataclass(frozen=True, slots=True)
class Share:
    """What the sequencer takes of the others' entries in one batch."""

    entries: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Submission:
    """One row of `submissions`."""

    submission_id: int
    entry: PackedEntry


@dataclass(slots=True)
class Answered:
    """What became of submissions: indexes of their own, duplicates, and those that still wait."""

    duplicates: dict[int, int] = field(default_factory=dict)
    """Submission → index."""
    waiting: set[int] = field(default_factory=set)


class _Statements:
    """What only a shared tree asks."""

    def __init__(self) -> None:
        here = heads.c.tree_id == bindparam("tree")
        self.begin_term = update(heads).where(here).values(term=heads.c.term + 1).returning(heads.c.term)
        self.term = select(heads.c.term).where(here).with_for_update(read=True)
        self.notify = select(func.pg_notify(bindparam("channel"), bindparam("what")))
        table = submissions.c
        self.take = (
            select(table.submission_id, table.leaf_data, table.leaf_hash, table.identity, table.packed)
            .where(
                table.tree_id == bindparam("tree"),
                table.submission_id > bindparam("after"),
                table.duplicate_of.is_(None),
            )
            .order_by(table.submission_id)
            .limit(TAKEN_ROWS)
        )
        numbers = PackedArray(BigInteger())
        chosen = table.submission_id == any_(bindparam("ids", type_=numbers))
        self.remove = delete(submissions).where(chosen)
        # Not those that are in a batch at this moment: who waited there could be waited for.
        free = select(table.submission_id).where(chosen).with_for_update(skip_locked=True)
        self.withdraw = delete(submissions).where(table.submission_id.in_(free))
        pairs = (
            func.unnest(bindparam("ids", type_=numbers), bindparam("indexes", type_=numbers))
            .table_valued("submission_id", "leaf_index")
            .render_derived()
        )
        self.mark = (
            update(submissions)
            .values(duplicate_of=pairs.c.leaf_index)
            .where(table.submission_id == pairs.c.submission_id)
        )
        self.ask = select(table.submission_id, table.duplicate_of).where(chosen)
        self.sweep = delete(submissions).where(
            table.tree_id == bindparam("tree"),
            table.duplicate_of.is_not(None),
            table.submitted < func.now() - literal_column(f"interval '{ABANDONED}'"),
        )


class SharedTree(SQLTree):
    """See the module. Made by `open_shared`.

    `head` shows what `follow` or `apply` saw last. Writing raises SupersededError unless `begin_term` was the
    newest of all processes' calls.
    """

    def __init__(self, engine: Engine, statements: Statements, tree_id: int) -> None:
        super().__init__(engine, statements, tree_id)
        self._own = _Statements()
        self._arrays = ArrayBulk()
        self._share: Share | None = None  # under _writing
        self._taken: Sequence[Submission] = ()  # by the batch that is being written; under _writing
        self._settled: int = 0  # up to this submission none is waiting; under _writing
        self._marks: deque[tuple[float, int]] = deque()  # (when, submission taken), a second apart
        self.taken = 0
        """Submissions that the last batch took."""
        self.is_more = False
        """Whether it left some for the next."""

    # The sequencer's side

    def begin_term(self) -> None:
        """Become the one who writes; whoever was before cannot any more. Raises StorageFailedError."""
        with self._writing:
            with answering("beginning a term"), begin_write(self._engine) as transaction:
                # Waits for a batch that is being committed under the old term.
                term = transaction.execute(self._own.begin_term, {"tree": self._tree_id}).scalar_one()
                transaction.execute(self._own.sweep, {"tree": self._tree_id})
            self._term = term
            self._settled = 0
            self._marks.clear()
            self._doubt = True  # what memory holds may be older than the last term's last batch

    def invite(self, share: Share) -> None:
        """The next batch takes along what others have submitted, up to `share`."""
        with self._writing:
            self._share = share

    def _also(self, connection: Connection) -> list[PackedEntry]:
        # Kept until the batch is through: it may be written a second time, with other submissions.
        share = None if self._state.head.frozen else self._share
        self._taken = [] if share is None else list(self._take(connection, share))
        return [submission.entry for submission in self._taken]

    def _take(self, connection: Connection, share: Share) -> Iterator[Submission]:
        count, weight, after = 0, 0, self._settled
        self.is_more = False
        while rows := connection.execute(self._own.take, {"tree": self._tree_id, "after": after}).all():
            for row in rows:
                entry = PackedEntry(row.leaf_data, row.leaf_hash, row.identity, row.packed)
                count, weight, after = count + 1, weight + entry.weight, row.submission_id
                if count > 1 and (count > share.entries or weight > share.bytes):
                    self.is_more = True
                    return
                yield Submission(after, entry)

    def _mark(self) -> None:
        """Remember how far submissions were taken, and pass over those of long ago from now on."""
        now = monotonic()
        if self._taken and (not self._marks or now - self._marks[-1][0] > 1):
            self._marks.append((now, self._taken[-1].submission_id))
        while self._marks and now - self._marks[0][0] > SETTLED_SECONDS:
            self._settled = self._marks.popleft()[1]

    def _settle(self, connection: Connection, also: Sequence[Sequenced], *, moved: bool) -> None:
        pairs = list(zip(self._taken, also, strict=True))
        new = [one.submission_id for one, answer in pairs if not answer.duplicate]
        old = {one.submission_id: answer.index for one, answer in pairs if answer.duplicate}
        if new:
            connection.execute(self._own.remove, {"ids": new})
        if old:
            connection.execute(self._own.mark, {"ids": list(old), "indexes": list(old.values())})
        if self._taken and not moved:  # else the head's row has been asked
            term = connection.execute(self._own.term, {"tree": self._tree_id}).scalar_one()
            if term != self._term:
                raise SupersededError("answering submissions: another process is the sequencer now")
        if moved or old:
            self._notify(connection, GROWN)

    def apply(
        self, entries: Sequence[PackedEntry], sign: Sign | None = None, decided: bytes | None = None
    ) -> list[Sequenced]:
        """See `Tree.apply`."""
        try:
            answered = super().apply(entries, sign, decided)
            with self._writing:  # `begin_term` comes from another thread
                self.taken = len(self._taken)
                self._mark()
        finally:
            with self._writing:
                self._share, self._taken = None, ()
        return answered

    def store_checkpoint(self, size: int, checkpoint: bytes) -> None:
        """See `Tree.store_checkpoint`. Raises SupersededError when another process writes the tree now."""
        try:
            super().store_checkpoint(size, checkpoint)
        except CheckpointError:
            with answering("reading the term"), begin_write(self._engine) as transaction:
                term = transaction.execute(self._own.term, {"tree": self._tree_id}).scalar_one()
            if term != self._term:
                raise SupersededError("storing a checkpoint: another process is the sequencer now") from None
            raise
        with answering("telling of a checkpoint"), begin_write(self._engine) as transaction:
            self._notify(transaction, GROWN)

    # The side of those who do not write

    def follow(self) -> Head:
        """Read the head row again; the head then.

        Raises StorageFailedError, CorruptTreeError, CheckpointError when the database went back.
        """
        with self._writing:
            with answering("reading the head"), self._engine.connect() as connection:
                head = self._read_head(connection)
            known = self._state.head
            if head.size < known.size or (head.size == known.size and head.root != known.root):
                raise CheckpointError(
                    f"the database has {head.size} entries, root {head.root.hex()}; it had {known.size}, root"
                    f" {known.root.hex()}: it was exchanged for another one"
                )
            if head != known:
                # The edge stays behind: whoever writes next reads it.
                self._state = State(head, self._state.edge)
                self._doubt = True
        return head

    def submit(self, entries: Sequence[PackedEntry]) -> dict[bytes, int]:
        """Leave entries, each identity once, for the sequencer; the submissions' ids by identity."""
        with answering("submitting entries"), begin_write(self._engine) as transaction:
            ids = self._arrays.add_submissions(transaction, self._tree_id, entries)
            self._notify(transaction, SUBMITTED)
        return ids

    def ask(self, ids: Iterable[int]) -> Answered:
        """What became of submissions. One of which nothing is said has an index of its own."""
        answered = Answered()
        with answering("asking about submissions"), self._engine.connect() as connection:
            for row in connection.execute(self._own.ask, {"ids": list(ids)}):
                if row.duplicate_of is None:
                    answered.waiting.add(row.submission_id)
                else:
                    answered.duplicates[row.submission_id] = row.duplicate_of
        return answered

    def withdraw(self, ids: Iterable[int]) -> None:
        """Remove submissions, answered or not; what is in a batch already stays in it."""
        with answering("withdrawing submissions"), begin_write(self._engine) as transaction:
            transaction.execute(self._own.withdraw, {"ids": list(ids)})

    def _notify(self, connection: Connection, what: str) -> None:
        connection.execute(self._own.notify, {"channel": channel(self._tree_id), "what": what})


def open_shared(engine: Engine, name: str) -> SharedTree:
    """The tree called `name` in the database of `engine` (PostgreSQL), for one of several processes.

    It is made empty if it is not there. Raises what `open_tree` raises.
    """
    return open_as(SharedTree, engine, name)
