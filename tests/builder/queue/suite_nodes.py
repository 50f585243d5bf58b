"""Nodes of one queue whose clocks are hours apart, jump, and that start anew: on every database."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.builder.queue.nodes import Node, World
from tests.builder.queue.suite import ENVELOPES, purl

from touchplate.base.sql import Engine
from touchplate.builder.queue.jobs import Lease, LeaseLostError, QueueLimits
from touchplate.builder.queue.workers import Workers

HOUR = 3600
LEASE, RETRY, LONGEST, BEAT = 60, 300, 600, 15
LIMITS = QueueLimits(
    lease_seconds=LEASE, longest_lease_seconds=LONGEST, overruns=1, lost=100, lacks=20, retry_seconds=RETRY
)
OFF = [(0, 5 * HOUR), (5 * HOUR, 0), (-90, 90), (10**8, 0)]
"""By how many seconds the walls' clocks of two nodes are wrong."""

JUMPS = [-(10**8), -5 * HOUR, -61, 61, 5 * HOUR, 10**8]


class NodesSuite:
    """Subclasses give `engine`."""

    def engine(self, folder: Path) -> Engine:
        raise AssertionError("a subclass opens its database here")

    @pytest.fixture
    def world(self, tmp_path: Path) -> Iterator[World]:
        world = World(lambda: self.engine(tmp_path), LIMITS)
        yield world
        world.close()

    @pytest.mark.parametrize(("here", "there"), OFF)
    def test_a_lease_that_is_kept_is_nobody_else_s(self, world: World, here: int, there: int) -> None:
        one, other = world.node(here), world.node(there)
        one.add(purl("a"))
        lease = one.need()
        for turn in range(LONGEST // BEAT - 1):
            assert other.lease() is None
            world.passed += BEAT
            # Just before the renewal, which any node may get.
            assert (one.lease(), other.lease()) == (None, None)
            assert (one, other)[turn % 2].renew(lease)
        job = one.queue.find(1)
        assert (job.attempts, job.lost, job.overruns) == (1, 0, 0)

    @pytest.mark.parametrize(("here", "there"), OFF)
    def test_a_lease_that_ended_in_silence_is_taken_over_by_whoever_saw_it(
        self, world: World, here: int, there: int
    ) -> None:
        one, other = world.node(here), world.node(there)
        one.add(purl("a"))
        lease = one.need()
        world.passed += 5
        assert other.lease() is None  # it sees it now
        world.passed += LEASE - 1
        assert other.lease() is None
        world.passed += 1
        taken = other.need("two")
        assert (taken.job.worker, taken.job.lost) == ("two", 1)
        # The other node had seen the silence, too: it is over.
        assert one.lease() is None
        assert not one.renew(lease)
        world.passed += LEASE - 1
        assert other.renew(taken)

    @pytest.mark.parametrize("jump", JUMPS)
    def test_a_clock_that_jumps_ends_no_lease_and_prolongs_none(self, world: World, jump: int) -> None:
        one, other = world.node(), world.node()
        for name in ("kept", "silent"):
            one.add(purl(name))
        kept, _silent = one.need(), one.need()
        other.lease()
        taken: list[tuple[float, int]] = []
        for turn in range(12):
            world.passed += BEAT
            if turn == 1:
                one.off += jump
            if turn == 5:
                other.off -= jump
            for node in (one, other):
                if lease := node.lease("three"):
                    taken.append((world.passed, lease.job.number))
            assert one.renew(kept)
            if taken:
                break
        assert taken == [(LEASE, 2)]

    def test_a_lease_is_kept_though_the_wall_s_clock_stands_still(self, world: World) -> None:
        one, other = world.node(), world.node()
        one.add(purl("a"))
        lease = one.need()
        for _ in range(LONGEST // BEAT - 1):
            world.passed += BEAT
            one.off -= BEAT
            assert one.renew(lease)
            assert other.lease() is None

    @pytest.mark.parametrize(("here", "there"), OFF)
    def test_a_node_that_starts_takes_nothing_over_at_once_and_all_of_it_in_the_end(
        self, world: World, here: int, there: int
    ) -> None:
        one = world.node(here)
        for name in ("alive", "b", "c"):
            one.add(purl(name))
        alive, *_ = [one.need() for _ in range(3)]
        one.end()  # with two of the three workers
        world.passed += 30 * HOUR
        later = world.node(there)
        for _ in range(LEASE // BEAT):
            assert later.lease() is None
            world.passed += BEAT
            assert later.renew(alive)
        found = [lease.job.number for lease in iter(later.lease, None)]
        assert found == [2, 3]

    @pytest.mark.parametrize(("here", "there"), OFF)
    def test_a_pause_lasts_as_long_as_it_should_on_each_node(
        self, world: World, here: int, there: int
    ) -> None:
        one, other = world.node(here), world.node(there)
        one.add(purl("a"))
        for turn in range(4):
            giver = (one, other)[turn % 2]
            giver.give_back(giver.need())
            assert (one.lease(), other.lease()) == (None, None)
            world.passed += RETRY - 1
            assert (one.lease(), other.lease()) == (None, None)
            world.passed += 1
        other.need()
        assert one.queue.find(1).lacks == 4

    def test_a_job_that_is_new_waits_for_nobody_s_clock(self, world: World) -> None:
        ahead, here = world.node(10**8), world.node()
        for name in ("a", "b"):
            ahead.add(purl(name))
        here.add(purl("c"))
        assert [node.need().job.number for node in (here, world.node(-(10**8)), ahead)] == [1, 2, 3]

    @pytest.mark.parametrize(("here", "there"), OFF)
    def test_no_lease_lasts_longer_than_the_longest_and_none_less(
        self, world: World, here: int, there: int
    ) -> None:
        one, other = world.node(here), world.node(there)
        one.add(purl("a"))
        lease = one.need()
        other.lease()  # so both saw it begin
        for turn in range(LONGEST // BEAT - 1):
            world.passed += BEAT
            assert (one, other)[turn % 2].renew(lease)
        world.passed += BEAT
        with pytest.raises(LeaseLostError, match="600 seconds at most") as caught:
            other.queue.heartbeat(1, lease.secret, other.now)
        assert caught.value.reason == "overrun"
        assert (one.queue.find(1).overruns, one.queue.find(1).lost) == (1, 0)

    def test_the_longest_time_goes_on_when_nodes_start_anew(self, world: World) -> None:
        one = world.node()
        one.add(purl("a"))
        lease = one.need()
        renewals = 0
        while True:
            for _ in range(4):
                world.passed += BEAT
                if not one.renew(lease):
                    break
                renewals += 1
            else:
                one.end()
                one = world.node(random.Random(renewals).choice(JUMPS))
                continue
            break
        # What passed between the last renewal of one life and the first of the next was seen by nobody.
        assert LONGEST - BEAT <= renewals * BEAT < LONGEST * 4 // 3 + BEAT
        assert one.queue.find(1).overruns == 1

    def test_a_node_lists_the_worker_of_a_lease_that_another_gave(self, world: World) -> None:
        one, other = world.node(5 * HOUR), world.node()
        one.add(purl("a"))
        Workers(one.queue).note("w", "1", "usual", one.now)
        lease = one.need("w")
        workers = Workers(other.queue)
        for _ in range(8):
            assert [slot.job for slot in workers.list(other.now)] == [1]
            world.passed += BEAT
            one.renew(lease)
        assert [slot.job for slot in workers.list(other.now)] == [1]
        world.passed += LEASE
        assert [slot.job for slot in workers.list(other.now)] in ([], [None])

    def test_what_is_signed_is_sent_by_whichever_node_comes_next(self, world: World) -> None:
        one = world.node(5 * HOUR)
        one.add(purl("a"))
        lease = one.need()
        one.queue.sign(1, lease.secret, ENVELOPES)
        for off in (0, -5 * HOUR, 10**8):
            node = world.node(off)
            assert node.lease() is None
            world.passed += LEASE
            lease = node.need()
            assert lease.envelopes == ENVELOPES
        node.queue.finish(1, lease.secret, (0, 1), node.now)

    @pytest.mark.parametrize("seed", range(3))
    def test_whatever_clocks_and_nodes_do_a_living_worker_keeps_its_job_and_a_dead_one_loses_it(
        self, world: World, seed: int
    ) -> None:
        chooser = random.Random(seed)
        nodes = [world.node(chooser.choice(JUMPS)) for _ in range(3)]
        fleet = Workmen(world, nodes, chooser)
        for number in range(4):
            nodes[0].add(purl(f"a{number}"))
        for _ in range(80):
            fleet.step()
        fleet.settle()
        assert fleet.takeovers


class Workmen:
    """Workers that lease, renew through any node, and die without a word, over nodes that start anew and
    whose clocks jump. Says when one that lives has lost its job, and when a dead one's is not taken over."""

    def __init__(self, world: World, nodes: list[Node], chooser: random.Random) -> None:
        self._world, self._nodes, self._chooser = world, nodes, chooser
        self._living: dict[int, Lease] = {}
        self._dead: dict[int, float] = {}
        self._began: dict[int, float] = {}
        self.takeovers = 0

    def step(self) -> None:
        """A quarter of a minute, in which anything may happen."""
        chooser, world = self._chooser, self._world
        for node in self._nodes:
            if chooser.random() < 0.2:
                node.off = chooser.choice(JUMPS)
        if chooser.random() < 0.05:
            number = chooser.randrange(len(self._nodes))
            self._nodes[number].end()
            self._nodes[number] = world.node(chooser.choice(JUMPS))
        self._pass(0.04)

    def settle(self) -> None:
        """Until all that died have been seen to be dead."""
        for _ in range(LEASE // BEAT + 1):
            self._pass(0.0)
        assert not self._dead

    def _pass(self, deaths: float) -> None:
        chooser, world = self._chooser, self._world
        world.passed += BEAT
        for node in self._nodes:
            while lease := node.lease():
                self._taken(lease)
        for number, lease in list(self._living.items()):
            if chooser.random() < deaths:
                del self._living[number]
                self._dead[number] = world.passed
            elif not chooser.choice(self._nodes).renew(lease):
                raise AssertionError(f"job {number} was taken from a worker that lives")
            elif world.passed - self._began[number] > LONGEST - 4 * BEAT:
                self._finish(number, lease)

    def _taken(self, lease: Lease) -> None:
        number = lease.job.number
        assert number not in self._living, f"job {number} was given to two"
        if number in self._dead:
            silent = self._world.passed - self._dead.pop(number)
            assert silent >= LEASE - BEAT, f"job {number} was taken over after {silent} s"
            self.takeovers += 1
        self._living[number], self._began[number] = lease, self._world.passed

    def _finish(self, number: int, lease: Lease) -> None:
        node = self._chooser.choice(self._nodes)
        node.queue.sign(number, lease.secret, ENVELOPES)
        node.queue.finish(number, lease.secret, (0, 1), node.now)
        del self._living[number]
        node.add(purl(f"b{number}-{int(self._world.passed)}"))
