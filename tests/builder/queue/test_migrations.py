"""Queues of before are brought forward with all that is in them; made or migrated, the schema is the same."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, Engine, text
from tests.builder.queue.paced import PacedQueue
from tests.builder.queue.suite import ENVELOPES, NOW, purl

from touchplate.base.errors import StorageError
from touchplate.base.postgresql import parse_address, postgresql_engine
from touchplate.base.sql import begin_write, sqlite_engine
from touchplate.builder.queue import migrations
from touchplate.builder.queue.housekeeping import Housekeeper
from touchplate.builder.queue.jobs import LeaseLostError, QueueLimits
from touchplate.builder.queue.migrations import MIGRATIONS, NEWEST, VERSION_TABLE, prepare
from touchplate.builder.queue.outputs import Outputs
from touchplate.builder.queue.prune import Pruner
from touchplate.builder.queue.retention import DAY
from touchplate.builder.queue.schema import metadata
from touchplate.builder.queue.store import Queue

SECRET = "ab" * 32

# As touchplate made it before there were migrations.
FIRST_SCHEMA = """
CREATE TABLE queue_version (version_num VARCHAR(32) NOT NULL, PRIMARY KEY (version_num));
CREATE TABLE jobs (
    job_id {number}, package TEXT NOT NULL, definition VARCHAR(64) NOT NULL, priority INTEGER NOT NULL,
    state VARCHAR(10) NOT NULL, client TEXT NOT NULL, created BIGINT NOT NULL, finished BIGINT,
    not_before BIGINT NOT NULL, worker TEXT DEFAULT '' NOT NULL, secret VARCHAR(64), lease_until BIGINT,
    attempts INTEGER DEFAULT '0' NOT NULL, lost INTEGER DEFAULT '0' NOT NULL,
    lacks INTEGER DEFAULT '0' NOT NULL, not_built INTEGER DEFAULT '0' NOT NULL,
    different INTEGER DEFAULT '0' NOT NULL, result VARCHAR(10), detail TEXT DEFAULT '' NOT NULL,
    indexes TEXT DEFAULT '' NOT NULL, parcel {bytes});
CREATE UNIQUE INDEX jobs_one_open ON jobs (package, definition) WHERE state IN ('waiting', 'leased');
CREATE INDEX jobs_in_order ON jobs (state, priority DESC, job_id);
CREATE INDEX jobs_of_package ON jobs (package, definition, job_id);
CREATE INDEX jobs_of_client ON jobs (client, created);
CREATE TABLE job_output (
    job_id {reference} NOT NULL, start BIGINT NOT NULL, data {bytes} NOT NULL,
    PRIMARY KEY (job_id, start), FOREIGN KEY(job_id) REFERENCES jobs (job_id));
INSERT INTO queue_version VALUES ('0001');
"""
TYPES = {
    "sqlite": {
        "number": "INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT",
        "reference": "INTEGER",
        "bytes": "BLOB",
    },
    "postgresql": {"number": "BIGSERIAL NOT NULL PRIMARY KEY", "reference": "BIGINT", "bytes": "BYTEA"},
}
ROWS = f"""
INSERT INTO jobs (package, definition, priority, state, client, created, not_before, worker, secret,
    lease_until, attempts, lost) VALUES
    ('{purl("a")}', '', 5, 'leased', '', {NOW}, {NOW}, 'shed/one', '{SECRET}', {NOW + 60}, 2, 1),
    ('{purl("b")}', '', 0, 'waiting', 'c', {NOW}, {NOW}, '', NULL, NULL, 0, 0);
