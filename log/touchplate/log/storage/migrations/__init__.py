"""The tables of a log's database, made or brought up to date: Alembic migrations, one schema.

An empty database gets the tables of `schema.py` at once, and the revision that they are. An older one is
brought forward by the scripts in `versions`, in the transaction in which it is opened: all of it, or nothing
(`base/migrations.py`). A test compares both ways, on both databases.
"""

from pathlib import Path

from sqlalchemy import Connection

from touchplate.base.errors import StorageError
from touchplate.base.migrations import Migrations
from touchplate.base.migrations import prepare as prepare_tables
from touchplate.log.errors import FatalError
from touchplate.log.storage.schema import metadata, trees

NEWEST = "0005"
"""The revision that `schema.py` is."""

UNVERSIONED = "0001"
"""The revision of a log's database that names none: those from before there were migrations."""

VERSION_TABLE = "log_version"
"""Alembic's table under a name of our own: the database may hold other programs' tables, too."""

MIGRATIONS = Migrations(
    folder=Path(__file__).parent,
    metadata=metadata,
    newest=NEWEST,
    version_table=VERSION_TABLE,
    first_table=trees.name,
    lock=0x746F7563,  # "touc"
    unversioned=UNVERSIONED,
)


def prepare(transaction: Connection) -> None:
    """Make the tables, or bring them to `NEWEST`. Raises FatalError for a database of a newer touchplate."""
    try:
        prepare_tables(transaction, MIGRATIONS)
    except StorageError as error:
        raise FatalError(str(error)) from error
