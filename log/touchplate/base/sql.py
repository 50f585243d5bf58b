"""SQLite databases as touchplate uses them: durable at commit, many readers beside one writer, no surprises.
(PostgreSQL: `postgresql.py`. The transactions here serve both.)

SQLAlchemy's SQLite driver would start transactions by itself, lazily and deferred. Here a transaction is
begun explicitly: `begin_read` for a consistent view, `begin_write` with BEGIN IMMEDIATE, so that two writers
wait for each other at the beginning instead of failing in the middle.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from threading import Lock
from time import monotonic, sleep
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.exc import SQLAlchemyError

from touchplate.base.durable import make_folder
from touchplate.base.errors import StorageError

__all__ = [
    "Engine",
    "begin_read",
    "begin_write",
    "copy_sqlite",
    "database_errors",
    "snapshot",
    "sqlite_engine",
    "use_wal",
]

# Seconds a writer waits for another one: many times the longest batch, and short enough to notice a stuck
# process.
BUSY_SECONDS = 15.0
# Connections kept open between uses: one costs up to 2 MB of cache, and opening one a tenth of a millisecond.
KEPT_CONNECTIONS = 8
# Pages that a connection keeps in memory: SQLite's own default, enough to append and to read a few rows.
CACHE_KIB = 2_000
# SQLite's own default.
WAL_PAGES = 1_000
# Pages that a backup copies between two reports: 16 MiB.
BACKUP_PAGES = 4096
# Between two tries to change a new database to WAL, which takes a few milliseconds.
_WAL_PAUSE_SECONDS = 0.01
_WRITE = "touchplate_write"
_TURN = "touchplate_turn"


def sqlite_engine(
    path: Path,
    *,
    busy_seconds: float = BUSY_SECONDS,
    cache_kib: int = CACHE_KIB,
    wal_pages: int = WAL_PAGES,
) -> Engine:
    """An engine for the SQLite file `path`, made with its folder when it is not there.

    Journal mode WAL (readers never wait for the writer) and synchronous FULL (a commit is on disk before it
    returns), foreign keys on. `cache_kib`: memory for pages, of each connection. `wal_pages`: pages of 4 KiB
    in the write-ahead log, after which a commit moves them into the database. Use `begin_read` and
    `begin_write`; `engine.begin()` gives a deferred transaction. Raises StorageError when the file cannot
    be opened or its file system cannot do WAL.
    """
    try:
        make_folder(path.parent)
    except OSError as error:
        raise StorageError(f"cannot make the folder of {path}: {error.strerror}") from error
    url = URL.create("sqlite+pysqlite", database=str(path))
    # No upper limit: a pool that readers have emptied would keep the writer waiting, whom they do not
    # disturb in WAL. There are never more connections than threads.
    engine = create_engine(
        url,
        connect_args={"timeout": busy_seconds},
        pool_size=KEPT_CONNECTIONS,
        max_overflow=-1,
        pool_use_lifo=True,  # the connection that was used last has pages in its memory
        # SQLite's own waiting is sleeping and trying again: among several writers some would starve.
        execution_options={_TURN: (Lock(), busy_seconds)},
    )
    configure = partial(_configure, busy_seconds=busy_seconds, cache_kib=cache_kib, wal_pages=wal_pages)
    event.listen(engine, "connect", configure)
    event.listen(engine, "begin", _begin)
    try:
        with engine.connect() as connection:
            mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
    except Exception as error:
        engine.dispose()
        raise StorageError(f"cannot open the database {path}: {_detail(error)}") from error
    if mode != "wal":
        engine.dispose()
        raise StorageError(
            f"{path}: this file system cannot do WAL (journal mode is {mode}); use a local disk"
        )
    return engine


def snapshot(engine: Engine) -> Connection:
    """A new connection whose transactions see one state of the database each, however long they take."""
    connection = engine.connect()
    if connection.dialect.name == "postgresql":
        # By default each statement there sees what was committed when it began.
        connection = connection.execution_options(isolation_level="REPEATABLE READ")
    return connection


@contextlib.contextmanager
def begin_read(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one state of the database, however long it takes; what it writes is rolled
    back.
    """
    with snapshot(engine) as connection:
        transaction = connection.begin()
        try:
            yield connection
        finally:
            transaction.rollback()


