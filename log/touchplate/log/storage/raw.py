"""A raw tree over SQL: leaves of any bytes, roots with a time, state and type out of the registry.

Any number of processes can write it: whoever holds the lock on the head row sequences, and first reads what
others did since (on SQLite there is nobody else, and the lock is that of the file). Nobody is elected: a
batch costs one transaction anyway. A tree that has a key (`sign`) signs each head in the transaction that
makes it, under the same lock: what two writers sign are heads of one row, one after the other.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from threading import Lock
from typing import Any

from sqlalchemy import Connection, Engine

from touchplate.base.sql import begin_read, begin_write
from touchplate.log.errors import (
    CheckpointError,
    CorruptTreeError,
    ExistsError,
    NotFoundError,
    RequestError,
    StateError,
)
from touchplate.log.ports import Head, PackedEntry, Sign
from touchplate.log.storage.failures import answering
from touchplate.log.storage.raw_rows import RawEntry, RawStatements
from touchplate.log.storage.registry import FROZEN, LOG, PREORDERED, TreeRow, check_open
from touchplate.log.storage.sql import RepeatsError, SQLTree, State
from touchplate.log.storage.statements import Statements

Clock = Callable[[], int]
"""Nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class RawState(State):
    """`nanos`: the time of the root; None before the log was initialised."""

    nanos: int | None


@dataclass(frozen=True, slots=True)
class RawLeaf:
    """A leaf as stored. Times in nanoseconds since 1970. `identity` None: it is the leaf hash."""

    index: int
    value: bytes
    extra: bytes
    identity: bytes | None
    queued: int | None
    integrated: int | None


class Placed(Enum):
    """What became of a leaf that named its index."""

    NEW = "new"
    THERE = "there"
    TAKEN = "taken"
    KNOWN = "known"
    BEYOND = "beyond"


