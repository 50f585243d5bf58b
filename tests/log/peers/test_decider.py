"""The peers' decider: every waiter is answered, whatever happens to the entry."""

import dataclasses
import threading
from collections.abc import Callable, Sequence

import pytest
from tests.log.memory import MemoryTree
from tests.log.support import signed_entries

from touchplate.log.errors import AdmissionError, BusyError, StoppedError, StorageFailedError
from touchplate.log.peers import decider as deciders
from touchplate.log.peers.decider import FULL_TX_BYTES, MAX_FLIGHTS, PeerDecider
from touchplate.log.peers.machine import REFUSED, REPEATED
from touchplate.log.peers.rpc import EngineError, RefusedTxError
from touchplate.log.peers.transactions import HEAD_BYTES, parse_tx
from touchplate.log.ports import PackedEntry, Sequenced
from touchplate.log.sequencer import TreeSequencer

SECONDS = 30


class Engine:
    """An engine of one peer: transactions gather, and become a block when the test says so.

    `mood` is asked about each transaction and may raise; `halted` after it was stopped.
    """

    def __init__(self) -> None:
        self.pool: list[bytes] = []
        self.changed = threading.Condition()
        self.mood: Callable[[bytes], None] = lambda tx: None
        self.halted = False

    def submit(self, tx: bytes) -> None:
        self.mood(tx)
        with self.changed:
            self.pool.append(tx)
            self.changed.notify_all()

    def halt(self) -> None:
        self.halted = True

    def take(self, entries: int) -> list[bytes]:
        """Wait until so many entries were handed in; their packed forms, in order."""
        with self.changed:
            assert self.changed.wait_for(lambda: self._count() >= entries, SECONDS)
            txs, self.pool = self.pool, []
        return [packed for tx in txs for packed in parse_tx(tx)]

    def _count(self) -> int:
        return sum(len(parse_tx(tx)) for tx in self.pool)


