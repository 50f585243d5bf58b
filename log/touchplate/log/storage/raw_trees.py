"""Making and changing raw trees without Trillian's interface: what `touchplate log tree` does."""

import time
from dataclasses import dataclass, replace

from sqlalchemy import Engine

from touchplate.base.sql import begin_write
from touchplate.log.errors import RequestError, StateError
from touchplate.log.storage.failures import answering
from touchplate.log.storage.migrations import prepare
from touchplate.log.storage.raw import RawTree
from touchplate.log.storage.registry import (
    ACTIVE,
    FROZEN,
    LOG,
    Registry,
    TreeFields,
    TreeRow,
    random_id,
)
from touchplate.log.storage.sql import RAW

MAX_NAME = 20
"""Characters of a tree's name, as in Trillian's own schema."""

_MILLI = 1_000_000


@dataclass(frozen=True)
class RawTrees:
    """The raw trees in one database, which may be in use, and is made if it is empty."""

    engine: Engine

    def __post_init__(self) -> None:
        with answering("preparing the database"), begin_write(self.engine) as transaction:
            prepare(transaction)

    def create(self, name: str = "") -> TreeRow:
        """A new tree of any bytes, initialised. Raises RequestError, StorageFailedError."""
        if len(name) > MAX_NAME or not name.isprintable():
            raise RequestError(f"the name {name[:100]!r}: at most {MAX_NAME} printable characters")
        now = _millis()
        registry = Registry(self.engine)
        row = registry.add(
            TreeFields(
                public_id=random_id(),
                state=ACTIVE,
                type=LOG,
                display_name=name,
                description="",
                storage_settings=None,
                max_root_nanos=0,
                created=now,
                updated=now,
            )
        )
        RawTree(self.engine, row).initialise()
        return registry.find(row.fields.public_id)

    def rows(self) -> list[TreeRow]:
        """All of them, deleted ones too, oldest first."""
        return [row for row in Registry(self.engine).rows() if row.kind == RAW]

    def freeze(self, public_id: int, *, undo: bool = False) -> TreeRow:
        """Let a tree take no new leaves; `undo`: take them again. Raises NotFoundError, StateError."""
        wanted, state = (FROZEN, ACTIVE) if undo else (ACTIVE, FROZEN)

        def change(row: TreeRow) -> TreeFields:
            _check_raw(row)
            if row.fields.deleted is not None or row.fields.state not in (wanted, state):
                raise StateError(f"the tree {public_id} is deleted or draining; its state was not changed")
            return replace(row.fields, state=state, updated=_millis())

        return Registry(self.engine).change(public_id, change)

    def delete(self, public_id: int, *, undo: bool = False) -> TreeRow:
        """Hide a tree from everything but this; nothing of it is removed. `undo`: show it again.

        Raises NotFoundError, StateError.
        """

        def change(row: TreeRow) -> TreeFields:
            _check_raw(row)
            if (row.fields.deleted is None) == undo:
                raise StateError(f"the tree {public_id} is {'not ' if undo else ''}deleted already")
            now = _millis()
            return replace(row.fields, deleted=None if undo else now, updated=now)

        return Registry(self.engine).change(public_id, change)


def _check_raw(row: TreeRow) -> None:
    if row.kind != RAW:
        raise RequestError(f"the tree {row.fields.public_id} is a log of attestations: see `log freeze`")


def _millis() -> int:
    return time.time_ns() // _MILLI
