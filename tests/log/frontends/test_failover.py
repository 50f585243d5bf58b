"""Frontends in processes of their own, under load: the elected one is killed, or stopped and let go on."""

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from tests.log.frontends.child import known_entries
from tests.log.frontends.support import findings, until
from tests.postgres import Server
from tests.simkeys import ORIGIN

from touchplate.base.postgresql import parse_address, postgresql_engine
from touchplate.log.storage.election import Seat
from touchplate.log.storage.shared import SharedTree, channel, open_shared

ROOT = Path(__file__).resolve().parents[3]
KILLS = 5
STOPS = 2
ENOUGH = 60
"""Answers of each frontend between two blows: it is under load, elected or not."""


class Child:
    """One process, and what it said."""

    def __init__(self, folder: Path, url: str, seed: int, elections: "list[Child]") -> None:
        """`elections`: where each notes that it was elected."""
        self._elections = elections
        command = [sys.executable, "-m", "tests.log.frontends.child", str(folder), url, str(seed)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        self.lines: list[str] = []
        self.errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read, args=pair, daemon=True)
            for pair in ((self.process.stdout, self.lines), (self.process.stderr, self.errors))
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, pipe: Iterator[str], lines: list[str]) -> None:
        for line in pipe:
            if line.endswith("\n"):  # else it was killed while it wrote
                lines.append(line.removesuffix("\n"))
            if line == "elected\n":
                self._elections.append(self)

    def count(self, word: str) -> int:
        return sum(line.startswith(word) for line in list(self.lines))

    def close(self) -> None:
        """Let it end in order, or see that it has ended."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(60)
        finally:
            self.process.kill()
            self.process.wait()
        for reader in self._readers:
            reader.join()
        for pipe in (self.process.stdout, self.process.stderr):
            assert pipe is not None
            pipe.close()


class Crowd:
    """The frontends of one log."""

    def __init__(self, folder: Path, url: str, stack: ExitStack) -> None:
        self.all: list[Child] = []
        self.elections: list[Child] = []
        self._folder, self._url, self._stack = folder, url, stack

    def start(self, number: int) -> Child:
        child = Child(self._folder / f"frontend-{number}", self._url, len(self.all), self.elections)
        self._stack.callback(child.close)
        self.all.append(child)
        return child

    def acknowledged(self) -> dict[int, int]:
        """Index by entry number, of all answers; each entry has one index, and was new at most once."""
        found: dict[int, int] = {}
        new: set[int] = set()
        for child in self.all:
            for line in child.lines:
                word, *rest = line.split()
                if word == "ack":
                    number, index = int(rest[0]), int(rest[1])
                    assert found.setdefault(number, index) == index, "an entry moved"
                    assert rest[2] == "old" or number not in new, "an entry was new twice"
                    if rest[2] == "new":
                        new.add(number)
        return found


@contextmanager
def crowd(folder: Path, url: str, count: int) -> Iterator[Crowd]:
    with ExitStack() as stack:
        found = Crowd(folder, url, stack)
        for number in range(count):
            found.start(number)
        try:
            yield found
        except BaseException:
            for child in found.all:  # pytest shows it when the test fails
                print(child.process.pid, child.process.poll(), child.lines[-5:], child.errors[-20:])
            raise


def under_load(children: Sequence[Child]) -> None:
    """Wait until each has got some more answers."""
    before = [child.count("ack") for child in children]
    until(
        lambda: all(child.count("ack") >= old + ENOUGH for child, old in zip(children, before, strict=True))
    )


def has_more(things: Sequence[object], count: int) -> bool:
    return len(things) > count


def check(url: str, group: Crowd) -> int:
    """The log is whole, and holds what was acknowledged where it was said to be; its size."""
    assert findings(url) == []
    tree = open_shared(postgresql_engine(parse_address(url)), ORIGIN)
    entries = known_entries()
    size = tree.head().size
    stored = tree.read_leaf_data(0, size)
    tree.close()
    found = group.acknowledged()
    assert all(stored[index] == entries[number].leaf_data for number, index in found.items())
    assert len(set(stored)) == size, "a statement stands in the log twice"
    return len(found)


def test_nothing_acknowledged_is_lost_when_the_sequencer_is_killed_again_and_again(
    tmp_path: Path, database: str
) -> None:
    with crowd(tmp_path, database, 3) as group:
        places = list(group.all)
        for _ in range(KILLS):
            under_load(places)
            holder, count = group.elections[-1], len(group.elections)
            holder.process.send_signal(signal.SIGKILL)
            holder.process.wait()
            others = [child for child in places if child is not holder]
            until(partial(has_more, group.elections, count))
            under_load(others)
            number = places.index(holder)
            places[number] = group.start(number)  # in the same folder: it remembers, and is let in again
        under_load(places)
    assert [child.errors for child in places] == [[], [], []]
    assert check(database, group) > KILLS * ENOUGH


def test_a_sequencer_that_was_stopped_and_replaced_changes_nothing_when_it_goes_on(
    tmp_path: Path, database: str
) -> None:
    with crowd(tmp_path, database, 2) as group:
        for _ in range(STOPS):
            under_load(group.all)
            holder, count = group.elections[-1], len(group.elections)
            other = group.all[1 - group.all.index(holder)]
            holder.process.send_signal(signal.SIGSTOP)
            try:
                until(partial(has_more, group.elections, count))
                assert group.elections[-1] is other
                under_load([other])
            finally:
                holder.process.send_signal(signal.SIGCONT)
            # It finds out by itself, and goes on as one of the others.
            under_load(group.all)
    assert check(database, group) > STOPS * ENOUGH


def test_the_lock_of_a_process_that_says_nothing_is_free_after_a_while_whatever_it_is_told(
    database: str, postgres: Server
) -> None:
    engine = postgresql_engine(parse_address(database))
    tree: SharedTree = open_shared(engine, ORIGIN)
    silent, waiting = Seat(engine, tree.tree_id), Seat(engine, tree.tree_id)
    assert silent.take()
    assert not waiting.take()
    # More news than fit between the server and a process that reads none of it.
    for _ in range(40):
        news = f"pg_notify('{channel(tree.tree_id)}', repeat('x', 7000) || i)"
        statement = f"SELECT count({news}) FROM generate_series(1, 50) i"
        postgres.sql(statement, postgres.name_of(database))
        waiting.wait(0.0)
        waiting.take()  # says something, however long all of this takes
    until(lambda: waiting.wait(0.1) is not None and waiting.take())
    silent.close()
    waiting.close()
    tree.close()
