"""The queue itself: adding, leasing, finishing and cancelling jobs. Every call is one transaction.

Any number of processes may use one database. A job is leased to one worker at a time; whoever calls with the
secret of a lease that ended gets LeaseLostError and changes nothing. The caller gives the time, which is
written down and shown; what a lease and a pause last is counted by the monotonic clock (`leases`).
"""

from __future__ import annotations

import json
import re
import secrets
import time
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from typing import Any, get_args

from sqlalchemy import Connection, Row, and_, case, func, insert, or_, select, text, true, update

from touchplate.base.sql import Engine, begin_read, begin_write, database_errors
from touchplate.builder.purl_form import purl_form
from touchplate.builder.queue.jobs import (
    ANONYMOUS,
    BUILT,
    CLOSED,
    MAX_LISTED,
    MAX_NAME_CHARS,
    MAX_PACKAGE_CHARS,
    MAX_PARCEL_BYTES,
    MAX_PHASE_CHARS,
    MAX_PRIORITY,
    OPEN,
    RESULTS,
    BadJobError,
    DeletedJobError,
    Job,
    Lease,
    LeaseLostError,
    NoJobError,
    QueueFullError,
    QueueLimits,
    Result,
    State,
    TooManyRequestsError,
    on_one_line,
)
from touchplate.builder.queue.leases import COLUMNS, LeaseWatch
from touchplate.builder.queue.migrations import MIGRATIONS, prepare
from touchplate.builder.queue.retention import format_span
from touchplate.builder.queue.schema import jobs, pruned
from touchplate.verify.errors import MalformedError
from touchplate.verify.purl import normalise_purl

_HOUR = 3600
AHEAD_SECONDS = 2 * _HOUR
"""A time further ahead was written by a clock that was wrong, and does not count for what is bounded by the
hour or the day; less may be how far the clocks of two nodes are apart."""

MOST_OVER = 64
"""Jobs whose lease or pause is over of which the first are looked at for one that nobody else takes just now:
more than workers that ask in the same moment."""

_DIGEST = re.compile(r"(?:[0-9a-f]{64})?")

_SHOWN = (
    *(column for column in jobs.c if column.name not in ("parcel", "secret", "emptied")),
    jobs.c.parcel.is_not(None).label("is_signed"),
)
"""What a `Job` says of a row that is only shown. Not the statements: those of a thousand jobs are megabytes.
(Not for RETURNING: SQLite 3.40 may answer `IS NOT NULL` there by what another column allows.)"""


