"""Statements of raw trees: what their leaves have beside leaf data and packed form."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, bindparam, func, insert, select, update
from sqlalchemy.dialects import postgresql

from touchplate.log.ports import PackedEntry
from touchplate.log.storage.bulk import from_arrays
from touchplate.log.storage.schema import heads, identities, leaves, raw_hashes, raw_leaves, trillian_trees

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
        # Of one identity: `Bulk.find` binds hundreds of parameters whatever it is asked.
        self.known = select(identities.c.leaf_index).where(
            identities.c.tree_id == bindparam("tree"), identities.c.identity == bindparam("hash")
        )
        self._leaf_arrays: postgresql.Insert | None = None
        self._hash_arrays: postgresql.Insert | None = None
        if self._is_postgresql:
            one = raw_leaves.c
            self._leaf_arrays = from_arrays(
                raw_leaves, one.leaf_index, one.identity, one.queued, one.integrated
            )
            self._hash_arrays = from_arrays(raw_hashes, raw_hashes.c.leaf_hash, raw_hashes.c.leaf_index)
        self._leaf_rows = insert(raw_leaves)
        self._hash_rows = insert(raw_hashes)

    def add(
        self, connection: Connection, tree: int, first: int, entries: Sequence[RawEntry], integrated: int
    ) -> None:
        """Write what `entries` have beside their bytes; their indexes begin at `first`."""
        values = [
            {
                "leaf_index": index,
                "identity": None if one.identity == one.leaf_hash else one.identity,
                "queued": one.queued,
                "integrated": integrated,
            }
            for index, one in enumerate(entries, first)
        ]
        # A leaf whose identity is its hash is found by its identity: no second random key for those.
        hashed = [
            {"leaf_hash": one.leaf_hash, "leaf_index": index}
            for index, one in enumerate(entries, first)
            if one.identity != one.leaf_hash
        ]
        if self._leaf_arrays is not None and self._hash_arrays is not None:
            connection.execute(self._leaf_arrays, {"tree": tree, **_columns(values)})
            if hashed:
                connection.execute(self._hash_arrays, {"tree": tree, **_columns(hashed)})
            return
        connection.execute(self._leaf_rows, [{"tree_id": tree, **row} for row in values])
        if hashed:
            connection.execute(self._hash_rows, [{"tree_id": tree, **row} for row in hashed])


def _columns(rows: Sequence[Mapping[str, object]]) -> dict[str, list[object]]:
    return {name: [row[name] for row in rows] for name in rows[0]}
