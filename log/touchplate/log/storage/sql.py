"""The `Tree` port over SQL. One transaction per batch; memory follows the database, never leads it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TypeVar

from sqlalchemy import Connection, Engine, Select

from touchplate.base.sql import begin_read, begin_write, sqlite_engine
from touchplate.log.errors import (
    CheckpointError,
    CorruptTreeError,
    FrozenError,
    NotFoundError,
    RequestError,
    StorageFailedError,
    SupersededError,
)
from touchplate.log.growth import Edge, edge_of, edge_tiles, grow
from touchplate.log.ports import Head, PackedEntry, Sequenced, Sign
from touchplate.log.storage.failures import answering
from touchplate.log.storage.migrations import prepare
from touchplate.log.storage.schema import ACTIVE, FROZEN, IMPORTING
from touchplate.log.storage.statements import Statements
from touchplate.verify.proofs import MAX_SIZE, root_of
from touchplate.verify.rfc6962 import EMPTY_ROOT, HASH_SIZE
from touchplate.verify.tiles import TILE_HEIGHT, Tile, TileReader, tile_width

ATTESTATIONS = "attestations"
"""Kind of tree that takes signed envelopes of admitted keys; made by configuration only."""

DERIVED = "derived"
"""Kind of tree whose leaves are kept elsewhere (`derived.py`): only what follows from them is here."""

RAW = "raw"
"""Kind of tree that takes any bytes; made through Trillian's interface."""

REMOVED = "removed"
"""Kind of a tree that was raw, and is no more: see `removal.py`."""


WAL_PAGES = 20_000
"""Of the log's SQLite database: 80 MB. Identities are random keys, so each leaf dirties a page of its own; a
page that is dirtied again before it is moved into the database is moved once. At 600,000 leaves that
saves a third of all writes, and a quarter of the CPU. The price: the commit that moves them takes tenths of a
second on a slow disk."""

CACHE_KIB = 16_000
"""Of each of its connections: the upper pages of that index, and many of the lowest."""


@dataclass(frozen=True, slots=True)
class State:
    """What memory holds of the newest durable head. Replaced as a whole, so that readers need no lock."""

    head: Head
    edge: Edge


@dataclass(frozen=True, slots=True)
class _Extras:
    """What is written beside the entries of a batch."""

    sign: Sign | None
    decided: bytes | None


class RepeatsError(StorageFailedError):
    """Some identities of a batch are in the tree: the batch was rolled back, and is tried again without
    them."""


T = TypeVar("T", bound="SQLTree")


def log_engine(database: Path) -> Engine:
    """An engine for the SQLite database of a log that is written. Raises StorageError."""
    return sqlite_engine(database, cache_kib=CACHE_KIB, wal_pages=WAL_PAGES)


def open_tree(engine: Engine, name: str, kind: str = ATTESTATIONS, *, alone: bool = False) -> "SQLTree":
    """The tree called `name` in the database of `engine`, made empty if it is not there, for one process.

    `alone`: there may be no other tree of the kind, so that a changed name is a mistake and not an empty new
    log.

    Closing the tree, and failing here, lets go of the engine's connections. Raises StorageFailedError;
    CorruptTreeError when head and tiles contradict each other; CheckpointError when the tree is of another
    kind, or not alone.
    """
    return open_as(SQLTree, engine, name, kind, alone=alone)


def open_as(made: type[T], engine: Engine, name: str, kind: str = ATTESTATIONS, *, alone: bool = False) -> T:
    """`open_tree` for any kind of tree object."""
    statements = Statements(engine.dialect.name)
    try:
        with answering("opening the tree"), begin_write(engine) as transaction:
            prepare(transaction)
            if alone:
                _refuse_others(transaction, statements, name, kind)
            tree_id = ensure_tree(transaction, statements, name, kind)
        return made(engine, statements, tree_id)
    except BaseException:
        engine.dispose()
        raise


def _refuse_others(transaction: Connection, statements: Statements, name: str, kind: str) -> None:
    trees = transaction.execute(statements.trees)
    others = [row.name for row in trees if row.name != name and row.kind == kind]
    if others:
        raise CheckpointError(
            f"the database is that of the log {others[0]!r}, the configuration says {name!r}:"
            " use the right data folder, or the right configuration"
        )


