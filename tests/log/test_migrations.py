"""Old databases are brought forward with all that is in them; made or migrated, the schema is the same."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, ForeignKeyConstraint, inspect, text
from sqlalchemy.schema import SchemaItem
from tests.log.support import open_sqlite, raw_entries, sign, signed_entries
from tests.reference import mth
from tests.simkeys import ORIGIN, solo_policy

from touchplate.base.postgresql import parse_address, postgresql_engine
from touchplate.base.sql import begin_write, sqlite_engine
from touchplate.log.errors import FatalError
from touchplate.log.fsck import check_log
from touchplate.log.ports import Sequenced
from touchplate.log.storage import migrations
from touchplate.log.storage.migrations import NEWEST, UNVERSIONED, VERSION_TABLE, prepare
from touchplate.log.storage.rows import TreeRows
from touchplate.log.storage.schema import metadata
from touchplate.log.storage.sql import open_tree

# As touchplate made it before there were migrations; `decisions` came with the peers.
FIRST_SCHEMA = """
CREATE TABLE trees (
    tree_id INTEGER NOT NULL, name VARCHAR(255) NOT NULL, kind VARCHAR(20) NOT NULL,
    PRIMARY KEY (tree_id), UNIQUE (name));
CREATE TABLE leaves (
    tree_id INTEGER NOT NULL, leaf_index BIGINT NOT NULL, leaf_data BLOB NOT NULL, packed BLOB NOT NULL,
    PRIMARY KEY (tree_id, leaf_index), FOREIGN KEY(tree_id) REFERENCES trees (tree_id));
CREATE TABLE identities (
    tree_id INTEGER NOT NULL, identity BLOB NOT NULL, leaf_index BIGINT NOT NULL,
    PRIMARY KEY (tree_id, identity), FOREIGN KEY(tree_id) REFERENCES trees (tree_id)) WITHOUT ROWID;
CREATE TABLE tiles (
    tree_id INTEGER NOT NULL, level INTEGER NOT NULL, tile_index BIGINT NOT NULL, hashes BLOB NOT NULL,
    PRIMARY KEY (tree_id, level, tile_index), FOREIGN KEY(tree_id) REFERENCES trees (tree_id));
CREATE TABLE heads (
    tree_id INTEGER NOT NULL, tree_size BIGINT NOT NULL, root BLOB NOT NULL, checkpoint_size BIGINT NOT NULL,
    checkpoint BLOB, PRIMARY KEY (tree_id), FOREIGN KEY(tree_id) REFERENCES trees (tree_id));
"""
DECISIONS = """
CREATE TABLE decisions (
    tree_id INTEGER NOT NULL, state BLOB NOT NULL,
    PRIMARY KEY (tree_id), FOREIGN KEY(tree_id) REFERENCES trees (tree_id));
