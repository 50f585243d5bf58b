"""INSERT of many rows into SQLite: few statements of fixed lengths, whose text is made once.

The driver lets go of Python's lock in every step of a statement, and a row of an executemany is a step:
beside a busy event loop, each of them then waits for its turn. Here some hundred rows are one step.
"""

from collections.abc import Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Connection, bindparam
from sqlalchemy.dialects import sqlite

ROWS = (256, 64, 16, 4, 1)
"""Rows of one statement; 256 of five columns are far from the driver's limit of 32,766 parameters."""


class RowInsert:
    """One INSERT, with whatever it does on a conflict."""

    def __init__(self, insert: sqlite.Insert, names: Sequence[str]) -> None:
        """`names`: the columns, in the order in which rows have them."""
        row: dict[str, Any] = {name: bindparam(name) for name in names}
        compiled = insert.values(row).compile(dialect=sqlite.dialect())
        assert compiled.positiontup == list(names)
        self._texts = {count: with_rows(str(compiled), len(names), count) for count in ROWS}

    def execute(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> int:
        """Insert; how many rows that added or changed."""
        done, at = 0, 0
        while at < len(rows):
            count = next(count for count in ROWS if count <= len(rows) - at)
            parameters = tuple(chain.from_iterable(rows[at : at + count]))
            done += connection.exec_driver_sql(self._texts[count], parameters).rowcount
            at += count
        return done


def with_rows(text: str, width: int, count: int) -> str:
    """A statement with one row of `width` parameters in VALUES, with `count` of them."""
    row = f"({', '.join('?' * width)})"
    before, values, after = text.partition(f"VALUES {row}")
    assert values
    return f"{before}VALUES {', '.join([row] * count)}{after}"
