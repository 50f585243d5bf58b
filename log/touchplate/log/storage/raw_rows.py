"""Statements of raw trees: what their leaves have beside leaf data and packed form."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    FromClause,
    Integer,
    Select,
    bindparam,
    func,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from touchplate.log.ports import PackedEntry
from touchplate.log.storage.bulk import from_arrays
from touchplate.log.storage.questions import Question
from touchplate.log.storage.row_insert import RowInsert
from touchplate.log.storage.schema import heads, identities, leaves, raw_hashes, raw_leaves, trillian_trees

MAX_VALUE = 65_535
"""Bytes of a leaf: what an entry bundle of tlog-tiles can hold."""

MAX_PROOFS = 64
"""Leaves with one hash that are found at most: equal values under different identities are rare, and each
costs a proof."""


@dataclass(frozen=True, slots=True)
class RawEntry(PackedEntry):
    """A leaf of a raw tree; `packed` is its extra data. `queued`: nanoseconds since 1970."""

    queued: int


class RawStatements:
    """For one SQL dialect."""

    def __init__(self, dialect: str) -> None:
        self._is_postgresql = dialect == "postgresql"
        here = heads.c.tree_id == bindparam("tree")
        columns = (
            heads.c.tree_size,
            heads.c.root,
            trillian_trees.c.state,
            trillian_trees.c.type,
            trillian_trees.c.deleted,
            trillian_trees.c.root_nanos,
            trillian_trees.c.max_root_nanos,
        )
        both = select(*columns).join_from(heads, trillian_trees, heads.c.tree_id == trillian_trees.c.tree_id)
        # Both rows, in the order in which `Registry` locks them: whoever waited is then shown both as they
        # are after the wait. Of a row that is only read along, PostgreSQL shows what was there before it.
        self.lock = both.where(here).with_for_update(of=[heads, trillian_trees])
        mine = trillian_trees.c.tree_id == bindparam("tree")
        self.root_time = select(trillian_trees.c.root_nanos).where(mine)
        self.put_root_time = update(trillian_trees).where(mine)
        range_ = (
            leaves.c.tree_id == bindparam("tree"),
            leaves.c.leaf_index >= bindparam("start"),
            leaves.c.leaf_index < bindparam("end"),
        )
        length = func.length(leaves.c.leaf_data) + func.length(leaves.c.packed)
        self.lengths = select(length).where(*range_).order_by(leaves.c.leaf_index)
        self.leaves = select(leaves.c.leaf_data, leaves.c.packed).where(*range_).order_by(leaves.c.leaf_index)
        self.beside = (
            select(raw_leaves.c.identity, raw_leaves.c.queued, raw_leaves.c.integrated)
            .where(
                raw_leaves.c.tree_id == bindparam("tree"),
                raw_leaves.c.leaf_index >= bindparam("start"),
                raw_leaves.c.leaf_index < bindparam("end"),
            )
            .order_by(raw_leaves.c.leaf_index)
        )
        self.indexes = (
            select(raw_hashes.c.leaf_index)
            .where(raw_hashes.c.tree_id == bindparam("tree"), raw_hashes.c.leaf_hash == bindparam("hash"))
            .order_by(raw_hashes.c.leaf_index)
            .limit(MAX_PROOFS)
        )
        self._by_hash = Question(
            dialect,
            [raw_hashes.c.leaf_hash],
            _at_hash if self._is_postgresql else lambda wanted: _in_one_row(_at_hash(wanted)),
        )
        self._leaf_arrays: postgresql.Insert | None = None
        self._hash_arrays: postgresql.Insert | None = None
        if self._is_postgresql:
            one = raw_leaves.c
            self._leaf_arrays = from_arrays(
                raw_leaves, one.leaf_index, one.identity, one.queued, one.integrated
            )
            self._hash_arrays = from_arrays(raw_hashes, raw_hashes.c.leaf_hash, raw_hashes.c.leaf_index)
        names = ("tree_id", "leaf_index", "identity", "queued", "integrated")
        self._leaf_rows = RowInsert(sqlite.insert(raw_leaves), names)
        self._hash_rows = RowInsert(sqlite.insert(raw_hashes), ("tree_id", "leaf_hash", "leaf_index"))

    def at_hashes(
        self, connection: Connection, tree: int, hashes: Sequence[bytes]
    ) -> list[tuple[bytes, int | None, int | None]]:
        """Of each leaf hash: the leaf whose identity it is, too, and the first of those with another one."""
        rows = self._by_hash.ask(connection, tree, [(one,) for one in hashes])
        if self._is_postgresql:
            return [(row.leaf_hash, row.leaf_index, row.first) for row in rows]
        found = [one for row in rows for one in json.loads(row[0])]
        return [(bytes.fromhex(one), index, first) for one, index, first in found]

    def add(
        self, connection: Connection, tree: int, first: int, entries: Sequence[RawEntry], integrated: int
    ) -> None:
        """Write what `entries` have beside their bytes; their indexes begin at `first`."""
        names = [None if one.identity == one.leaf_hash else one.identity for one in entries]
        indexes = range(first, first + len(entries))
        # A leaf whose identity is its hash is found by its identity: no second random key for those.
        hashed = [
            (one.leaf_hash, index)
            for one, name, index in zip(entries, names, indexes, strict=True)
            if name is not None
        ]
        queued = [one.queued for one in entries]
        if self._leaf_arrays is not None and self._hash_arrays is not None:
            columns = {"leaf_index": indexes, "identity": names, "queued": queued}
            times = [integrated] * len(entries)
            connection.execute(self._leaf_arrays, {"tree": tree, "integrated": times, **columns})
            if hashed:
                hashes, at = zip(*hashed, strict=True)
                connection.execute(self._hash_arrays, {"tree": tree, "leaf_hash": hashes, "leaf_index": at})
            return
        rows = [
            (tree, index, name, when, integrated)
            for index, name, when in zip(indexes, names, queued, strict=True)
        ]
        self._leaf_rows.execute(connection, rows)
        self._hash_rows.execute(connection, [(tree, one, index) for one, index in hashed])


def _at_hash(wanted: FromClause) -> Select[Any]:
    """See `RawStatements.at_hashes`."""
    tree = bindparam("tree", type_=Integer)
    first = select(func.min(raw_hashes.c.leaf_index)).where(
        raw_hashes.c.tree_id == tree, raw_hashes.c.leaf_hash == wanted.c.leaf_hash
    )
    known = (
        select(identities.c.leaf_index)
        .join_from(
            identities,
            raw_leaves,
            (raw_leaves.c.tree_id == identities.c.tree_id)
            & (raw_leaves.c.leaf_index == identities.c.leaf_index),
        )
        .where(
            identities.c.tree_id == tree,
            identities.c.identity == wanted.c.leaf_hash,
            # Somebody may have chosen the hash of one leaf as the identity of another.
            raw_leaves.c.identity.is_(None),
        )
    )
    return select(
        wanted.c.leaf_hash,
        known.scalar_subquery().label("leaf_index"),
        first.scalar_subquery().label("first"),
    )


def _in_one_row(rows: Select[Any]) -> Select[Any]:
    """The same as one JSON array: each row that SQLite's driver steps to waits for Python's lock."""
    table = rows.subquery()
    one = func.json_array(func.hex(table.c.leaf_hash), table.c.leaf_index, table.c.first)
    return select(func.json_group_array(one))