"""
COLUMNS = {
    "trees": "tree_id, name, kind",
    "leaves": "tree_id, leaf_index, leaf_data, packed",
    "identities": "tree_id, identity, leaf_index",
    "tiles": "tree_id, level, tile_index, hashes",
    "heads": "tree_id, tree_size, root, checkpoint_size, checkpoint",
}


def make_old(folder: Path, size: int, *, decided: bytes | None) -> None:
    """A log of `size` signed entries as an older touchplate left it."""
    new = folder / "new"
    tree = open_sqlite(new)
    tree.apply(signed_entries(size), sign)
    tree.close()
    with closing(sqlite3.connect(folder / "log.sqlite", isolation_level=None)) as old:
        old.execute("PRAGMA journal_mode = WAL")
        old.executescript(FIRST_SCHEMA)
        old.execute("ATTACH ? AS new", (str(new / "log.sqlite"),))
        for table, columns in COLUMNS.items():
            old.execute(f"INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}")
        if decided is not None:
            old.executescript(DECISIONS)
            old.execute("INSERT INTO decisions VALUES (1, ?)", (decided,))


@pytest.mark.parametrize("decided", [None, b"height 7"])
def test_an_older_log_keeps_its_data_and_goes_on(tmp_path: Path, decided: bytes | None) -> None:
    make_old(tmp_path, 300, decided=decided)
    for _ in range(2):  # brought forward once, then opened as it is
        tree = open_sqlite(tmp_path)
        assert tree.head().size == 300
        assert tree.head().root == mth([entry.leaf_data for entry in signed_entries(300)])
        assert tree.decided() == decided
        tree.close()
    tree = open_sqlite(tmp_path)
    assert tree.apply(signed_entries(302, start=0)[298:], sign) == [
        Sequenced(298, True),
        Sequenced(299, True),
        Sequenced(300, False),
        Sequenced(301, False),
    ]
    tree.close()
    engine = sqlite_engine(tmp_path / "log.sqlite")
    rows = TreeRows(engine, ORIGIN)
    assert check_log(rows, policy=solo_policy()).clean
    rows.close()
    engine.dispose()


def test_an_older_log_can_be_recomputed_without_bringing_it_forward(tmp_path: Path) -> None:
    make_old(tmp_path, 20, decided=None)
    engine = sqlite_engine(tmp_path / "log.sqlite")
    rows = TreeRows(engine, ORIGIN)
    assert check_log(rows, policy=solo_policy()).clean
    assert not inspect(engine).has_table(VERSION_TABLE)
    rows.close()
    engine.dispose()


def test_a_migration_that_fails_leaves_the_database_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_old(tmp_path, 20, decided=None)
    with closing(sqlite3.connect(tmp_path / "log.sqlite")) as old:
        before = list(old.iterdump())
    # The last statement of the migration meets a table that is not ours.
    with closing(sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None)) as old:
        old.execute("CREATE TABLE submissions (x)")
    with pytest.raises(Exception, match="submissions already exists"):
        open_sqlite(tmp_path)
    with closing(sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None)) as old:
        old.execute("DROP TABLE submissions")
        assert list(old.iterdump()) == before


def test_refuses_a_database_of_a_newer_version(tmp_path: Path) -> None:
    open_sqlite(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "log.sqlite", isolation_level=None)) as connection:
        connection.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(FatalError, match="'9999', which this version of touchplate does not know"):
        open_sqlite(tmp_path)


def migrate_from_nothing(transaction: Connection) -> None:
    """All scripts in turn, as for a database that began with the first of them."""
    scripts = Path(migrations.__file__).parent / "versions"
    migrations.MIGRATIONS.versions.create(transaction)
    context = MigrationContext.configure(transaction, opts={"version_table": VERSION_TABLE})
    from alembic.operations import Operations

    with Operations.context(context):
        for script in sorted(scripts.glob("r*.py")):
            names: dict[str, Any] = {}
            exec(compile(script.read_text(), str(script), "exec"), names)
            names["upgrade"]()
    transaction.execute(text(f"INSERT INTO {VERSION_TABLE} VALUES ('{NEWEST}')"))


def engine_for(kind: str, request: pytest.FixtureRequest, folder: Path) -> Engine:
    if kind == "sqlite":
        return sqlite_engine(folder / f"{len(list(folder.iterdir()))}.sqlite")
    return postgresql_engine(parse_address(request.getfixturevalue("postgres").make_database()))


def without_keys_of_rows(what: SchemaItem, *_: object) -> bool:
    """Foreign keys that only SQLite has are no difference on PostgreSQL."""
    return not (isinstance(what, ForeignKeyConstraint) and what._ddl_if is not None)


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
@pytest.mark.parametrize("make", [prepare, migrate_from_nothing])
def test_made_and_migrated_databases_have_the_schema(
    kind: str, make: Callable[[Connection], None], request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    engine = engine_for(kind, request, tmp_path)
    with begin_write(engine) as transaction:
        make(transaction)
        context = MigrationContext.configure(
            transaction,
            opts={
                "version_table": VERSION_TABLE,
                "compare_server_default": True,
                "include_object": None if kind == "sqlite" else without_keys_of_rows,
            },
        )
        assert context.get_current_revision() == NEWEST
        assert compare_metadata(context, metadata) == []
        keyed = {name for name in metadata.tables if inspect(transaction).get_foreign_keys(name)}
        rows = {"leaves", "identities", "tiles", "raw_leaves", "raw_hashes"}
        assert keyed & rows == (rows if kind == "sqlite" else set())
        assert keyed - rows == {"heads", "decisions", "submissions", "trillian_trees"}
        if kind == "postgresql":
            stored = transaction.execute(
                text(
                    "SELECT attrelid::regclass::text, attname FROM pg_attribute WHERE attstorage = 'e'"
                    " AND attrelid IN ('leaves'::regclass, 'tiles'::regclass) ORDER BY 1, 2"
                )
            ).all()
            assert [tuple(row) for row in stored] == [
                ("leaves", "leaf_data"),
                ("leaves", "packed"),
                ("tiles", "hashes"),
            ]
    tree = open_tree(engine, ORIGIN)
    tree.apply(raw_entries(3))
    tree.close()


def test_the_newest_revision_is_that_of_the_last_script() -> None:
    scripts = sorted((Path(migrations.__file__).parent / "versions").glob("r*.py"))
    assert scripts[-1].name.startswith(f"r{NEWEST}_")
    assert scripts[0].name.startswith(f"r{UNVERSIONED}_")
