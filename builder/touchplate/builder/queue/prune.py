"""Deleting jobs whose time is over, in small batches: each is one transaction, and what it leaves is whole.

A batch takes rows that nobody holds just now and waits for none, so no worker waits for more than one batch.
Killed at any moment, it has done all of its work or none; the next one goes on. On PostgreSQL one node at a
time does this, by an advisory lock that ends with the transaction, however that ends.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    case,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from touchplate.base.sql import begin_read, begin_write, database_errors
from touchplate.builder.queue.jobs import QueueError, State
from touchplate.builder.queue.retention import FULL_SECONDS, Retention, Wanted
from touchplate.builder.queue.schema import IS_FULL, jobs, output, pruned
from touchplate.builder.queue.store import AHEAD_SECONDS, Queue

MOST_JOBS = 50
"""Jobs of one batch: some ten milliseconds, for which a writer of SQLite waits."""

MOST_PIECES = 100
"""Pieces of output that go in one batch, at most 6.4 MB: for a writer of SQLite a few hundred milliseconds. A
build that says little each second leaves thousands."""

CALL_BATCHES = 20
"""Batches of one call by a person: about a second; then the caller is told that there is more."""

_LOCK = 0x746F7570  # "toup"


class WrongClockError(QueueError):
    """The clocks of this node and of its database say other times, and one of them is wrong."""

    default_reason = "wrong-clock"


@dataclass(frozen=True)
class Batch:
    """What one batch did."""

    jobs: int
    is_more: bool
    """Whether another one has something to do."""


class Pruner:
    """Batches over one queue. Safe from any thread and process. All raises StorageError when the database
    fails, and WrongClockError."""

    def __init__(self, queue: Queue, retention: Retention | None = None) -> None:
        self._engine = queue.engine
        self.retention = retention or Retention()

    def empty(self, now: int) -> Batch:
        """Take the output of jobs that ended a week ago, and the statements of those that are done."""
        with database_errors("empty jobs"), begin_write(self._engine) as transaction:
            if not _is_ours(transaction):
                return Batch(0, is_more=False)
            _check_clock(transaction, now)
            rows = _take(transaction, IS_FULL, _is_past(FULL_SECONDS, now))
            ready = _drop_outputs(transaction, rows)
            # What was cancelled when it was signed is in no log: its statements go with it.
            kept = case((jobs.c.state == "done", None), else_=jobs.c.parcel)
            if ready:
                transaction.execute(
                    update(jobs).where(jobs.c.job_id.in_(ready)).values(emptied=1, parcel=kept)
                )
        return _batch(rows, ready)

    def delete(self, state: State, seconds: int, now: int, *, wait: bool = False) -> Batch:
        """Delete jobs that ended in `state`, one of CLOSED, and more than `seconds` ago. `wait`: for another
        node that does the same; else there is nothing to do meanwhile."""
        with database_errors("delete jobs"), begin_write(self._engine) as transaction:
            if not _is_ours(transaction, wait=wait):
                return Batch(0, is_more=False)
            _check_clock(transaction, now)
            rows = _take(transaction, jobs.c.state == state, _is_past(seconds, now))
            gone = _drop_outputs(transaction, rows)
            if gone:
                transaction.execute(delete(jobs).where(jobs.c.job_id.in_(gone)))
                _note(transaction, state, gone, seconds)
        return _batch(rows, gone)

    def delete_wanted(self, wanted: Wanted, now: int) -> tuple[dict[State, int], bool]:
        """Delete what a person wants gone, as much as fits into one call: how many of each state, and whether
        there is more."""
        spans = wanted.spans(self.retention)
        deleted = dict.fromkeys(spans, 0)
        left = CALL_BATCHES
        for state, seconds in spans.items():
            is_more = True
            while is_more:
                if not left:
                    return deleted, True
                batch = self.delete(state, seconds, now, wait=True)
                deleted[state] += batch.jobs
                left, is_more = left - 1, batch.is_more
        return deleted, False

    def count_wanted(self, wanted: Wanted, now: int) -> dict[State, int]:
        """How many jobs of each state `delete_wanted` would delete in the end."""
        with database_errors("count jobs"), begin_read(self._engine) as transaction:
            _check_clock(transaction, now)
            count = select(func.count()).select_from(jobs)
            return {
                state: transaction.execute(
                    count.where(jobs.c.state == state, _is_past(seconds, now))
                ).scalar_one()
                for state, seconds in wanted.spans(self.retention).items()
            }


def _is_ours(transaction: Connection, *, wait: bool = False) -> bool:
    """Whether no other node deletes until this transaction ends."""
    if transaction.dialect.name != "postgresql":
        return True
    if wait:
        transaction.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
        return True
    found = transaction.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": _LOCK})
    return bool(found.scalar_one())


def _check_clock(transaction: Connection, now: int) -> None:
    """Raise WrongClockError when the database has another clock, and it says that this node's may be wrong:
    one that is years ahead would delete all that ever ended."""
    if transaction.dialect.name != "postgresql":
        return
    there = transaction.execute(text("SELECT extract(epoch FROM clock_timestamp())::bigint")).scalar_one()
    if abs(now - there) > AHEAD_SECONDS:
        raise WrongClockError(
            f"this node's clock and that of its database are {abs(now - there)} seconds apart: set the one"
            " that is wrong; no job is deleted until then"
        )


def _is_past(seconds: int, now: int) -> ColumnElement[bool]:
    """Whether a job ended more than so many seconds ago.

    The node that wrote down its end may have had a clock that was years behind. No job ended before it was
    made or leased, which other nodes may have written down; not so if their clocks were ahead.
    """
    before = now - seconds
    begun = (
        or_(begin < before, begin > now + AHEAD_SECONDS)
        for begin in (jobs.c.created, func.coalesce(jobs.c.leased, 0))
    )
    return and_(jobs.c.finished < before, *begun)


def _take(transaction: Connection, *which: ColumnElement[bool] | Any) -> Sequence[Row[Any]]:
    """Some of the jobs, those first that ended first, locked; what others hold just now is passed over."""
    has_output = exists().where(output.c.job_id == jobs.c.job_id).label("has_output")
    return transaction.execute(
        select(jobs.c.job_id, has_output)
        .where(*which)
        .order_by(jobs.c.finished)
        .limit(MOST_JOBS)
        .with_for_update(skip_locked=True, of=jobs)
    ).all()


def _drop_outputs(transaction: Connection, rows: Sequence[Row[Any]]) -> list[int]:
    """Delete the output of jobs, as much as one batch may; those of which none is left."""
    left = MOST_PIECES
    gone = []
    for row in rows:
        if row.has_output:
            here = output.c.job_id == row.job_id
            # The end first: who reads meanwhile has the beginning, and every byte at its place.
            some = select(output.c.start).where(here).order_by(output.c.start.desc()).limit(left)
            left -= transaction.execute(delete(output).where(here, output.c.start.in_(some))).rowcount
            if left <= 0:
                break  # perhaps there is more of it
        gone.append(row.job_id)
    return gone


def _note(transaction: Connection, state: State, gone: Sequence[int], seconds: int) -> None:
    """Remember that there were such jobs, for those who ask by their numbers. One at a time is here."""
    before = transaction.execute(select(pruned).where(pruned.c.state == state)).one_or_none()
    if before is None:
        transaction.execute(
            insert(pruned),
            {"state": state, "highest": max(gone), "jobs": len(gone), "kept_seconds": seconds},
        )
        return
    transaction.execute(
        update(pruned)
        .where(pruned.c.state == state)
        .values(highest=max(before.highest, *gone), jobs=before.jobs + len(gone), kept_seconds=seconds)
    )


def _batch(rows: Sequence[Row[Any]], done: Sequence[int]) -> Batch:
    return Batch(len(done), is_more=len(rows) == MOST_JOBS or len(done) < len(rows))
