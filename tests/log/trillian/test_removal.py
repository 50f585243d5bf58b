"""Trees that were deleted long ago are removed for good, and nothing else is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from sqlalchemy import func, select
from tests.log.frontends.support import until
from tests.log.trillian.support import LOCAL, connected, refused, running
from tests.log.trillian.test_persistence import Clock, entry, fields
from tests.reference import mth

from touchplate.base.config import Duration
from touchplate.base.postgresql import parse_address, postgresql_engine
from touchplate.base.sql import Engine, begin_write, sqlite_engine
from touchplate.log.errors import NotFoundError, RequestError, StorageFailedError
from touchplate.log.fsck import check_log
from touchplate.log.storage.raw import RawTree
from touchplate.log.storage.raw_rows import RawEntry
from touchplate.log.storage.registry import Registry
from touchplate.log.storage.removal import STEP_ROWS, Removal
from touchplate.log.storage.rows import TreeRows
from touchplate.log.storage.schema import metadata, trees
from touchplate.log.storage.sql import open_tree
from touchplate.log.trillian.config import TrillianConfig
from touchplate.proto.trillian.trillian_admin_api_pb2 import (
    DeleteTreeRequest,
    GetTreeRequest,
    ListTreesRequest,
    UndeleteTreeRequest,
)
from touchplate.verify.rfc6962 import leaf_hash

LEAVES = STEP_ROWS + 40
DELETED = 1_000


@pytest.fixture
def engine(tmp_path: Path, storage: str) -> Iterator[Engine]:
    """A database with a log and two raw trees, 5 and 6, of which 5 is deleted."""
    if storage == "sqlite":
        made = sqlite_engine(tmp_path / "db")
    else:
        made = postgresql_engine(parse_address(storage))
    open_tree(made, "log.example.org")
    registry = Registry(made)
    for public_id in (5, 6):
        tree = RawTree(made, registry.add(fields(public_id)), Clock())
        tree.initialise()
        # Many of one value, and many of their own.
        tree.apply([RawEntry(b"v", leaf_hash(b"v"), b"%d" % n, b"", 7) for n in range(LEAVES)])
        tree.apply([entry(str(n)) for n in range(LEAVES)])
    registry.change(5, lambda row: replace(row.fields, deleted=DELETED))
    yield made
    made.dispose()


def counts(engine: Engine, tree: int) -> dict[str, int]:
    """Rows of one tree, by table, where there are any."""
    found = {}
    with engine.connect() as connection:
        for table in metadata.tables.values():
            where = select(func.count()).where(table.c.tree_id == tree)
            if rows := connection.execute(where).scalar_one():
                found[table.name] = rows
    return found


def steps(removal: Removal) -> int:
    return next(count for count in range(1000) if not removal.step())


def is_whole(engine: Engine, public_id: int) -> bool:
    rows = TreeRows(engine, f"trillian/{public_id}")
    try:
        return not check_log(rows).findings
    finally:
        rows.close()


def test_only_what_was_deleted_long_ago_is_removed_and_all_of_it(engine: Engine) -> None:
    registry, removal = Registry(engine), Removal(engine)
    gone, kept = registry.find(5).tree_id, registry.find(6).tree_id
    before = counts(engine, kept)
    assert removal.begin(DELETED - 1) == []
    assert not removal.step()
    assert removal.begin(DELETED) == [5]
    assert removal.begin(DELETED) == []
    assert steps(removal) > LEAVES // STEP_ROWS
    assert counts(engine, gone) == {"trees": 1}
    assert counts(engine, kept) == before
    assert is_whole(engine, 6)
    with pytest.raises(RequestError, match="holds no tree 'trillian/5'"):
        TreeRows(engine, "trillian/5")


def test_what_was_begun_can_be_neither_undeleted_nor_written_and_is_gone_on_with(engine: Engine) -> None:
    registry = Registry(engine)
    open_still = RawTree(engine, registry.find(5), Clock())
    assert Removal(engine).begin(DELETED) == [5]
    with pytest.raises(NotFoundError):
        registry.change(5, lambda row: replace(row.fields, deleted=None))
    with pytest.raises(NotFoundError):
        open_still.apply([entry("late")])
    for _ in range(3):  # killed after each step
        assert Removal(engine).step()
    steps(Removal(engine))
    assert counts(engine, open_still.tree_id) == {"trees": 1}


def test_a_tree_that_was_undeleted_meanwhile_stays(engine: Engine) -> None:
    registry, removal = Registry(engine), Removal(engine)
    tree = registry.find(5).tree_id
    registry.change(5, lambda row: replace(row.fields, deleted=None))
    assert removal._take_out(tree, DELETED) is None  # it was in the list
    assert not removal.step()
    assert RawTree(engine, registry.find(5), Clock()).head().size == 2 * LEAVES
    assert is_whole(engine, 5)


def test_the_number_of_a_removed_tree_is_never_anothers(engine: Engine) -> None:
    registry, removal = Registry(engine), Removal(engine)
    numbers = {registry.find(public_id).tree_id for public_id in (5, 6)}
    registry.change(6, lambda row: replace(row.fields, deleted=DELETED))
    assert sorted(removal.begin(DELETED)) == [5, 6]
    steps(removal)
    assert registry.add(fields(7)).tree_id not in numbers
    with engine.connect() as connection:
        assert set(connection.execute(select(trees.c.kind)).scalars()) == {"attestations", "removed", "raw"}


@pytest.mark.parametrize("storage", ["sqlite"])  # whose trigger it is
def test_a_step_that_fails_removes_nothing(engine: Engine) -> None:
    removal = Removal(engine)
    tree = Registry(engine).find(5).tree_id
    removal.begin(DELETED)
    before = counts(engine, tree)
    with begin_write(engine) as connection:
        connection.exec_driver_sql(
            "CREATE TRIGGER full BEFORE DELETE ON tiles BEGIN SELECT RAISE(ABORT, 'disk full'); END"
        )
    with pytest.raises(StorageFailedError, match="disk full"):
        steps(removal)
    assert counts(engine, tree)["tiles"] == before["tiles"]
    with begin_write(engine) as connection:
        connection.exec_driver_sql("DROP TRIGGER full")
    steps(removal)
    assert counts(engine, tree) == {"trees": 1}


def test_a_server_removes_them_by_itself_when_it_is_told_to(tmp_path: Path, storage: str) -> None:
    with running(tmp_path, storage=storage) as service, connected(service) as client:
        old, new, kept = client.make(), client.make(), client.make()
        for tree in (old, new, kept):
            client.queue(tree, b"a")
            client.admin.DeleteTree(DeleteTreeRequest(tree_id=tree))
        client.admin.UndeleteTree(UndeleteTreeRequest(tree_id=kept))
        assert service.trillian is not None
        registry = service.trillian._registry
        registry.change(old, lambda row: replace(row.fields, deleted=row.fields.created - 3_600_000))
        number = registry.find(old).tree_id
    config = replace(LOCAL, remove_after=Duration.parse("1h"))
    with running(tmp_path, config, storage) as service, connected(service) as client:
        until(lambda: counts(service._engine, number) == {"trees": 1})
        for call in (client.admin.GetTree, client.admin.UndeleteTree):
            kind = GetTreeRequest if call is client.admin.GetTree else UndeleteTreeRequest
            with refused(grpc.StatusCode.NOT_FOUND):
                call(kind(tree_id=old))
        shown = client.admin.ListTrees(ListTreesRequest(show_deleted=True)).tree
        assert old not in {tree.tree_id for tree in shown}
        client.admin.UndeleteTree(UndeleteTreeRequest(tree_id=new))
        for tree in (new, kept):
            assert client.root(tree).root == mth([b"a"])


def test_trees_are_not_removed_at_once() -> None:
    assert TrillianConfig(remove_after=Duration.parse("59m")).check() != []
    assert TrillianConfig(remove_after=Duration.parse("1h")).check() == []
    assert TrillianConfig().remove_after == 0
