"""Solo and peers differ in the decider only: the same order gives the same tree, however it was batched."""

import random
import threading
from collections.abc import Sequence

import pytest
from tests.log.memory import MemoryTree
from tests.log.support import raw_entries
from tests.reference import mth

from touchplate.log.ports import Apply, PackedEntry
from touchplate.log.sequencer import SoloDecider, TreeSequencer

SECONDS = 20


class BlockDecider:
    """A toy of what peers do: entries lie in a pool, and blocks of it are decided late, by somebody else's
    clock.

    Other nodes' entries come in the same blocks (`foreign`). The order of arrival is kept, so that the result
    can be compared with the solo log's.
    """

    def __init__(self, seed: int, foreign: Sequence[PackedEntry] = ()) -> None:
        self._random = random.Random(seed)
        self._pool: list[PackedEntry] = list(foreign)
        self._lock = threading.Lock()
        self._apply: Apply | None = None

    def start(self, apply: Apply) -> None:
        self._apply = apply

    def propose(self, entries: Sequence[PackedEntry]) -> None:
        with self._lock:
            self._pool.extend(entries)

    def decide(self) -> int:
        """Decide the next block, of a random size; returns what is left."""
        with self._lock:
            count = self._random.randint(0, 17)
            block, self._pool = self._pool[:count], self._pool[count:]
        assert self._apply is not None
        self._apply(block)
        return len(self._pool)

    def stop(self) -> None:
        while self.decide():
            pass


def test_same_order_gives_same_root_behind_either_decider() -> None:
    entries = raw_entries(300)
    entries[40:40] = entries[:20]  # repeats, within and across blocks
    solo_tree, block_tree = MemoryTree(), MemoryTree()
    solo = TreeSequencer(solo_tree, SoloDecider(), sign=None)
    solo.start()
    expected = [future.result(SECONDS) for entry in entries for future in solo.submit([entry])]
    solo.stop()
    print("seed 7")
    decider = BlockDecider(seed=7)
    blocks = TreeSequencer(block_tree, decider, sign=None)
    blocks.start()
    futures = blocks.submit(entries)
    blocks.stop()
    assert [future.result(0) for future in futures] == expected
    assert block_tree.head() == solo_tree.head()
    assert block_tree.head().root == mth([entry.leaf_data for entry in raw_entries(300)])
    assert block_tree.batches != solo_tree.batches


def test_answers_only_its_own_submitters_when_blocks_hold_foreign_entries() -> None:
    tree = MemoryTree()
    decider = BlockDecider(seed=8, foreign=raw_entries(5))
    sequencer = TreeSequencer(tree, decider, sign=None)
    sequencer.start()
    mine = sequencer.submit(raw_entries(3, start=4))
    sequencer.stop()
    # Whose copy of entry 4 the block held cannot be told, and does not matter: its index is what counts.
    assert [future.result(0).index for future in mine] == [4, 5, 6]
    assert tree.head().size == 7


@pytest.mark.parametrize("seed", range(5))
def test_any_batching_gives_the_root_of_the_definition(seed: int) -> None:
    print(f"seed {seed}")
    chooser = random.Random(seed)
    tree = MemoryTree()
    decider = BlockDecider(seed)
    sequencer = TreeSequencer(tree, decider, sign=None)
    sequencer.start()
    entries = raw_entries(120)
    while entries:
        count = chooser.randint(1, 30)
        sequencer.submit(entries[:count])
        entries = entries[count:]
        if chooser.random() < 0.5:
            decider.decide()
    sequencer.stop()
    assert tree.head().root == mth([entry.leaf_data for entry in raw_entries(120)])