def ensure_tree(transaction: Connection, statements: Statements, name: str, kind: str) -> int:
    """The number of the tree called `name`, made empty if it is not there."""
    transaction.execute(statements.add_tree, [{"name": name, "kind": kind}])
    row = transaction.execute(statements.tree, {"name": name}).one()
    if row.kind != kind:
        raise CheckpointError(f"tree {name!r} is of kind {row.kind!r}, not {kind!r}; use another database")
    empty = {"tree_id": row.tree_id, "tree_size": 0, "root": EMPTY_ROOT, "checkpoint_size": 0}
    transaction.execute(statements.add_head, [{**empty, "checkpoint": None}])
    tree_id: int = row.tree_id
    return tree_id


class SQLTree:
    """One tree of a database, written by this process. Made by `open_tree`."""

    _written_in = ACTIVE
    """The state of a tree in which this object may append to it."""

    def __init__(self, engine: Engine, statements: Statements, tree_id: int) -> None:
        self._engine = engine
        self._sql = statements
        self._tree_id = tree_id
        self._writing = Lock()  # held for the whole of every write
        self._doubt = False  # under _writing: a write failed, and the database may be ahead of memory
        self._term = 0  # under _writing: of one process alone, it never changes
        self._state = self._load()  # written under _writing, read by anyone

    def head(self) -> Head:
        """See `Tree.head`."""
        return self._state.head

    @property
    def tree_id(self) -> int:
        """The tree's number in its database."""
        return self._tree_id

    def close(self) -> None:
        """See `Tree.close`."""
        self._engine.dispose()

    # Writing

    def apply(
        self, entries: Sequence[PackedEntry], sign: Sign | None = None, decided: bytes | None = None
    ) -> list[Sequenced]:
        """See `Tree.apply`."""
        with self._writing, self._recovering():
            with answering("appending a batch"):
                answered, state = self._append(entries, _Extras(sign, decided))
            # The batch is durable. Only now may anybody in this process see it.
            self._advance(state)
        return answered

    def _advance(self, state: State) -> None:
        """Show a durable state."""
        self._state = state

    def decided(self) -> bytes | None:
        """See `Tree.decided`."""
        with answering("reading what was decided"), self._engine.connect() as connection:
            found: bytes | None = connection.execute(
                self._sql.decision, {"tree": self._tree_id}
            ).scalar_one_or_none()
        return found

    def store_checkpoint(self, size: int, checkpoint: bytes) -> None:
        """See `Tree.store_checkpoint`."""
        values = {"checkpoint_size": size, "checkpoint": checkpoint}
        with self._writing, self._recovering(), answering("storing a checkpoint"):
            where = {"tree": self._tree_id, "new_size": size, "my_term": self._term}
            with begin_write(self._engine) as transaction:
                done = transaction.execute(self._sql.put_checkpoint, {**where, **values})
                if done.rowcount != 1:
                    raise CheckpointError(
                        f"the checkpoint of size {size} is older than the stored one, or ahead of the tree"
                    )
            state = self._state
            self._advance(replace(state, head=replace(state.head, checkpoint=checkpoint)))

    @contextmanager
    def _recovering(self) -> Iterator[None]:
        """Around every write: after a failure, memory is read back from the head row before the next one."""
        if self._doubt:
            self._advance(self._load(self._state.head))
            self._doubt = False
        try:
            yield
        except BaseException:
            # COMMIT may have happened although it failed to say so.
            self._doubt = True
            raise

    def _append(self, entries: Sequence[PackedEntry], extras: _Extras) -> tuple[list[Sequenced], State]:
        """One transaction. Returns the answers to `entries`, and the state after."""
        # Optimistic: nearly always all are new. The count of added rows says when they are not.
        try:
            with begin_write(self._engine) as connection:
                return self._write(connection, entries, extras, look=False)
        except RepeatsError:  # rolled back
            pass
        with begin_write(self._engine) as connection:
            return self._write(connection, entries, extras, look=True)

    def _write(
        self, connection: Connection, entries: Sequence[PackedEntry], extras: _Extras, *, look: bool
    ) -> tuple[list[Sequenced], State]:
        """What a batch does in its transaction. `look`: first ask which entries are in the tree."""
        before = self._begin(connection)
        also = self._also(connection)
        fresh = without_repeats([*entries, *also])
        known: Mapping[bytes, int] = {}
        if look:
            identities = [entry.identity for entry in fresh]
            known = self._sql.bulk.find(connection, self._tree_id, identities)
        fresh = [entry for entry in fresh if entry.identity not in known]
        if extras.decided is not None:
            row = {"tree_id": self._tree_id, "state": extras.decided}
            connection.execute(self._sql.put_decision, [row])
        after = self._add_rows(connection, before, fresh, extras.sign)
        answered = answers([*entries, *also], known, before.head.size)
        self._settle(connection, answered[len(entries) :], moved=bool(fresh))
        return answered[: len(entries)], after

    def _begin(self, connection: Connection) -> State:
        """The state that a batch goes on from, in its transaction."""
        return self._state

    def _also(self, connection: Connection) -> Sequence[PackedEntry]:
        """Entries that this storage has by itself for the batch, after those that it was given."""
        return ()

    def _settle(self, connection: Connection, also: Sequence[Sequenced], *, moved: bool) -> None:
        """Nothing here; a storage that added entries of its own (`_also`) writes down the answers to them."""

    def _add_rows(
        self, connection: Connection, state: State, fresh: Sequence[PackedEntry], sign: Sign | None
    ) -> State:
        """All rows of a batch. Returns the state that COMMIT makes true."""
        if not fresh:
            return state
        tree, bulk = self._tree_id, self._sql.bulk
        if bulk.add_identities(connection, tree, state.head.size, fresh) != len(fresh):
            raise RepeatsError("some of these entries are in the tree already")
        growth = grow(state.edge, [entry.leaf_hash for entry in fresh])
        size, root = growth.edge.size, growth.edge.root()
        values: dict[str, object] = {"tree_size": size, "root": root}
        checkpoint = state.head.checkpoint
        if sign is not None:
            checkpoint = sign(size, root)
            values |= {"checkpoint_size": size, "checkpoint": checkpoint}
        where = {
            "tree": tree,
            "old_size": state.head.size,
            "my_term": self._term,
            "my_state": self._written_in,
        }
        if connection.execute(self._sql.move_head, {**where, **values}).rowcount != 1:
            if self._read_head(connection).frozen:
                raise FrozenError("appending a batch: the log is frozen")
            raise SupersededError("appending a batch: another process moved the head of this tree")
        self._keep_leaves(connection, state.head.size, fresh)
        bulk.put_tiles(connection, tree, growth.tiles)
        return State(Head(size, root, checkpoint), growth.edge)

    def _keep_leaves(self, connection: Connection, first: int, fresh: Sequence[PackedEntry]) -> None:
        """Store what was hashed, with indexes from `first` on."""
        self._sql.bulk.add_leaves(connection, self._tree_id, first, fresh)

    def _load(self, known: Head | None = None) -> State:
        """Head and edge as the database has them; they must go on from what was `known`.

        Raises CorruptTreeError when they contradict each other, CheckpointError when the database went back:
        an older copy was put in its place, or a standby that lacked the newest commits.
        """
        with answering("reading the head"), begin_read(self._engine) as connection:
            return self._load_from(connection, known)

    def _load_from(self, connection: Connection, known: Head | None) -> State:
        """The same in a transaction that sees one state of the database."""
        head = self._read_head(connection)
        partial = {}
        for tile in edge_tiles(head.size):
            hashes = self._tile(connection, tile)
            if hashes is None or len(hashes) != tile.width * HASH_SIZE:
                raise CorruptTreeError(
                    f"{tile} is missing or of another width than size {head.size} needs: run log fsck"
                )
            partial[tile.level] = hashes
        if known is not None:
            self._check_goes_on(connection, known, head)
        edge = edge_of(head.size, partial)
        if edge.root() != head.root:
            raise CorruptTreeError(
                f"the tiles of size {head.size} hash to {edge.root().hex()}, not to the head's root"
                f" {head.root.hex()}: run log fsck"
            )
        return State(head, edge)

    def _read_head(self, connection: Connection) -> Head:
        row = connection.execute(self._sql.head, {"tree": self._tree_id}).one()
        if type(row.tree_size) is not int or not 0 <= row.tree_size < MAX_SIZE:
            raise CorruptTreeError(f"the head says size {row.tree_size!r}: run log fsck")
        if row.state == IMPORTING and self._written_in != IMPORTING:
            raise CheckpointError(
                "an import into this database was not finished, so it cannot be served: run the same log"
                " import again"
            )
        return Head(row.tree_size, row.root, row.checkpoint, frozen=row.state == FROZEN)

    def _check_goes_on(self, connection: Connection, old: Head, new: Head) -> None:
        """Refuse a database that does not contain the tree which this process has shown already."""

        def read(tile: Tile) -> bytes:
            hashes = self._tile(connection, tile)
            if hashes is None or len(hashes) < tile.width * HASH_SIZE:
                raise CorruptTreeError(f"{tile} is not stored in full: run log fsck")
            return hashes[: tile.width * HASH_SIZE]

        goes_on = new.size >= old.size and (
            new.root == old.root
            if new.size == old.size
            else root_of(TileReader(read, old.size), old.size) == old.root
        )
        if not goes_on:
            raise CheckpointError(
                f"the database has {new.size} entries and does not contain the tree of {old.size} that was"
                " acknowledged: it was exchanged for an older or another one; put the right one back"
            )

    # Reading

    def read_leaf_data(self, start: int, end: int) -> list[bytes]:
        """See `Tree.read_leaf_data`."""
        return self._read_range(self._sql.leaf_data, start, end)

    def read_packed(self, start: int, end: int) -> list[bytes]:
        """See `Tree.read_packed`."""
        return self._read_range(self._sql.packed, start, end)

    def _read_range(self, statement: Select[bytes], start: int, end: int) -> list[bytes]:
        size = self._state.head.size
        if not 0 <= start <= end <= size:
            raise NotFoundError(f"entries {start} to {end} are not in a tree of size {size}")
        with answering("reading entries"), self._engine.connect() as connection:
            parameters = {"tree": self._tree_id, "start": start, "end": end}
            found = list(connection.execute(statement, parameters).scalars())
        if len(found) != end - start:
            raise CorruptTreeError(
                f"of the entries {start} to {end} only {len(found)} are stored: run log fsck"
            )
        return found

    def read_tile(self, tile: Tile) -> bytes:
        """See `Tree.read_tile`."""
        self._check_inside(tile)
        hashes = self.tile_at_hand(tile)
        if hashes is None:
            with answering("reading a tile"), self._engine.connect() as connection:
                hashes = self._tile(connection, tile)
        return _in_width(tile, hashes)

    def read_tiles(self, tiles: Sequence[Tile]) -> dict[Tile, bytes]:
        """`read_tile` of many, by one question."""
        for tile in tiles:
            self._check_inside(tile)
        keys = [(tile.level, tile.index) for tile in tiles]
        with answering("reading tiles"), self._engine.connect() as connection:
            rows = self._sql.tiles.ask(connection, self._tree_id, keys)
            stored = {(row.level, row.tile_index): row.hashes for row in rows}
        return {tile: _in_width(tile, stored[tile.level, tile.index]) for tile in tiles}

    def tile_at_hand(self, tile: Tile) -> bytes | None:
        """The hashes of a tile if they are in memory: of the unfinished ones."""
        edge = self._state.edge
        if not 0 <= tile.level < len(edge.partial):
            return None
        hashes = edge.partial[tile.level]
        is_last = tile.index == edge.size >> (TILE_HEIGHT * (tile.level + 1))
        length = tile.width * HASH_SIZE
        return hashes[:length] if is_last and len(hashes) >= length else None

    def _check_inside(self, tile: Tile) -> None:
        size = self._state.head.size
        inside = tile.level >= 0 and tile.index >= 0
        if not inside or not 1 <= tile.width <= tile_width(tile.level, tile.index, size):
            raise NotFoundError(f"{tile} is not in a tree of size {size}")

    def _tile(self, connection: Connection, tile: Tile) -> bytes | None:
        where = {"tree": self._tree_id, "level": tile.level, "index": tile.index}
        hashes: bytes | None = connection.execute(self._sql.tile, where).scalar_one_or_none()
        return hashes

    def find_identities(self, identities: Sequence[bytes]) -> Mapping[bytes, int]:
        """See `Tree.find_identities`."""
        if any(len(identity) != HASH_SIZE for identity in identities):
            raise RequestError("an identity has 32 bytes")
        with answering("looking up identities"), self._engine.connect() as connection:
            return self._sql.bulk.find(connection, self._tree_id, identities)


def _in_width(tile: Tile, hashes: bytes | None) -> bytes:
    length = tile.width * HASH_SIZE
    if hashes is None or len(hashes) < length:
        raise CorruptTreeError(f"{tile} is not stored in full: run log fsck")
    # A tile only ever grows at its end, so every narrower form is a prefix.
    return hashes[:length]


def without_repeats(entries: Sequence[PackedEntry]) -> list[PackedEntry]:
    """`entries` without those whose identity came before in the same batch."""
    first: dict[bytes, PackedEntry] = {}
    for entry in entries:
        first.setdefault(entry.identity, entry)
    return list(first.values())


def answers(entries: Sequence[PackedEntry], known: Mapping[bytes, int], first: int) -> list[Sequenced]:
    """One answer per entry, in order; what was new got the indexes from `first` on."""
    placed: dict[bytes, int] = {}
    answers = []
    for entry in entries:
        old = known.get(entry.identity, placed.get(entry.identity))
        if old is None:
            old = placed[entry.identity] = first + len(placed)
            answers.append(Sequenced(old, duplicate=False))
        else:
            answers.append(Sequenced(old, duplicate=True))
    return answers
