"""The tables of a log's database, made or brought up to date: Alembic migrations, one schema.

An empty database gets the tables of `schema.py` at once, and the revision that they are. An older one is
brought forward by the scripts in `versions`, in the transaction in which it is opened: all of it, or nothing.
A test compares both ways, on both databases.
"""

from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, String, Table, insert, inspect, select, text

from touchplate.log.errors import FatalError
from touchplate.log.storage.schema import metadata, trees

NEWEST = "0005"
"""The revision that `schema.py` is."""

UNVERSIONED = "0001"
"""The revision of a log's database that names none: those from before there were migrations."""

VERSION_TABLE = "log_version"
"""Alembic's table under a name of our own: the database may hold other programs' tables, too."""

VERSION_LENGTH = 32
"""Characters of a revision, as Alembic has it."""

_LOCK = 0x746F7563
"""Advisory lock of PostgreSQL ("touc") under which tables are made: two processes may open the database at
once."""

_versions = Table(VERSION_TABLE, MetaData(), Column("version_num", String(VERSION_LENGTH), primary_key=True))


def prepare(transaction: Connection) -> None:
    """Make the tables, or bring them to `NEWEST`. Raises FatalError for a database of a newer touchplate."""
    if transaction.dialect.name == "postgresql":
        transaction.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    there = inspect(transaction).get_table_names()
    if trees.name not in there:
        metadata.create_all(transaction)
    if VERSION_TABLE not in there:
        _versions.create(transaction)
        begun = UNVERSIONED if trees.name in there else NEWEST
        transaction.execute(insert(_versions), {"version_num": begun})
    revision = transaction.execute(select(_versions.c.version_num)).scalar_one()
    if revision != NEWEST:
        _migrate(transaction, revision)


def _migrate(transaction: Connection, revision: str) -> None:
    # On use: a database is older than the program once, at the first start after an update.
    from alembic.command import upgrade
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if revision not in known:
        raise FatalError(
            f"the database is of revision {revision!r}, which this version of touchplate does not know:"
            " use the version that made it, or a newer one"
        )
    config.attributes["connection"] = transaction
    upgrade(config, NEWEST)
