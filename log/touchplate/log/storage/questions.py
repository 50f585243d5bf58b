"""A question about many keys at once: one statement, whatever their number, and each key looked up by itself.

The keys stand in a table of their own, and what is asked about each is a subquery by a whole primary key. So
no plan depends on statistics, and a key that is there a million times costs no more than it is asked for.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Column, Connection, FromClause, Row, Select, bindparam, values
from sqlalchemy.dialects import sqlite

from touchplate.log.storage.bulk import LOOKUP_ROWS, arrays
from touchplate.log.storage.row_insert import with_rows

Make = Callable[[FromClause], Select[Any]]
"""Makes the statement from the table of keys; it binds the number of the tree as `tree`."""


class Question:
    """One such question, for one SQL dialect."""

    def __init__(self, dialect: str, columns: Sequence[Column[Any]], make: Make) -> None:
        """`columns`: what the keys are compared with; the table of keys has columns of the same names."""
        self._names = [column.name for column in columns]
        self._in_arrays: Select[Any] | None = None
        self._texts: dict[int, str] = {}
        if dialect == "postgresql":
            self._in_arrays = make(arrays(*columns))
        else:  # few fixed lengths, see `bulk`
            text, self._trees = _for_one_key(columns, make)
            self._texts = {count: with_rows(text, len(columns), count) for count in LOOKUP_ROWS}

    def ask(self, connection: Connection, tree: int, keys: Sequence[Sequence[Any]]) -> Iterator[Row[Any]]:
        """The rows of the answer, in any order; on SQLite some perhaps twice, and values as the driver has
        them."""
        if self._in_arrays is not None:
            if keys:
                columns = dict(zip(self._names, zip(*keys, strict=True), strict=True))
                yield from connection.execute(self._in_arrays, {"tree": tree, **columns})
            return
        for start in range(0, len(keys), LOOKUP_ROWS[-1]):
            part = list(keys[start : start + LOOKUP_ROWS[-1]])
            count = next(rows for rows in LOOKUP_ROWS if rows >= len(part))
            part += part[:1] * (count - len(part))
            # The table of keys stands first, and all else is of the tree.
            given = (*chain.from_iterable(part), *(tree,) * self._trees)
            yield from connection.exec_driver_sql(self._texts[count], given)


def _for_one_key(columns: Sequence[Column[Any]], make: Make) -> tuple[str, int]:
    """The statement in SQLite's words, and how often it names the tree.

    Made once: SQLAlchemy would make a statement with rows of parameters anew each time.
    """
    table = values(*(Column(column.name, column.type) for column in columns), name="wanted")
    names = [column.name for column in columns]
    key = tuple(bindparam(column.name, type_=column.type) for column in columns)
    compiled = make(table.data([key]).cte()).compile(dialect=sqlite.dialect())
    given = list(compiled.positiontup or ())
    assert given == names + ["tree"] * (len(given) - len(names))
    return str(compiled), len(given) - len(names)
