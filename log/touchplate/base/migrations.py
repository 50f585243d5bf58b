"""A database's tables, made or brought up to date: Alembic migrations, one schema for SQLite and PostgreSQL.

An empty database gets all tables at once, and the revision that they are. An older one is brought forward by
the scripts in `versions`, in the transaction in which it is opened: all of it, or nothing.
"""

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, inspect, select, text

from touchplate.base.errors import StorageError

VERSION_LENGTH = 32
"""Characters of a revision, as Alembic has it."""


@dataclass(frozen=True)
class Migrations:
    """The history of one database's tables."""

    folder: Path
    """Holds `env.py` and the scripts in `versions`."""
    metadata: MetaData
    """All tables as they are at `newest`."""
    newest: str
    version_table: str
    """Alembic's table under a name of our own: the database may hold other programs' tables, too."""
    first_table: str
    """A table that every database of this kind has had from the beginning."""
    lock: int
    """Advisory lock of PostgreSQL under which tables are made: two processes may open a database at once."""
    what: str = "the database"
    """How errors name it."""
    unversioned: str = "0001"
    """The revision of a database that names none: those from before there were migrations."""

    @property
    def versions(self) -> Table:
        """The table that holds the revision."""
        return Table(
            self.version_table, MetaData(), Column("version_num", String(VERSION_LENGTH), primary_key=True)
        )


def prepare(transaction: Connection, migrations: Migrations) -> None:
    """Make the tables, or bring them to the newest revision. Raises StorageError with the reason
    `newer-database` for a database of a newer touchplate."""
    if transaction.dialect.name == "postgresql":
        transaction.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": migrations.lock})
    there = inspect(transaction).get_table_names()
    versions = migrations.versions
    if migrations.first_table not in there:
        migrations.metadata.create_all(transaction)
    if versions.name not in there:
        versions.create(transaction)
        begun = migrations.unversioned if migrations.first_table in there else migrations.newest
        transaction.execute(insert(versions), {"version_num": begun})
    revision = transaction.execute(select(versions.c.version_num)).scalar_one()
    if revision != migrations.newest:
        _migrate(transaction, migrations, revision)


def _migrate(transaction: Connection, migrations: Migrations, revision: str) -> None:
    # On use: a database is older than the program once, at the first start after an update.
    from alembic.command import upgrade
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(migrations.folder).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision not in known:
        raise StorageError(
            f"{migrations.what} is of revision {revision!r}, which this version of touchplate does not know:"
            " use the version that made it, or a newer one",
            reason="newer-database",
        )
    config.attributes["connection"] = transaction
    upgrade(config, migrations.newest)
