"""The rows of a tree as they are, for fsck: no caches, no belief in the head, holes are answers.

SQLite keeps any type in any column, so values are taken as they come and their types are looked at here.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BindParameter,
    Column,
    Connection,
    Engine,
    Select,
    bindparam,
    func,
    inspect,
    or_,
    select,
    text,
    type_coerce,
)
from sqlalchemy.sql.elements import TypeCoerce
from sqlalchemy.types import NULLTYPE

from touchplate.base.sql import snapshot
from touchplate.log.errors import CorruptTreeError, RequestError
from touchplate.log.storage.failures import answering
from touchplate.log.storage.registry import is_raw_name
from touchplate.log.storage.schema import (
    ACTIVE,
    decisions,
    heads,
    identities,
    leaves,
    metadata,
    raw_hashes,
    raw_leaves,
    submissions,
    tiles,
    trillian_trees,
)
from touchplate.log.storage.sql import ATTESTATIONS, DERIVED, RAW, REMOVED
from touchplate.log.storage.statements import Statements
from touchplate.verify.proofs import MAX_SIZE
from touchplate.verify.rfc6962 import HASH_SIZE
from touchplate.verify.tiles import Tile, tile_width

SHOWN_ROWS = 10
"""Rows of one kind that are named one by one when they do not belong here."""


def _raw(column: Column[Any]) -> TypeCoerce[Any]:
    """A column whose values are not converted: conversion fails on a value of another type."""
    return type_coerce(column, NULLTYPE)


class _Statements:
    """What only fsck asks."""

    def __init__(self) -> None:
        tree: BindParameter[int] = bindparam("tree")
        by_index = leaves.c.leaf_index
        here = leaves.c.tree_id == tree
        # By name: an older database lacks columns that fsck does not need.
        head = (heads.c.tree_size, heads.c.root, heads.c.checkpoint_size, heads.c.checkpoint)
        self.head = select(*map(_raw, head)).where(heads.c.tree_id == tree)
        self.leaves = (
            select(_raw(by_index), _raw(leaves.c.leaf_data), _raw(leaves.c.packed))
            .where(here, by_index >= bindparam("start"), by_index < bindparam("end"))
            .order_by(by_index)
        )
        self.tile = select(_raw(tiles.c.hashes)).where(
            tiles.c.tree_id == tree,
            tiles.c.level == bindparam("level"),
            tiles.c.tile_index == bindparam("index"),
        )
        self.outside = (
            select(_raw(by_index))
            .where(here, or_(by_index < 0, by_index >= bindparam("size")))
            .limit(SHOWN_ROWS)
        )
        self.tiles = select(_raw(tiles.c.level), _raw(tiles.c.tile_index), func.length(tiles.c.hashes)).where(
            tiles.c.tree_id == tree
        )
        self.counts = {
            "leaves": select(func.count()).where(here),
            "identities": select(func.count()).where(identities.c.tree_id == tree),
        }
        raw_here = raw_leaves.c.tree_id == tree
        self.raw_leaves = select(raw_leaves.c.leaf_index, _raw(raw_leaves.c.identity)).where(
            raw_here,
            raw_leaves.c.leaf_index >= bindparam("start"),
            raw_leaves.c.leaf_index < bindparam("end"),
        )
        self.raw_count = select(func.count()).where(raw_here)
        self.named_count = select(func.count()).where(raw_here, raw_leaves.c.identity.is_not(None))
        self.hash_count = select(func.count()).where(raw_hashes.c.tree_id == tree)
        self.root_size = select(_raw(trillian_trees.c.root_size)).where(trillian_trees.c.tree_id == tree)


class TreeRows:
    """One stored tree, read row by row: a `Source` of `touchplate.log.fsck`.

    Every method raises StorageFailedError when the database file itself cannot be read.
    """

    _kind = ATTESTATIONS
    """The kind of a tree of envelopes here."""
    _holds_leaves = True
    """Whether there is a row for each leaf."""

    def __init__(self, engine: Engine, name: str | None = None) -> None:
        """The tree called `name`, or the only one. Raises RequestError when there is no such tree, or a
        choice."""
        self._sql = Statements(engine.dialect.name)
        self._own = _Statements()
        self._dialect = engine.dialect.name
        self._problems: dict[tuple[str, str], None] = {}  # ordered, each once
        # One read transaction for all: a log that goes on growing meanwhile looks the same throughout.
        self._connection: Connection = snapshot(engine)
        try:
            with answering("choosing a tree"):
                self.name, self._tree = self._choose(name)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the read transaction."""
        self._connection.close()

    def _choose(self, name: str | None) -> tuple[str, int]:
        # What peers, several frontends and Trillian's interface have beside the tree, older logs lack.
        beside = (decisions, submissions, trillian_trees, raw_leaves, raw_hashes)
        needed = set(metadata.tables) - {table.name for table in beside}
        missing = needed - set(inspect(self._connection).get_table_names())
        if missing:
            raise RequestError(f"this is not a log's database: it has no table {', '.join(sorted(missing))}")
        trees = self._connection.execute(self._sql.trees)
        found = {row.name: row for row in trees if row.kind != REMOVED}
        if name is None:  # raw trees beside a log leave no doubt which one is meant
            logs = {one: row for one, row in found.items() if not is_raw_name(one)}
            found = logs or found
        names = ", ".join(found) or "none"
        if name is None and len(found) != 1:
            raise RequestError(f"the database holds {len(found)} trees ({names}); name one")
        if name is not None and name not in found:
            raise RequestError(f"the database holds no tree {name!r}, only {names}")
        row = found[name or next(iter(found))]
        # By its name: else a log whose kind somebody changed would be asked for no envelopes.
        self._is_raw = is_raw_name(row.name)
        kind = RAW if self._is_raw else self._kind
        if row.kind == DERIVED != kind:
            raise RequestError(
                f"the entries of the log {row.name!r} are in a Trillian, not in this database: give --config"
                " or --url"
            )
        if row.kind != kind:
            self._note("tree", f"is of kind {row.kind!r}, not {kind!r}")
        return row.name, row.tree_id

    def origin(self) -> str | None:
        """The tree's name, which its checkpoints must carry; a raw tree has its origin by configuration."""
        return None if self._is_raw else self.name

    def head(self) -> tuple[int, bytes, bytes | None]:
        """(size, root, newest checkpoint) of the head row. Raises CorruptTreeError when there is none, or
        none with a size."""
        with answering("reading the head"):
            row = self._connection.execute(self._own.head, {"tree": self._tree}).one_or_none()
        if row is None:
            raise CorruptTreeError(f"the head row of {self.name!r} is missing")
        if type(row.tree_size) is not int or not 0 <= row.tree_size < MAX_SIZE:
            raise CorruptTreeError(f"the head row of {self.name!r} says size {row.tree_size!r}")
        root = self._blob("head", "root", row.root) or b""
        checkpoint = None
        if row.checkpoint is not None:
            checkpoint = self._blob("checkpoint", "note", row.checkpoint)
        self._check_checkpoint_size(row.checkpoint_size, checkpoint)
        return row.tree_size, root, checkpoint

    def _check_checkpoint_size(self, said: object, checkpoint: bytes | None) -> None:
        lines = (checkpoint or b"\n0").split(b"\n")
        real = lines[1].decode("latin-1") if len(lines) > 1 else ""
        if str(said) != real:
            self._note("head", f"says that its checkpoint has size {said!r}; the note says {real!r}")

    def state(self) -> str:
        """What may be written to it: see `states.py`. A database from before there were states is active."""
        with answering("reading the state"):
            if "state" not in {
                column["name"] for column in inspect(self._connection).get_columns(heads.name)
            }:
                return ACTIVE
            where = select(heads.c.state).where(heads.c.tree_id == self._tree)
            found: str = self._connection.execute(where).scalar_one()
        return found

    def stored_bytes(self) -> int:
        """What the tables of the log take on disk: the whole database on SQLite, without its write-ahead
        log."""
        with answering("measuring the database"):
            if self._dialect == "sqlite":
                pages = self._connection.exec_driver_sql("PRAGMA page_count").scalar_one()
                size: int = pages * self._connection.exec_driver_sql("PRAGMA page_size").scalar_one()
                return size
            # Older databases lack some.
            there = set(inspect(self._connection).get_table_names()) & set(metadata.tables)
            sizes = [func.pg_total_relation_size(name) for name in sorted(there)]
            return sum(self._connection.execute(select(*sizes)).one())

    def leaves(self, start: int, end: int) -> Mapping[int, tuple[bytes | None, bytes | None]]:
        """(leaf data, packed entry) by index, as far as there are rows."""
        where = {"tree": self._tree, "start": start, "end": end}
        with answering("reading leaves"):
            rows = self._connection.execute(self._own.leaves, where).all()
        return {
            index: (
                self._blob(f"leaf {index}", "leaf_data", data),
                self._blob(f"envelope {index}", "packed", packed),
            )
            for index, data, packed in rows
        }

    def tile(self, tile: Tile) -> bytes | None:
        """The stored bytes of a tile in whatever width they have."""
        where = {"tree": self._tree, "level": tile.level, "index": tile.index}
        with answering("reading a tile"):
            found = self._connection.execute(self._own.tile, where).one_or_none()
        return None if found is None else self._blob(f"tile {tile.level}/{tile.index}", "hashes", found[0])

    def identities(self, identities: Sequence[bytes]) -> Mapping[bytes, int]:
        """Stored indexes by identity."""
        with answering("reading identities"):
            return self._sql.bulk.find(self._connection, self._tree, identities)

    def raw_identities(self, start: int, end: int) -> Mapping[int, bytes | None] | None:
        """Stored identities of a raw tree by index, as far as there are rows."""
        if not self._is_raw:
            return None
        where = {"tree": self._tree, "start": start, "end": end}
        with answering("reading raw leaves"):
            rows = self._connection.execute(self._own.raw_leaves, where).all()
        return {
            index: None if identity is None else self._blob(f"raw leaf {index}", "identity", identity)
            for index, identity in rows
        }

    def leftovers(self, size: int) -> Iterator[tuple[str, str]]:
        """(where, what) of everything stored that a tree of `size` entries does not have."""
        yield from self._problems
        with answering("looking for rows that do not belong here"):
            yield from self._rows_outside(size)
            if self._dialect == "sqlite":
                yield from self._file_damage()

    def _rows_outside(self, size: int) -> Iterator[tuple[str, str]]:
        here = {"tree": self._tree}
        for index in self._connection.execute(self._own.outside, {**here, "size": size}).scalars():
            yield f"leaf {index}", f"is outside the tree of size {size}"
        for name, statement in self._own.counts.items():
            count = self._connection.execute(statement, here).scalar_one()
            if count != (size if self._holds_leaves or name != "leaves" else 0):
                yield name, f"has {count} rows for {size} entries"
        if self._is_raw:
            yield from self._raw_outside(size)
        for row in self._connection.execute(self._own.tiles, here):
            level, index, length = tuple(row)
            is_tile = type(level) is type(index) is int and level >= 0 <= index
            width = tile_width(level, index, size) if is_tile else 0
            if width == 0:
                yield f"tile {level}/{index}", f"is outside the tree of size {size}"
            elif length != width * HASH_SIZE:
                yield f"tile {level}/{index}", f"has {length} bytes, not {width * HASH_SIZE}"

    def _raw_outside(self, size: int) -> Iterator[tuple[str, str]]:
        """What a raw tree has beside its leaves, and should not have, or not so."""
        here = {"tree": self._tree}

        def count(statement: Select[Any]) -> int:
            return int(self._connection.execute(statement, here).scalar_one())

        if (rows := count(self._own.raw_count)) != size:
            yield "raw leaves", f"has {rows} rows for {size} leaves"
        named = count(self._own.named_count)
        if (hashes := count(self._own.hash_count)) != named:
            yield "raw hashes", f"has {hashes} rows for {named} leaves with an identity of their own"
        root = self._connection.execute(self._own.root_size, here).scalar_one_or_none()
        if (root or 0) != size:
            yield "trillian tree", f"has a time for a root of size {root!r}; the tree has {size} leaves"

    def _file_damage(self) -> Iterator[tuple[str, str]]:
        """Rows of no tree, foreign programs in the schema, and broken pages."""
        orphans = self._connection.execute(text("PRAGMA foreign_key_check")).fetchmany(SHOWN_ROWS)
        for orphan in orphans:
            yield str(orphan.table), f"has a row ({orphan.rowid}) that names nothing in {orphan.parent}"
        programs = "SELECT type, name FROM sqlite_master WHERE type IN ('trigger', 'view')"
        for kind, name in self._connection.execute(text(programs)):
            yield "database file", f"has a {kind} {name!r}, which nobody here made"
        # Pages, free list and indexes of the file itself; the first hundred complaints.
        for line in self._connection.execute(text("PRAGMA integrity_check")).scalars():
            if line != "ok":
                yield "database file", str(line)

    def _blob(self, where: str, column: str, found: object) -> bytes | None:
        if isinstance(found, bytes):
            return found
        self._note(where, f"has no bytes in {column} but {type(found).__name__}")
        return None

    def _note(self, where: str, what: str) -> None:
        self._problems[where, what] = None
