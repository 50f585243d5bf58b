"""The tables of the queue's database; the same in SQLite and PostgreSQL.

    jobs        one row per job; at most one open row per package and definition
    job_output  what a job's worker printed, in pieces, for those who watch

The queue is no record: what was found is in the log, and evidence beside it.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    insert,
    inspect,
    select,
    text,
)

from touchplate.base.errors import StorageError

REVISION = "0001"
"""Of these tables. A change to them needs a migration, as in the log's storage (Alembic)."""

_LOCK = 0x746F7571
"""Advisory lock of PostgreSQL ("touq"): tables are made, and jobs added, by one at a time."""

metadata = MetaData()

_NUMBER = BigInteger().with_variant(Integer, "sqlite")

versions = Table("queue_version", metadata, Column("version_num", String(32), primary_key=True))

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
Index("jobs_of_client", jobs.c.client, jobs.c.created)

output = Table(
    "job_output",
    metadata,
    Column("job_id", _NUMBER, ForeignKey("jobs.job_id"), primary_key=True),
    # Offset of the piece in the job's output, in bytes.
    Column("start", BigInteger, primary_key=True, autoincrement=False),
    Column("data", LargeBinary, nullable=False),
)


def prepare(transaction: Connection) -> None:
    """Make the tables when they are not there. Raises StorageError for those of another touchplate."""
    serialise(transaction)
    if versions.name not in inspect(transaction).get_table_names():
        metadata.create_all(transaction)
        transaction.execute(insert(versions), {"version_num": REVISION})
    found = transaction.execute(select(versions.c.version_num)).scalar_one()
    if found != REVISION:
        raise StorageError(
            f"the queue's database is of revision {found!r}, which this version of touchplate does not know:"
            " use the version that made it, or a newer one"
        )


def serialise(transaction: Connection) -> None:
    """Let no other transaction that also calls this run beside this one (SQLite's writers never do)."""
    if transaction.dialect.name == "postgresql":
        transaction.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
