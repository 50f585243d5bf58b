"""PostgreSQL databases as touchplate uses them: durable at commit, and no session that can hang for ever.

A session that stops answering (its process was stopped, its machine lost) must let go of what it holds, else
nobody could take its place: the server ends it after `IDLE_SECONDS` in a transaction.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from touchplate.base.errors import StorageError

__all__ = [
    "URL",
    "BigIntegerArray",
    "BinaryArray",
    "BytesArray",
    "Engine",
    "IntegerArray",
    "parse_address",
    "postgresql_engine",
]

DRIVER = "postgresql+psycopg"
OLDEST_VERSION = 15

IDLE_SECONDS = 4
"""Silence in the middle of a transaction after which the server ends the session. Between two statements of a
batch lie milliseconds."""

LOCK_SECONDS = 15
"""The longest wait for another transaction's lock; as long as a writer of SQLite waits."""

CONNECT_SECONDS = 10
"""How long a server may take to greet."""

KEPT_CONNECTIONS = 8
"""Connections kept open between uses."""

MOST_CONNECTIONS = 32
"""Connections of one process to one database. Servers have a hundred for all."""

PARAMETERS = frozenset(
    {"host", "port", "sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "target_session_attrs"}
)
"""What may stand behind the question mark of an address (libpq's names)."""

_KEEPALIVE = {
    # A server that vanished is noticed after about ten seconds, by the idle and by those who wait for it.
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


class BinaryArray(bytes):
    """An array in PostgreSQL's binary form, sent as it is. The numbers are those of pg_type."""

    oid: ClassVar[int]
    element_oid: ClassVar[int]


class BytesArray(BinaryArray):
    """`bytea[]`."""

    oid, element_oid = 1001, 17


class BigIntegerArray(BinaryArray):
    """`int8[]`."""

    oid, element_oid = 1016, 20


class IntegerArray(BinaryArray):
    """`int4[]`."""

    oid, element_oid = 1007, 23


def parse_address(text: str) -> URL:
    """The address of a database, `postgresql+psycopg://USER@HOST[:PORT]/DATABASE[?sslmode=…]`, without a
    password. ValueError with the remedy otherwise; the text is not repeated, since it may hold one."""
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError(f"is no address; write {DRIVER}://USER@HOST/DATABASE") from None
    if url.drivername != DRIVER:
        raise ValueError(f"must begin with {DRIVER}://")
    if url.password is not None:
        raise ValueError("must not hold a password; give it by reference, as storage_password")
    if not url.database:
        raise ValueError(f"names no database; write {DRIVER}://USER@HOST/DATABASE")
    unknown = sorted(set(url.query) - PARAMETERS)
    if unknown:
        raise ValueError(f"has the parameter {unknown[0]!r}; known: {', '.join(sorted(PARAMETERS))}")
    return url


def postgresql_engine(url: URL, *, idle_seconds: int = IDLE_SECONDS) -> Engine:
    """An engine for the database at `url` (with its password, if it needs one).

    Commits are on disk before they return, whatever the server's default is. Plans do not depend on
    statistics: a table that was never analysed must not stall the log. `idle_seconds`: 0 for a reader that
    thinks for long between two statements. Use `base.sql.begin_read` and `begin_write`.

    Raises StorageError when the database does not answer, is older than 15, or would lose what it committed.
    """
    settings = {
        "lock_timeout": f"{LOCK_SECONDS}s",
        "idle_in_transaction_session_timeout": f"{idle_seconds}s",
        # Every table here is read by its key, in its order, whatever the server thinks of their sizes.
        "enable_seqscan": "off",
        "enable_bitmapscan": "off",
        "jit": "off",
        "timezone": "UTC",
    }
    try:
        engine = _make_engine(url, settings)
    except ModuleNotFoundError as error:
        raise StorageError(
            f"PostgreSQL needs a driver that is not installed ({error.name}):"
            " pip install 'touchplate[postgresql]'"
        ) from error
    shown = url.render_as_string()
    event.listen(engine, "connect", partial(_configure, shown=shown))
    try:
        with engine.connect():
            pass
    except SQLAlchemyError as error:
        engine.dispose()
        cause = " ".join(str(getattr(error, "orig", None) or error).split())
        raise StorageError(f"cannot open the database {shown}: {cause}") from error
    except BaseException:
        engine.dispose()
        raise
    return engine


def _make_engine(url: URL, settings: Mapping[str, str]) -> Engine:
    return create_engine(
        url,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "touchplate",
            "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
            **_KEEPALIVE,
        },
        pool_size=KEPT_CONNECTIONS,
        max_overflow=MOST_CONNECTIONS - KEPT_CONNECTIONS,
        pool_timeout=LOCK_SECONDS,
    )


def _teach_arrays(dbapi: Any) -> None:
    """Have the driver send our arrays as they are."""
    from psycopg.adapt import Dumper  # the driver is an extra
    from psycopg.pq import Format

    for kind in (BytesArray, BigIntegerArray, IntegerArray):

        class _AsItIs(Dumper):
            format = Format.BINARY
            oid = kind.oid

            def dump(self, obj: bytes) -> bytes:
                return obj

        dbapi.adapters.register_dumper(kind, _AsItIs)


def _configure(dbapi: Any, _record: object, *, shown: str) -> None:
    _teach_arrays(dbapi)
    names = ("server_version_num", "fsync", "synchronous_commit", "transaction_read_only")
    with dbapi.cursor() as cursor:
        cursor.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in names))
        version, fsync, commit, read_only = cursor.fetchone()
        if commit == "off":  # stronger settings than `on` stay as they are
            cursor.execute("SET synchronous_commit = on")
    dbapi.commit()
    if int(version) // 10_000 < OLDEST_VERSION:
        raise StorageError(f"{shown}: PostgreSQL {OLDEST_VERSION} or newer is needed, not {version}")
    if fsync == "off":
        raise StorageError(f"{shown}: the server runs with fsync = off and would lose what it confirmed")
    if read_only == "on":
        raise StorageError(f"{shown}: this server only reads (a standby?); give the address of the primary")
