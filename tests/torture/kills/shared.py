"""The lives of one log on PostgreSQL with two frontends: they are killed, and so is the database server.

The frontend that is started first is elected; the other one leaves its entries in the database. One server,
a cluster of the series' own, carries one log at a time, since its death meets all that it carries.
"""

import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.postgres import Server
from tests.torture.hooks import KILL
from tests.torture.hooks_postgresql import ROOT
from tests.torture.kills.lives import RANDOM_SECONDS, REACH_SECONDS, write_log
from tests.torture.kills.promises import Acknowledged, check
from tests.torture.kills.tally import ENOUGH, Aim, Tally
from tests.torture.kills.watching import Observer, Witness, origin_of
from tests.torture.kills.writers import Supply, writing
from tests.torture.oracle import INCONSISTENT, LOST, Finding
from tests.torture.process import Kill, Launcher, Run, SeriesError

from touchplate.base.postgresql import parse_address, postgresql_engine
from touchplate.log.storage.rows import TreeRows

POSTGRESQL = "PostgreSQL"
"""The kind of log."""

SEQUENCER, OTHER = "the sequencer, at a random moment", "the other frontend, at a random moment"
SERVER = "the server, all its processes"
SESSION, WRITER = "the server, the sequencer's session", "the server, its WAL writer"

OF_OTHER = ("database: submissions committed", "database: term begun")
"""Points that the frontend comes to which was not elected; the last of them when the elected one is dead."""

AFTERWARDS = 30
"""Entries that must be acknowledged by whoever is left, after a kill: somebody else was elected, or the
server is back."""

BACK_SECONDS = 60.0
"""How long that may take: the server recovers, and a lost election is found out within seconds."""

_PIDS = {
    SESSION: "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND database ="
    " (SELECT oid FROM pg_database WHERE datname = '{name}')",
    WRITER: "SELECT pid FROM pg_stat_activity WHERE backend_type = 'walwriter'",
}


class SharedLives:
    """One log in a database of its own, through all its lives."""

    def __init__(
        self, folder: Path, number: int, server: Server, launcher: Launcher, witness: Witness, tally: Tally
    ) -> None:
        self.folder = folder
        self.told = Acknowledged()
        self._server = server
        self._launcher = launcher
        self._tally = tally
        self._supply = Supply()
        self._origin = origin_of(number)
        self._policy = witness.policy(self._origin, asked=False)
        self._observer = Observer(witness, self._origin, self.told, lagging=True)
        self._url = server.make_database()
        self._configs = [write_log(folder / name, self._origin, storage=self._url) for name in ("a", "b")]

    def run(self, aims: Sequence[Aim], chooser: random.Random) -> None:
        """A life of both frontends for each aim, and one that ends in order."""
        try:
            for number, aim in enumerate(aims):
                self._live(number, aim, chooser)
            self._end()
        except (SeriesError, OSError, RuntimeError) as error:
            self._report("the series", [Finding(LOST, f"{type(error).__name__}: {error}")])
        self._tally.add_heads(self._observer.heads)
        shutil.rmtree(self.folder)

    def _live(self, number: int, aim: Aim, chooser: random.Random) -> None:
        armed = self.folder / f"armed-{number}"
        kill = None if aim.side == "" else Kill(aim.point, aim.side, 1, KILL)
        is_of_other = aim.point in OF_OTHER
        with ExitStack() as stack:
            runs, urls = [], []
            plans = (None, kill) if is_of_other else (kill, None)
            for config, plan in zip(self._configs, plans, strict=True):
                runs.append(self._start(config, plan, armed))
                stack.callback(runs[-1].wait)
                stack.callback(runs[-1].kill)
                urls.append(self._ready(runs[-1], aim))
            self._check(f"before {aim}")
            stack.enter_context(self._observer.watching(*urls))
            for run, url in zip(runs, urls, strict=True):
                over = _ended(run)
                stack.enter_context(writing(url, self._supply, self.told, over, chooser.random()))
            before = self.told.count
            self._wait(before + ENOUGH)
            threading.Event().wait(chooser.uniform(0.0, RANDOM_SECONDS))
            if kill is None:
                self._kill(aim, runs)
                reached = True
            else:
                if aim.point == OF_OTHER[-1]:
                    runs[0].kill()  # so that the other one is elected
                armed.touch()
                victim = runs[is_of_other]
                reached = victim.ended(REACH_SECONDS) and any(line[:2] == "! " for line in victim.hits())
            if reached:
                self._tally.hit(aim, self.told.count - before)
            else:
                self._report(str(aim), [Finding(LOST, "nobody came there")])
            if not all(run.ended(0) for run in runs):
                self._wait(self.told.count + AFTERWARDS)

    def _kill(self, aim: Aim, runs: Sequence[Run]) -> None:
        """What the aim names."""
        if aim.point in (SEQUENCER, OTHER):
            runs[aim.point == OTHER].kill()
        elif aim.point == SERVER:
            self._server.kill()
            self._server.start()
        else:
            name = self._server.name_of(self._url)
            pids = self._server.sql(_PIDS[aim.point].format(name=name)).split()
            if not set(map(int, pids)) & set(self._server.children()):
                raise SeriesError(f"{aim.point}: no such process ({pids})")
            for pid in pids:
                os.kill(int(pid), signal.SIGKILL)

    def _end(self) -> None:
        """A life that ends in order, in which the newest head is shown and cosigned."""
        run = self._start(self._configs[0], None, None)
        url = self._ready(run, None)
        self._check("after the last kill")
        with self._rows() as rows:
            size = rows.head()[0]
        deadline = time.monotonic() + REACH_SECONDS
        while (seen := self._observer.look(url)) != size and time.monotonic() < deadline:
            threading.Event().wait(0.02)
        if seen != size:
            text = f"the newest head shown is of {seen} entries, the log has {size}"
            self._report("the end", [Finding(INCONSISTENT, text)])
        if run.stop() != 0:
            self._report("the end", [Finding(LOST, f"it ended with {run.code}: {run.err()[-1000:]}")])
        self._check("at rest")

    def _start(self, config: Path, kill: Kill | None, armed: Path | None) -> Run:
        argv = ["log", "serve", "--config", str(config)]
        roots = {"node": config.parent / "data", "postgresql": Path(ROOT)}
        return self._launcher.start(argv, roots, kill, armed)

    def _ready(self, run: Run, aim: Aim | None) -> str:
        url = run.url()
        if url is None:
            raise SeriesError(f"{aim}: the start ended with {run.wait()}: {run.err()[-1500:]}")
        return url

    def _wait(self, count: int) -> None:
        """Until so many are acknowledged, by anybody."""
        deadline = time.monotonic() + BACK_SECONDS
        while self.told.count < count:
            if time.monotonic() > deadline:
                raise SeriesError(f"only {self.told.count} of {count} were acknowledged")
            threading.Event().wait(0.005)

    def _check(self, where: str) -> None:
        with self._rows() as rows:
            self._report(where, check(rows, self._policy, self.told))

    @contextmanager
    def _rows(self) -> Iterator[TreeRows]:
        engine = postgresql_engine(parse_address(self._url), idle_seconds=0)
        rows = TreeRows(engine, self._origin)
        try:
            yield rows
        finally:
            rows.close()
            engine.dispose()

    def _report(self, where: str, found: Sequence[Finding] | Iterator[Finding]) -> None:
        self._tally.report(f"{POSTGRESQL}, {self.folder.name}, {where}", found)


def _ended(run: Run) -> Callable[[], bool]:
    return lambda: run.ended(0)
