"""kill -9 at random, 50 times: afterwards the log is whole, and nothing that was acknowledged is missing."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import pytest
from tests.log.support import open_sqlite, sign, signed_entries
from tests.simkeys import solo_policy

from touchplate.base.sql import sqlite_engine
from touchplate.log.fsck import check_log
from touchplate.log.storage.rows import TreeRows
from touchplate.verify.rfc6962 import leaf_hash

ROUNDS = 50
ROUNDS_PER_LOG = 10
"""After so many kills a new log begins: recomputing a long one takes longer than the kills."""

MOST_ACKNOWLEDGED = 120
"""A round is killed after 0 to this many answers, so in start-up, in the first batch, and under load."""

ROOT = Path(__file__).resolve().parents[2]


class Child:
    """The process with the workers, and what it says."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.log.crash_child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        self.leaf_hashes = []
        for line in self._lines():
            if line == "ready":
                break
            self.leaf_hashes.append(bytes.fromhex(line.removeprefix("leaf ")))

    def _lines(self) -> Iterator[str]:
        output: IO[str] | None = self._process.stdout
        assert output is not None
        for line in output:
            yield line.removesuffix("\n")

    def round(self, folder: Path, seed: int, kill_after: int) -> dict[int, int]:
        """Let one worker run, kill it after that many answers; returns index by entry number."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{folder} {seed}\n")
        self._process.stdin.flush()
        pid = 0
        acknowledged: dict[int, int] = {}
        for line in self._lines():
            word, *numbers = line.split()
            if word == "end":
                return acknowledged
            if word == "pid":
                pid = int(numbers[0])
            else:
                number, index = map(int, numbers)
                assert acknowledged.setdefault(number, index) == index
            if pid and len(acknowledged) >= kill_after:
                os.kill(pid, signal.SIGKILL)  # the worker stays a child of ours until "end"
                pid, kill_after = 0, sys.maxsize
        raise AssertionError("the child ended")

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child()
    yield child
    child.close()


def missing(folder: Path, acknowledged: Mapping[int, int], leaf_hashes: list[bytes]) -> list[str]:
    """Everything that is wrong with a log of which these answers were given: index by entry number."""
    engine = sqlite_engine(folder / "log.sqlite")
    rows = TreeRows(engine)
    wrong = [str(finding) for finding in check_log(rows, policy=solo_policy()).findings]
    stored = rows.leaves(0, rows.head()[0])
    for number, index in acknowledged.items():
        data = stored.get(index, (None, None))[0]
        if data is None or leaf_hash(data) != leaf_hashes[number]:
            wrong.append(f"entry {number} is not at its acknowledged index {index}")
    rows.close()
    engine.dispose()
    return wrong


def test_nothing_acknowledged_is_lost_when_the_log_is_killed(child: Child, tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")
    chooser = random.Random(seed)
    total, size = 0, 0
    for start in range(0, ROUNDS, ROUNDS_PER_LOG):
        folder = tmp_path / f"log-{start}"
        acknowledged: dict[int, int] = {}
        open_sqlite(folder).close()
        for number in range(start, start + ROUNDS_PER_LOG):
            kill_after = chooser.randint(0, MOST_ACKNOWLEDGED)
            answers = child.round(folder, chooser.randrange(2**32), kill_after)
            for entry, index in answers.items():
                assert acknowledged.setdefault(entry, index) == index, "an entry moved"
            assert missing(folder, acknowledged, child.leaf_hashes) == [], f"round {number}, seed {seed}"
            total += len(answers)
        tree = open_sqlite(folder)
        size += tree.head().size
        tree.close()
    print(f"{ROUNDS} kills, {total} answers, {size} entries")
    assert total > ROUNDS
    assert size > ROUNDS


def test_the_checker_finds_an_acknowledged_entry_that_was_dropped(tmp_path: Path) -> None:
    entries = signed_entries(20)
    hashes = [entry.leaf_hash for entry in entries]
    answers = {number: number for number in range(20)}
    honest = open_sqlite(tmp_path / "honest")
    honest.apply(entries, sign)
    honest.close()
    assert missing(tmp_path / "honest", answers, hashes) == []
    dropping = open_sqlite(tmp_path / "dropping")
    dropping.apply(entries[:-1], sign)
    dropping.close()
    assert missing(tmp_path / "dropping", answers, hashes) == ["entry 19 is not at its acknowledged index 19"]
    swapping = open_sqlite(tmp_path / "swapping")
    swapping.apply([entries[1], entries[0], *entries[2:]], sign)
    swapping.close()
    assert len(missing(tmp_path / "swapping", answers, hashes)) == 2