class World:
    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        self.tree = MemoryTree()
        self.engine = Engine()
        options = {} if clock is None else {"clock": clock}
        self.decider = PeerDecider(
            self.engine.submit,
            self.tree.find_identities,
            lambda entries, error: self.sequencer.refuse(entries, error),
            halt=self.engine.halt,
            **options,
        )
        self.sequencer = TreeSequencer(self.tree, self.decider, sign=None)
        self.sequencer.start()

    def decide(self, entries: Sequence[PackedEntry], state: bytes = b"state") -> None:
        """A block: what the machine lets through is each identity once, and only new ones."""
        known = self.tree.find_identities([entry.identity for entry in entries])
        fresh = {entry.identity: entry for entry in reversed(entries) if entry.identity not in known}
        self.decider.decided([fresh[key] for key in reversed(fresh)], state)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes seconds on purpose takes none."""
    for name in ("RESEND_SECONDS", "LOOK_SECONDS", "STOP_SECONDS"):
        monkeypatch.setattr(deciders, name, 0.0)
    monkeypatch.setattr(deciders, "RETRY_SECONDS", 0.01)


def test_an_entry_is_answered_when_its_block_is_durable() -> None:
    world = World()
    entries = signed_entries(3)
    futures = world.sequencer.submit(entries)
    assert world.engine.take(3) == [entry.packed for entry in entries]
    assert not any(future.done() for future in futures)
    world.decide(entries, b"height 1")
    assert [future.result(SECONDS) for future in futures] == [Sequenced(n, False) for n in range(3)]
    assert world.tree.decided() == b"height 1"
    world.sequencer.stop()


def test_an_entry_is_answered_also_when_it_came_in_anothers_transaction() -> None:
    world = World()
    mine = world.sequencer.submit(signed_entries(2))
    world.decide(signed_entries(5))
    assert [future.result(SECONDS).index for future in mine] == [0, 1]
    world.sequencer.stop()


def test_whoever_submitted_another_signature_of_a_logged_statement_is_told_of_a_duplicate() -> None:
    world = World()
    (mine,) = signed_entries(1)
    logged = dataclasses.replace(mine, packed=mine.packed + b"of another signature")
    future = world.sequencer.submit([mine])[0]
    world.decide([logged])
    assert future.result(SECONDS) == Sequenced(0, duplicate=True)
    world.sequencer.stop()


def test_everybody_who_waits_for_one_entry_is_answered() -> None:
    world = World()
    entry = signed_entries(1)
    futures = [world.sequencer.submit(entry)[0] for _ in range(4)]
    world.decide(entry)
    results = [future.result(SECONDS) for future in futures]
    assert [result.index for result in results] == [0] * 4
    assert [result.duplicate for result in results] == [False, True, True, True]
    assert world.tree.head().size == 1
    world.sequencer.stop()


def test_an_entry_that_is_in_the_tree_is_answered_without_a_block() -> None:
    world = World()
    entries = signed_entries(2)
    world.decide(entries)
    again = world.sequencer.submit(entries)
    assert [future.result(SECONDS) for future in again] == [Sequenced(0, True), Sequenced(1, True)]
    assert world.tree.decided() == b"state"
    world.sequencer.stop()


@pytest.mark.usefixtures("quick")
def test_an_entry_that_the_engine_forgot_is_handed_in_again_as_another_transaction() -> None:
    world = World()
    entries = signed_entries(1)
    future = world.sequencer.submit(entries)[0]
    with world.engine.changed:
        assert world.engine.changed.wait_for(lambda: len(world.engine.pool) >= 3, SECONDS)
        assert len(set(world.engine.pool)) == len(world.engine.pool)
    world.decide(entries)
    assert future.result(SECONDS).index == 0
    world.sequencer.stop()


@pytest.mark.usefixtures("quick")
def test_entries_wait_while_the_engine_takes_nothing() -> None:
    world = World()
    refusals = threading.Semaphore(0)

    def busy(tx: bytes) -> None:
        refusals.release()
        raise EngineError("the mempool is full")

    world.engine.mood = busy
    future = world.sequencer.submit(signed_entries(1))[0]
    for _ in range(3):
        assert refusals.acquire(timeout=SECONDS)
    world.engine.mood = lambda tx: None
    world.engine.take(1)
    world.decide(signed_entries(1))
    assert future.result(SECONDS).index == 0
    world.sequencer.stop()


def test_one_entry_that_may_not_be_written_does_not_hold_up_the_others() -> None:
    world = World()
    entries = signed_entries(3)

    def picky(tx: bytes) -> None:
        if entries[1].packed in parse_tx(tx):
            raise RefusedTxError(REFUSED, "wrong-index: not for this index")

    world.engine.mood = picky
    futures = world.sequencer.submit(entries)
    with pytest.raises(AdmissionError, match="wrong-index"):
        futures[1].result(SECONDS)
    world.engine.take(2)
    world.decide([entries[0], entries[2]])
    assert [futures[n].result(SECONDS).index for n in (0, 2)] == [0, 1]
    world.sequencer.stop()


@pytest.mark.usefixtures("quick")
def test_a_repeat_that_was_decided_meanwhile_is_answered_as_one() -> None:
    world = World()
    entries = signed_entries(1)

    def decided_meanwhile(tx: bytes) -> None:
        world.engine.mood = lambda tx: None
        world.tree.apply(entries)  # the block is durable, and its answer went out before we began to wait
        raise RefusedTxError(REPEATED, "repeated")

    world.engine.mood = decided_meanwhile
    future = world.sequencer.submit(entries)[0]
    assert future.result(SECONDS) == Sequenced(0, True)
    world.sequencer.stop()


def test_what_is_left_of_a_transaction_that_repeats_too_much_is_handed_in_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(deciders, "RESEND_SECONDS", 1e9)
    world = World()
    entries = signed_entries(6)

    def decided_meanwhile(tx: bytes) -> None:
        if len(parse_tx(tx)) > 1:
            world.engine.mood = lambda tx: None
            world.tree.apply(entries[:5])
            raise RefusedTxError(REPEATED, "repeated: 1 of its 6 entries are new")

    world.engine.mood = decided_meanwhile
    futures = world.sequencer.submit(entries)
    assert world.engine.take(1) == [entries[5].packed]
    assert [future.result(SECONDS) for future in futures[:5]] == [Sequenced(n, True) for n in range(5)]
    world.decide([entries[5]])
    assert futures[5].result(SECONDS).index == 5
    world.sequencer.stop()


def test_nobody_waits_for_ever_when_nothing_is_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    world = World(clock=lambda: now[0])
    future = world.sequencer.submit(signed_entries(1))[0]
    world.engine.take(1)
    now[0] = deciders.UNDECIDED_SECONDS + 1
    with pytest.raises(BusyError) as caught:
        future.result(SECONDS)
    assert caught.value.reason == "undecided"
    world.decide(signed_entries(1))  # decided after all: a later submission finds it
    assert world.sequencer.submit(signed_entries(1))[0].result(SECONDS) == Sequenced(0, True)
    world.sequencer.stop()


def test_a_block_that_could_not_be_kept_tells_nobody_an_index() -> None:
    world = World()
    future = world.sequencer.submit(signed_entries(1))[0]
    world.tree.fail = "after"
    with pytest.raises(StorageFailedError):
        world.decide(signed_entries(1))
    with pytest.raises(StorageFailedError):
        future.result(SECONDS)
    assert world.sequencer.submit(signed_entries(1))[0].result(SECONDS) == Sequenced(0, True)
    world.sequencer.stop()


@pytest.mark.usefixtures("quick")
def test_after_stop_no_block_is_executed_and_every_waiter_is_told() -> None:
    world = World()
    future = world.sequencer.submit(signed_entries(1))[0]
    world.sequencer.stop()
    assert world.engine.halted
    with pytest.raises(StoppedError):
        future.result(SECONDS)
    with pytest.raises(StoppedError):
        world.decide(signed_entries(1))
    assert world.tree.head().size == 0


def test_many_entries_are_handed_in_as_few_transactions_in_order() -> None:
    world = World()
    gate = threading.Event()
    sizes: list[int] = []

    def slow(tx: bytes) -> None:
        assert gate.wait(SECONDS)
        sizes.append(len(tx))

    world.engine.mood = slow
    entries = signed_entries(1000)
    futures = [world.sequencer.submit([entry])[0] for entry in entries]
    gate.set()
    seen: list[bytes] = []
    by_packed = {entry.packed: entry for entry in entries}
    while len(seen) < 1000:
        block = world.engine.take(1)
        seen += block
        world.decide([by_packed[packed] for packed in block])
    assert seen == [entry.packed for entry in entries]
    longest = max(len(entry.packed) for entry in entries)
    assert len(sizes) <= 2 + sum(map(len, seen)) // (FULL_TX_BYTES - HEAD_BYTES - longest)
    assert [future.result(SECONDS).index for future in futures] == list(range(1000))
    world.sequencer.stop()


def test_what_comes_while_enough_transactions_fly_gathers_into_the_next_one() -> None:
    world = World()
    entries = signed_entries(MAX_FLIGHTS + 5)
    for number in range(MAX_FLIGHTS):
        world.sequencer.submit([entries[number]])
        with world.engine.changed:
            assert world.engine.changed.wait_for(lambda n=number: len(world.engine.pool) == n + 1, SECONDS)  # type: ignore[misc]
    late = [world.sequencer.submit([entry])[0] for entry in entries[MAX_FLIGHTS:]]
    assert len(world.engine.take(MAX_FLIGHTS)) == MAX_FLIGHTS
    world.decide(entries[:1])  # one of them landed, so one more may fly
    with world.engine.changed:
        assert world.engine.changed.wait_for(lambda: len(world.engine.pool) == 1, SECONDS)
    assert world.engine.take(5) == [entry.packed for entry in entries[MAX_FLIGHTS:]]
    world.decide(entries[1:])
    assert [future.result(SECONDS).index for future in late] == list(range(MAX_FLIGHTS, MAX_FLIGHTS + 5))
    world.sequencer.stop()


def test_nothing_waits_for_the_transactions_of_an_engine_that_has_gone() -> None:
    world = World()
    entries = signed_entries(MAX_FLIGHTS + 2)
    for number in range(MAX_FLIGHTS - 1):
        world.sequencer.submit([entries[number]])
        with world.engine.changed:
            assert world.engine.changed.wait_for(lambda n=number: len(world.engine.pool) == n + 1, SECONDS)  # type: ignore[misc]
    refusals = threading.Semaphore(0)

    def gone(tx: bytes) -> None:
        refusals.release()
        raise EngineError("nobody listens")

    world.engine.mood = gone
    world.sequencer.submit([entries[MAX_FLIGHTS - 1]])
    assert refusals.acquire(timeout=SECONDS)
    world.engine.take(MAX_FLIGHTS - 1)  # forgotten
    world.engine.mood = lambda tx: None
    world.sequencer.submit(entries[MAX_FLIGHTS:])
    assert set(world.engine.take(3)) >= {entry.packed for entry in entries[MAX_FLIGHTS - 1 :]}
    world.decide(entries)
    world.sequencer.stop()


@pytest.mark.usefixtures("quick")
def test_transactions_that_an_engine_forgot_do_not_keep_others_from_flying() -> None:
    world = World()
    entries = signed_entries(MAX_FLIGHTS + 1)
    futures = [world.sequencer.submit([entry])[0] for entry in entries]
    for _ in range(3):  # forgotten each time
        assert set(world.engine.take(MAX_FLIGHTS + 1)) <= {entry.packed for entry in entries}
    world.decide(entries)
    assert [future.result(SECONDS).index for future in futures] == list(range(MAX_FLIGHTS + 1))
    world.sequencer.stop()
