"""Removes raw trees that were deleted long ago, for good: rows by rows, so that nobody waits for it.

    begin   one transaction: out of the registry, so that nobody finds the tree, and nobody can undelete it
    step    some rows each, and at last the head row

Killed at any moment, it goes on where it was. The row in `trees` stays, of the kind `removed`: the number of
a tree is never another one's, so that whoever still knows it meets nothing.
"""

from sqlalchemy import BindParameter, Connection, Engine, Table, bindparam, delete, select, tuple_, update

from touchplate.base.sql import begin_write
from touchplate.log.storage.failures import answering
from touchplate.log.storage.schema import (
    heads,
    identities,
    leaves,
    raw_hashes,
    raw_leaves,
    tiles,
    trees,
    trillian_trees,
)
from touchplate.log.storage.sql import RAW, REMOVED

STEP_ROWS = 256
"""Rows in one transaction: few milliseconds, and leaves can have a mebibyte each."""

_TABLES = (leaves, raw_leaves, raw_hashes, identities, tiles)


class Removal:
    """For one database; several processes may do it. Every method raises StorageFailedError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        tree: BindParameter[int] = bindparam("tree")
        self._old = select(trillian_trees.c.tree_id).where(trillian_trees.c.deleted <= bindparam("before"))
        here = heads.c.tree_id == tree
        self._lock = select(heads.c.tree_id).where(here).with_for_update()
        self._forget = (
            delete(trillian_trees)
            .where(trillian_trees.c.tree_id == tree, trillian_trees.c.deleted <= bindparam("before"))
            .returning(trillian_trees.c.public_id)
        )
        self._mark = update(trees).where(trees.c.tree_id == tree, trees.c.kind == RAW).values(kind=REMOVED)
        # Who finds the row held by another process leaves the tree to it.
        self._begun = (
            select(heads.c.tree_id)
            .join_from(heads, trees, heads.c.tree_id == trees.c.tree_id)
            .where(trees.c.kind == REMOVED)
            .limit(1)
            .with_for_update(of=heads, skip_locked=True)
        )
        self._end = delete(heads).where(here)
        self._rows = [_Rows(table) for table in _TABLES]

    def begin(self, before: int) -> list[int]:
        """Take the trees that were deleted by then (`before`: milliseconds since 1970) out of the registry;
        their public ids."""
        with answering("looking for deleted trees"), self._engine.connect() as connection:
            old = connection.execute(self._old, {"before": before}).scalars().all()
        return [public_id for tree in old if (public_id := self._take_out(tree, before)) is not None]

    def _take_out(self, tree: int, before: int) -> int | None:
        with answering("removing a tree"), begin_write(self._engine) as transaction:
            transaction.execute(self._lock, {"tree": tree})  # as every change of a tree
            where = {"tree": tree, "before": before}
            public_id: int | None = transaction.execute(self._forget, where).scalar_one_or_none()
            if public_id is not None:  # nobody undeleted it meanwhile
                transaction.execute(self._mark, {"tree": tree})
        return public_id

    def step(self) -> bool:
        """Remove some rows of a tree that is out of the registry; False when there is no such tree."""
        with answering("removing a tree"), begin_write(self._engine) as transaction:
            tree = transaction.execute(self._begun).scalar_one_or_none()
            if tree is None:
                return False
            if not any(rows.remove(transaction, tree) for rows in self._rows):
                transaction.execute(self._end, {"tree": tree})
        return True


class _Rows:
    """One table's part. Ranges of the key, which need no statistics to be found by it."""

    def __init__(self, table: Table) -> None:
        tree, *key = table.primary_key.columns
        here = tree == bindparam("tree")
        self._names = [column.name for column in key]
        self._last = select(*key).where(here).order_by(*key).offset(STEP_ROWS - 1).limit(1)
        last = tuple_(*(bindparam(column.name, type_=column.type) for column in key))
        self._part = delete(table).where(here, tuple_(*key) <= last)
        self._rest = delete(table).where(here)

    def remove(self, transaction: Connection, tree: int) -> bool:
        """Some of the tree's rows, if there are any."""
        found = transaction.execute(self._last, {"tree": tree}).one_or_none()
        if found is None:
            return transaction.execute(self._rest, {"tree": tree}).rowcount > 0
        last = dict(zip(self._names, found, strict=True))
        return transaction.execute(self._part, {"tree": tree, **last}).rowcount > 0