class Queue:
    """A queue over one database. Safe from any thread. Everything raises StorageError when that fails.

    `steady`: the monotonic clock, in seconds.
    """

    def __init__(
        self,
        engine: Engine,
        limits: QueueLimits | None = None,
        *,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine = engine
        self.limits = limits or QueueLimits()
        self.watch = LeaseWatch(self.limits, steady)
        with database_errors("open the queue"), begin_write(engine) as transaction:
            prepare(transaction)

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()

    def add(
        self,
        package: str,
        definition: str,
        now: int,
        *,
        client: str | None = None,
        priority: int = 0,
        again: bool = True,
    ) -> tuple[Job, bool]:
        """A job for this package and definition, and whether it is new; an open one is answered as it is.

        `client`: who asks, when it is no administrator: bounded by the hour, and answered with the last job
        when that built something, or ended less than a day ago. `again`: whether an administrator's makes a
        new job of one whose statements are in the log. Raises BadJobError, QueueFullError,
        TooManyRequestsError.
        """
        row = _checked(package, definition, client or "", priority)
        with database_errors("add a job"), begin_write(self.engine) as transaction:
            _serialise(transaction)  # counts and the row they allow belong together
            last = transaction.execute(
                select(*_SHOWN)
                .where(jobs.c.package == row["package"], jobs.c.definition == definition)
                .order_by(jobs.c.job_id.desc())
                .limit(1)
            ).one_or_none()
            if last is not None and (
                last.state in OPEN
                or (last.state == "done" and not again)
                or (client is not None and self._is_enough(last, now))
            ):
                return _job(last), False
            self._check_room(transaction, client, now)
            made = transaction.execute(
                insert(jobs).returning(jobs), {**row, "state": "waiting", "created": now, "not_before": now}
            ).one()
            return _job(made), True

    def _is_enough(self, row: Row[Any], now: int) -> bool:
        """Whether no request opens the job of `row` again."""
        if row.state == "done" and row.result in BUILT:
            return True
        since = now - self.limits.quiet_seconds
        return row.finished is not None and since < row.finished <= now + AHEAD_SECONDS

    def _check_room(self, transaction: Connection, client: str | None, now: int) -> None:
        limits = self.limits
        is_open = jobs.c.state.in_(OPEN)
        is_asked, is_anonymous = jobs.c.client != "", jobs.c.client.startswith(ANONYMOUS, autoescape=True)
        # Who asked is counted, never searched for: a database that searched for all clients without a token
        # would go through every job there ever was.
        every, asked, anonymous = transaction.execute(_counts(is_open, true(), is_asked, is_anonymous)).one()
        if every >= limits.open_jobs:
            raise QueueFullError(f"{limits.open_jobs} jobs are open, and the queue takes no more; try later")
        if client is None:
            return
        is_nameless = client.startswith(ANONYMOUS)
        for count, most, whose in (
            (asked, limits.open_asked, ""),
            (anonymous if is_nameless else 0, limits.open_anonymous, " without a token"),
        ):
            if count >= most:
                raise QueueFullError(f"{most} jobs that clients{whose} asked for are open, no more may be")
        is_recent = and_(jobs.c.created > now - _HOUR, jobs.c.created <= now + AHEAD_SECONDS)
        own, nameless = transaction.execute(_counts(is_recent, jobs.c.client == client, is_anonymous)).one()
        for count, most, whose in (
            (own, limits.asked_per_hour, ""),
            (nameless if is_nameless else 0, limits.anonymous_per_hour, " without a token"),
        ):
            if count >= most:
                raise TooManyRequestsError(
                    f"{most} rebuilds an hour may be asked for{whose}; try again later"
                )

    def lease(self, worker: str, now: int) -> Lease | None:
        """The next job for a worker; None when there is none. Raises BadJobError for a name too long.

        A job whose lease ended in silence is taken up again here, or given up after too many.
        """
        _check_name("worker", worker)
        while True:
            looked = self.watch.now()
            with database_errors("lease a job"), begin_write(self.engine) as transaction:
                row = transaction.execute(_next(self._over(transaction, looked))).one_or_none()
                if row is None:
                    return None
                # Between the look and the lock it may have been renewed, or taken by another node.
                if row.attempts and not self.watch.is_over(row, looked):
                    continue
                if row.state == "leased" and not self._end(transaction, row, now):
                    continue
                secret = secrets.token_hex(32)
                taken = transaction.execute(
                    update(jobs)
                    .where(jobs.c.job_id == row.job_id)
                    .values(
                        state="leased",
                        worker=worker,
                        secret=secret,
                        leased=now,
                        lease_until=now + self.limits.lease_seconds,
                        attempts=jobs.c.attempts + 1,
                        beats=0,
                        held=0,
                        phase="",
                    )
                    .returning(jobs)
                ).one()
            self.watch.note(taken)
            return Lease(
                _job(taken),
                secret,
                self.limits.lease_seconds,
                _envelopes(taken),
                self.limits.longest_lease_seconds,
            )

    def _over(self, transaction: Connection, looked: float) -> list[int]:
        """Jobs whose lease or pause is over, the first to be done first; all that could be are looked at."""
        rows = transaction.execute(
            select(*COLUMNS)
            .where(or_(jobs.c.state == "leased", and_(jobs.c.state == "waiting", jobs.c.attempts > 0)))
            .order_by(jobs.c.priority.desc(), jobs.c.job_id)
        ).all()
        self.watch.forget_others({row.job_id for row in rows})
        return [row.job_id for row in rows if self.watch.is_over(row, looked)][:MOST_OVER]

    def heartbeat(self, number: int, secret: str, now: int, *, phase: str = "") -> None:
        """The worker lives, and its build is in `phase`: its lease begins anew, up to the longest time that
        one lease may last. Raises LeaseLostError, also when that time is over."""
        with database_errors("renew a lease"), begin_write(self.engine) as transaction:
            row = held(transaction, number, secret)
            lasted = self.watch.held(row)
            left = self.limits.longest_lease_seconds - lasted
            if left > 0:
                told = {"phase": on_one_line(phase)[:MAX_PHASE_CHARS]} if phase else {}
                until = now + min(self.limits.lease_seconds, left)
                row = _set(transaction, number, lease_until=until, beats=row.beats + 1, held=lasted, **told)
            elif self._end(transaction, row, now):
                row = self._give_back(transaction, number, now, self._held_too_long())
        self.watch.note(row)
        if left <= 0:
            raise LeaseLostError(
                f"job {number}: {self._held_too_long()}; stop working on it", reason="overrun"
            )

    def _end(self, transaction: Connection, row: Row[Any], now: int) -> bool:
        """Count how the lease of `row` ended by itself: in silence, or held for too long. False: that was
        once too often, and the job has failed."""
        # Both may be so: one that was silent at its end has not been held by renewals until then.
        is_overrun = row.held + self.limits.lease_seconds >= self.limits.longest_lease_seconds
        column, most = ("overruns", self.limits.overruns) if is_overrun else ("lost", self.limits.lost)
        count = getattr(row, column) + 1
        # What is signed is only to be sent, and that kills nobody.
        if row.parcel is not None or count <= most:
            _set(transaction, row.job_id, **{column: count})
            return True
        why = (
            f"{count} workers held it too long: {self._held_too_long()}"
            if is_overrun
            else f"{count} workers fell silent over it; see its log"
        )
        _close(transaction, row.job_id, "failed", now, detail=why, **{column: count})
        return False

    def _held_too_long(self) -> str:
        return f"a lease lasts {self.limits.longest_lease_seconds} seconds at most (max_lease of the queue)"

    def judge(self, number: int, secret: str, result: Result, now: int) -> bool:
        """A build came to `result`: whether that is to be signed and logged. If not, the job waits for
        another attempt and the lease is over. Raises LeaseLostError."""
        if result not in RESULTS:
            raise BadJobError(f"{result!r} is no result; write one of {', '.join(RESULTS)}")
        with database_errors("judge a job"), begin_write(self.engine) as transaction:
            row = held(transaction, number, secret)
            if row.parcel is not None:
                return True  # said too late or twice: what is signed is sent, and never made again
            allowed = {"not-built": self.limits.not_built, "different": self.limits.different}.get(result, 0)
            column = {"not-built": "not_built", "different": "different"}.get(result)
            if column is None:
                _set(transaction, number, result=result)
                return True
            done = getattr(row, column) + 1
            _set(transaction, number, **{column: done, "result": result})
            if done > allowed:
                return True
            row = self._give_back(transaction, number, now, f"{result}; it is tried again")
        self.watch.note(row)
        return False

    def sign(self, number: int, secret: str, envelopes: Sequence[bytes]) -> tuple[bytes, ...]:
        """Store the signed statements of a job before the first of them is sent; answers those to send.

        Whatever was stored first stays, so that no job is ever logged twice. Raises LeaseLostError.
        """
        data = json.dumps([b64encode(one).decode() for one in envelopes]).encode()
        if not envelopes or len(data) > MAX_PARCEL_BYTES:
            raise BadJobError(f"write at least one envelope, and at most {MAX_PARCEL_BYTES} bytes of them")
        with database_errors("store signed statements"), begin_write(self.engine) as transaction:
            row = held(transaction, number, secret)
            if row.parcel is not None:
                return _envelopes(row)
            _set(transaction, number, parcel=data)
            return tuple(envelopes)

    def finish(self, number: int, secret: str, indexes: Sequence[int], now: int) -> None:
        """The log holds the statements, under these indexes. Raises LeaseLostError, BadJobError."""
        with database_errors("finish a job"), begin_write(self.engine) as transaction:
            row = newest(transaction, number, secret)
            listed = ",".join(str(index) for index in indexes)
            if row.state == "done" and row.indexes == listed:
                return  # said again: the answer to the first time was lost
            if row.state != "leased":
                raise _lost(number)
            if len(indexes) != len(_envelopes(row)) or not indexes:
                raise BadJobError("a job is finished with one index for each of its stored statements")
            _close(transaction, number, "done", now, indexes=listed, detail="")

    def give_back(self, number: int, secret: str, why: str, now: int) -> None:
        """The worker's host lacks something: nothing is logged, and another try is made later, perhaps by
        another worker; after too many the job has failed. Raises LeaseLostError."""
        why = on_one_line(why)
        with database_errors("give a job back"), begin_write(self.engine) as transaction:
            row = held(transaction, number, secret)
            _set(transaction, number, lacks=row.lacks + 1)
            # What is signed waits for its log as long as that takes.
            if row.parcel is None and row.lacks + 1 > self.limits.lacks:
                _close(transaction, number, "failed", now, detail=why)
                return
            row = self._give_back(transaction, number, now, why)
        self.watch.note(row)

    def fail(self, number: int, secret: str, why: str, now: int) -> None:
        """No worker can do this job, such as one whose definition is malformed. Raises LeaseLostError."""
        with database_errors("fail a job"), begin_write(self.engine) as transaction:
            held(transaction, number, secret)
            _close(transaction, number, "failed", now, detail=on_one_line(why))

    def _give_back(self, transaction: Connection, number: int, now: int, why: str) -> Row[Any]:
        return _set(
            transaction, number,
            state="waiting", lease_until=None, detail=why,
            not_before=now + self.limits.retry_seconds,
        )  # fmt: skip

    def cancel(self, number: int, now: int, *, signed: bool = False) -> Job:
        """End an open job; its worker hears of it with its next heartbeat. A closed one stays as it is.

        Signed statements may be in the log already, so their job is only cancelled when `signed` says that
        this is meant (else BadJobError): for a log that will never answer again.
        """
        with database_errors("cancel a job"), begin_write(self.engine) as transaction:
            row = _locked(transaction, number)
            if row is None:
                raise _missing(transaction, number)
            if row.state in OPEN:
                if row.parcel is not None and not signed:
                    raise BadJobError(
                        f"job {number} is signed and on its way into the log; only if that will never take"
                        " it, cancel it as signed",
                        reason="too-late",
                    )
                _close(transaction, number, "cancelled", now)
            return _find(transaction, number)

    def find(self, number: int) -> Job:
        """One job. Raises NoJobError."""
        with database_errors("read a job"), begin_read(self.engine) as transaction:
            return _find(transaction, number)

    def list(self, *, state: State | None = None, before: int | None = None, limit: int = 100) -> list[Job]:
        """Jobs, the newest first: those of a state, with numbers below `before`."""
        # Numbers first, which an index has: whole rows of all jobs of a state are not to be sorted.
        numbers = select(jobs.c.job_id).order_by(jobs.c.job_id.desc()).limit(max(1, min(limit, MAX_LISTED)))
        if state is not None:
            if state not in get_args(State):
                raise BadJobError(f"{state!r} is no state; write one of {', '.join(get_args(State))}")
            numbers = numbers.where(jobs.c.state == state)
        if before is not None:
            numbers = numbers.where(jobs.c.job_id < before)
        wanted = select(*_SHOWN).where(jobs.c.job_id.in_(numbers)).order_by(jobs.c.job_id.desc())
        with database_errors("list jobs"), begin_read(self.engine) as transaction:
            return [_job(row) for row in transaction.execute(wanted)]


def _counts(among: Any, *kinds: Any) -> Any:
    """The statement that counts the jobs of each kind among some."""
    return select(*(func.count(case((kind, 1))) for kind in kinds)).select_from(jobs).where(among)


def _next(over: Sequence[int]) -> Any:
    """The statement for the next job that may be leased: one that never was, or one of `over`. On PostgreSQL,
    rows that others look at are passed over; SQLite has one writer at a time."""
    is_new = and_(jobs.c.state == "waiting", jobs.c.attempts == 0)
    return (
        select(jobs)
        .where(jobs.c.state.in_(OPEN), or_(is_new, jobs.c.job_id.in_(over)))
        .order_by(jobs.c.priority.desc(), jobs.c.job_id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )


def _serialise(transaction: Connection) -> None:
    """Let no other transaction that also calls this run beside this one (SQLite's writers never do)."""
    if transaction.dialect.name == "postgresql":
        transaction.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATIONS.lock})


