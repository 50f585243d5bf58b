"""Inside the process that dies: each durable call is noted before and after, and one of them is the last.

Production code has no hook. The functions of `os` and the connections of `sqlite3` are wrapped here, in the
process that was forked for one run, before `touchplate` starts to work; an audit hook catches a file that is
opened for writing by any other way.
"""

import contextlib
import errno
import os
import re
import signal
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.torture.points import (
    CLOSE,
    COMMIT,
    CREATE,
    DATABASE,
    DETAILED,
    FOLDER,
    REMOVE,
    RENAME,
    STATEMENT,
    SYNC,
    Point,
    Table,
)
from tests.torture.power import Unsynced

KILL, CUT = "kill", "cut"
"""SIGKILL; and SIGKILL after everything was undone that a power cut would take."""

HOLD = "hold"
"""The process waits there, so that another one can be killed meanwhile, until its orders are gone."""

ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO}

WRITES = re.compile(
    r"\s*(?:INSERT(?: OR \w+)? INTO|UPDATE|DELETE FROM|(CREATE) (?:TABLE|INDEX|UNIQUE INDEX)"
    r'|(DROP) (?:TABLE|INDEX))(?: IF (?:NOT )?EXISTS)? "?(\w+)'
)
"""What a statement makes, drops or writes, and the name of that."""


_COLUMNS = re.compile(r"UPDATE \w+ SET (.*?) WHERE ", re.DOTALL)
_COLUMN = re.compile(r"(?:^|, )(\w+)=")


@dataclass
class Plan:
    """What happens to one process: at the `number`-th time that it comes to `side` of `point`."""

    roots: dict[str, str]
    hits: str
    """File that gets a line for every point passed, `?` and the call for one that is not in the table."""
    point: str = ""
    side: str = "before"
    number: int = 1
    action: str = KILL
    armed: str = ""
    """File that lets the plan begin: nothing before it is there counts. Empty: from the start."""
    orders: str = ""
    """File that holds `NUMBER TAB SIDE TAB POINT` for as long as there is to be a HOLD at that point: so one
    life has many. Empty: the plan is the one above."""
    _seen: Counter[tuple[str, str]] = field(default_factory=Counter)
    _order: str = ""

    def read_orders(self) -> None:
        """Take over what is ordered now; each order counts anew."""
        order = self.current_order()
        if order != self._order:
            self._order = order
            self._seen.clear()
            _, self.side, self.point = order.split("\t") if order else ("", "", "")
            self.action = HOLD

    def current_order(self) -> str:
        """What stands in the file; empty when there is none."""
        try:
            return Path(self.orders).read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    @property
    def is_armed(self) -> bool:
        """Whether what is passed now counts."""
        if self.armed and Path(self.armed).exists():
            self.armed = ""
        return not self.armed


