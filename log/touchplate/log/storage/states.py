"""What may be written to a tree: its state, which stands in the head row and outlives every process.

    active      entries are taken
    frozen      no new ones; what is there is answered, read and proven as ever
    importing   another storage's entries are being copied into it; nobody may sign or serve what is there so
                far

Moving the head is conditional on the state, in the transaction of the batch. So a log that runs need not be
told.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, bindparam, select, update

from touchplate.base.sql import begin_write
from touchplate.log.errors import CheckpointError, RequestError, StorageFailedError
from touchplate.log.ports import PackedEntry
from touchplate.log.storage.failures import answering
from touchplate.log.storage.migrations import prepare
from touchplate.log.storage.schema import ACTIVE, FROZEN, IMPORTING, heads, trees
from touchplate.log.storage.sql import ATTESTATIONS, DERIVED, SQLTree, open_as

# Logs of envelopes only: trees of any bytes have states of Trillian's in a table of their own.
_LOG = select(trees.c.tree_id).where(
    trees.c.name == bindparam("name"), trees.c.kind.in_((ATTESTATIONS, DERIVED))
)
_HERE = heads.c.tree_id == _LOG.scalar_subquery()


def freeze(engine: Engine, name: str) -> int:
    """Let the tree take no new entries; its size, for good or until `unfreeze`. Freezing twice is no error.

    Its newest checkpoint is then the final one. Raises RequestError when there is no such tree, or it is not
    of one piece: an import is under way, or its head is not signed (start the log once). StorageFailedError.
    """
    final = update(heads).where(
        _HERE, heads.c.checkpoint_size == heads.c.tree_size, heads.c.state != IMPORTING
    )
    return _change(
        engine, name, final.values(state=FROZEN), "its head is not signed, or an import is under way"
    )


def unfreeze(engine: Engine, name: str) -> int:
    """Let a frozen tree take entries again; its size. Raises RequestError when it is not frozen."""
    frozen = update(heads).where(_HERE, heads.c.state == FROZEN)
    return _change(engine, name, frozen.values(state=ACTIVE), "it is not frozen")


def _change(engine: Engine, name: str, statement: Any, why_not: str) -> int:
    with answering("changing the state of a log"), begin_write(engine) as transaction:
        prepare(transaction)
        row = transaction.execute(select(heads.c.tree_size).where(_HERE), {"name": name}).one_or_none()
        if row is None:
            raise RequestError(f"the database holds no log {name!r}")
        if transaction.execute(statement, {"name": name}).rowcount != 1:
            raise RequestError(f"the state of the log {name!r} was not changed: {why_not}")
    size: int = row.tree_size
    return size


class ImportTree(SQLTree):
    """A tree in the state `importing`. Made by `open_import`; nobody else can append to it meanwhile."""

    _written_in = IMPORTING

    def append(self, entries: Sequence[PackedEntry]) -> None:
        """Append entries of which none is in the tree. Raises CheckpointError when one is."""
        size = self.head().size
        placed = [one.index for one in self.apply(entries)]
        if placed != list(range(size, size + len(entries))):
            raise CheckpointError(
                f"an entry after index {size} is in the tree already: this is no log's copy"
            )

    def take_term(self) -> None:
        """Write under the term in which the database is: it may have had several frontends."""
        with answering("reading the term"), self._engine.connect() as connection:
            row = connection.execute(self._sql.head, {"tree": self._tree_id}).one()
        self._term = row.term

    def finish(self, checkpoint: bytes) -> None:
        """Make the tree active, with `checkpoint`, in one step. Raises StorageFailedError."""
        head = self.head()
        here = heads.c.tree_id == self._tree_id, heads.c.tree_size == head.size, heads.c.state == IMPORTING
        values = {"state": ACTIVE, "checkpoint_size": head.size, "checkpoint": checkpoint}
        with self._writing, answering("finishing an import"), begin_write(self._engine) as transaction:
            if transaction.execute(update(heads).where(*here).values(**values)).rowcount != 1:
                raise StorageFailedError("another process changed the tree while it was imported")


def open_import(engine: Engine, name: str) -> ImportTree:
    """The tree `name`, made if absent, in the state `importing`: what was begun before goes on.

    A tree that is active changes its state here: until `finish` it cannot be served. Raises CheckpointError
    when it is frozen or the database is of another log, StorageFailedError, CorruptTreeError.
    """
    tree = open_as(ImportTree, engine, name, alone=engine.dialect.name == "sqlite")
    try:
        with answering("beginning an import"), begin_write(engine) as transaction:
            _begin(transaction, name)
        tree.take_term()
    except BaseException:
        tree.close()
        raise
    return tree


def _begin(transaction: Connection, name: str) -> None:
    begun = update(heads).where(_HERE, heads.c.state != FROZEN).values(state=IMPORTING)
    if transaction.execute(begun, {"name": name}).rowcount != 1:
        raise CheckpointError(f"the log {name!r} is frozen: nothing can be imported into it")
