"""The series of jobs finds what is lost, doubled or left over: else its kills prove nothing."""

import os
import random
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from tests.torture.hooks import written_by
from tests.torture.jobs import expiry
from tests.torture.jobs.fleet import check_gone, check_orphans, collecting_orphans
from tests.torture.jobs.lives import SQLITE, all_aims, choose
from tests.torture.jobs.promises import Row, check_end, check_moment, read_rows
from tests.torture.jobs.skew import check_apart
from tests.torture.jobs.tally import JOBS, NODE, RANDOM, WORKERS, Aim, Tally
from tests.torture.oracle import LOST, Finding
from tests.torture.points import COMMIT, POINTS, QUEUE, Table
from tests.torture.walls import set_wall
from tests.verify.cases import comparison, provenance, record

from touchplate.base.sql import sqlite_engine
from touchplate.builder.queue.store import Queue
from touchplate.verify.entry import Entry, pack_entry
from touchplate.verify.statements import Provenance, parse_predicate, parse_statement

ENTRIES = (provenance(), comparison("rebuilder-a"))
LOG = [pack_entry(entry) for entry in ENTRIES]

AGAIN = pack_entry(provenance(note="2"))
"""A provenance of the same build, made again by a worker that should have sent the stored one."""


def definition_of(entry: Entry) -> str:
    found = parse_predicate(parse_statement(entry.payload))
    assert isinstance(found, Provenance)
    return found.one("definition").digests["sha256"]


DONE = Row(1, definition_of(ENTRIES[0]), "done", False, (0, 1), tuple(one.envelope for one in ENTRIES))
FAILED = Row(2, "cd" * 32, "failed", False, (), ())
PROMISED = {DONE.definition: "done", FAILED.definition: "failed"}


def found(rows: list[Row], log: list[bytes]) -> list[str]:
    return [str(one) for one in check_end(rows, log, PROMISED)]


def test_a_queue_that_kept_its_promises_has_no_findings() -> None:
    assert found([DONE, FAILED], LOG) == []


@pytest.mark.parametrize(
    ("rows", "log", "said"),
    [
        ([DONE, FAILED], [*LOG, LOG[1]], "a statement of job 1 is in the log 2 times"),
        ([DONE, FAILED], [*LOG, AGAIN], "has its provenance in the log 2 times"),
        ([DONE, FAILED], LOG[:1], "job 1 is done, and a statement of it is not in the log"),
        ([DONE, FAILED], LOG[::-1], "at its indexes (0, 1) stand other entries than were stored"),
        ([replace(DONE, indexes=(0,)), FAILED], LOG, "stand other entries than were stored"),
        ([DONE, FAILED], [*LOG, pack_entry(record(b"x"))], "entry 2 was stored with no job"),
        ([FAILED], [], "was asked for once and has 0 jobs"),
        ([FAILED], LOG, "entry 0 was stored with no job"),
        ([DONE, replace(DONE, number=3), FAILED], LOG, "was asked for once and has 2 jobs"),
        ([replace(DONE, state="leased", is_leased=True), FAILED], LOG, "a lease of it is left"),
        ([replace(DONE, state="waiting"), FAILED], LOG, "is ['waiting'], not done"),
        ([DONE, replace(FAILED, state="done")], LOG, "is done with nothing stored"),
        ([DONE, FAILED, replace(FAILED, number=3, definition="ef" * 32)], LOG, "nobody asked for it"),
        ([replace(DONE, envelopes=()), FAILED], [], "has no provenance in the log"),
    ],
)
def test_a_doctored_history_is_found(rows: list[Row], log: list[bytes], said: str) -> None:
    assert any(said in one for one in found(rows, log)), found(rows, log)


def test_while_a_job_is_under_way_its_statements_may_be_there_or_not_but_never_twice() -> None:
    for log, count in (([], 0), (LOG[:1], 0), (LOG, 0), ([*LOG, LOG[0]], 2)):
        row = replace(DONE, state="leased", is_leased=True, indexes=())
        assert len(list(check_moment([row], log))) == count


