"""Raw leaves of 1 KiB through the sequencer into SQLite, signed checkpoints included, on one core.

There is no HTTP face for raw trees, so this is the path behind one: leaf hash and identity, the `Sequencer`
port, group commit, one transaction per batch, the answer to each submitter. CPU is that of the whole process.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from tests.bench.harness import Goal, Row, check, median
from tests.bench.serving import choose_cores, pinned
from tests.simkeys import ORIGIN, log_signer

from touchplate.base.sql import sqlite_engine
from touchplate.log.keys import LogKeys
from touchplate.log.ports import PackedEntry, Sequenced
from touchplate.log.publishing import Publisher
from touchplate.log.sequencer import Limits, SoloDecider, TreeSequencer
from touchplate.log.storage.sql import open_tree
from touchplate.verify.checkpoints import parse_checkpoint_body
from touchplate.verify.notes import open_note
from touchplate.verify.rfc6962 import CompactRange, leaf_hash

LEAVES = 65_536
LEAF_BYTES = 1024
BATCH = 512
OUTSTANDING = 8
"""Batches submitted and not yet answered: half of what the sequencer takes."""

ROUNDS = 3
GOAL = Goal(">=", 20_000, "/s")


def raw_leaves(leaves: int = LEAVES, rounds: int = ROUNDS) -> list[Row]:
    """Each round fills a new tree."""
    bodies = [number.to_bytes(8, "big") * (LEAF_BYTES // 8) for number in range(leaves)]
    cpu, wall = [], []
    with pinned(choose_cores().server):
        for _ in range(rounds):
            began, used = time.perf_counter(), time.process_time()
            with tempfile.TemporaryDirectory() as folder:
                used_now, began_now = fill(Path(folder), bodies)
                cpu.append(used_now - used)
                wall.append(began_now - began)
    rate = leaves / median(cpu)
    note = f"per CPU second, through the Sequencer port, no HTTP; wall {leaves / median(wall):,.0f}/s"
    return [Row("raw leaves of 1 KiB, SQLite", f"{rate:,.0f}/s", "", rate, GOAL, note)]


def fill(folder: Path, bodies: Sequence[bytes]) -> tuple[float, float]:
    """All of `bodies` into a new tree; process_time and perf_counter when the last one was answered."""
    tree = open_tree(sqlite_engine(folder / "log.sqlite"), ORIGIN, "raw")
    signer = log_signer()
    publisher = Publisher(tree, LogKeys(signer), ORIGIN)
    sequencer = TreeSequencer(tree, SoloDecider(Limits()), sign=publisher.sign)
    publisher.start()
    sequencer.start()
    waiting: deque[list[Future[Sequenced]]] = deque()
    indexes: list[int] = []
    for start in range(0, len(bodies), BATCH):
        if len(waiting) == OUTSTANDING:
            indexes.extend(future.result().index for future in waiting.popleft())
        waiting.append(sequencer.submit([raw(body) for body in bodies[start : start + BATCH]]))
    for futures in waiting:
        indexes.extend(future.result().index for future in futures)
    used, now = time.process_time(), time.perf_counter()
    sequencer.stop()
    tree.close()
    check(indexes == list(range(len(bodies))), "not every leaf got its index, in order")
    grown = CompactRange()
    for body in bodies:
        grown.append(leaf_hash(body))
    again = open_tree(sqlite_engine(folder / "log.sqlite"), ORIGIN, "raw")  # from the disk
    head = again.head()
    check((head.size, head.root) == (len(bodies), grown.root()), "the stored tree has another root")
    note = parse_checkpoint_body(open_note(head.checkpoint or b"", [signer.key]).text)
    check((note.size, note.root) == (head.size, head.root), "the stored checkpoint is of another tree")
    last = len(bodies) - 1
    check(again.read_leaf_data(last, last + 1) == [bodies[last]], "the last leaf is another one")
    again.close()
    return used, now


def raw(body: bytes) -> PackedEntry:
    """A leaf without extra data; its identity is that of its bytes."""
    return PackedEntry(body, leaf_hash(body), hashlib.sha256(body).digest(), b"")