def _locked(transaction: Connection, number: int) -> Row[Any] | None:
    return transaction.execute(select(jobs).where(jobs.c.job_id == number).with_for_update()).one_or_none()


def held(transaction: Connection, number: int, secret: str) -> Row[Any]:
    """The row of a job that this lease is of. One that ran out, and that nobody took over, still holds."""
    row = newest(transaction, number, secret)
    if row.state != "leased":
        raise _lost(number)
    return row


def newest(transaction: Connection, number: int, secret: str) -> Row[Any]:
    """The row of a job whose newest lease, over or not, is this one."""
    row = _locked(transaction, number)
    if row is None or row.secret is None or not _is_same(row.secret, secret):
        raise _lost(number)
    return row


def _is_same(one: str, other: str) -> bool:
    return secrets.compare_digest(one.encode(), other.encode())


def _lost(number: int) -> LeaseLostError:
    return LeaseLostError(f"job {number} is not leased to you (any more); stop working on it")


def _set(transaction: Connection, number: int, **values: Any) -> Row[Any]:
    """Write; answers what a look at the job sees then."""
    changed = update(jobs).where(jobs.c.job_id == number).values(**values).returning(*COLUMNS)
    return transaction.execute(changed).one()


def _close(transaction: Connection, number: int, state: State, now: int, **values: Any) -> None:
    assert state in CLOSED, state
    _set(transaction, number, state=state, finished=now, lease_until=None, **values)