def test_the_rows_are_read_as_the_queue_writes_them(tmp_path: Path) -> None:
    with closing(Queue(sqlite_engine(tmp_path / "queue.sqlite"))) as queue:
        queue.add("pkg:maven/org.example/a@1.0", DONE.definition, 0)
        lease = queue.lease("w", 0)
        assert lease is not None
        queue.sign(1, lease.secret, DONE.envelopes)
        assert read_rows(queue.engine) == [replace(DONE, state="leased", is_leased=True, indexes=())]
        queue.finish(1, lease.secret, DONE.indexes, 0)
        assert read_rows(queue.engine) == [DONE]


def test_a_step_that_was_never_hit_or_is_in_no_table_fails_the_series() -> None:
    aim = Aim(NODE, "queue: job added", "before")
    tally = Tally(SQLITE, [aim])
    assert tally.missed() == ["the node, before queue: job added"]
    assert not tally.is_good
    tally.hit(aim, 1)
    assert tally.is_good
    assert "job added  before         1" in tally.table()
    tally.unlisted.add("commit node/queue.sqlite else")
    assert not tally.is_good
    tally.unlisted.clear()
    tally.report("here", [Finding(LOST, "x")])
    assert not tally.is_good
    assert tally.summary() == "1 lost, 0 inconsistent"


def test_every_step_of_a_job_is_aimed_at_and_a_short_series_has_twenty_kills_and_more() -> None:
    steps = {f"queue: {one.step}" for one in QUEUE if one.store == "queue" and one.call == COMMIT}
    aims = set(all_aims(SQLITE))
    deleting = {aim.point for aim in expiry.expiry_aims("queue")}
    assert deleting == {"queue: jobs emptied", "queue: jobs deleted"}
    steps -= deleting
    # Those that no series comes to: a database that is made, and a worker's lack that only outages make.
    assert steps - {aim.point for aim in aims} == {"queue: tables committed", "queue: job given back"}
    assert {aim.point for aim in aims} - steps == {"log: batch committed", RANDOM}
    assert {aim.victim for aim in aims} == {NODE, WORKERS, JOBS}
    chosen = choose(SQLITE, 200, random.Random(1))
    assert len(chosen) == 200
    assert set(chosen) == aims
    assert len(aims) > 20


@pytest.mark.parametrize(
    ("sql", "step"),
    [
        ("INSERT INTO jobs (package) VALUES (?)", "job added"),
        ("UPDATE jobs SET result=? WHERE jobs.job_id = ?", "result judged"),
        ("UPDATE jobs SET parcel=%(parcel)s::BYTEA WHERE jobs.job_id = %(x)s", "statements stored"),
        (
            "UPDATE jobs SET lease_until=?, beats=?, held=?, phase=? WHERE jobs.job_id = ? RETURNING job_id",
            "lease kept",
        ),
        (
            "UPDATE jobs SET emptied=?, parcel=CASE WHEN (jobs.state = ?) THEN NULL ELSE jobs.parcel END"
            " WHERE jobs.job_id IN (?)",
            "jobs emptied",
        ),
        ("UPDATE jobs SET attempts=(jobs.attempts + ?), state=?, leased=? WHERE x", "lease given"),
    ],
)
def test_what_is_done_to_a_job_is_known_by_the_columns(sql: str, step: str) -> None:
    point = Table({"node": "/data"}).find(COMMIT, "/data/queue.sqlite", written_by(sql))
    assert point is not None
    assert point.name == f"queue: {step}"


def tidied() -> dict[int, expiry.Kept]:
    """A queue after a node has tidied."""
    week = range(expiry.MANY + 1, 2 * expiry.MANY + 1)
    return {**dict.fromkeys(week, expiry.EMPTY), **expiry.OPEN, expiry.FAILED: expiry.DEAD_LETTER}


