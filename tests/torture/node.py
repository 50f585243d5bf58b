"""The node's part of the series: `touchplate serve`, killed while clients pull, store and append."""

import contextlib
import hashlib
import random
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.api.support import Upstream, running_upstream, write_node
from tests.torture.customer import Customer, Observer
from tests.torture.oracle import LOST, Finding, Promises, check_digests, check_node, check_promises
from tests.torture.points import NODE
from tests.torture.process import Kill, Launcher, Run
from tests.torture.results import Results
from tests.torture.series import Series, Undisturbed, passed_by
from tests.torture.sqlite_calls import TracingLauncher
from tests.verify.cases import provenance, record, second

FILES = {
    "org/example/tool/2.0/tool-2.0.jar": b"tool " * 60_000,  # more than one piece of a writer
    "org/example/tool/2.0/tool-2.0.pom": b"<project/>",
    "org/example/other/1.0/other-1.0.jar": b"another jar",
}
EVIDENCE = tuple(b"a build log, %d\n" % number * 1000 for number in range(3))
CLIENTS = 4
RULES = '[[gate.rule]]\nneed = ["recorded"]\n'


def _entries(name: bytes) -> list[bytes]:
    made = [provenance(), second(), *(record(b"%s %d" % (name, number)) for number in range(4))]
    return [entry.envelope for entry in made]


Start = Callable[[Sequence[str], dict[str, Path]], Run]


@dataclass
class Scenario(Undisturbed):
    """One way of a node through its life: `prepare` makes its folder, clients do the rest."""

    name: str
    prepare: Callable[[Path], None]
    entries: list[bytes]
    """That clients append."""
    is_damaged: bool = False
    """Whether it begins with a blob that is not whole."""