def _find(transaction: Connection, number: int) -> Job:
    row = transaction.execute(select(*_SHOWN).where(jobs.c.job_id == number)).one_or_none()
    if row is None:
        raise _missing(transaction, number)
    return _job(row)


def _missing(transaction: Connection, number: int) -> NoJobError:
    """What to say of a number that has no row. Numbers are given once, in order: one that is not above all
    that were deleted was deleted, too."""
    rows = transaction.execute(
        select(pruned).where(pruned.c.highest >= number).order_by(pruned.c.state)
    ).all()
    if number < 1 or not rows:
        return NoJobError(f"there is no job {number}")
    kept = ", ".join(f"{format_span(row.kept_seconds)} when {row.state}" for row in rows)
    return DeletedJobError(
        f"job {number} was deleted: a job goes some time after its end ({kept}); what it found, if"
        " anything, is in the log"
    )


def _job(row: Row[Any]) -> Job:
    return Job(
        number=row.job_id,
        package=row.package,
        definition=row.definition,
        priority=row.priority,
        state=row.state,
        created=row.created,
        finished=row.finished,
        not_before=row.not_before,
        worker=row.worker,
        lease_until=row.lease_until,
        attempts=row.attempts,
        lost=row.lost,
        lacks=row.lacks,
        not_built=row.not_built,
        different=row.different,
        result=row.result,
        detail=row.detail,
        indexes=tuple(int(index) for index in row.indexes.split(",") if index),
        is_signed=bool(row.is_signed) if "is_signed" in row._fields else row.parcel is not None,
        leased=row.leased,
        overruns=row.overruns,
        phase=row.phase,
    )


def _envelopes(row: Row[Any]) -> tuple[bytes, ...]:
    return () if row.parcel is None else tuple(b64decode(one) for one in json.loads(row.parcel))


def _checked(package: str, definition: str, client: str, priority: int) -> dict[str, Any]:
    try:
        if len(package) > MAX_PACKAGE_CHARS:
            raise MalformedError(f"longer than {MAX_PACKAGE_CHARS} characters")
        spelled = str(normalise_purl(package))
    except MalformedError as error:
        raise BadJobError(f"package: {error}; write {purl_form(package)}") from error
    if not _DIGEST.fullmatch(definition):
        raise BadJobError("definition: write its sha256, 64 digits in lower-case hex, or leave it out")
    if not 0 <= priority <= MAX_PRIORITY:
        raise BadJobError(f"priority: write a number from 0 to {MAX_PRIORITY}")
    _check_name("client", client)
    return {"package": spelled, "definition": definition, "client": client, "priority": priority}


def _check_name(what: str, name: str) -> None:
    if len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise BadJobError(f"{what}: write a name of at most {MAX_NAME_CHARS} printable characters")
