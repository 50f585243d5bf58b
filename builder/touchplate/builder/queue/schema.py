"""The tables of the queue's database; the same in SQLite and PostgreSQL.

    jobs        one row per job; at most one open row per package and definition
    job_output  what a job's worker printed, in pieces, for those who watch
    workers     one row per slot of a worker that asked for jobs of late
    pruned      one row per state of which jobs were deleted, since when and up to which number

The queue is no record: what was found is in the log, and evidence beside it. A change to the tables needs a
migration (`migrations/`).
"""

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData()

_NUMBER = BigInteger().with_variant(Integer, "sqlite")

jobs = Table(
    "jobs",
    metadata,
    Column("job_id", _NUMBER, primary_key=True),
    Column("package", Text, nullable=False),
    Column("definition", String(64), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", String(10), nullable=False),
    Column("client", Text, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("finished", BigInteger, nullable=True),
    Column("not_before", BigInteger, nullable=False),
    Column("worker", Text, nullable=False, server_default=""),
    Column("secret", String(64), nullable=True),
    Column("lease_until", BigInteger, nullable=True),
    Column("attempts", Integer, nullable=False, server_default="0"),
    Column("lost", Integer, nullable=False, server_default="0"),
    Column("lacks", Integer, nullable=False, server_default="0"),
    Column("not_built", Integer, nullable=False, server_default="0"),
    Column("different", Integer, nullable=False, server_default="0"),
    Column("result", String(10), nullable=True),
    Column("detail", Text, nullable=False, server_default=""),
    Column("indexes", Text, nullable=False, server_default=""),
    # The statements as they were signed, before the first of them was sent: a JSON list of base64.
    Column("parcel", LargeBinary, nullable=True),
    # When the newest lease began, by the clock of the node that gave it.
    Column("leased", BigInteger, nullable=True),
    Column("overruns", Integer, nullable=False, server_default="0"),
    # What its worker said last of where the build is.
    Column("phase", Text, nullable=False, server_default=""),
    # How often the newest lease was renewed: whoever looks on sees by it that its worker lives, by no clock.
    Column("beats", Integer, nullable=False, server_default="0"),
    # Seconds that it has lasted, as those who renewed it saw them pass.
    Column("held", Integer, nullable=False, server_default="0"),
    # 1 once its output, and the statements of one that is done, are gone.
    Column("emptied", Integer, nullable=False, server_default="0"),
    # SQLite must not give a number again: those who watch an old job would see a new one.
    sqlite_autoincrement=True,
)

_IS_OPEN = text("state IN ('waiting', 'leased')")

Index(
    "jobs_one_open",
    jobs.c.package,
    jobs.c.definition,
    unique=True,
    sqlite_where=_IS_OPEN,
    postgresql_where=_IS_OPEN,
)
Index("jobs_in_order", jobs.c.state, jobs.c.priority.desc(), jobs.c.job_id)
Index("jobs_of_package", jobs.c.package, jobs.c.definition, jobs.c.job_id)
# What was asked for within the hour, by whomever: whoever counts it reads nothing else.
Index("jobs_by_time", jobs.c.created, jobs.c.client)

IS_FULL = text("emptied = 0 AND finished IS NOT NULL")
"""Of jobs that ended and are not emptied. As a text: SQLite takes an index of some rows for no others."""

_HAS_ENDED = text("finished IS NOT NULL")

Index("jobs_to_empty", jobs.c.finished, sqlite_where=IS_FULL, postgresql_where=IS_FULL)
Index("jobs_ended", jobs.c.state, jobs.c.finished, sqlite_where=_HAS_ENDED, postgresql_where=_HAS_ENDED)

output = Table(
    "job_output",
    metadata,
    Column("job_id", _NUMBER, ForeignKey("jobs.job_id"), primary_key=True),
    # Offset of the piece in the job's output, in bytes.
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    # As jobs name it: token/host.pid/slot.
    Column("name", Text, primary_key=True),
    Column("version", Text, nullable=False),
    Column("backend", Text, nullable=False),
    Column("first_seen", BigInteger, nullable=False),
    Column("last_seen", BigInteger, nullable=False),
)

pruned = Table(
    "pruned",
    metadata,
    Column("state", String(10), primary_key=True),
    # The greatest number of a job in that state that was deleted.
    Column("highest", BigInteger, nullable=False),
    # How many there were.
    Column("jobs", BigInteger, nullable=False),
    # For how long after its end the last of them was kept, at least.
    Column("kept_seconds", BigInteger, nullable=False),
)