class NodeSeries(Series):
    """Runs the scenarios of a node, one kill at a time, each in a folder of its own."""

    points = NODE

    def __init__(self, folder: Path, launcher: Launcher, results: Results) -> None:
        super().__init__(folder, launcher, results)
        self._old = folder / "old"
        self._old_promises = Promises()
        self.scenarios = [
            Scenario("first life", lambda _: None, _entries(b"first")),
            Scenario("second life", self._damage, _entries(b"second"), is_damaged=True),
        ]

    @contextlib.contextmanager
    def opened(self) -> Iterator["NodeSeries"]:
        """With the upstream, and one finished life to copy."""
        with running_upstream() as upstream:
            for path, body in FILES.items():
                upstream.put(path, body)
            self._upstream: Upstream = upstream
            self.run(self.scenarios[0], None, keep=self._old)
            self.run(self.scenarios[1], None)
            yield self

    def run(
        self,
        scenario: Scenario,
        kill: Kill | None,
        *,
        keep: Path | None = None,
        launcher: TracingLauncher | None = None,
    ) -> bool:
        """One life that ends at `kill`, the normal start after it, and the oracle. Whether it ended there."""
        folder = self._next_folder()
        config = write_node(folder, self._upstream.url, rules=RULES)
        promises = Promises()
        scenario.prepare(folder / "data")
        if (folder / "data").exists():
            old = self._old_promises
            promises = Promises(dict(old.entries), dict(old.served), dict(old.evidence), set(old.checkpoints))
        where = f"{scenario.name}, {kill}"
        reached, entries = False, scenario.entries
        found: list[Finding] = []
        if kill is not None:
            start = launcher.start if launcher else self._launcher.start
            run, refused = self._live(config, promises, lambda argv, roots: start(argv, roots, kill), entries)
            reached = self._results.note(run.hits(), kill)
            found += _judge_end(run, kill, refused, reached=reached)
            # Before the next start could mend it: what has its name is whole.
            found += check_digests(folder / "data" / "evidence")
            found += [] if scenario.is_damaged else check_digests(folder / "data" / "blobs")
        started = time.monotonic()
        run = self._recover(config, promises, found, entries)
        if kill is None:
            scenario.passed.update(passed_by(run.hits()))
            scenario.seconds = time.monotonic() - started
        self._results.report(where, found)
        if keep is not None:
            shutil.copytree(folder, keep)
            self._old_promises = promises
        shutil.rmtree(folder)
        return reached

    def _recover(self, config: Path, promises: Promises, found: list[Finding], entries: list[bytes]) -> Run:
        """The next start, the normal way: all is there, whatever clients do succeeds, it stops in order."""
        checked: list[Finding] = []

        def check() -> None:
            # Before the same actions as last time can hide that something was lost.
            checked.extend(check_promises(config.parent / "data", config.parent / "trust.toml", promises))

        run, refused = self._live(config, promises, self._launcher.start, entries, check)
        self._results.note(run.hits(), None)
        found += checked
        found += [Finding(LOST, f"after the next start {what} got {answer}") for what, *answer in refused]
        if run.code != 0:
            found.append(Finding(LOST, f"the next start ended with {run.code}: {run.err()[-1000:]}"))
        found += check_node(config.parent / "data", config.parent / "trust.toml", promises)
        return run

    def _live(
        self,
        config: Path,
        promises: Promises,
        start: Start,
        entries: list[bytes],
        check: Callable[[], None] = lambda: None,
    ) -> tuple[Run, list[tuple[str, int, str]]]:
        """One process from start to end, with everything that clients do; `check` is called before that."""
        data = config.parent / "data"
        run = start(["serve", "--config", str(config)], {"node": data})
        url = run.url()
        refused = []
        if url is not None:
            customer = Customer(url, promises)
            with Observer(url, config.parent / "observer" / "head", promises).watching():
                check()
                self._act(customer, entries)
                # While it is still watched: the end is a part of its life.
                run.stop()
            refused = customer.refused
        run.stop()
        return run, refused

    def _act(self, customer: Customer, entries: list[bytes]) -> None:
        """What clients do, in this order; a client that gets no answer goes on with the next."""
        files = list(FILES.items())
        for number, data in enumerate(EVIDENCE):
            customer.append(entries[2 * number])
            customer.pull(*files[number])
            customer.store(hashlib.sha256(data).hexdigest(), data)
            customer.append(entries[2 * number + 1])
        customer.pull(*files[0])
        customer.append(entries[0])

    def load(self, rounds: int, chooser: random.Random) -> None:
        """One folder, killed at random moments while four clients work on it, and the oracle after each."""
        folder = self._next_folder("load-")
        config = write_node(folder, self._upstream.url, rules=RULES)
        promises = Promises()
        for number in range(rounds):
            seconds = chooser.uniform(0.05, 1.5)
            self._killed_under_load(config, promises, seconds, random.Random(chooser.random()))
            found: list[Finding] = []
            self._recover(config, promises, found, self.scenarios[0].entries)
            self._results.report(f"load, round {number}, killed after {seconds:.3f} s", found)
            self._results.note_random()
        shutil.rmtree(folder)

    def _killed_under_load(
        self, config: Path, promises: Promises, seconds: float, chooser: random.Random
    ) -> None:
        run = self._launcher.start(["serve", "--config", str(config)], {"node": config.parent / "data"})
        timer = threading.Timer(seconds, run.kill)
        timer.start()
        if (url := run.url()) is not None:
            with Observer(url, config.parent / "observer" / "head", promises).watching():
                clients = [
                    threading.Thread(target=self._work, args=(run, url, promises, chooser.random()))
                    for _ in range(CLIENTS)
                ]
                for client in clients:
                    client.start()
                for client in clients:
                    client.join()
        run.wait()
        timer.join()
        self._results.note(run.hits(), None)

    def _work(self, run: Run, url: str, promises: Promises, seed: float) -> None:
        """One client, until the node is gone."""
        customer, chooser = Customer(url, promises), random.Random(seed)
        while not run.ended(0):
            number = chooser.randrange(10**6)
            match chooser.randrange(6):
                case 0:
                    customer.pull(*chooser.choice(list(FILES.items())))
                case 1:
                    data = b"load %d" % number
                    customer.store(hashlib.sha256(data).hexdigest(), data)
                case _:
                    customer.append(record(b"load %d" % number).envelope)

    def _damage(self, data: Path) -> None:
        """A second life: temporary files of crashed writers, no links, a broken index, a rotten blob."""
        shutil.copytree(self._old / "data", data)
        for store in ("blobs", "evidence"):
            (data / store / "tmp" / f"{'ab' * 16}.tmp").write_bytes(b"half")
        (data / "log" / f".newest.checkpoint.{'ab' * 8}.tmp").write_bytes(b"half")
        (data / "links.sqlite").unlink()
        for suffix in ("", "-wal", "-shm"):
            (data / f"index.sqlite{suffix}").write_bytes(b"no database" * 1000)
        rotten = hashlib.sha256(FILES["org/example/tool/2.0/tool-2.0.pom"]).hexdigest()
        (data / "blobs" / rotten[:2] / rotten).write_bytes(b"rotten")


def _judge_end(
    run: Run, kill: Kill, refused: Sequence[tuple[str, int, str]], *, reached: bool
) -> Iterator[Finding]:
    """A killed process was killed; one that met an error said so in words, to clients and in its log; one
    that did not come to the point served everybody to its end."""
    if not reached:
        if run.code != 0:
            yield Finding(LOST, f"it ended with {run.code} before its point: {run.err()[-1500:]}")
        for what, status, reason in refused:
            yield Finding(LOST, f"{what} got {status} {reason}, and nothing was in its way")
        return
    if kill.is_end:
        if run.code != -9:
            yield Finding(LOST, f"the process should have been killed and ended with {run.code}")
        return
    if not run.is_explained():
        yield Finding(LOST, f"it ended with {run.code} and no clear error: {run.err()[-1500:]}")
    for what, status, reason in refused:
        if status < 500 or reason == "internal":
            yield Finding(LOST, f"{what} got {status} {reason}")
