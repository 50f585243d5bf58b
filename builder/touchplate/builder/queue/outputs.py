"""What the worker of a job printed, kept for those who watch; a bounded part of it, in pieces."""

from __future__ import annotations

from sqlalchemy import func, insert, select

from touchplate.base.sql import begin_read, begin_write, database_errors
from touchplate.builder.queue.jobs import MAX_BATCH_BYTES, MAX_OUTPUT_BYTES, BadJobError
from touchplate.builder.queue.schema import output
from touchplate.builder.queue.store import Queue, newest

READ_PIECES = 16
"""Pieces of one answer: a quarter of a minute of those that come each second."""

READ_BYTES = 64 * 1024
"""After so many no further piece comes into an answer, since each stream holds one in memory."""

_CUT = b"\n[more output follows; all of it is in the build log, which is evidence]\n"


class Outputs:
    """The outputs of all jobs of a queue. Safe from any thread."""

    def __init__(self, queue: Queue) -> None:
        self._engine = queue.engine

    def append(self, number: int, secret: str, data: bytes, now: int) -> int:
        """Add a piece; answers how many bytes are kept now. Raises LeaseLostError, BadJobError.

        Its last lines come when a job has just ended: the newest lease may still write them.
        Beyond MAX_OUTPUT_BYTES nothing is kept, and the end says so.
        """
        if len(data) > MAX_BATCH_BYTES:
            raise BadJobError(f"output comes in pieces of at most {MAX_BATCH_BYTES} bytes")
        with database_errors("store output"), begin_write(self._engine) as transaction:
            newest(transaction, number, secret)
            last = transaction.execute(
                select(output.c.start, func.length(output.c.data))
                .where(output.c.job_id == number)
                .order_by(output.c.start.desc())
                .limit(1)
            ).one_or_none()
            end = 0 if last is None else last[0] + last[1]
            if not data or end >= MAX_OUTPUT_BYTES:
                return end
            if end + len(data) >= MAX_OUTPUT_BYTES:
                data = data[: MAX_OUTPUT_BYTES - end] + _CUT
            transaction.execute(insert(output), {"job_id": number, "start": end, "data": data})
            return end + len(data)

    def read(self, number: int, start: int) -> bytes:
        """Output from the byte `start` on, one or a few pieces; empty when there is no more (yet)."""
        start = min(start, 2 * MAX_OUTPUT_BYTES)  # beyond all that is kept; a database adds only so far
        end = start + READ_BYTES
        here = output.c.job_id == number
        # The piece in which that byte is: those before it may be any number, of any size.
        piece = select(func.max(output.c.start)).where(here, output.c.start <= start).scalar_subquery()
        with database_errors("read output"), begin_read(self._engine) as transaction:
            rows = transaction.execute(
                select(output.c.start, output.c.data)
                .where(here, output.c.start >= func.coalesce(piece, 0), output.c.start < end)
                .order_by(output.c.start)
                .limit(READ_PIECES)
            ).all()
        return b"".join(row.data[max(0, start - row.start) :] for row in rows)