class Hooks:
    """The wrappers of one process. `install` is called once, in a process made for it."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._table = Table(plan.roots)
        self._lock = threading.RLock()
        self._out = os.open(plan.hits, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._unsynced = Unsynced(Path(f"{plan.hits}.spare")) if plan.action == CUT else None
        self._is_over = False

    def install(self) -> None:
        """Wrap everything, for the rest of this process."""
        os.fsync = os.fdatasync = self._descriptor(SYNC, os.fsync)
        os.replace = self._second(os.replace)
        os.rename = self._second(os.rename)
        os.link = self._second(os.link)
        os.unlink = os.remove = self._first(REMOVE, os.unlink)
        os.rmdir = self._first(REMOVE, os.rmdir)
        os.mkdir = self._first(FOLDER, os.mkdir)
        os.open = self._opening(os.open)
        sqlite3.connect = sqlite3.dbapi2.connect = self._connecting(sqlite3.connect)
        sys.addaudithook(self._audit)

    @contextlib.contextmanager
    def step(self, call: str, path: str, tables: str = "", source: str | None = None) -> Iterator[None]:
        """Around one durable call. `source`: the old name of what is renamed."""
        try:
            point = None if self._is_over else self._table.find(call, path, tables)
        except LookupError as error:
            self._say(f"? {error}")
            point = None
        if point is None:
            yield
            return
        self._pass(point, "before")
        with self._lock:  # other threads write, too, and one of them may be at the planned end
            kept = self._unsynced.keep(call, path) if self._unsynced else None
        yield
        if self._unsynced:
            with self._lock:
                self._unsynced.note(call, path, source, kept)
        self._pass(point, "after")

    @contextlib.contextmanager
    def statement(self, path: str, table: str) -> Iterator[None]:
        """Around one statement of a transaction that writes `table`, if that is one of the points."""
        if table and self._table.has_statement(path, table):
            with self.step(STATEMENT, path, table):
                yield
        else:
            yield

    def _pass(self, point: Point, side: str) -> None:
        plan, name = self._plan, point.name
        with self._lock:
            self._say(f"{side} {name}")
            if plan.orders:
                plan.read_orders()
            if not plan.is_armed:
                return
            plan._seen[name, side] += 1
            if (name, side, plan._seen[name, side]) != (plan.point, plan.side, plan.number):
                return
            self._say(f"! {side} {name}")
            if plan.action in (KILL, CUT):
                self._end()
            order = plan._order
        if order:
            # Without the lock: the other threads of this process go on.
            while plan.current_order() == order:
                time.sleep(0.005)
            return
        if point.call in (DATABASE, STATEMENT, COMMIT, CLOSE):
            raise sqlite3.OperationalError(f"{plan.action}, says the torture series")
        raise OSError(ERRORS[plan.action], os.strerror(ERRORS[plan.action]))

    def _end(self) -> None:
        self._is_over = True
        try:
            for line in self._unsynced.cut() if self._unsynced else ():
                self._say(f"undone: {line}")
        except BaseException as error:
            # A thread that is inside a call moves files meanwhile. What is not undone is as if it had been
            # written in time; the process ends all the same, and not as if an error had met it.
            self._say(f"not undone: {error!r}")
        finally:
            os.kill(os.getpid(), signal.SIGKILL)

    def _say(self, line: str) -> None:
        os.write(self._out, f"{line}\n".encode())

    # --- files --------------------------------------------------------------------------------------------

    def _descriptor(self, call: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(descriptor: Any) -> Any:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            with self.step(call, _of_descriptor(number)):
                return real(number)

        return wrapped

    def _first(self, call: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(path: Any, *args: Any, dir_fd: int | None = None, **options: Any) -> Any:
            place = {} if dir_fd is None else {"dir_fd": dir_fd}
            full = _absolute(path, dir_fd)
            # Only what works is a step: callers try to remove what is not there, and to make what is.
            if os.path.lexists(full) == (call == FOLDER):
                return real(path, *args, **place, **options)
            with self.step(call, full):
                return real(path, *args, **place, **options)

        return wrapped

    def _second(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(source: Any, target: Any, **options: Any) -> Any:
            old = _absolute(source, options.get("src_dir_fd"))
            with self.step(RENAME, _absolute(target, options.get("dst_dir_fd")), source=old):
                return real(source, target, **options)

        return wrapped

    def _opening(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> Any:
            full = _absolute(path, dir_fd)
            if not flags & os.O_CREAT or os.path.lexists(full):
                return real(path, flags, mode, dir_fd=dir_fd)
            with self.step(CREATE, full):
                return real(path, flags, mode, dir_fd=dir_fd)

        return wrapped

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        """A write to one of our folders that no wrapper saw must at least be of a listed file."""
        if event != "open" or not isinstance(args[0], str | bytes) or not isinstance(args[2], int):
            return
        path, _, flags = args
        if not flags & (os.O_CREAT | os.O_TRUNC | os.O_WRONLY | os.O_RDWR):
            return
        full = _absolute(path, None)
        if not self._table.is_ours(full):
            return
        try:
            self._table.find(CREATE, full)
        except LookupError as error:
            self._say(f"? {error}")

    # --- databases ----------------------------------------------------------------------------------------

    def _connecting(self, real: Callable[..., Any]) -> Callable[..., Any]:
        connection = _connection_class(self)

        def wrapped(database: Any, *args: Any, **options: Any) -> Any:
            made = real(database, *args, **{**options, "factory": connection})
            made.torture_path = _absolute(database, None)
            return made

        return wrapped


def _connection_class(hooks: Hooks) -> type[sqlite3.Connection]:
    class Cursor(sqlite3.Cursor):
        def execute(self, sql: str, *args: Any) -> Any:
            connection: Any = self.connection
            is_new = not Path(connection.torture_path).stat().st_size
            if is_new and sql.startswith("PRAGMA journal_mode = WAL"):
                with hooks.step(DATABASE, connection.torture_path):
                    return super().execute(sql, *args)
            with hooks.statement(connection.torture_path, connection.note(sql)):
                return super().execute(sql, *args)

        def executemany(self, sql: str, *args: Any) -> Any:
            connection: Any = self.connection
            with hooks.statement(connection.torture_path, connection.note(sql)):
                return super().executemany(sql, *args)

    class Connection(sqlite3.Connection):
        torture_path = ""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self._tables: set[str] = set()
            self._changes = 0
            self._closed = False

        def note(self, sql: str) -> str:
            """Remember what the transaction writes; the table, "" for a statement that writes none."""
            table = written_by(sql)
            self._tables |= {table} - {""}
            return table

        def cursor(self, *_: Any) -> Any:
            return super().cursor(Cursor)

        def commit(self) -> None:
            is_schema = not self._tables.isdisjoint({"create", "drop"})
            is_written = self.in_transaction and (is_schema or self.total_changes != self._changes)
            tables = " ".join(sorted(self._tables))
            self._tables, self._changes = set(), self.total_changes
            if is_written:
                with hooks.step(COMMIT, self.torture_path, tables):
                    super().commit()
            else:
                super().commit()

        def rollback(self) -> None:
            super().rollback()
            self._tables, self._changes = set(), self.total_changes

        def close(self) -> None:
            if self._closed:
                return
            self._closed = True
            with hooks.step(CLOSE, self.torture_path):
                super().close()

    return Connection


def written_by(sql: str) -> str:
    """The table that a statement writes, `create` or `drop` for one that makes or drops any, else "". For an
    update of one of DETAILED with the columns: `jobs(result)`."""
    if not (found := WRITES.match(sql)):
        return ""
    created, dropped, table = found.groups()
    if table in DETAILED and (assigned := _COLUMNS.match(sql)):
        return f"{table}({','.join(sorted(_COLUMN.findall(assigned[1])))})"
    return "create" if created else "drop" if dropped else str(table)


def _absolute(path: Any, dir_fd: int | None) -> str:
    base = Path.cwd() if dir_fd is None else Path(_of_descriptor(dir_fd))
    # Not resolved: a link is what is renamed or removed, not its target.
    return os.path.normpath(base / os.fsdecode(path))


def _of_descriptor(number: int) -> str:
    return str(Path(f"/proc/self/fd/{number}").readlink())
