"""Several nodes of one queue, each with a wall's clock of its own, in a time that passes when told to."""

from collections.abc import Callable
from dataclasses import dataclass, field

from touchplate.base.sql import Engine
from touchplate.builder.queue.jobs import Lease, LeaseLostError, QueueLimits, Result
from touchplate.builder.queue.store import Queue

START = 1_700_000_000


@dataclass
class World:
    """Time itself, in seconds; `engine` opens the one database."""

    engine: Callable[[], Engine]
    limits: QueueLimits
    passed: float = 0.0
    opened: list["Node"] = field(default_factory=list)

    def node(self, off: int = 0) -> "Node":
        """One that starts now. `off`: seconds by which its wall's clock is wrong."""
        made = Node(self, off)
        self.opened.append(made)
        return made

    def close(self) -> None:
        """Every node has ended."""
        for one in self.opened:
            one.end()


class Node:
    """One life of one node. Its monotonic clock began when its machine did, long before or just now."""

    def __init__(self, world: World, off: int) -> None:
        self._world = world
        self.off = off
        begun = 1e6 * len(world.opened) - world.passed
        self.queue = Queue(world.engine(), world.limits, steady=lambda: begun + world.passed)
        self._is_open = True

    @property
    def now(self) -> int:
        """What its wall shows."""
        return int(START + self._world.passed) + self.off

    def end(self) -> None:
        """It is gone, with all that it had seen."""
        if self._is_open:
            self.queue.close()
            self._is_open = False

    def add(self, package: str) -> None:
        """A new job."""
        assert self.queue.add(package, "", self.now)[1]

    def lease(self, worker: str = "w") -> Lease | None:
        """The next job, if there is one."""
        return self.queue.lease(worker, self.now)

    def need(self, worker: str = "w") -> Lease:
        """The next job, which there must be."""
        found = self.lease(worker)
        assert found is not None
        return found

    def renew(self, lease: Lease) -> bool:
        """Whether it still is its worker's."""
        try:
            self.queue.heartbeat(lease.job.number, lease.secret, self.now)
        except LeaseLostError:
            return False
        return True

    def judge(self, lease: Lease, result: Result) -> bool:
        """As a worker says it."""
        return self.queue.judge(lease.job.number, lease.secret, result, self.now)

    def give_back(self, lease: Lease) -> None:
        """Its worker lacks something."""
        self.queue.give_back(lease.job.number, lease.secret, "no room", self.now)
