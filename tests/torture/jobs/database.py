"""The database of a queue, looked at from outside."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine
from tests.builder.queue.queuehost import QUEUE

from touchplate.base.postgresql import parse_address, postgresql_engine
from touchplate.base.sql import sqlite_engine

SQLITE_FILE = "sqlite"
"""Storage of a queue whose rows are in a file of its node; any other is a PostgreSQL database's address."""


def queue_block(storage: str) -> str:
    """The `[queue]` block of a node's configuration."""
    address = "" if storage == SQLITE_FILE else f'storage = "{storage}"\n'
    return QUEUE.replace("[queue]\n", f"[queue]\n{address}", 1)


@contextmanager
def queue_database(storage: str, data: Path) -> Iterator[Engine]:
    """The rows of the queue of the node with this data folder. It must be down when they are in a file."""
    if storage == SQLITE_FILE:
        engine = sqlite_engine(data / "queue.sqlite")
    else:
        engine = postgresql_engine(parse_address(storage))
    try:
        yield engine
    finally:
        engine.dispose()