def test_a_queue_that_was_tidied_has_no_findings_and_what_was_touched_or_left_is_found() -> None:
    many, good = expiry.MANY, tidied()
    whole = {**good, **dict.fromkeys(range(1, 2 * many + 1), expiry.FULL)}
    begun = {**whole, 1: expiry.FULL._replace(pieces=1)}
    assert list(expiry.check_end(good, many)) == list(expiry.check_moment(whole, 0)) == []
    assert list(expiry.check_moment(begun, 0)) == []
    wrong: list[tuple[dict[int, expiry.Kept], int, str]] = [
        (whole, 0, "are not as they should be"),
        ({**good, 1: expiry.EMPTY}, many, "jobs [1] are not"),
        ({number: kept for number, kept in good.items() if number not in expiry.OPEN}, many, "is open, and"),
        ({**good, many + 1: expiry.EMPTY._replace(pieces=1)}, many, "is half emptied"),
        ({**good, many + 1: expiry.EMPTY._replace(is_signed=True)}, many, "is half emptied"),
        ({number: kept for number, kept in good.items() if number != many + 1}, many, "is gone"),
        (good, many - 1, f"job {many} is gone"),
        ({number: kept for number, kept in good.items() if number != expiry.FAILED}, many, "dead letter"),
    ]
    for found, highest, said in wrong:
        findings = [str(one) for one in expiry.check_end(found, highest)]
        assert any(said in one for one in findings), (said, findings)


@pytest.mark.parametrize(("apart", "said"), [(0, ["the nodes' clocks were right"]), (3600, [])])
def test_a_series_whose_clocks_were_right_has_shown_nothing(
    tmp_path: Path, apart: int, said: list[str]
) -> None:
    with closing(Queue(sqlite_engine(tmp_path / "queue.sqlite"))) as queue:
        for number, now in enumerate((1_000_000, 1_000_000 + apart)):
            queue.add(f"pkg:maven/org.example/a{number}@1.0", "", now)
            queue.lease("w", now)
        assert [str(one).split(": ")[1] for one in check_apart(queue.engine)] == said


def test_a_wrong_clock_is_as_wrong_as_its_file_says(tmp_path: Path) -> None:
    set_wall(tmp_path / "wall", -(10**8))
    script = (
        "import pathlib, sys, time; from tests.torture.walls import install; before = time.time();"
        "install(pathlib.Path(sys.argv[1])); print(before - time.time() > 10**7)"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "wall")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout == "True\n"


def test_points_of_queues_have_names_of_their_own() -> None:
    names = [point.name for point in (*POINTS, *QUEUE)]
    assert sorted(set(names)) == sorted(names)


def orphan(seconds: float) -> int:
    """A process whose parent is gone."""
    quiet = "stdout=s.DEVNULL, stderr=s.DEVNULL"
    script = f"import subprocess as s; print(s.Popen(['sleep', '{seconds}'], {quiet}).pid)"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return int(done.stdout)


@pytest.mark.parametrize(("seconds", "is_left"), [(0.2, False), (99.0, True)])
def test_a_process_that_outlives_its_parents_is_found_and_ended(
    seconds: float, is_left: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.torture.jobs.fleet.GONE_SECONDS", 2.0)
    with collecting_orphans() as known:
        pid = orphan(seconds)
        said = [str(one) for one in check_orphans(known)]
        assert [f"process {pid} is left over: sleep" in one for one in said] == [True] * is_left
        if is_left:
            assert os.waitpid(pid, 0)[0] == pid


def test_a_job_process_that_outlives_its_killed_worker_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.torture.jobs.fleet.GONE_SECONDS", 2.0)
    with collecting_orphans():
        lasting, ending = orphan(99.0), orphan(0.2)
        said = [str(one) for one in check_gone(lambda: {lasting, ending})]
        assert len(said) == 1
        assert f"process {lasting} is left over: sleep" in said[0]
        assert os.waitpid(lasting, 0)[0] == lasting
