"""The tables of the queue's database, made or brought up to date: Alembic migrations, one schema.

As in the log's storage: an empty database gets the tables of `schema.py` at once, an older one is brought
forward by the scripts in `versions`, in the transaction in which it is opened. A test compares both ways.
"""

from pathlib import Path

from sqlalchemy import Connection

from touchplate.base.migrations import Migrations
from touchplate.base.migrations import prepare as prepare_tables
from touchplate.builder.queue.schema import jobs, metadata

NEWEST = "0004"
"""The revision that `schema.py` is."""

VERSION_TABLE = "queue_version"

MIGRATIONS = Migrations(
    folder=Path(__file__).parent,
    metadata=metadata,
    newest=NEWEST,
    version_table=VERSION_TABLE,
    first_table=jobs.name,
    what="the queue's database",
    lock=0x746F7571,  # "touq"
)


def prepare(transaction: Connection) -> None:
    """Make the tables, or bring them to `NEWEST`. Raises StorageError for those of a newer touchplate."""
    prepare_tables(transaction, MIGRATIONS)
