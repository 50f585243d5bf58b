"""SQLite engines: durability settings, and transactions that begin when they are begun."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, event, text
from sqlalchemy.exc import IntegrityError, OperationalError

from touchplate.base.errors import StorageError
from touchplate.base.sql import begin_read, begin_write, database_errors, sqlite_engine, use_wal


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = sqlite_engine(tmp_path / "new" / "log.db", busy_seconds=0.05)
    with begin_write(made) as connection:
        connection.execute(text("CREATE TABLE t (n INTEGER PRIMARY KEY)"))
        connection.execute(text("CREATE TABLE u (n INTEGER REFERENCES t (n))"))
    yield made
    made.dispose()


def numbers(engine: Engine) -> list[int]:
    with begin_read(engine) as connection:
        return list(connection.execute(text("SELECT n FROM t ORDER BY n")).scalars())


def insert(engine: Engine, number: int) -> None:
    with begin_write(engine) as connection:
        connection.execute(text("INSERT INTO t VALUES (:n)"), {"n": number})


def fail_after(engine: Engine, statement: str) -> None:
    with begin_write(engine) as connection:
        connection.execute(text(statement))
        raise RuntimeError("in the middle")


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("foreign_keys", 1),
        ("busy_timeout", 50),
        ("wal_autocheckpoint", 1000),
    ],
)
def test_every_connection_is_set_for_durability(engine: Engine, pragma: str, value: object) -> None:
    with begin_read(engine) as one, begin_read(engine) as two:
        for connection in (one, two):
            assert connection.exec_driver_sql(f"PRAGMA {pragma}").scalar_one() == value


def test_commits_at_the_end_and_rolls_back_on_an_error(engine: Engine) -> None:
    insert(engine, 1)
    with pytest.raises(RuntimeError):
        fail_after(engine, "INSERT INTO t VALUES (2)")
    assert numbers(engine) == [1]


def test_tables_are_made_inside_the_transaction(engine: Engine) -> None:
    with pytest.raises(RuntimeError):
        fail_after(engine, "CREATE TABLE v (n INTEGER)")
    with begin_read(engine) as connection, pytest.raises(OperationalError, match="no such table"):
        connection.execute(text("SELECT * FROM v"))


def test_what_a_reader_writes_is_gone(engine: Engine) -> None:
    with begin_read(engine) as connection:
        connection.execute(text("INSERT INTO t VALUES (1)"))
    assert numbers(engine) == []


def test_a_reader_sees_one_state_while_a_writer_goes_on(engine: Engine) -> None:
    insert(engine, 1)
    with begin_read(engine) as connection:
        assert connection.execute(text("SELECT count(*) FROM t")).scalar_one() == 1
        insert(engine, 2)
        assert connection.execute(text("SELECT count(*) FROM t")).scalar_one() == 1
    assert numbers(engine) == [1, 2]


def test_a_second_writer_waits_at_its_beginning(engine: Engine) -> None:
    with begin_write(engine), pytest.raises(OperationalError, match="locked"):
        insert(engine, 1)
    insert(engine, 1)
    assert numbers(engine) == [1]


def test_two_writers_that_read_first_both_succeed(tmp_path: Path) -> None:
    engine = sqlite_engine(tmp_path / "log.db")
    with begin_write(engine) as connection:
        connection.execute(text("CREATE TABLE c (n INTEGER)"))
        connection.execute(text("INSERT INTO c VALUES (0)"))

    def count() -> None:
        for _ in range(20):
            with begin_write(engine) as connection:
                number = connection.execute(text("SELECT n FROM c")).scalar_one()
                connection.execute(text("UPDATE c SET n = :n"), {"n": number + 1})

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with begin_read(engine) as connection:
        assert connection.execute(text("SELECT n FROM c")).scalar_one() == 60
    engine.dispose()


def test_readers_never_keep_a_writer_waiting_for_a_connection(engine: Engine) -> None:
    with contextlib.ExitStack() as readers:
        for _ in range(50):
            connection = readers.enter_context(begin_read(engine))
            connection.exec_driver_sql("SELECT count(*) FROM t").all()
        insert(engine, 7)
    assert numbers(engine) == [7]


def test_foreign_keys_are_enforced(engine: Engine) -> None:
    with pytest.raises(IntegrityError), begin_write(engine) as connection:
        connection.execute(text("INSERT INTO u VALUES (5)"))


def test_a_file_that_is_no_database_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_bytes(b"not a database at all" * 100)
    with pytest.raises(StorageError, match="not a database"):
        sqlite_engine(tmp_path / "text.db")
    with pytest.raises(StorageError, match="cannot open"):
        sqlite_engine(tmp_path)
    with pytest.raises(StorageError, match="folder"):
        sqlite_engine(tmp_path / "text.db" / "log.db")


def test_what_was_committed_is_there_for_another_program(engine: Engine, tmp_path: Path) -> None:
    insert(engine, 7)
    with sqlite3.connect(tmp_path / "new" / "log.db") as other:
        assert other.execute("SELECT n FROM t").fetchall() == [(7,)]
    other.close()


def test_pages_in_memory_are_as_many_as_was_said(tmp_path: Path) -> None:
    for kib in (2_000, 16_384):
        made = sqlite_engine(tmp_path / f"{kib}.db", cache_kib=kib)
        with begin_read(made) as connection:
            assert connection.exec_driver_sql("PRAGMA cache_size").scalar_one() == -kib
        made.dispose()


def test_what_the_database_refuses_is_a_storage_error_that_says_what_was_done(engine: Engine) -> None:
    insert(engine, 7)
    with (
        pytest.raises(StorageError, match="counting: the database failed: UNIQUE constraint"),
        database_errors("counting"),
    ):
        insert(engine, 7)


def test_writers_of_one_process_take_turns_without_the_databases_waiting(tmp_path: Path) -> None:
    # With no patience at all, SQLite itself would refuse whoever comes second.
    engine = sqlite_engine(tmp_path / "a.sqlite", busy_seconds=30)
    with begin_write(engine) as connection:
        connection.exec_driver_sql("CREATE TABLE t (writer INTEGER)")
        connection.exec_driver_sql("PRAGMA busy_timeout = 0")
    failures: list[Exception] = []

    def write(number: int) -> None:
        try:
            for _ in range(20):
                with begin_write(engine) as connection:
                    connection.exec_driver_sql(f"INSERT INTO t VALUES ({number})")
        except Exception as error:
            failures.append(error)

    event.listen(engine, "connect", lambda dbapi, _: dbapi.execute("PRAGMA busy_timeout = 0"))
    writers = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert failures == []
    with begin_read(engine) as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM t").scalar_one() == 120
    engine.dispose()


def test_the_change_to_wal_is_tried_again_when_sqlite_does_not_wait_for_it(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    with (
        contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other,
        contextlib.closing(sqlite3.connect(path, timeout=0)) as impatient,
    ):
        other.execute("CREATE TABLE t (n)")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            use_wal(impatient.cursor(), 0.02)
        ends = threading.Timer(0.05, lambda: other.execute("COMMIT"))
        ends.start()
        use_wal(impatient.cursor(), 30)
        ends.join()
        assert impatient.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_many_may_open_a_new_database_at_once(tmp_path: Path) -> None:
    failed: list[StorageError] = []

    def open_it(path: Path) -> None:
        try:
            sqlite_engine(path).dispose()
        except StorageError as error:
            failed.append(error)

    for number in range(20):
        path = tmp_path / f"{number}.db"
        threads = [threading.Thread(target=open_it, args=(path,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []
