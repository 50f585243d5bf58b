"""What a queue of rebuilds promises: each job ends once, and its statements are in the log once, as stored.

Reads the queue's rows and the log's entries at rest; nothing of the queue's own code is asked.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from json import loads

from sqlalchemy import Engine, text
from tests.torture.oracle import INCONSISTENT, LOST, Finding

from touchplate.base.sql import begin_read
from touchplate.verify.dsse import parse_envelope
from touchplate.verify.encoding import decode_base64
from touchplate.verify.entry import parse_packed
from touchplate.verify.statements import Comparison, Provenance, parse_predicate, parse_statement

KINDS = ("provenance", "comparison")
"""Statements of a build that came to its end."""


@dataclass(frozen=True)
class Row:
    """One job as its row has it."""

    number: int
    definition: str
    state: str
    is_leased: bool
    """Whether a lease stands in it."""
    indexes: tuple[int, ...]
    envelopes: tuple[bytes, ...]
    """That were stored before they were sent."""
    attempts: int = 1
    """Leases that were given for it."""


def read_rows(engine: Engine) -> list[Row]:
    """All jobs, the oldest first."""
    columns = "job_id, definition, state, lease_until, indexes, parcel, attempts"
    with begin_read(engine) as transaction:
        found = transaction.execute(text(f"SELECT {columns} FROM jobs ORDER BY job_id")).all()
    return [
        Row(
            number=row.job_id,
            definition=row.definition,
            state=row.state,
            is_leased=row.lease_until is not None,
            indexes=tuple(int(one) for one in row.indexes.split(",") if one),
            envelopes=tuple(decode_base64(one, "envelope") for one in loads(row.parcel or b"[]")),
            attempts=row.attempts,
        )
        for row in found
    ]


def check_moment(rows: Sequence[Row], log: Sequence[bytes]) -> Iterator[Finding]:
    """What must be right at any moment at which nobody writes. `log`: packed entries in order."""
    sent = [parse_packed(one).envelope for one in log]
    times = Counter(sent)
    stored = {envelope for row in rows for envelope in row.envelopes}
    for row in rows:
        for envelope in row.envelopes:
            if times[envelope] > 1:
                yield Finding(
                    INCONSISTENT, f"a statement of job {row.number} is in the log {times[envelope]} times"
                )
            elif row.state == "done" and not times[envelope]:
                yield Finding(LOST, f"job {row.number} is done, and a statement of it is not in the log")
        if row.state == "done":
            yield from _check_indexes(row, sent)
    for index, envelope in enumerate(sent):
        if envelope not in stored:
            yield Finding(INCONSISTENT, f"entry {index} was stored with no job before it was sent")
    for (kind, definition), count in _statements(sent).items():
        if count > 1:
            yield Finding(
                INCONSISTENT, f"definition {definition[:12]} has its {kind} in the log {count} times"
            )
    # Some jobs never had a parcel; those that had keep it.
    for row in rows:
        if row.state == "done" and not row.envelopes:
            yield Finding(LOST, f"job {row.number} is done with nothing stored")


def check_end(rows: Sequence[Row], log: Sequence[bytes], promised: Mapping[str, str]) -> Iterator[Finding]:
    """What must be right when all is over. `promised`: definition → the state in which its job must be."""
    yield from check_moment(rows, log)
    jobs = Counter(row.definition for row in rows)
    for definition, state in promised.items():
        if jobs[definition] != 1:
            yield Finding(
                INCONSISTENT if jobs[definition] else LOST,
                f"definition {definition[:12]} was asked for once and has {jobs[definition]} jobs",
            )
        found = [row.state for row in rows if row.definition == definition]
        if found not in ([], [state]):
            yield Finding(LOST, f"the job of definition {definition[:12]} is {found}, not {state}")
    for definition in jobs.keys() - promised.keys():
        yield Finding(INCONSISTENT, f"definition {definition[:12]} has a job, and nobody asked for it")
    for row in rows:
        if row.is_leased:
            yield Finding(INCONSISTENT, f"job {row.number} is {row.state}, and a lease of it is left")
    expected = {(kind, one) for one, state in promised.items() if state == "done" for kind in KINDS}
    logged = set(_statements([parse_packed(one).envelope for one in log]))
    for kind, definition in sorted(expected - logged):
        yield Finding(LOST, f"definition {definition[:12]} has no {kind} in the log")
    for kind, definition in sorted(logged - expected):
        yield Finding(INCONSISTENT, f"definition {definition[:12]} has a {kind} in the log, and should not")


def _check_indexes(row: Row, sent: Sequence[bytes]) -> Iterator[Finding]:
    there = tuple(sent[index] if index < len(sent) else None for index in row.indexes)
    if there != row.envelopes:
        yield Finding(
            LOST, f"job {row.number}: at its indexes {row.indexes} stand other entries than were stored"
        )


def _statements(envelopes: Sequence[bytes]) -> Counter[tuple[str, str]]:
    """(kind, sha256 of the definition) of each statement that a rebuilder makes."""
    seen: Counter[tuple[str, str]] = Counter()
    for envelope in envelopes:
        predicate = parse_predicate(parse_statement(parse_envelope(envelope).payload))
        if isinstance(predicate, Provenance):
            seen["provenance", predicate.one("definition").digests["sha256"]] += 1
        elif isinstance(predicate, Comparison):
            seen["comparison", predicate.definition] += 1
    return seen