class RawTree(SQLTree):
    """One raw tree. Closing it leaves the engine alone, which it shares with others."""

    _state: RawState

    def __init__(self, engine: Engine, row: TreeRow, now: Clock = time.time_ns) -> None:
        """Raises StorageFailedError, CorruptTreeError."""
        self.sign: Sign | None = None
        """Makes the checkpoint of each batch that is appended through this object, whoever appends it; set
        once, before the first. None: the tree has no key here."""
        self._now = now
        self._raw = RawStatements(engine.dialect.name)
        self._showing = Lock()
        super().__init__(engine, Statements(engine.dialect.name), row.tree_id)

    def close(self) -> None:
        """Nothing to let go of: the engine is shared by all trees and closed by whoever made it."""

    def root(self) -> tuple[Head, int | None]:
        """The newest head that this process knows, and its time in nanoseconds."""
        state = self._state
        return state.head, state.nanos

    def _load_from(self, connection: Connection, known: Head | None) -> RawState:
        state = super()._load_from(connection, known)
        nanos = connection.execute(self._raw.root_time, {"tree": self._tree_id}).scalar_one()
        return RawState(state.head, state.edge, nanos)

    def _advance(self, state: State) -> None:
        # `refresh` in another thread may have shown a later one.
        assert isinstance(state, RawState)
        with self._showing:
            shown = getattr(self, "_state", None)
            if shown is None or _order(state) >= _order(shown):
                self._state = state

    # Writing

    def _begin(self, connection: Connection) -> RawState:
        return self._enter(connection, LOG)

    def _enter(self, connection: Connection, wanted: int) -> RawState:
        """Lock the head; the newest state. Raises when the tree takes no leaves of this kind of call."""
        row = self._lock(connection)
        if row.type != wanted:
            raise RequestError(_WRONG_TYPE[wanted])
        if row.root_nanos is None:
            raise StateError("the tree is not initialised; call InitLog first")
        check_open(row.state, row.type)
        return self._newest(connection, row)

    def _lock(self, connection: Connection) -> Any:
        row = connection.execute(self._raw.lock, {"tree": self._tree_id}).one_or_none()
        if row is None or row.deleted is not None:
            raise NotFoundError("the tree is deleted")
        return row

    def _newest(self, connection: Connection, row: Any) -> RawState:
        state = self._state
        if state.edge.size != row.tree_size or (state.head.size, state.head.root) != (
            row.tree_size,
            row.root,
        ):
            # Another process was here; or this is another database, which must not be gone on with.
            return self._load_from(connection, state.head)
        return RawState(state.head, state.edge, row.root_nanos)

    def _add_rows(
        self, connection: Connection, state: State, fresh: Sequence[PackedEntry], sign: Sign | None
    ) -> State:
        if not fresh:
            return state
        assert isinstance(state, RawState)
        after = super()._add_rows(connection, state, fresh, sign or self.sign)
        nanos = self._next_nanos(state.nanos)
        leaves = [one for one in fresh if isinstance(one, RawEntry)]
        if len(leaves) != len(fresh):
            raise TypeError("a raw tree takes raw entries")
        self._raw.add(connection, self._tree_id, state.head.size, leaves, nanos)
        self._put_root_time(connection, nanos, after.head.size)
        return RawState(after.head, after.edge, nanos)

    def _next_nanos(self, last: int | None) -> int:
        """A time for a new root: later than the last one even when the clock is not, since clients wait."""
        return max(self._now(), (last or 0) + 1)

    def _put_root_time(self, connection: Connection, nanos: int, size: int) -> None:
        values = {"root_nanos": nanos, "root_size": size}
        connection.execute(self._raw.put_root_time, {"tree": self._tree_id, **values})

    def place(self, leaves: Sequence[tuple[int, RawEntry]]) -> list[Placed]:
        """Append leaves that name their indexes, as far as they go on from the tree; one answer each.

        One transaction, as `apply`. For trees whose writer gives the indexes.
        """
        with self._writing, self._recovering():
            with answering("adding leaves"):
                # Optimistic, as `apply`: nearly always all are new.
                try:
                    placed, after = self._place_once(leaves, look=False)
                except RepeatsError:  # rolled back
                    placed, after = self._place_once(leaves, look=True)
            self._advance(after)
        return placed

    def _place_once(
        self, leaves: Sequence[tuple[int, RawEntry]], *, look: bool
    ) -> tuple[list[Placed], State]:
        """One transaction. `look`: first ask which identities are in the tree."""
        with begin_write(self._engine) as connection:
            before = self._enter(connection, PREORDERED)
            placed, fresh = _place(leaves, {}, before.head.size)
            if look or len(fresh) != len(leaves):
                identities = list(dict.fromkeys(entry.identity for _, entry in leaves))
                known = self._sql.bulk.find(connection, self._tree_id, identities)
                placed, fresh = _place(leaves, known, before.head.size)
            after = self._add_rows(connection, before, fresh, None)
        return placed, after

    def initialise(self) -> tuple[Head, int]:
        """Make the root of size 0. Raises ExistsError when there is a root."""
        with self._writing, self._recovering():
            with answering("initialising a tree"), begin_write(self._engine) as connection:
                row = self._lock(connection)
                if row.root_nanos is not None:
                    raise ExistsError("the tree is initialised already")
                state = self._newest(connection, row)
                nanos = self._next_nanos(None)
                self._put_root_time(connection, nanos, state.head.size)
            self._advance(RawState(state.head, state.edge, nanos))
        return state.head, nanos

    def renew(self, age_nanos: int) -> tuple[Head, int]:
        """Give the head a later time if its root is older than `age_nanos` and the tree is not frozen.

        The head and its time after. The tree must be initialised (StateError).
        """
        with self._writing, self._recovering():
            with answering("renewing a root"), begin_write(self._engine) as connection:
                row = self._lock(connection)
                state = self._newest(connection, row)
                if (nanos := state.nanos) is None:
                    raise StateError("the tree is not initialised; call InitLog first")
                later = self._next_nanos(nanos)
                if row.state != FROZEN and later - nanos > age_nanos:
                    self._put_root_time(connection, later, state.head.size)
                    nanos = later
            self._advance(RawState(state.head, state.edge, nanos))
        return state.head, nanos

    def refresh(self) -> None:
        """See what other processes did. Raises CheckpointError when the database went back."""
        with answering("reading the head"), begin_read(self._engine) as connection:
            head = self._read_head(connection)
            nanos = connection.execute(self._raw.root_time, {"tree": self._tree_id}).scalar_one()
        known = self._state
        went_back = head.size < known.head.size and (nanos or 0) >= (known.nanos or 0)
        if went_back or (head.size == known.head.size and head.root != known.head.root):
            raise CheckpointError(
                f"the database has {head.size} entries, root {head.root.hex()}; it had {known.head.size},"
                f" root {known.head.root.hex()}: it was exchanged for another one"
            )
        self._advance(RawState(head, known.edge, nanos))

    # Reading

    def read_leaves(self, start: int, end: int, most_bytes: int) -> list[RawLeaf]:
        """Leaves from `start` to at most `end - 1`: as many as fit into `most_bytes`, at least one."""
        size = self._state.head.size
        if not 0 <= start < end <= size:
            raise NotFoundError(f"leaves {start} to {end} are not in a tree of size {size}")
        where = {"tree": self._tree_id, "start": start, "end": end}
        with answering("reading leaves"), self._engine.connect() as connection:
            lengths = list(connection.execute(self._raw.lengths, where).scalars())
            where["end"] = start + _fitting(lengths, most_bytes)
            values = connection.execute(self._raw.leaves, where).all()
            beside = connection.execute(self._raw.beside, where).all()
        if not len(values) == len(beside) == where["end"] - start > 0:
            raise CorruptTreeError(f"of the leaves {start} to {end} some are not stored: run log fsck")
        return [
            RawLeaf(index, one.leaf_data, one.packed, more.identity, more.queued, more.integrated)
            for index, (one, more) in enumerate(zip(values, beside, strict=True), start)
        ]

    def find_hashes(self, leaf_hashes: Sequence[bytes]) -> dict[bytes, list[int]]:
        """Indexes of leaves with these hashes, ascending, by hash; of those that there are."""
        found = dict[bytes, set[int]]()
        with answering("looking up leaf hashes"), self._engine.connect() as connection:
            for leaf_hash, index, first in self._raw.at_hashes(connection, self._tree_id, leaf_hashes):
                indexes = found.setdefault(leaf_hash, set())
                if first is not None:  # leaves with an identity of their own, perhaps many
                    where = {"tree": self._tree_id, "hash": leaf_hash}
                    indexes |= set(connection.execute(self._raw.indexes, where).scalars())
                if index is not None:
                    indexes.add(index)
        return {one: sorted(indexes) for one, indexes in found.items() if indexes}


