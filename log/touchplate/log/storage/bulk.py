"""Many rows at once: the one thing that SQLite and PostgreSQL are each told in their own way.

SQLite takes rows in statements of fixed lengths (`row_insert.py`), and IN lists of such. PostgreSQL takes one
array per column: one statement and one round trip however many there are. No plan there may depend on
statistics: they may be missing or old, and a batch would then cost as much as the tree is large.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from sqlalchemy import Column, Connection, Integer, Table, bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.selectable import TableValuedAlias

from touchplate.log.ports import PackedEntry
from touchplate.log.storage.arrays import PackedArray
from touchplate.log.storage.row_insert import RowInsert
from touchplate.log.storage.schema import identities, leaves, submissions, tiles
from touchplate.verify.tiles import Tile

LOOKUP_ROWS = (1, 4, 16, 64, 256)
"""Identities per IN list: few fixed lengths, padded, so that each has one statement text whose compiled form
is reused, and a lone identity does not cost as much as two hundred."""


class Bulk(Protocol):
    """Adds and finds rows of the tree `tree` in a transaction."""

    def add_identities(
        self, connection: Connection, tree: int, first: int, entries: Sequence[PackedEntry]
    ) -> int:
        """Those that are new, with indexes from `first` on; how many were new."""

    def add_leaves(
        self, connection: Connection, tree: int, first: int, entries: Sequence[PackedEntry]
    ) -> None:
        """All of them, with indexes from `first` on."""

    def put_tiles(self, connection: Connection, tree: int, grown: Mapping[Tile, bytes]) -> None:
        """Add or replace."""

    def find(self, connection: Connection, tree: int, wanted: Sequence[bytes]) -> dict[bytes, int]:
        """Indexes by identity, of those that are there."""


def bulk_for(dialect: str) -> Bulk:
    """Those for one SQL dialect ("sqlite" or "postgresql"; KeyError for any other)."""
    kinds: dict[str, type[RowBulk] | type[ArrayBulk]] = {
        "sqlite": RowBulk,
        "postgresql": ArrayBulk,
    }
    return kinds[dialect]()


class RowBulk:
    """`Bulk` for SQLite."""

    def __init__(self) -> None:
        identity = sqlite.insert(identities).on_conflict_do_nothing()
        self._identities = RowInsert(identity, ("tree_id", "identity", "leaf_index"))
        self._leaves = RowInsert(sqlite.insert(leaves), ("tree_id", "leaf_index", "leaf_data", "packed"))
        tile = sqlite.insert(tiles)
        self._tiles = RowInsert(
            tile.on_conflict_do_update(
                index_elements=list(tiles.primary_key), set_={"hashes": tile.excluded.hashes}
            ),
            ("tree_id", "level", "tile_index", "hashes"),
        )
        self._known = select(identities.c.identity, identities.c.leaf_index).where(
            identities.c.tree_id == bindparam("tree"),
            identities.c.identity.in_(bindparam("wanted", expanding=True)),
        )

    def find(self, connection: Connection, tree: int, wanted: Sequence[bytes]) -> dict[bytes, int]:
        """See `Bulk`."""
        known: dict[bytes, int] = {}
        for start in range(0, len(wanted), LOOKUP_ROWS[-1]):
            part = list(wanted[start : start + LOOKUP_ROWS[-1]])
            rows_asked = next(rows for rows in LOOKUP_ROWS if rows >= len(part))
            part += part[:1] * (rows_asked - len(part))
            rows = connection.execute(self._known, {"tree": tree, "wanted": part})
            known.update((row.identity, row.leaf_index) for row in rows)
        return known

    def add_identities(
        self, connection: Connection, tree: int, first: int, entries: Sequence[PackedEntry]
    ) -> int:
        """See `Bulk`."""
        rows = [(tree, entry.identity, index) for index, entry in enumerate(entries, first)]
        return self._identities.execute(connection, rows)

    def add_leaves(
        self, connection: Connection, tree: int, first: int, entries: Sequence[PackedEntry]
    ) -> None:
        """See `Bulk`."""
        rows = [(tree, index, entry.leaf_data, entry.packed) for index, entry in enumerate(entries, first)]
        self._leaves.execute(connection, rows)

    def put_tiles(self, connection: Connection, tree: int, grown: Mapping[Tile, bytes]) -> None:
        """See `Bulk`."""
        rows = [(tree, tile.level, tile.index, hashes) for tile, hashes in grown.items()]
        self._tiles.execute(connection, rows)


class ArrayBulk:
    """`Bulk` for PostgreSQL."""

    def __init__(self) -> None:
        insert = from_arrays(identities, identities.c.identity, identities.c.leaf_index)
        # SQLAlchemy forgets the count of an INSERT otherwise.
        self._identities = insert.on_conflict_do_nothing().execution_options(preserve_rowcount=True)
        self._leaves = from_arrays(leaves, leaves.c.leaf_index, leaves.c.leaf_data, leaves.c.packed)
        tile = from_arrays(tiles, tiles.c.level, tiles.c.tile_index, tiles.c.hashes)
        self._tiles = tile.on_conflict_do_update(
            index_elements=list(tiles.primary_key), set_={"hashes": tile.excluded.hashes}
        )
        self._submissions = from_arrays(
            submissions,
            submissions.c.identity,
            submissions.c.leaf_data,
            submissions.c.leaf_hash,
            submissions.c.packed,
        ).returning(submissions.c.submission_id, submissions.c.identity)
        # One look by the whole key for each: a list of them, or a join, may be answered by reading all of the
        # tree's identities.
        wanted = arrays(identities.c.identity)
        index = (
            select(identities.c.leaf_index)
            .where(
                identities.c.tree_id == bindparam("tree", type_=Integer),
                identities.c.identity == wanted.c.identity,
            )
            .scalar_subquery()
        )
        self._known = select(wanted.c.identity, index.label("leaf_index"))

    def find(self, connection: Connection, tree: int, wanted: Sequence[bytes]) -> dict[bytes, int]:
        """See `Bulk`."""
        rows = connection.execute(self._known, {"tree": tree, "identity": list(wanted)})
        return {row.identity: row.leaf_index for row in rows if row.leaf_index is not None}

    def add_identities(
        self, connection: Connection, tree: int, first: int, entries: Sequence[PackedEntry]
    ) -> int:
        """See `Bulk`."""
        values = {
            "tree": tree,
            "identity": [entry.identity for entry in entries],
            "leaf_index": list(range(first, first + len(entries))),
        }
        return connection.execute(self._identities, values).rowcount

    def add_leaves(
        self, connection: Connection, tree: int, first: int, entries: Sequence[PackedEntry]
    ) -> None:
        """See `Bulk`."""
        values = {
            "tree": tree,
            "leaf_index": list(range(first, first + len(entries))),
            "leaf_data": [entry.leaf_data for entry in entries],
            "packed": [entry.packed for entry in entries],
        }
        connection.execute(self._leaves, values)

    def put_tiles(self, connection: Connection, tree: int, grown: Mapping[Tile, bytes]) -> None:
        """See `Bulk`."""
        values = {
            "tree": tree,
            "level": [tile.level for tile in grown],
            "tile_index": [tile.index for tile in grown],
            "hashes": list(grown.values()),
        }
        connection.execute(self._tiles, values)

    def add_submissions(
        self, connection: Connection, tree: int, entries: Sequence[PackedEntry]
    ) -> dict[bytes, int]:
        """Rows for the sequencer; their ids by identity. No identity may be there twice."""
        values = {
            "tree": tree,
            "identity": [entry.identity for entry in entries],
            "leaf_data": [entry.leaf_data for entry in entries],
            "leaf_hash": [entry.leaf_hash for entry in entries],
            "packed": [entry.packed for entry in entries],
        }
        return {row.identity: row.submission_id for row in connection.execute(self._submissions, values)}


def from_arrays(table: Table, *columns: Column[Any]) -> postgresql.Insert:
    """INSERT … SELECT from one array parameter per column, each named as its column; `tree` for all rows."""
    rows = arrays(*columns)
    chosen = select(bindparam("tree", type_=Integer), *(rows.c[column.name] for column in columns))
    return postgresql.insert(table).from_select(["tree_id", *(column.name for column in columns)], chosen)


def arrays(*columns: Column[Any]) -> TableValuedAlias:
    """A table made of one array parameter per column."""
    parameters = [bindparam(column.name, type_=PackedArray(column.type)) for column in columns]
    return func.unnest(*parameters).table_valued(*(column.name for column in columns)).render_derived()
