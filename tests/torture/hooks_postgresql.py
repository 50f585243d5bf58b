"""The hooks on PostgreSQL: the commits of this process, and the statements of its batches.

Its files belong to the server, which is killed as a whole (`kills/shared.py`); what a frontend does to them
is what it commits.
"""

from typing import Any

from psycopg import Connection, Cursor
from tests.torture.hooks import Hooks, written_by
from tests.torture.points import COMMIT

ROOT = "/postgresql"
"""The folder, so to say, in which databases have their names."""

_TABLES = "torture_tables"
"""Attribute of a connection: what its transaction has written."""


def install(hooks: Hooks) -> None:
    """Wrap the connections of psycopg, for the rest of this process."""
    commit, rollback, execute = Connection.commit, Connection.rollback, Cursor.execute

    def noted_commit(self: Connection[Any]) -> None:
        tables = self.__dict__.pop(_TABLES, set())
        if tables:
            with hooks.step(COMMIT, _path(self), " ".join(sorted(tables))):
                commit(self)
        else:
            commit(self)

    def noted_rollback(self: Connection[Any]) -> None:
        self.__dict__.pop(_TABLES, None)
        rollback(self)

    def noted_execute(self: Cursor[Any], query: Any, *args: Any, **options: Any) -> Any:
        table = written_by(query) if isinstance(query, str) else ""
        if table and not self.connection.autocommit:
            self.connection.__dict__.setdefault(_TABLES, set()).add(table)
        with hooks.statement(_path(self.connection), table):
            return execute(self, query, *args, **options)

    Connection.commit = noted_commit  # type: ignore[method-assign]
    Connection.rollback = noted_rollback  # type: ignore[method-assign]
    Cursor.execute = noted_execute  # type: ignore[method-assign]


def _path(connection: Connection[Any]) -> str:
    return f"{ROOT}/{connection.info.dbname}"