def _order(state: RawState) -> tuple[int, int]:
    """Later states are larger: by time of root, then by what their checkpoint covers."""
    checkpoint = state.head.checkpoint
    covered = -1 if checkpoint is None else int(checkpoint.split(b"\n", 2)[1])
    return state.nanos or 0, covered


_WRONG_TYPE = {
    LOG: "the tree is a PREORDERED_LOG; its leaves come with AddSequencedLeaves",
    PREORDERED: "the tree is a LOG, which gives the indexes itself; use QueueLeaf",
}


def _place(
    leaves: Sequence[tuple[int, RawEntry]], known: dict[bytes, int], size: int
) -> tuple[list[Placed], list[RawEntry]]:
    """What each leaf is to a tree of `size` leaves with these identities, and those to append."""
    there = dict(known)
    answers: list[Placed] = []
    fresh: list[RawEntry] = []
    for index, entry in leaves:
        old, end = there.get(entry.identity), size + len(fresh)
        if old == index:
            answers.append(Placed.THERE)
        elif index < end:
            answers.append(Placed.TAKEN)
        elif old is not None:
            answers.append(Placed.KNOWN)
        elif index > end:
            answers.append(Placed.BEYOND)
        else:
            there[entry.identity] = index
            fresh.append(entry)
            answers.append(Placed.NEW)
    return answers, fresh


def _fitting(lengths: Sequence[int], most_bytes: int) -> int:
    total = 0
    for count, length in enumerate(lengths):
        total += length
        if count and total > most_bytes:
            return count
    return len(lengths)
