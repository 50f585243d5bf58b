"""Deleting jobs: what only PostgreSQL can show, the thread of a node, and the commands of a person."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.builder.queue.queuehost import ADMIN, QUEUE, WORKER, Host, queue_host
from tests.builder.queue.suite_retention import KEPT, LIMITS, NOW, end, numbers

from touchplate.base.postgresql import parse_address, postgresql_engine
from touchplate.base.sql import begin_write, sqlite_engine
from touchplate.builder.queue.events import Events
from touchplate.builder.queue.housekeeping import Housekeeper
from touchplate.builder.queue.jobs import BadJobError, DeletedJobError, State
from touchplate.builder.queue.live import LiveOutput
from touchplate.builder.queue.outputs import Outputs
from touchplate.builder.queue.prune import Pruner, WrongClockError
from touchplate.builder.queue.retention import DAY, Wanted, format_span
from touchplate.builder.queue.store import AHEAD_SECONDS, Queue
from touchplate.verify.cli import main

OLD = NOW - 40 * DAY


@pytest.fixture
def nodes(database: str) -> Iterator[tuple[Queue, Queue]]:
    """Two nodes of one queue on PostgreSQL."""
    one, other = (Queue(postgresql_engine(parse_address(database)), LIMITS) for _ in range(2))
    yield one, other
    one.close()
    other.close()


def test_a_job_that_somebody_holds_is_passed_over_and_goes_later(nodes: tuple[Queue, Queue]) -> None:
    one, other = nodes
    for name in "ab":
        end(one, name, "done", OLD)
    with begin_write(other.engine) as transaction:
        transaction.execute(text("SELECT job_id FROM jobs WHERE job_id = 1 FOR UPDATE"))
        assert Pruner(one, KEPT).delete("done", KEPT.ended, NOW).jobs == 1
        assert numbers(one) == [1]
    assert Pruner(one, KEPT).delete("done", KEPT.ended, NOW).jobs == 1
    assert numbers(one) == []


def test_one_node_at_a_time_deletes(nodes: tuple[Queue, Queue]) -> None:
    one, other = nodes
    end(one, "a", "done", OLD)
    pruner = Pruner(one, KEPT)
    deleted: list[int] = []
    with begin_write(other.engine) as transaction:
        transaction.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": 0x746F7570})
        assert pruner.empty(NOW).jobs == pruner.delete("done", KEPT.ended, NOW).jobs == 0
        # Whose node deletes for a person waits its turn.
        person = threading.Thread(
            target=lambda: deleted.append(pruner.delete("done", KEPT.ended, NOW, wait=True).jobs)
        )
        person.start()
        assert numbers(one) == [1]
    person.join()
    assert deleted == [1]


@pytest.mark.parametrize("off", [-(10**8), -AHEAD_SECONDS - 600, AHEAD_SECONDS + 600, 10**8])
def test_a_node_whose_clock_is_wrong_deletes_nothing(nodes: tuple[Queue, Queue], off: int) -> None:
    one, _ = nodes
    now = int(time.time())  # NOW is when the tests began, and they may have run for long
    for number, when in enumerate((OLD, NOW, NOW)):
        end(one, f"a{number}", "done", when)
    pruner = Pruner(one, KEPT)
    calls: list[Callable[[], object]] = [
        lambda: pruner.empty(now + off),
        lambda: Housekeeper(pruner, lambda: now + off).look(),
        lambda: pruner.delete_wanted(Wanted(DAY), now + off),
        lambda: pruner.count_wanted(Wanted(DAY), now + off),
    ]
    for call in calls:
        with pytest.raises(WrongClockError, match="seconds apart: set the one that is wrong"):
            call()
    assert numbers(one) == [1, 2, 3]
    assert Housekeeper(pruner, lambda: NOW).look() == 1


def test_a_session_that_is_cut_in_a_batch_leaves_all_of_it_or_nothing(nodes: tuple[Queue, Queue]) -> None:
    one, other = nodes
    for name in "abc":
        end(one, name, "done", OLD)
    failed: list[Exception] = []

    def delete() -> None:
        try:
            Pruner(one, KEPT).delete("done", KEPT.ended, NOW)
        except Exception as error:
            failed.append(error)

    with begin_write(other.engine) as transaction:
        # The batch deletes outputs and jobs, and then waits for the row of what was deleted.
        transaction.execute(text("INSERT INTO pruned VALUES ('done', 0, 0, 0)"))
        batch = threading.Thread(target=delete)
        batch.start()
        waiting = text("SELECT pid FROM pg_locks WHERE NOT granted")
        while (pid := transaction.execute(waiting).scalar()) is None:
            pass
        transaction.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
        batch.join()
        transaction.execute(text("DELETE FROM pruned"))
    assert len(failed) == 1
    assert numbers(one) == [1, 2, 3]
    assert [Outputs(one).read(number, 0) for number in (1, 2, 3)] == [b"line\n"] * 3
    assert Pruner(one, KEPT).delete("done", KEPT.ended, NOW).jobs == 3


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    with closing(Queue(sqlite_engine(tmp_path / "queue.sqlite"), LIMITS)) as queue:
        yield queue


def test_a_node_begins_by_itself_goes_on_after_a_failure_and_ends(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("touchplate.builder.queue.housekeeping.EVERY_SECONDS", 0.01)
    end(queue, "a", "done", OLD)
    with begin_write(queue.engine) as transaction:
        transaction.execute(text("ALTER TABLE pruned RENAME TO gone"))
    looked = threading.Semaphore(0)

    def clock() -> float:
        looked.release()
        return NOW

    housekeeper = Housekeeper(Pruner(queue, KEPT), clock, first=0.0)
    housekeeper.start()
    try:
        for _ in range(2):  # so the first look is over, and has failed
            assert looked.acquire(timeout=60)
        assert numbers(queue) == [1]
        with begin_write(queue.engine) as transaction:
            transaction.execute(text("ALTER TABLE gone RENAME TO pruned"))
        while numbers(queue):
            assert looked.acquire(timeout=60)
    finally:
        housekeeper.stop()
    assert not any(thread.name == "jobs-housekeeping" for thread in threading.enumerate())


def test_one_that_never_began_can_be_ended(queue: Queue) -> None:
    Housekeeper(Pruner(queue, KEPT)).stop()


def test_who_follows_a_job_that_is_deleted_is_let_go(queue: Queue) -> None:
    number = end(queue, "a", "done", OLD)
    events = Events()

    async def watch() -> None:
        live = LiveOutput(queue, Outputs(queue), lambda: OLD)  # its last lines may still come
        stream = live.events(number, 0)
        events.feed(await anext(stream))
        Housekeeper(Pruner(queue, KEPT), lambda: NOW).look()
        async for chunk in stream:
            events.feed(chunk)

    asyncio.run(watch())
    assert (events.lines, events.is_ended) == (["line"], False)


@pytest.mark.parametrize(
    ("older", "states"),
    [(3599, ()), (-1, ()), (10**12, ()), (DAY, ("leased",)), (None, ("waiting",))],
)
def test_what_nobody_may_delete_is_refused(older: int | None, states: tuple[State, ...]) -> None:
    with pytest.raises(BadJobError, match="write"):
        Wanted(older, states)


def test_times_are_said_in_days_or_hours() -> None:
    assert [format_span(one) for one in (3600, 7200, DAY - 1, DAY, 365 * DAY)] == [
        "1 hour", "2 hours", "23 hours", "1 day", "365 days",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    kept = QUEUE.replace("[queue]", '[queue]\nkeep = "30d"\nkeep_failed = "60d"', 1)
    with queue_host(tmp_path_factory.mktemp("node"), queue=kept) as one:
        yield one


def options(host: Host, token: str = "boss") -> list[str]:
    return ["--server", host.url, "--token-file", str(host.folder / f"{token}.token")]


def fill(host: Host, *states: State) -> int:
    """Jobs that ended two days ago, which the node keeps by itself; the number of the first."""
    with closing(Queue(sqlite_engine(host.folder / "data" / "queue.sqlite"), LIMITS)) as queue:
        made = [end(queue, f"a{number}", state, NOW - 2 * DAY) for number, state in enumerate(states)]
        return made[0]


def test_a_person_deletes_jobs_through_a_node(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    first = fill(host, "done", "done", "cancelled", "failed", "failed")
    is_open, _ = host.queue.add("pkg:maven/org.example/open@1.0", "", 0)

    def prune(*more: str) -> str:
        assert main(["jobs", "prune", *options(host), *more]) == 0
        return capsys.readouterr().out

    assert prune() == "0 jobs deleted\n"
    assert prune("--older", "1d", "--dry-run") == "3 jobs (1 cancelled, 2 done) would be deleted\n"
    said = json.loads(prune("--older", "24h", "--dry-run", "--json", "--state", "failed"))
    assert said == {"dry_run": True, "jobs": {"failed": 2}}
    assert len(host.queue.list()) == 6
    said = json.loads(prune("--older", "1d", "--state", "done", "--state", "failed", "--json"))
    assert said == {"dry_run": False, "jobs": {"done": 2, "failed": 2}}
    assert [job.state for job in host.queue.list()] == ["waiting", "cancelled"]
    assert prune("--older", "1d") == "1 jobs (1 cancelled) deleted\n"
    # Who comes with an old number is told so, whatever he wants of it.
    with pytest.raises(DeletedJobError, match=f"job {first} was deleted"):
        host.queue.find(first)
    for command, *more in (("show",), ("log",), ("log", "--follow"), ("cancel",)):
        assert main(["jobs", command, *options(host), *more, str(first)]) == 2
        assert "was deleted: a job goes some time after its end (1 day" in capsys.readouterr().err
    assert main(["jobs", "show", *options(host), "99"]) == 2
    assert "there is no job 99" in capsys.readouterr().err
    found = host.queue.client.get(
        f"{host.queue.url}/{first}", max_bytes=10_000, headers={"authorization": f"Bearer {ADMIN}"}
    )
    assert found.status == 410
    assert json.loads(found.body)["reason"] == "job-deleted"
    assert host.queue.cancel(is_open.number).state == "cancelled"


def test_only_administrators_delete(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "prune", *options(host, "shed"), "--older", "1d"]) == 2
    assert "is not of scope 'admin'" in capsys.readouterr().err
    found = host.queue.client.post(f"{host.queue.url}/prune", b"{}")
    assert found.status == 401
    assert WORKER != ADMIN


@pytest.mark.parametrize(
    "message",
    [
        b'{"older": "1d"}',
        b'{"older": true}',
        b'{"older": 5}',
        b'{"older": 1.5}',
        b'{"states": "done"}',
        b'{"states": ["leased"]}',
        b'{"states": [1]}',
        b'{"dry_run": "no", "older": 86400}',
        b"[]",
    ],
)
def test_a_message_that_is_none_deletes_nothing(host: Host, message: bytes) -> None:
    number = fill(host, "done")
    headers = {"authorization": f"Bearer {ADMIN}", "content-type": "application/json"}
    found = host.queue.client.post(f"{host.queue.url}/prune", message, headers=headers)
    assert (found.status, json.loads(found.body)["reason"]) == (400, "bad-job")
    assert host.queue.find(number).state == "done"


@pytest.mark.parametrize(
    "words", [("--older", "1"), ("--older", "59m"), ("--older", "99999d"), ("--state", "leased")]
)
def test_an_option_that_is_none_is_refused(host: Host, words: tuple[str, ...]) -> None:
    assert main(["jobs", "prune", *options(host), *words]) == 64
