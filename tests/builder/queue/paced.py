"""A queue whose monotonic clock is the time that it is told: a node whose clock is right, without waiting."""

from touchplate.base.sql import Engine
from touchplate.builder.queue.jobs import Lease, QueueLimits, Result
from touchplate.builder.queue.store import Queue


class PacedQueue(Queue):
    """The latest time that it was told, by whichever call, is its clock."""

    def __init__(self, engine: Engine, limits: QueueLimits | None = None) -> None:
        self._latest = 0
        super().__init__(engine, limits, steady=lambda: float(self._latest))

    def tell(self, now: int) -> None:
        """It is so late."""
        self._latest = max(self._latest, now)

    def lease(self, worker: str, now: int) -> Lease | None:
        self.tell(now)
        return super().lease(worker, now)

    def heartbeat(self, number: int, secret: str, now: int, *, phase: str = "") -> None:
        self.tell(now)
        super().heartbeat(number, secret, now, phase=phase)

    def judge(self, number: int, secret: str, result: Result, now: int) -> bool:
        self.tell(now)
        return super().judge(number, secret, result, now)

    def give_back(self, number: int, secret: str, why: str, now: int) -> None:
        self.tell(now)
        super().give_back(number, secret, why, now)
