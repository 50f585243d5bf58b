"""Workers on a real queue, with real builds: each job ends once in the log, whatever is killed on the way."""

import contextlib
import hashlib
import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from tests.builder.queue.queuehost import Host, Process, queue_host
from tests.builder.queue.stucklog import stuck_log
from tests.builder.rebuildparts import PACKAGE
from tests.builder.sandboxes import require_sandbox

from touchplate.builder.queue.jobs import CLOSED
from touchplate.verify.cli import main
from touchplate.verify.dsse import parse_envelope
from touchplate.verify.statements import Comparison, Provenance, parse_predicate, parse_statement

KILLS = 20
JOBS = 12
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
    """Each job's provenance and comparison stand in the log once, under the indexes that the job names."""
    seen: Counter[tuple[str, str]] = Counter()
    envelopes = host.log()
    for envelope in envelopes:
        predicate = parse_predicate(parse_statement(parse_envelope(envelope).payload))
        if isinstance(predicate, Provenance):
            seen["provenance", predicate.one("definition").digests["sha256"]] += 1
        else:
            assert isinstance(predicate, Comparison)
            seen["comparison", predicate.definition] += 1
    assert seen == Counter({(kind, one): 1 for kind in ("provenance", "comparison") for one in definitions})
    indexes = [index for job in host.queue.list() for index in job.indexes]
    assert sorted(indexes) == list(range(len(envelopes)))


def test_a_queue_of_jobs_survives_kills_at_random_and_logs_each_once(host: Host) -> None:
    definitions = [add(host, f"job{number}")[1] for number in range(JOBS)]
    chooser = random.Random(20)
    workers = [host.worker(0), host.worker(1)]
    killed = Counter[str]()
    try:
        for turn in range(KILLS):
            time.sleep(chooser.uniform(0.3, 1.6))
            number = turn % 2
            jobs = workers[number].jobs()
            if turn % 3 and jobs:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chooser.choice(jobs), signal.SIGKILL)
                killed["job"] += 1
            else:
                assert workers[number].end(signal.SIGKILL) == -signal.SIGKILL
                workers[number] = host.worker(number)
                killed["worker"] += 1
        wait_for_all(host, workers)
        for worker in workers:
            worker.wait_ready()
    finally:
        codes = [worker.end(signal.SIGTERM) for worker in workers]
    assert codes == [0, 0], [worker.lines[-20:] for worker in workers]
    assert sum(killed.values()) == KILLS
    assert {job.state for job in host.queue.list()} == {"done"}
    assert sum(job.lost for job in host.queue.list()) > 0
    check_log(host, definitions)


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
    worker = host.worker(0, slots=1)
    options = ["--server", host.url, "--token-file", str(host.folder / "boss.token")]
    try:
        assert main(["jobs", "log", "--follow", *options, str(number)]) == 0
    finally:
        assert worker.end(signal.SIGTERM) == 0
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
