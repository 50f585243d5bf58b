"""Many rows in few statements, into SQLite."""

from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, LargeBinary, MetaData, Table
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import IntegrityError

from touchplate.base.sql import begin_write, sqlite_engine
from touchplate.log.storage.row_insert import ROWS, RowInsert

TABLE = Table("t", MetaData(), Column("a", Integer, primary_key=True), Column("b", LargeBinary))
COUNTS = (0, 1, 3, 4, 5, 255, 256, 257, 341, 1_000)


@pytest.mark.parametrize("count", COUNTS)
def test_every_row_arrives_once_and_in_order(tmp_path: Path, count: int) -> None:
    engine = sqlite_engine(tmp_path / "db")
    rows = [(number, b"%d" % number if number % 3 else None) for number in range(count)]
    with begin_write(engine) as connection:
        TABLE.metadata.create_all(connection)
        assert RowInsert(sqlite.insert(TABLE), ("a", "b")).execute(connection, rows) == count
    with engine.connect() as connection:
        assert [tuple(row) for row in connection.execute(TABLE.select().order_by(TABLE.c.a))] == rows
    engine.dispose()


@pytest.mark.parametrize("there", [0, 100, 299])
def test_only_rows_that_were_added_are_counted(tmp_path: Path, there: int) -> None:
    engine = sqlite_engine(tmp_path / "db")
    insert = RowInsert(sqlite.insert(TABLE).on_conflict_do_nothing(), ("a", "b"))
    with begin_write(engine) as connection:
        TABLE.metadata.create_all(connection)
        insert.execute(connection, [(there, b"old")])
        assert insert.execute(connection, [(number, b"new") for number in range(300)]) == 299
        assert connection.execute(TABLE.select().where(TABLE.c.a == there)).one().b == b"old"
    engine.dispose()


def test_a_row_that_is_there_is_replaced_if_the_insert_says_so(tmp_path: Path) -> None:
    engine = sqlite_engine(tmp_path / "db")
    insert = sqlite.insert(TABLE)
    upsert = insert.on_conflict_do_update(index_elements=["a"], set_={"b": insert.excluded.b})
    with begin_write(engine) as connection:
        TABLE.metadata.create_all(connection)
        for value in (b"old", b"new"):
            RowInsert(upsert, ("a", "b")).execute(connection, [(number, value) for number in range(20)])
        assert {row.b for row in connection.execute(TABLE.select())} == {b"new"}
        with pytest.raises(IntegrityError):
            RowInsert(insert, ("a", "b")).execute(connection, [(3, b"newer")])
    engine.dispose()


def test_every_number_of_rows_is_a_sum_of_the_lengths() -> None:
    assert ROWS[-1] == 1
    assert list(ROWS) == sorted(ROWS, reverse=True)