"""
KINDS = ["sqlite", "postgresql"]


@pytest.fixture(params=KINDS)
def engines(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Engine]:
    """Opens one database, as often as asked."""
    if request.param == "sqlite":
        return lambda: sqlite_engine(tmp_path / "queue.sqlite")
    url = parse_address(request.getfixturevalue("database"))
    return lambda: postgresql_engine(url)


def make_old(engine: Engine) -> None:
    """A queue as an older touchplate left it: one job leased, one waiting."""
    with begin_write(engine) as transaction:
        for statement in (FIRST_SCHEMA.format(**TYPES[engine.dialect.name]) + ROWS).split(";\n"):
            if statement.strip():
                transaction.exec_driver_sql(statement)


def test_an_older_queue_keeps_its_jobs_and_leases(engines: Callable[[], Engine]) -> None:
    engine = engines()
    make_old(engine)
    engine.dispose()
    limits = QueueLimits(longest_lease_seconds=600)
    for turn in range(2):  # brought forward once, then opened as it is
        queue = PacedQueue(engines(), limits)
        one, other = queue.find(1), queue.find(2)
        assert (one.state, one.worker, one.attempts, one.lost, one.priority) == (
            "leased", "shed/one", 2, 1, 5,
        )  # fmt: skip
        assert (one.overruns, one.phase, other.state, other.leased) == (0, "build" * turn, "waiting", None)
        # The lease of before goes on, for as long as one may.
        queue.heartbeat(1, SECRET, NOW + 30 + turn, phase="build")
        Outputs(queue).append(1, SECRET, b"line\n", NOW)
        queue.close()
    queue = PacedQueue(engines(), limits)
    assert queue.find(1).leased == NOW + 60
    queue.heartbeat(1, SECRET, NOW + 100)
    with pytest.raises(LeaseLostError, match="600 seconds"):
        queue.heartbeat(1, SECRET, NOW + 100 + 600)
    lease = queue.lease("w", NOW + 100 + 600)
    assert lease is not None
    assert lease.job.number == 2
    assert queue.sign(2, lease.secret, ENVELOPES) == ENVELOPES
    queue.close()


def test_jobs_that_ended_in_an_older_queue_are_emptied_and_deleted_in_their_turn(
    engines: Callable[[], Engine],
) -> None:
    engine = engines()
    make_old(engine)
    now = int(time.time())
    with begin_write(engine) as transaction:
        for state, when in (("done", now - 400 * DAY), ("done", now - 8 * DAY), ("failed", now - 400 * DAY)):
            transaction.execute(
                text(
                    "INSERT INTO jobs (package, definition, priority, state, client, created, not_before,"
                    " finished, parcel) VALUES (:package, '', 0, :state, '', 0, 0, :when, :parcel)"
                ),
                {"package": purl("old"), "state": state, "when": when, "parcel": b"[]"},
            )
    queue = Queue(engine)
    try:
        assert [job.number for job in queue.list() if job.is_signed] == [5, 4, 3]
        assert Housekeeper(Pruner(queue), lambda: now).look() == 1
        found = [(job.number, job.state, job.is_signed) for job in queue.list()]
        assert found == [
            (5, "failed", True), (4, "done", False), (2, "waiting", False), (1, "leased", False),
        ]  # fmt: skip
    finally:
        queue.close()


def test_two_nodes_that_start_at_once_bring_it_forward_once(engines: Callable[[], Engine]) -> None:
    engine = engines()
    make_old(engine)
    engine.dispose()
    opened: list[Queue] = []
    begin = threading.Barrier(4)

    def start() -> None:
        one = engines()
        begin.wait()
        opened.append(Queue(one))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(queue.list()) for queue in opened] == [2] * 4
    for queue in opened:
        queue.close()


def test_a_migration_that_fails_leaves_the_queue_as_it_was(engines: Callable[[], Engine]) -> None:
    engine = engines()
    make_old(engine)
    with begin_write(engine) as transaction:
        transaction.execute(text("CREATE TABLE workers (x INTEGER)"))  # not ours; the last step meets it
    other = engines()
    with pytest.raises(StorageError, match="already exists"):
        Queue(other)
    other.dispose()
    with begin_write(engine) as transaction:
        transaction.execute(text("DROP TABLE workers"))
        columns = transaction.execute(text("SELECT * FROM jobs")).keys()
        assert not {"leased", "overruns", "phase"} & set(columns)
        revision = transaction.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar_one()
        assert revision == "0001"
    queue = Queue(engines())
    assert len(queue.list()) == 2
    queue.close()
    engine.dispose()


def migrate_from_nothing(transaction: Connection) -> None:
    """All scripts in turn, as for a database that began with the first of them."""
    MIGRATIONS.versions.create(transaction)
    context = MigrationContext.configure(transaction, opts={"version_table": VERSION_TABLE})
    with Operations.context(context):
        for script in sorted((Path(migrations.__file__).parent / "versions").glob("r*.py")):
            names: dict[str, Any] = {}
            exec(compile(script.read_text(), str(script), "exec"), names)
            names["upgrade"]()
    transaction.execute(text(f"INSERT INTO {VERSION_TABLE} VALUES ('{NEWEST}')"))


def migrate_old(transaction: Connection) -> None:
    """The tables of before, brought forward."""
    for statement in FIRST_SCHEMA.format(**TYPES[transaction.dialect.name]).split(";\n"):
        if statement.strip():
            transaction.exec_driver_sql(statement)
    prepare(transaction)


def differ(*parts: Any) -> bool:
    """Whether two defaults differ in more than how a database spells them: Alembic's own comparison takes an
    empty text for none."""
    found, wanted = parts[3], parts[5]
    plain = [None if one is None else str(one).removesuffix("::text").strip("()'") for one in (found, wanted)]
    is_number = parts[2].primary_key  # whose default is the database's own sequence
    return not is_number and plain[0] != plain[1]


@pytest.mark.parametrize("make", [prepare, migrate_from_nothing, migrate_old])
def test_made_and_migrated_databases_have_the_schema(
    engines: Callable[[], Engine], make: Callable[[Connection], None]
) -> None:
    engine = engines()
    with begin_write(engine) as transaction:
        make(transaction)
        options = {"version_table": VERSION_TABLE, "compare_server_default": differ}
        context = MigrationContext.configure(transaction, opts=options)
        assert context.get_current_revision() == NEWEST
        assert compare_metadata(context, metadata) == []
    queue = Queue(engine)
    assert queue.add(purl("a"), "", NOW)[1]
    queue.close()


def test_the_newest_revision_is_that_of_the_last_script() -> None:
    scripts = sorted((Path(migrations.__file__).parent / "versions").glob("r*.py"))
    assert scripts[-1].name.startswith(f"r{NEWEST}_")
    assert scripts[0].name.startswith(f"r{MIGRATIONS.unversioned}_")
