"""The registry of the trees that Trillian's interface serves: their fields, in a table beside `trees`.

A change locks the tree's head row first, as every batch of a raw tree does. So once a change of state is
answered, no batch that saw the old state is on its way any more, whichever process it belongs to.
"""

import secrets
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, insert, select, update

from touchplate.base.sql import begin_read, begin_write
from touchplate.log.errors import ClosedError, NotFoundError
from touchplate.log.storage.failures import answering
from touchplate.log.storage.schema import heads, trees, trillian_trees
from touchplate.log.storage.sql import RAW, ensure_tree
from touchplate.log.storage.statements import Statements

ACTIVE, FROZEN, DRAINING = 1, 2, 5
"""Numbers of Trillian's TreeState."""

LOG, PREORDERED = 1, 3
"""Numbers of Trillian's TreeType."""

SMALLEST_RANDOM_ID = 2**32
"""Ids of raw trees are random and above this: those below are numbers of trees in the database."""

LARGEST_ID = 2**63 - 1


def random_id() -> int:
    """A positive number that nobody guesses and no other tree has."""
    return SMALLEST_RANDOM_ID + secrets.randbelow(LARGEST_ID - SMALLEST_RANDOM_ID)


@dataclass(frozen=True, slots=True)
class TreeFields:
    """What the makers of a tree say about it. Times in milliseconds since 1970."""

    public_id: int
    state: int
    type: int
    display_name: str
    description: str
    storage_settings: bytes | None
    max_root_nanos: int
    created: int
    updated: int
    deleted: int | None = None


@dataclass(frozen=True, slots=True)
class TreeRow:
    """One tree as the database has it. `root_nanos` and `root_size`: None before it was initialised."""

    tree_id: int
    kind: str
    fields: TreeFields
    root_nanos: int | None
    root_size: int | None


_RAW_PREFIX = "trillian/"


def raw_name(public_id: int) -> str:
    """The name in `trees` of the raw tree with this id: no origin has a slash."""
    return f"{_RAW_PREFIX}{public_id}"


def is_raw_name(name: str) -> bool:
    """Whether a row of `trees` with this name is a raw tree's."""
    return name.startswith(_RAW_PREFIX)


Change = Callable[[TreeRow], TreeFields]
"""Makes the new fields of a tree from what is there; raises when that may not be."""

_FIELDS = [trillian_trees.c[name] for name in TreeFields.__dataclass_fields__]


class Registry:
    """Reads and changes the rows. Safe from any thread; every method raises StorageFailedError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._sql = Statements(engine.dialect.name)
        self._rows = (
            select(
                trillian_trees.c.tree_id,
                trees.c.kind,
                trillian_trees.c.root_nanos,
                trillian_trees.c.root_size,
                *_FIELDS,
            )
            .join_from(trillian_trees, trees)
            .order_by(trillian_trees.c.created, trillian_trees.c.tree_id)
        )
        self._row = self._rows.where(trillian_trees.c.public_id == bindparam("id"))
        mine = trillian_trees.c.tree_id == bindparam("tree")
        self._lock = select(heads.c.tree_size).where(heads.c.tree_id == bindparam("tree")).with_for_update()
        self._put = update(trillian_trees).where(mine)

    def rows(self) -> list[TreeRow]:
        """All trees, deleted ones too, oldest first."""
        with answering("listing trees"), begin_read(self._engine) as connection:
            return [_tree_row(row) for row in connection.execute(self._rows)]

    def find(self, public_id: int) -> TreeRow:
        """The tree with this id, deleted or not. Raises NotFoundError."""
        with answering("looking up a tree"), self._engine.connect() as connection:
            return self._find(connection, public_id)

    def add(self, fields: TreeFields) -> TreeRow:
        """A new, empty raw tree."""
        with answering("making a tree"), begin_write(self._engine) as transaction:
            tree_id = ensure_tree(transaction, self._sql, raw_name(fields.public_id), RAW)
            transaction.execute(insert(trillian_trees), {"tree_id": tree_id, **asdict(fields)})
        return TreeRow(tree_id, RAW, fields, None, None)

    def register(self, tree_id: int, fields: TreeFields) -> None:
        """Give a tree that was made some other way a row here, if it has none."""
        with answering("registering a tree"), begin_write(self._engine) as transaction:
            mine = trillian_trees.c.tree_id == tree_id
            transaction.execute(select(heads.c.term).where(heads.c.tree_id == tree_id).with_for_update())
            if transaction.execute(select(trillian_trees.c.tree_id).where(mine)).first() is None:
                transaction.execute(insert(trillian_trees), {"tree_id": tree_id, **asdict(fields)})

    def change(self, public_id: int, change: Change) -> TreeRow:
        """Replace a tree's fields by what `change` makes of them, which may refuse. Raises NotFoundError."""
        with answering("changing a tree"), begin_write(self._engine) as transaction:
            number = self._find(transaction, public_id).tree_id
            transaction.execute(self._lock, {"tree": number})
            old = self._find(transaction, public_id)
            new = change(old)
            transaction.execute(self._put, {"tree": number, **asdict(new)})
        return TreeRow(old.tree_id, old.kind, new, old.root_nanos, old.root_size)

    def issue_root(self, public_id: int, size: int, now_nanos: int) -> TreeRow:
        """Put a time on the head of `size` entries of a tree that another interface writes.

        Times only go forward, and one time belongs to one size: a root that was issued for a larger size
        stays. Returns the row after.
        """
        with answering("issuing a root"), begin_write(self._engine) as transaction:
            row = self._find(transaction, public_id)
            transaction.execute(self._lock, {"tree": row.tree_id})
            row = self._find(transaction, public_id)
            if row.root_nanos is not None and row.root_size is not None and row.root_size >= size:
                return row
            nanos = max(now_nanos, (row.root_nanos or 0) + 1)
            transaction.execute(self._put, {"tree": row.tree_id, "root_nanos": nanos, "root_size": size})
        return TreeRow(row.tree_id, row.kind, row.fields, nanos, size)

    def _find(self, connection: Connection, public_id: int) -> TreeRow:
        row = connection.execute(self._row, {"id": public_id}).one_or_none()
        if row is None:
            raise NotFoundError(f"there is no tree {public_id}")
        return _tree_row(row)


def _tree_row(row: Any) -> TreeRow:
    fields = TreeFields(**{name: getattr(row, name) for name in TreeFields.__dataclass_fields__})
    return TreeRow(row.tree_id, row.kind, fields, row.root_nanos, row.root_size)


def check_open(state: int, kind: int) -> None:
    """Raise ClosedError when a tree of this type (`kind`) takes no leaves in this state."""
    # A PREORDERED_LOG is drained by its writer, who has leaves on their way.
    if state not in ((ACTIVE, DRAINING) if kind == PREORDERED else (ACTIVE,)):
        name = {ACTIVE: "ACTIVE", FROZEN: "FROZEN", DRAINING: "DRAINING"}.get(state, state)
        raise ClosedError(f"the tree is {name} and takes no leaves")