@contextlib.contextmanager
def begin_write(engine: Engine) -> Iterator[Connection]:
    """A transaction that holds SQLite's write lock from its beginning; committed at the end, rolled back on
    an error.

    Raises sqlalchemy.exc.OperationalError ("database is locked") after the engine's busy time.
    """
    with _turn(engine), engine.connect() as connection:
        connection = connection.execution_options(**{_WRITE: True})
        with connection.begin():
            yield connection


@contextlib.contextmanager
def _turn(engine: Engine) -> Iterator[None]:
    """One writer of this process at a time, where the database has one writer anyway."""
    options: Mapping[str, Any] = engine.get_execution_options()
    if _TURN not in options:
        yield
        return
    turn, seconds = options[_TURN]
    # Whoever waits for too long tries all the same, and is told by the database.
    is_mine = turn.acquire(timeout=seconds)
    try:
        yield
    finally:
        if is_mine:
            turn.release()


@contextlib.contextmanager
def database_errors(doing: str) -> Iterator[None]:
    """Turn what the database raises (a full disk, a damaged file) into StorageError, which says what was
    being done."""
    try:
        yield
    except SQLAlchemyError as error:
        raise StorageError(f"{doing}: the database failed: {_detail(error)}") from error


def copy_sqlite(engine: Engine, target: Path, progress: Callable[[int, int], None] | None = None) -> None:
    """Copy the database of `engine` to the new file `target`, as it is at one moment, while others write.

    It uses SQLite's own backup. `target` is not synced. `progress` is told (pages copied, pages). Raises
    StorageError.
    """

    def told(_status: int, remaining: int, total: int) -> None:
        if progress is not None:
            progress(total - remaining, total)

    with database_errors("copying the database"), begin_read(engine) as connection:
        # The first question begins the read transaction. Without it each commit would start the copy again.
        connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one()
        source: sqlite3.Connection = connection.connection.driver_connection  # type: ignore[assignment]
        try:
            with contextlib.closing(sqlite3.connect(target)) as copy:
                source.backup(copy, pages=BACKUP_PAGES, progress=told, sleep=0.0)
        except sqlite3.Error as error:
            raise StorageError(f"copying the database to {target}: {error}") from error


def _configure(
    dbapi: sqlite3.Connection, _record: object, *, busy_seconds: float, cache_kib: int, wal_pages: int
) -> None:
    # The driver must not begin transactions by itself, nor commit before DDL.
    dbapi.isolation_level = None
    cursor = dbapi.cursor()
    use_wal(cursor, busy_seconds)
    for pragma in ("synchronous = FULL", "foreign_keys = ON", "trusted_schema = OFF"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.execute(f"PRAGMA cache_size = -{cache_kib}")  # negative: KiB, not pages
    cursor.execute(f"PRAGMA wal_autocheckpoint = {wal_pages}")
    cursor.close()


def use_wal(cursor: sqlite3.Cursor, busy_seconds: float) -> None:
    """Change the database to WAL, and wait for others as long as `busy_seconds`. Raises
    sqlite3.OperationalError.

    SQLite itself does not always wait here: it goes from a reader's lock to the exclusive one, and gives up
    at once when two connections do that to each other, as several processes that open a new database do.
    """
    deadline = monotonic() + busy_seconds
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            # The low byte is the primary code: BUSY_RECOVERY and BUSY_SNAPSHOT are busy, too.
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or monotonic() >= deadline:
                raise
        sleep(_WAL_PAUSE_SECONDS)


def _begin(connection: Connection) -> None:
    options: dict[str, Any] = dict(connection.get_execution_options())
    connection.exec_driver_sql("BEGIN IMMEDIATE" if options.get(_WRITE) else "BEGIN")


def _detail(error: Exception) -> object:
    return getattr(error, "orig", None) or error
