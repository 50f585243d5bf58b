"""The part of the series for a log in a Trillian: `touchplate log serve`, killed while clients append.

Trillian is our own server of its interface here, beside the series, and is never killed (tests/conformance
does that to Google's): so what it has taken is there, and what may be lost is on the log's side.
"""

import contextlib
import itertools
import random
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.log.support import record_envelope
from tests.log.trillian.store.process import write_config
from tests.log.trillian.support import Client, connected, running
from tests.simkeys import ORIGIN, solo_policy
from tests.torture.builder import judge_end
from tests.torture.customer import Customer, Observer
from tests.torture.oracle import INCONSISTENT, LOST, Finding, Promises
from tests.torture.points import TRILLIAN_STORE
from tests.torture.process import Kill, Launcher, Run, SeriesError
from tests.torture.results import Results
from tests.torture.series import Series, Undisturbed, passed_by

from touchplate.base.sql import sqlite_engine
from touchplate.log.fsck import check_log
from touchplate.log.trillian.store.config import DATABASE_NAME, TrillianStoreConfig
from touchplate.log.trillian.store.rows import open_trillian_rows
from touchplate.proto.trillian.trillian_admin_api_pb2 import ListTreesRequest
from touchplate.verify.checkpoints import UnverifiedCheckpoint, parse_checkpoint_body
from touchplate.verify.entry import parse_packed
from touchplate.verify.notes import open_note

ENTRIES = 6
CLIENTS = 3
RESTS = (f".trillian.tree.{'ab' * 8}.tmp", f".newest.checkpoint.{'ab' * 8}.tmp")
"""What a killed log may leave."""


@dataclass
class Scenario(Undisturbed):
    """One life of a log: its first, or one that goes on with what an undisturbed one left."""

    name: str
    is_first: bool


