"""The lives of one log on SQLite: written to, killed, started again, checked, while kills are planned.

The next start is the recovery: its process opens what the killed one left, and only then does the checker
read the same database, beside it.
"""

import random
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.log.support import write_settings
from tests.torture.hooks import KILL
from tests.torture.kills.promises import Acknowledged, check
from tests.torture.kills.tally import ENOUGH, Aim, Tally
from tests.torture.kills.watching import Observer, Witness, log_key, origin_of
from tests.torture.kills.writers import Supply, writing
from tests.torture.oracle import INCONSISTENT, LOST, Finding, leftovers
from tests.torture.process import Kill, Launcher, Run, SeriesError

from touchplate.base.sql import sqlite_engine
from touchplate.log.service import database_path, log_folder
from touchplate.log.storage.rows import TreeRows
from touchplate.verify.policy import Policy

SQLITE, WITNESSED = "SQLite", "SQLite, witnessed"
"""Kinds of logs: one that signs inside each batch, and one that asks the witness before it publishes."""

RANDOM = "at a random moment"
STARTING = "while it starts again"
CLOSED = "log: database closed"
"""Comes at the end of a process that was told to stop."""

RANDOM_SECONDS = 0.05
"""The latest random moment after enough was acknowledged: several batches."""

STARTING_SECONDS = 0.3
"""As long as a start takes on a quiet machine."""

REACH_SECONDS = 20.0
"""How long a process may take to come to its point: the slowest comes once a second."""


