"""The sequencer: batches gather by themselves, answers come when all is durable, nothing waits for ever."""

import asyncio
import threading
from collections.abc import Iterator, Sequence

import pytest
from tests.log.memory import Failure, MemoryTree
from tests.log.support import raw_entries, raw_entry

from touchplate.log.errors import OverloadedError, StoppedError, StorageFailedError
from touchplate.log.ports import PackedEntry, Sequenced, Sign
from touchplate.log.sequencer import Limits, SoloDecider, TreeSequencer

SECONDS = 20


class GatedTree(MemoryTree):
    """Holds each batch until the test lets it go, so that tests decide what gathers meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self.entered = threading.Semaphore(0)
        self.gate = threading.Semaphore(0)

    def apply(
        self, entries: Sequence[PackedEntry], sign: Sign | None = None, decided: bytes | None = None
    ) -> list[Sequenced]:
        self.entered.release()
        assert self.gate.acquire(timeout=SECONDS)
        return super().apply(entries, sign, decided)

    def wait_entered(self) -> None:
        assert self.entered.acquire(timeout=SECONDS)


def start(tree: MemoryTree, limits: Limits | None = None) -> TreeSequencer:
    sequencer = TreeSequencer(tree, SoloDecider(limits), sign=None, limits=limits)
    sequencer.start()
    return sequencer


@pytest.fixture
def tree() -> MemoryTree:
    return MemoryTree()


@pytest.fixture
def sequencer(tree: MemoryTree) -> Iterator[TreeSequencer]:
    sequencer = start(tree)
    yield sequencer
    sequencer.stop()


def results(futures: Sequence[object]) -> list[Sequenced]:
    return [future.result(SECONDS) for future in futures]  # type: ignore[attr-defined]


def test_answers_with_the_index_once_the_tree_has_the_entry(
    tree: MemoryTree, sequencer: TreeSequencer
) -> None:
    assert results(sequencer.submit(raw_entries(3))) == [Sequenced(n, False) for n in range(3)]
    assert tree.head().size == 3


def test_answers_each_of_many_threads_with_its_own_index(tree: MemoryTree, sequencer: TreeSequencer) -> None:
    found: dict[str, int] = {}

    def work(name: int) -> None:
        for number in range(50):
            text = f"{name}/{number}"
            found[text] = results(sequencer.submit([raw_entry(text)]))[0].index

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert sorted(found.values()) == list(range(400))
    assert all(tree.entries[index] == raw_entry(text) for text, index in found.items())


def test_takes_all_that_waits_as_one_batch() -> None:
    tree = GatedTree()
    sequencer = start(tree)
    first = sequencer.submit(raw_entries(1))
    tree.wait_entered()
    later = [sequencer.submit([entry]) for entry in raw_entries(20, start=1)]
    tree.gate.release(2)
    assert results(first) + results([future for one in later for future in one]) == [
        Sequenced(n, False) for n in range(21)
    ]
    assert tree.batches == [1, 20]
    sequencer.stop()


def test_cuts_batches_at_the_number_of_entries_and_at_the_bytes() -> None:
    tree = GatedTree()
    weight = raw_entry("entry 10").weight
    limits = Limits(batch_entries=4, batch_bytes=3 * weight, outstanding=100)
    sequencer = start(tree, limits)
    first = sequencer.submit([raw_entry("first")])
    tree.wait_entered()
    small = sequencer.submit([raw_entry(f"{n}") for n in range(5)])
    large = sequencer.submit(raw_entries(4, start=10))
    huge = sequencer.submit([raw_entry("x" * 4 * weight)])
    tree.gate.release(100)
    results([*first, *small, *large, *huge])
    sequencer.stop()
    assert tree.batches[:2] == [1, 4]
    assert max(tree.batches) <= 4
    assert [entry.leaf_data for entry in tree.entries[-1:]] == [b"x" * 4 * weight]
    assert tree.batches[-1] == 1


def test_tells_repeats_the_same_index_within_a_batch_and_later(sequencer: TreeSequencer) -> None:
    a, b = raw_entries(2)
    assert results(sequencer.submit([a, b, a])) == [
        Sequenced(0, False),
        Sequenced(1, False),
        Sequenced(0, True),
    ]
    assert results(sequencer.submit([b])) == [Sequenced(1, True)]


def test_turns_away_what_is_too_much_and_keeps_nothing_of_it() -> None:
    tree = GatedTree()
    sequencer = start(tree, Limits(outstanding=5))
    taken = sequencer.submit(raw_entries(4))
    with pytest.raises(OverloadedError) as caught:
        sequencer.submit(raw_entries(2, start=10))
    assert caught.value.reason == "overloaded"
    assert caught.value.retry_after > 0
    taken += sequencer.submit(raw_entries(1, start=20))
    tree.gate.release(5)
    assert sorted(result.index for result in results(taken)) == list(range(5))
    # What was answered no longer counts.
    tree.gate.release(5)
    assert len(results(sequencer.submit(raw_entries(5, start=30)))) == 5
    sequencer.stop()
    assert tree.head().size == 10


def test_turns_away_more_when_what_waits_has_too_many_bytes() -> None:
    tree = GatedTree()
    heavy = raw_entry("x" * 1000)
    sequencer = start(tree, Limits(outstanding_bytes=2 * heavy.weight))
    taken = sequencer.submit([heavy, raw_entry("y" * 1000), raw_entry("z" * 1000)])  # more, at one stroke
    with pytest.raises(OverloadedError, match=f"{3 * heavy.weight} bytes of entries are waiting"):
        sequencer.submit(raw_entries(1))
    tree.gate.release(5)
    results(taken)
    assert len(results(sequencer.submit(raw_entries(1)))) == 1
    sequencer.stop()
    assert tree.head().size == 4


@pytest.mark.parametrize("failure", ["before", "after"])
def test_promises_nothing_when_storage_fails_and_answers_right_on_the_next_try(
    tree: MemoryTree, sequencer: TreeSequencer, failure: Failure
) -> None:
    results(sequencer.submit(raw_entries(2)))
    tree.fail = failure
    for future in sequencer.submit(raw_entries(3, start=2)):
        with pytest.raises(StorageFailedError):
            future.result(SECONDS)
    again = results(sequencer.submit(raw_entries(3, start=2)))
    assert again == [Sequenced(n, failure == "after") for n in (2, 3, 4)]
    assert tree.head().size == 5


def test_turns_any_error_of_a_tree_into_an_answer() -> None:
    class BrokenTree(MemoryTree):
        def apply(
            self, entries: Sequence[PackedEntry], sign: Sign | None = None, decided: bytes | None = None
        ) -> list[Sequenced]:
            raise ZeroDivisionError("a bug")

    sequencer = start(BrokenTree())
    with pytest.raises(StorageFailedError, match="a bug"):
        sequencer.submit(raw_entries(1))[0].result(SECONDS)
    sequencer.stop()


def test_refuses_before_start_and_after_stop(tree: MemoryTree) -> None:
    sequencer = TreeSequencer(tree, SoloDecider(), sign=None)
    with pytest.raises(StoppedError):
        sequencer.submit(raw_entries(1))
    sequencer.start()
    sequencer.stop()
    with pytest.raises(StoppedError):
        sequencer.submit(raw_entries(1))


def test_finishes_what_was_taken_when_it_stops() -> None:
    tree = GatedTree()
    sequencer = start(tree)
    futures = sequencer.submit(raw_entries(1))
    tree.wait_entered()
    futures += sequencer.submit(raw_entries(5, start=1))
    tree.gate.release(10)
    sequencer.stop()
    assert [future.done() for future in futures] == [True] * 6
    assert tree.head().size == 6


def test_answers_those_whose_entries_were_never_decided(tree: MemoryTree) -> None:
    class SilentDecider(SoloDecider):
        def propose(self, entries: Sequence[PackedEntry]) -> None:
            return None

    sequencer = TreeSequencer(tree, SilentDecider(), sign=None)
    sequencer.start()
    future = sequencer.submit(raw_entries(1))[0]
    sequencer.stop()
    with pytest.raises(StoppedError):
        future.result(SECONDS)


def test_wakes_an_event_loop_once_per_batch() -> None:
    tree = GatedTree()
    sequencer = start(tree)

    async def main() -> list[Sequenced]:
        loop = asyncio.get_running_loop()
        calls = 0
        original = loop.call_soon_threadsafe

        def counting(*arguments: object, **keywords: object) -> object:
            nonlocal calls
            calls += 1
            return original(*arguments, **keywords)  # type: ignore[arg-type]

        loop.call_soon_threadsafe = counting  # type: ignore[method-assign,assignment]
        futures = sequencer.submit_here(raw_entries(1))
        await asyncio.to_thread(tree.wait_entered)
        futures += sequencer.submit_here(raw_entries(30, start=1))
        before = calls
        tree.gate.release(2)
        found = [await asyncio.wait_for(future, SECONDS) for future in futures]
        assert calls - before == 2
        return found

    assert asyncio.run(main()) == [Sequenced(n, False) for n in range(31)]
    sequencer.stop()


def test_keeps_the_entry_of_a_client_that_went_away() -> None:
    tree = GatedTree()
    sequencer = start(tree)

    async def main() -> None:
        gone, stays = sequencer.submit_here(raw_entries(2))
        gone.cancel()
        tree.gate.release()
        assert await asyncio.wait_for(stays, SECONDS) == Sequenced(1, False)

    asyncio.run(main())
    assert tree.head().size == 2
    sequencer.stop()


def test_survives_an_event_loop_that_was_closed() -> None:
    tree = GatedTree()
    sequencer = start(tree)

    async def main() -> None:
        sequencer.submit_here(raw_entries(1))

    asyncio.run(main())
    tree.gate.release(2)
    assert results(sequencer.submit(raw_entries(1, start=1))) == [Sequenced(1, False)]
    sequencer.stop()


def test_wakes_who_waits_for_growth(sequencer: TreeSequencer) -> None:
    sizes: list[int] = []
    waiter = threading.Thread(target=lambda: sizes.append(sequencer.wait_for_growth(0, SECONDS)))
    waiter.start()
    results(sequencer.submit(raw_entries(2)))
    waiter.join(SECONDS)
    assert sizes == [2]
    assert sequencer.wait_for_growth(2, 0) == 2
    assert sequencer.wait_for_growth(1, SECONDS) == 2


def test_lets_go_of_who_waits_for_growth_when_it_stops(tree: MemoryTree) -> None:
    sequencer = start(tree)
    sizes: list[int] = []
    waiter = threading.Thread(target=lambda: sizes.append(sequencer.wait_for_growth(0, SECONDS)))
    waiter.start()
    sequencer.stop()
    waiter.join(SECONDS)
    assert sizes == [0]
