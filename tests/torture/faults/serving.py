"""A log that is served while its calls fail: what it acknowledges must have been synced, and stays.

Half of the lives end with SIGKILL and the loss of everything in the write-ahead log that no successful sync
covered, as in a power cut: what was acknowledged must be there all the same.
"""

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

from tests.log.mirrors import wrong_with
from tests.simkeys import ORIGIN, note_signer, solo_policy
from tests.torture.faults.tracing import Call, Fault, Traced, Tracer, synced_bytes
from tests.torture.kills.lives import write_log
from tests.torture.kills.promises import Acknowledged, check
from tests.torture.kills.writers import Supply, Writer
from tests.torture.oracle import LOST, Finding, leftovers
from tests.torture.process import Launcher

from touchplate.base.sql import sqlite_engine
from touchplate.log.service import database_path, log_folder
from touchplate.log.storage.rows import TreeRows

SERVE = "serve"
"""The name of this program in the table."""

WRITERS = 3
REQUESTS = 6
"""Of each writer."""

POLICY = solo_policy(note_signer(ORIGIN, "log"))


class Serving:
    """One life of a log with an export folder, and the next."""

    def __init__(self, folder: Path, tracer: Tracer, launcher: Launcher) -> None:
        self.folder = folder
        self._tracer = tracer
        self._launcher = launcher
        self._told = Acknowledged()
        self._supply = Supply()
        self._argv = [
            "log",
            "serve",
            "--config",
            str(write_log(folder, ORIGIN, '[log.export]\nfolder = "site"\n')),
        ]

    def live(self, fault: Fault | None, *, is_cut: bool, seed: float) -> tuple[list[Call], list[Finding]]:
        """What the process did, and what is wrong. `is_cut`: it ends with a power cut."""
        traced = self._tracer.start(self._argv, fault)
        url = traced.run.url()
        if url is not None:
            self._write(url, seed)
        if is_cut:
            traced.run.kill()
            traced.run.wait()
        elif url is not None:
            traced.run.stop()
        else:
            traced.run.wait()
        calls = traced.calls()
        # A thread of the server's own that cannot wake its event loop ends the process, as it may.
        met = [call for call in calls if call.is_injected]
        is_ours = all(call.is_below(self.folder) for call in met)
        found = list(self._judge(traced)) if is_ours else []
        if is_cut:
            cut_power(Path(f"{database_path(log_folder(self.folder / 'data'))}-wal"), calls)
        return calls, [*found, *self._next(seed)]

    def _write(self, url: str, seed: float) -> None:
        def work(number: int) -> None:
            chooser = random.Random(f"{seed} {number}")
            with closing(Writer(url, self._supply, self._told)) as writer:
                for _ in range(REQUESTS):
                    if not writer.send(chooser):
                        return

        threads = [threading.Thread(target=work, args=(number,)) for number in range(WRITERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _judge(self, traced: Traced) -> Iterator[Finding]:
        if not traced.run.is_explained():
            yield Finding(
                LOST, f"it ended with {traced.run.code} and no clear error: {traced.run.err()[-1500:]}"
            )

    def _next(self, seed: float) -> Iterator[Finding]:
        """The next start, with the disk in order again."""
        run = self._launcher.start(self._argv, {"node": self.folder / "data", "mirror": self.folder / "site"})
        url = run.url()
        if url is None:
            yield Finding(LOST, f"the next start ended with {run.wait()}: {run.err()[-1500:]}")
            return
        yield from self._check()
        before = self._told.count
        self._write(url, seed + 1)
        if self._told.count == before:
            yield Finding(LOST, "the next process took no entries")
        if run.stop() != 0:
            yield Finding(LOST, f"the next process ended with {run.code}: {run.err()[-1500:]}")
        for rest in leftovers(self.folder):
            yield Finding(LOST, f"{rest} is left over")
        yield from self._check()
        yield from (
            Finding(LOST, f"the exported folder: {each}") for each in wrong_with(self.folder / "site", POLICY)
        )

    def _check(self) -> Iterator[Finding]:
        engine = sqlite_engine(database_path(log_folder(self.folder / "data")))
        try:
            with closing(TreeRows(engine)) as rows:
                yield from check(rows, POLICY, self._told)
        finally:
            engine.dispose()


def cut_power(log: Path, calls: Sequence[Call]) -> None:
    """Take from a write-ahead log what no sync covered."""
    if log.exists():
        with log.open("r+b") as file:
            file.truncate(min(synced_bytes(calls, str(log)), log.stat().st_size))