class Lives:
    """One log in a folder of its own, through all its lives."""

    def __init__(
        self, folder: Path, number: int, kind: str, launcher: Launcher, witness: Witness, tally: Tally
    ) -> None:
        self.folder = folder
        self.kind = kind
        self.told = Acknowledged()
        self._launcher = launcher
        self._tally = tally
        self._supply = Supply()
        origin = origin_of(number)
        asked = kind == WITNESSED
        self._policy: Policy | None = witness.policy(origin, asked=asked)
        self._observer = Observer(witness, origin, self.told, asked=asked)
        self._config = write_log(folder, origin, self._table)
        (folder / "policy.txt").write_text(witness.policy_text(origin, asked=asked))

    @property
    def _table(self) -> str:
        """What stands in the configuration beside the usual."""
        return '[log.witness]\npolicy = "policy.txt"\ntimeout = "10s"\n' if self.kind == WITNESSED else ""

    def run(self, aims: Sequence[Aim], chooser: random.Random) -> None:
        """A life for each aim, one more that ends in order, and the check after each."""
        try:
            for number, aim in enumerate(aims):
                self._live(number, aim, chooser)
            self._end()
        except (SeriesError, OSError) as error:
            self._report("the series", [Finding(LOST, f"{type(error).__name__}: {error}")])
        self._tally.add_heads(self._observer.heads)
        shutil.rmtree(self.folder)

    def _live(self, number: int, aim: Aim, chooser: random.Random) -> None:
        """One life, and its end."""
        armed = self.folder / f"armed-{number}"
        kill = None if aim.side == "" else Kill(aim.point, aim.side, 1, KILL)
        run = self._start(kill, armed)
        url = self._url(run, aim)
        self._check(f"before {aim}")
        before = self.told.count
        with ExitStack() as stack:
            stack.enter_context(self._loading(run, url, chooser.random()))
            self._wait(run, before + ENOUGH, aim)
            if aim.point in (RANDOM, STARTING):
                threading.Event().wait(chooser.uniform(0.0, RANDOM_SECONDS))
                run.kill()
            else:
                armed.touch()
                if aim.point == CLOSED:
                    run.kill(signal.SIGTERM)
                if not run.ended(REACH_SECONDS):
                    run.kill()
        reached = run.wait() == -9 and (kill is None or any(line.startswith("! ") for line in run.hits()))
        if aim.point == STARTING:
            reached = self._kill_start(chooser)
        if reached:
            self._tally.hit(aim, self.told.count - before)
        else:
            self._report(str(aim), [Finding(LOST, f"it ended with {run.code} elsewhere: {run.err()[-800:]}")])

    @contextmanager
    def _loading(self, run: Run, url: str, seed: float) -> Iterator[None]:
        """Those who write and those who watch, until the block ends."""
        with (
            self._observer.watching(url),
            writing(url, self._supply, self.told, lambda: run.ended(0), seed),
        ):
            yield

    def _look(self, run: Run, url: str) -> int:
        """The size of the head that is shown now; -1 for none."""
        return self._observer.look(url)

    def _kill_start(self, chooser: random.Random) -> bool:
        """The start after a kill is killed, too; and, to be sure, tried until one was early enough."""
        for _ in range(10):
            run = self._start(None, None)
            threading.Event().wait(chooser.uniform(0.0, STARTING_SECONDS))
            early = run.out() == ""
            run.kill()
            if run.wait() == -9 and early:
                return True
        return False

    def _end(self) -> None:
        """A life that ends in order. The newest head must be shown, and cosigned."""
        run = self._start(None, None)
        url = self._url(run, None)
        self._check("after the last kill")
        with self._rows() as rows:
            size = rows.head()[0]
        deadline = time.monotonic() + REACH_SECONDS
        while (seen := self._look(run, url)) != size and not self.told.broken:
            if time.monotonic() > deadline:
                break
            threading.Event().wait(0.02)
        found = []
        if seen != size:
            found.append(
                Finding(INCONSISTENT, f"the newest head shown is of {seen} entries, the log has {size}")
            )
        if run.stop() != 0:
            found.append(Finding(LOST, f"the last life ended with {run.code}: {run.err()[-1000:]}"))
        found += [Finding(LOST, f"{path} is left over") for path in leftovers(self.folder / "data")]
        self._report("the end", found)
        self._check("at rest")

    def _start(self, kill: Kill | None, armed: Path | None) -> Run:
        argv = ["log", "serve", "--config", str(self._config)]
        return self._launcher.start(argv, {"node": self.folder / "data"}, kill, armed)

    def _url(self, run: Run, aim: Aim | None) -> str:
        url = run.url()
        if url is None:
            raise SeriesError(f"{aim}: the start ended with {run.wait()}: {run.err()[-1500:]}")
        deadline = time.monotonic() + REACH_SECONDS
        # A log that asks witnesses has no checkpoint before the first of them has answered.
        while self._look(run, url) < 0 and not self.told.broken:
            if time.monotonic() > deadline:
                raise SeriesError(f"{aim}: no checkpoint is shown: {run.err()[-1500:]}")
            threading.Event().wait(0.01)
        return url

    def _wait(self, run: Run, count: int, aim: Aim) -> None:
        """Until so many are acknowledged."""
        deadline = time.monotonic() + REACH_SECONDS
        while self.told.count < count and not run.ended(0.005):
            if time.monotonic() > deadline:
                self._report(
                    str(aim), [Finding(LOST, f"only {self.told.count} of {count} were acknowledged")]
                )
                return

    def _check(self, where: str) -> None:
        with self._rows() as rows:
            self._report(where, check(rows, self._policy, self.told))

    @property
    def _tree(self) -> str | None:
        """The name of the tree in its database; None for the only one."""
        return None

    @contextmanager
    def _rows(self) -> Iterator[TreeRows]:
        engine = sqlite_engine(database_path(log_folder(self.folder / "data")))
        rows = TreeRows(engine, self._tree)
        try:
            yield rows
        finally:
            rows.close()
            engine.dispose()

    def _report(self, where: str, found: Sequence[Finding] | Iterator[Finding]) -> None:
        self._tally.report(f"{self.kind}, {self.folder.name}, {where}", found)


def write_log(folder: Path, origin: str, more: str = "", storage: str = "sqlite") -> Path:
    """The configuration of a log, with its keys; `more`: its last tables."""
    write_settings(folder, origin, log_key(origin))
    config = folder / "log.toml"
    config.write_text(
        f'data = "data"\n[http]\nlisten = "127.0.0.1:0"\n[log]\norigin = "{origin}"\n'
        f'key = "file:log.key"\nadmission = "admission.toml"\nstorage = "{storage}"\n{more}'
    )
    return config
