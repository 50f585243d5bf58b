"""A question about many keys at once: one statement, whatever their number, and each key looked up by itself.

The keys stand in a table of their own, and what is asked about each is a subquery by a whole primary key. So
no plan depends on statistics, and a key that is there a million times costs no more than it is asked for.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any

from sqlalchemy import Column, Connection, FromClause, Row, Select, bindparam, values

from touchplate.log.storage.bulk import LOOKUP_ROWS, arrays

Make = Callable[[FromClause], Select[Any]]
"""Makes the statement from the table of keys; it binds the number of the tree as `tree`."""


class Question:
    """One such question, for one SQL dialect."""

    def __init__(self, dialect: str, columns: Sequence[Column[Any]], make: Make) -> None:
        """`columns`: what the keys are compared with; the table of keys has columns of the same names."""
        self._names = [column.name for column in columns]
        self._in_arrays: Select[Any] | None = None
        self._in_rows: dict[int, Select[Any]] = {}
        if dialect == "postgresql":
            self._in_arrays = make(arrays(*columns))
        else:  # few fixed lengths, see `bulk`
            self._in_rows = {count: make(_rows(columns, count)) for count in LOOKUP_ROWS}

    def ask(self, connection: Connection, tree: int, keys: Sequence[Sequence[Any]]) -> Iterator[Row[Any]]:
        """The rows of the answer, in any order; on SQLite perhaps some of them twice."""
        if self._in_arrays is not None:
            if keys:
                columns = dict(zip(self._names, zip(*keys, strict=True), strict=True))
                yield from connection.execute(self._in_arrays, {"tree": tree, **columns})
            return
        for start in range(0, len(keys), LOOKUP_ROWS[-1]):
            part = list(keys[start : start + LOOKUP_ROWS[-1]])
            count = next(rows for rows in LOOKUP_ROWS if rows >= len(part))
            part += part[:1] * (count - len(part))
            names = (f"{name}_{row}" for row in range(count) for name in self._names)
            bound = dict(zip(names, chain.from_iterable(part), strict=True))
            yield from connection.execute(self._in_rows[count], {"tree": tree, **bound})


def _rows(columns: Sequence[Column[Any]], count: int) -> FromClause:
    """A table of `count` rows of parameters."""
    table = values(*(Column(column.name, column.type) for column in columns), name="wanted")
    cells = [
        tuple(bindparam(f"{column.name}_{row}", type_=column.type) for column in columns)
        for row in range(count)
    ]
    return table.data(cells).cte()