class TrillianSeries(Series):
    """Runs the lives, one kill at a time, each in a folder and a tree of its own."""

    points = TRILLIAN_STORE

    def __init__(self, folder: Path, launcher: Launcher, results: Results) -> None:
        super().__init__(folder, launcher, results)
        self.scenarios = [Scenario("first life", True), Scenario("second life", False)]

    @contextlib.contextmanager
    def opened(self) -> Iterator["TrillianSeries"]:
        """With a server for all of them, and one undisturbed life of each kind."""
        with running(self._folder / "trillian") as service, connected(service) as client:
            self._trillian: Client = client
            for scenario in self.scenarios:
                self.run(scenario, None)
            yield self

    def run(self, scenario: Scenario, kill: Kill | None) -> bool:
        """One life that ends at `kill`, the next start after it, and the oracle. Whether it ended there."""
        folder = self._next_folder()
        promises, found, reached = Promises(), list[Finding](), False
        write_config(folder, self._trillian.address)
        if not scenario.is_first:
            self._begin(folder, promises)
        numbers = range(ENTRIES) if scenario.is_first else range(ENTRIES, 2 * ENTRIES)
        if kill is not None:
            run, refused = self._live(folder, promises, numbers, kill)
            reached = self._results.note(run.hits(), kill)
            found += judge_end(run, kill, 0, reached=reached)
            found += [] if reached else [Finding(LOST, f"{what} got {answer}") for what, *answer in refused]
        started = time.monotonic()
        run = self._recover(folder, promises, numbers, found)
        if kill is None:
            scenario.passed.update(passed_by(run.hits()))
            scenario.seconds = time.monotonic() - started
        self._results.report(f"{scenario.name} of a log in Trillian, {kill}", found)
        shutil.rmtree(folder)
        return reached

    def load(self, rounds: int, chooser: random.Random) -> None:
        """One log, killed at random moments while clients append, and the oracle after each."""
        folder = self._next_folder("load-")
        write_config(folder, self._trillian.address)
        promises, numbers = Promises(), itertools.count(1000)
        for number in range(rounds):
            seconds, found = chooser.uniform(0.3, 2.0), list[Finding]()
            run = self._start(folder)
            timer = threading.Timer(seconds, run.kill)
            timer.start()
            if (url := run.url()) is not None:
                clients = [
                    threading.Thread(target=self._append_on, args=(run, url, promises, numbers))
                    for _ in range(CLIENTS)
                ]
                for client in clients:
                    client.start()
                for client in clients:
                    client.join()
            run.wait()
            timer.join()
            self._recover(folder, promises, range(number, number + 1), found)
            self._results.report(f"a log in Trillian, round {number}, killed after {seconds:.3f} s", found)
            self._results.note_random()
        shutil.rmtree(folder)

    @staticmethod
    def _append_on(run: Run, url: str, promises: Promises, numbers: Iterator[int]) -> None:
        customer = Customer(url, promises)
        while not run.ended(0):
            customer.append(record_envelope(next(numbers)))

    def _begin(self, folder: Path, promises: Promises) -> None:
        """A finished first life, and what a crash may leave beside it."""
        run, refused = self._live(folder, promises, range(ENTRIES))
        if run.code or refused:
            raise SeriesError(f"a log in Trillian did not live: {refused} {run.err()}")
        for rest in RESTS:
            (folder / "data" / "log" / rest).write_bytes(b"half")

    def _recover(self, folder: Path, promises: Promises, numbers: Sequence[int], found: list[Finding]) -> Run:
        """The next start, the normal way: everything is there, and all goes on."""
        run, refused = self._live(folder, promises, numbers)
        self._results.note(run.hits(), None)
        found += [Finding(LOST, f"after the next start {what} got {answer}") for what, *answer in refused]
        if run.code != 0:
            found.append(Finding(LOST, f"the next start ended with {run.code}: {run.err()[-1000:]}"))
        else:
            found += self._look(folder, promises)
        return run

    def _live(
        self, folder: Path, promises: Promises, numbers: Sequence[int], kill: Kill | None = None
    ) -> tuple[Run, list[tuple[str, int, str]]]:
        """One process from start to end; a client appends, and one of them is a repeat."""
        run, refused = self._start(folder, kill), list[tuple[str, int, str]]()
        if (url := run.url()) is not None:
            customer = Customer(url, promises)
            with Observer(url, folder / "observer" / "head", promises).watching():
                for number in (*numbers, numbers[0]):
                    customer.append(record_envelope(number))
                run.stop()
            refused = customer.refused
        run.stop()
        return run, refused

    def _start(self, folder: Path, kill: Kill | None = None) -> Run:
        argv = ["log", "serve", "--config", str(folder / "log.toml")]
        return self._launcher.start(argv, {"kept": folder / "data"}, kill)

    def _look(self, folder: Path, promises: Promises) -> Iterator[Finding]:
        """What must be right of a log at rest."""
        yield from promises.broken
        data = folder / "data" / "log"
        for path in data.glob(".*"):
            yield Finding(LOST, f"{path.name} is left over")
        mark = (data / "trillian.tree").read_text().split('"')[3]
        trees = self._trillian.admin.ListTrees(ListTreesRequest()).tree
        if len([one for one in trees if one.description.endswith(mark)]) != 1:
            yield Finding(INCONSISTENT, "not exactly one tree was made for the log")
        engine = sqlite_engine(data / DATABASE_NAME)
        config = TrillianStoreConfig(self._trillian.address)
        rows, close = open_trillian_rows(engine, ORIGIN, config, data)
        try:
            seen = [_body(note) for note in promises.checkpoints]
            for each in check_log(rows, policy=solo_policy(), against=seen).findings:
                yield Finding(INCONSISTENT, f"fsck: {each}")
            stored = rows.leaves(0, rows.head()[0])
        finally:
            close()
        for envelope, index in promises.entries.items():
            packed = stored.get(index, (None, None))[1]
            if packed is None or parse_packed(packed).envelope != envelope:
                yield Finding(LOST, f"an entry is not at its acknowledged index {index}")


def _body(note: bytes) -> UnverifiedCheckpoint:
    return parse_checkpoint_body(open_note(note, solo_policy().keys).text)
