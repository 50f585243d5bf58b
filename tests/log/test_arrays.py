"""Arrays that PostgreSQL reads as they are."""

from typing import Any

import pytest
from sqlalchemy import BigInteger, Integer, LargeBinary, String, bindparam, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.types import ARRAY, TypeEngine

from touchplate.base.postgresql import BytesArray, parse_address, postgresql_engine
from touchplate.log.storage.arrays import PackedArray

LARGEST = 2**63 - 1

CASES: list[tuple[TypeEngine[Any], list[object]]] = [
    (LargeBinary(), []),
    (LargeBinary(), [b""]),
    (LargeBinary(), [b"NULL", b'{"\\,}', bytes(range(256)), b"\0"]),
    (LargeBinary(), [None]),
    (LargeBinary(), [b"a", None, b"", bytes(70_000)]),
    (BigInteger(), []),
    (BigInteger(), [0, -1, 1, LARGEST, -LARGEST - 1]),
    (Integer(), [0, -1, 2**31 - 1, -(2**31)]),
]


@pytest.mark.parametrize(("of", "values"), CASES, ids=lambda one: str(one)[:40])
def test_a_list_arrives_as_it_was(database: str, of: TypeEngine[Any], values: list[object]) -> None:
    engine = postgresql_engine(parse_address(database))
    given = func.unnest(bindparam("given", type_=PackedArray(of))).table_valued("value").render_derived()
    with engine.connect() as connection:
        # Also as a prepared statement, which the driver makes of what it has seen five times.
        for _ in range(7):
            found = connection.execute(select(given.c.value), {"given": values}).scalars().all()
            assert list(found) == values
        kind = func.pg_typeof(bindparam("given", type_=PackedArray(of))).cast(String)
        assert (
            str(connection.execute(select(kind), {"given": values}).scalar_one())
            == {
                LargeBinary: "bytea[]",
                BigInteger: "bigint[]",
                Integer: "integer[]",
            }[type(of)]
        )
    engine.dispose()


def test_two_columns_keep_their_rows_together(database: str) -> None:
    engine = postgresql_engine(parse_address(database))
    names = bindparam("names", type_=PackedArray(LargeBinary()))
    numbers = bindparam("numbers", type_=PackedArray(BigInteger()))
    rows = func.unnest(names, numbers).table_valued("name", "number").render_derived()
    pairs = [(b"%d" % number, number) for number in range(3_000)]
    with engine.connect() as connection:
        values = {"names": [one for one, _ in pairs], "numbers": [one for _, one in pairs]}
        assert [tuple(row) for row in connection.execute(select(rows), values)] == pairs
    engine.dispose()


def test_the_server_reads_what_the_driver_would_have_sent(database: str) -> None:
    engine = postgresql_engine(parse_address(database))
    ours = bindparam("ours", type_=PackedArray(LargeBinary()))
    theirs = bindparam("theirs", type_=ARRAY(LargeBinary()))
    values: list[bytes | None] = [b"", None, b"x" * 1000, b"\xff\x00"]
    with engine.connect() as connection:
        assert connection.execute(select(ours == theirs), {"ours": values, "theirs": values}).scalar_one()
    engine.dispose()


def test_bytes_that_are_no_array_are_refused_by_the_server(database: str) -> None:
    engine = postgresql_engine(parse_address(database))
    with engine.connect() as connection, pytest.raises(OperationalError, match="insufficient data"):
        connection.exec_driver_sql("SELECT %s", (BytesArray(b"\0\0\0\1"),))
    engine.dispose()


def test_columns_of_other_types_are_refused() -> None:
    with pytest.raises(TypeError, match="no array of String"):
        PackedArray(String())
