"""Who works for the queue: each slot of each worker that asked for a job, or kept one, of late."""

from __future__ import annotations

from sqlalchemy import Connection, and_, delete, func, insert, select, update

from touchplate.base.sql import begin_read, begin_write, database_errors
from touchplate.builder.queue.jobs import MAX_LISTED, MAX_NAME_CHARS, WorkerSlot
from touchplate.builder.queue.leases import COLUMNS
from touchplate.builder.queue.schema import jobs, workers
from touchplate.builder.queue.store import AHEAD_SECONDS, Queue
from touchplate.verify.output import printable

NOTED_SECONDS = 20
"""A worker that asks again sooner is not written down again: each time is a sync of the disk."""

ALIVE_SECONDS = 60
"""Silence after which a worker without a job is not listed as alive: it asks every five seconds."""

KEPT_SECONDS = 24 * 3600
"""How long one is remembered that asks no more."""

MAX_WORKERS = 1_000
"""Slots that are remembered: each start of a worker has other names."""


class Workers:
    """The workers of a queue. Safe from any thread. All raises StorageError when the database fails."""

    def __init__(self, queue: Queue) -> None:
        self._engine = queue.engine
        self._watch = queue.watch
        self._lease_seconds = queue.limits.lease_seconds

    def note(self, name: str, version: str, backend: str, now: int) -> None:
        """A worker asks for a job."""
        with database_errors("look for a worker"), begin_read(self._engine) as transaction:
            row = transaction.execute(select(workers).where(workers.c.name == name)).one_or_none()
        told = {"version": _short(version), "backend": _short(backend)}
        if (
            row is not None
            and 0 <= now - row.last_seen < NOTED_SECONDS
            and (row.version, row.backend) == (told["version"], told["backend"])
        ):
            return
        with database_errors("note a worker"), begin_write(self._engine) as transaction:
            changed = transaction.execute(
                update(workers).where(workers.c.name == name).values(last_seen=now, **told)
            )
            if not changed.rowcount:
                _forget(transaction, now)
                made = {"name": name, "first_seen": now, "last_seen": now, **told}
                transaction.execute(insert(workers), made)

    def list(self, now: int) -> list[WorkerSlot]:
        """Those that have a job, or asked for one within a minute; by name."""
        looked = self._watch.now()
        leased = select(*COLUMNS).where(jobs.c.state == "leased")
        # One seen far ahead was noted while a clock was wrong.
        is_alive = workers.c.last_seen.between(now - ALIVE_SECONDS + 1, now + AHEAD_SECONDS)
        with database_errors("list workers"), begin_read(self._engine) as transaction:
            found = transaction.execute(leased).all()
            held = [row.job_id for row in found if not self._watch.is_over(row, looked)]
            has_job = and_(jobs.c.worker == workers.c.name, jobs.c.job_id.in_(held))
            rows = transaction.execute(
                select(workers, jobs.c.job_id, jobs.c.package, jobs.c.phase, jobs.c.lease_until)
                .select_from(workers.outerjoin(jobs, has_job))
                .where(is_alive | (jobs.c.job_id.is_not(None)))
                .order_by(workers.c.name, jobs.c.job_id)
                .limit(MAX_LISTED)
            ).all()
        return [
            WorkerSlot(
                name=row.name,
                version=row.version,
                backend=row.backend,
                first_seen=row.first_seen,
                # Who has a job renews its lease, and asks for no other.
                last_seen=max(row.last_seen, (row.lease_until or 0) - self._lease_seconds),
                job=row.job_id,
                package=row.package or "",
                phase=row.phase or "",
            )
            for row in rows
        ]


def _forget(transaction: Connection, now: int) -> None:
    """Those that are gone, and those too many: the longest unseen first. Never one that has a job, since it
    asks for no other for as long as that takes."""
    has_job = select(jobs.c.worker).where(jobs.c.state == "leased")
    is_idle = workers.c.name.not_in(has_job)
    is_gone = (workers.c.last_seen < now - KEPT_SECONDS) | (workers.c.last_seen > now + AHEAD_SECONDS)
    transaction.execute(delete(workers).where(is_idle, is_gone))
    count = transaction.execute(select(func.count()).select_from(workers)).scalar_one()
    if count >= MAX_WORKERS:
        oldest = select(workers.c.name).where(is_idle).order_by(workers.c.last_seen)
        transaction.execute(delete(workers).where(workers.c.name.in_(oldest.limit(count - MAX_WORKERS + 1))))


def _short(text: str) -> str:
    return printable(text)[:MAX_NAME_CHARS]
