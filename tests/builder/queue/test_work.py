"""Workers on a real queue, with real builds: each job ends once in the log, whatever is killed on the way."""

import hashlib
import json
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from tests.builder.queue.queuehost import QUEUE, Host, Process, queue_host
from tests.builder.queue.stucklog import stuck_log
from tests.builder.rebuildparts import PACKAGE
from tests.builder.sandboxes import require_sandbox
from tests.torture.jobs.lives import SQLITE, choose_random, run_lives
from tests.torture.jobs.promises import check_end, read_rows
from tests.torture.jobs.tally import Tally
from tests.torture.process import launching

from touchplate.base.sql import sqlite_engine
from touchplate.builder.queue.jobs import CLOSED
from touchplate.verify.cli import main

KILLS = 20
SECONDS = 90.0


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    require_sandbox()
    with queue_host(tmp_path) as one:
        yield one


def add(host: Host, name: str) -> tuple[int, str]:
    sha256 = hashlib.sha256(host.definition(name)).hexdigest()
    job, is_new = host.queue.add(PACKAGE, sha256, 0)
    assert is_new
    return job.number, sha256


def wait_for_all(host: Host, workers: list[Process]) -> None:
    deadline = time.monotonic() + SECONDS
    while any(job.state not in CLOSED for job in host.queue.list()):
        assert time.monotonic() < deadline, (host.queue.list(), [worker.lines[-9:] for worker in workers])
        time.sleep(0.2)


def check_log(host: Host, definitions: list[str]) -> None:
    """Each job's provenance and comparison stand in the log once, as stored; all other jobs have failed."""
    jobs = {job.definition: job.state for job in host.queue.list()}
    assert {one for one, state in jobs.items() if state == "done"} == set(definitions)
    engine = sqlite_engine(host.folder / "data" / "queue.sqlite")
    try:
        rows = read_rows(engine)
    finally:
        engine.dispose()
    assert [str(found) for found in check_end(rows, host.packed(), jobs)] == []


def test_a_queue_of_jobs_survives_kills_at_random_and_logs_each_once(tmp_path: Path) -> None:
    require_sandbox()
    chooser = random.Random(20)
    tally = Tally(SQLITE, choose_random(KILLS, chooser))
    with launching(tmp_path / "runs") as launcher:
        run_lives(tmp_path, tally, launcher, chooser)
    assert ([str(one) for one in tally.findings], tally.missed(), tally.unlisted) == ([], [], set())
    assert sum(tally.hits.values()) == KILLS
    assert tally.jobs["done"] > 0
    assert tally.attempts > sum(tally.jobs.values())


@pytest.mark.parametrize("moment", ["before", "after"])
def test_what_was_signed_is_sent_by_the_next_worker_and_never_made_again(
    host: Host, moment: Literal["before", "after"]
) -> None:
    number, definition = add(host, "signed")
    with stuck_log(host.url, moment) as (log, hangs):
        first = host.worker(0, log=log)
        try:
            assert hangs.wait(SECONDS), first.lines
        finally:
            assert first.end(signal.SIGKILL) == -signal.SIGKILL
    assert host.queue.find(number).is_signed
    # The provenance alone when the first one got through; nothing when it did not.
    assert len(host.log()) == (1 if moment == "after" else 0)
    second = host.worker(1)
    try:
        wait_for_all(host, [second])
    finally:
        assert second.end(signal.SIGTERM) == 0
    assert host.queue.find(number).lost == 1
    check_log(host, [definition])


def test_a_job_is_followed_shown_and_listed(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    number, _ = add(host, "watched")
    left = [host.data(0) / "slots" / "9" / "job-ab" / "build", host.data(0) / "tree-ab" / "files"]
    for folder in left:  # of a slot that nobody has now
        folder.mkdir(parents=True)
    worker = host.worker(0, slots=1)
    options = ["--server", host.url, "--token-file", str(host.folder / "boss.token")]
    try:
        assert main(["jobs", "log", "--follow", *options, str(number)]) == 0
    finally:
        assert worker.end(signal.SIGTERM) == 0
    assert [folder for folder in left if folder.parent.exists()] == []
    shown = capsys.readouterr().out
    assert "a line of the build" in shown
    assert "job: result: identical" in shown
    assert main(["jobs", "show", "--json", *options, str(number)]) == 0
    job = json.loads(capsys.readouterr().out)
    assert (job["state"], job["result"], job["indexes"]) == ("done", "identical", ["0", "1"])
    assert main(["jobs", "list", *options]) == 0
    assert PACKAGE.partition("?")[0] in capsys.readouterr().out
    assert main(["jobs", "cancel", *options, str(number)]) == 0
    assert "done" in capsys.readouterr().out
    assert main(["jobs", "cancel", *options, "77"]) == 2


def test_a_worker_builds_twice_and_sends_what_that_showed(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    number, definition = add(host, "twice")
    worker = host.worker(0, slots=1, twice=True)
    options = ["--server", host.url, "--token-file", str(host.folder / "boss.token")]
    try:
        assert main(["jobs", "log", "--follow", *options, str(number)]) == 0
    finally:
        assert worker.end(signal.SIGTERM) == 0
    shown = capsys.readouterr().out
    assert "job: depends on: nothing that was varied" in shown
    report = shown.partition("job: report: sha256 ")[2][:64]
    assert json.loads(host.evidence.fetch(report))["same"] is True
    check_log(host, [definition])


def test_builds_that_a_lease_has_no_time_for_are_left_out_and_the_verdict_is_logged(tmp_path: Path) -> None:
    require_sandbox()
    # One build may take an hour, and a lease lasts a minute and a half.
    short = QUEUE.replace("[queue]", '[queue]\nmax_lease = "90s"', 1)
    with queue_host(tmp_path, queue=short) as host:
        number, definition = add(host, "twice")
        worker = host.worker(0, slots=1, twice=True)
        wait_for_all(host, [worker])
        assert worker.end(signal.SIGTERM) == 0
        job = host.queue.find(number)
        assert (job.state, job.result, job.overruns) == ("done", "identical", 0)
        lines = list(host.queue.follow(number, wait=False))
        assert any("there is no time left" in line and "max_lease" in line for line in lines), lines
        assert any("unfinished" in line and "no-time" in line for line in lines), lines
        check_log(host, [definition])


def test_a_job_that_nobody_can_do_is_a_dead_letter_and_the_worker_goes_on(host: Host) -> None:
    bad = b"{}\n"
    sha256 = hashlib.sha256(bad).hexdigest()
    host.evidence.store(sha256, bad)
    host.queue.add(PACKAGE, sha256, 9)
    # Nothing tells how this one was made: it cannot be inferred.
    host.queue.add("pkg:maven/org.example/demo@1.0?type=zip", "", 5)
    _, good = add(host, "good")
    worker = host.worker(0, slots=1)
    try:
        wait_for_all(host, [worker])
    finally:
        assert worker.end(signal.SIGTERM) == 0
    assert [job.state for job in host.queue.list()] == ["done", "failed", "failed"]
    check_log(host, [good])


def test_a_worker_with_a_token_of_another_scope_says_so_and_ends(
    host: Host, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["builder", "work", "--server", host.url, "--token-file", str(host.folder / "boss.token")]
    argv += ["--key", str(host.folder / "rebuilder.pem"), "--operator", "https://rebuild-a.example.org"]
    assert main([*argv, "--data", str(host.open_folder / "d"), "--upstream", host.upstream]) == 2
    assert "not of scope 'work'" in capsys.readouterr().err
