"""Every SQL statement of the tree, built once: the hot path never compiles one again.

What the databases must be told differently is in `bulk.py`; where both have the same words in a dialect of
their own (INSERT that skips or replaces), it is chosen here.
"""

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import FromClause, Integer, Select, Table, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from touchplate.log.storage.bulk import bulk_for
from touchplate.log.storage.questions import Question
from touchplate.log.storage.schema import decisions, heads, leaves, tiles, trees

_INSERTS: Mapping[str, Callable[[Table], sqlite.Insert | postgresql.Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}


class Statements:
    """The statements for one SQL dialect ("sqlite" or "postgresql"; KeyError for any other)."""

    def __init__(self, dialect: str) -> None:
        insert = _INSERTS[dialect]
        self.bulk = bulk_for(dialect)
        self.add_tree = insert(trees).on_conflict_do_nothing()
        self.add_head = insert(heads).on_conflict_do_nothing()
        here = heads.c.tree_id == bindparam("tree")
        mine = heads.c.term == bindparam("my_term")
        writable = heads.c.state == bindparam("my_state")
        # Compare and swap: a second writer on the same database cannot move a head that the first one moved,
        # nor can a sequencer whose term is over.
        self.move_head = update(heads).where(here, heads.c.tree_size == bindparam("old_size"), mine, writable)
        self.put_checkpoint = update(heads).where(
            here,
            heads.c.checkpoint_size <= bindparam("new_size"),
            heads.c.tree_size >= bindparam("new_size"),
            mine,
        )
        decision = insert(decisions)
        self.put_decision = decision.on_conflict_do_update(
            index_elements=[decisions.c.tree_id], set_={"state": decision.excluded.state}
        )
        self.decision = select(decisions.c.state).where(decisions.c.tree_id == bindparam("tree"))
        self.head = select(heads).where(here)
        self.trees = select(trees).order_by(trees.c.tree_id)
        self.tree = select(trees).where(trees.c.name == bindparam("name"))
        range_ = (
            leaves.c.tree_id == bindparam("tree"),
            leaves.c.leaf_index >= bindparam("start"),
            leaves.c.leaf_index < bindparam("end"),
        )
        by_index = leaves.c.leaf_index
        self.leaf_data = select(leaves.c.leaf_data).where(*range_).order_by(by_index)
        self.packed = select(leaves.c.packed).where(*range_).order_by(by_index)
        self.tile = select(tiles.c.hashes).where(
            tiles.c.tree_id == bindparam("tree"),
            tiles.c.level == bindparam("level"),
            tiles.c.tile_index == bindparam("index"),
        )
        self.tiles = Question(dialect, [tiles.c.level, tiles.c.tile_index], _hashes_of)


def _hashes_of(wanted: FromClause) -> Select[Any]:
    """The stored hashes of tiles."""
    hashes = select(tiles.c.hashes).where(
        tiles.c.tree_id == bindparam("tree", type_=Integer),
        tiles.c.level == wanted.c.level,
        tiles.c.tile_index == wanted.c.tile_index,
    )
    return select(wanted.c.level, wanted.c.tile_index, hashes.scalar_subquery().label("hashes"))
