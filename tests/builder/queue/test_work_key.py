"""Workers whose key the log does not know, or knows no longer; and jobs that a person ends."""

import hashlib
import json
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest
from tests.builder.queue.queuehost import Host, queue_host
from tests.builder.queue.test_work import SECONDS, add, check_log, wait_for_all
from tests.builder.rebuildparts import PACKAGE
from tests.builder.sandboxes import require_sandbox
from tests.torture.jobs.fleet import Fleet, fleet
from tests.torture.process import launching
from tests.verify.support import statement_signer

from touchplate.builder.definitions.definition import make_definition
from touchplate.builder.queue.jobs import Job
from touchplate.verify.cli import main
from touchplate.verify.jcs import parse_json
from touchplate.verify.keys import format_private_pem, format_public_pem, generate_signer


def wait(condition: Callable[[], bool], said: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, said()
        time.sleep(0.1)


def test_a_worker_whose_key_the_log_does_not_know_says_so_and_takes_no_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with queue_host(tmp_path) as host:
        number, _ = add(host, "waits")
        (host.folder / "rebuilder.pem").write_bytes(format_private_pem(generate_signer()))
        assert main(host.worker_argv(0)) == 2
        said = capsys.readouterr().err
        assert f"the log {host.url}/log does not take this key" in said
        assert "have it put on the admission list" in said
        job = host.queue.find(number)
        assert (job.state, job.attempts) == ("waiting", 0)
        assert host.log() == []


@pytest.mark.parametrize("how", ["removed", "retired"])
def test_workers_whose_key_is_revoked_end_and_leave_the_other_jobs_to_those_that_can_log_them(
    tmp_path: Path, how: Literal["removed", "retired"]
) -> None:
    require_sandbox()
    key = format_public_pem(statement_signer("rebuilder-a").key).strip()
    stranger = format_public_pem(generate_signer().key).strip()
    with launching(tmp_path / "runs") as launcher, fleet(tmp_path, launcher) as one:
        one.start_node()
        one.start_workers()
        wait(lambda: all("working for" in run.err() for run in one.workers), lambda: None)
        admission = one.host.folder / "admission.toml"
        known = admission.read_text()
        assert key in known
        names = [f"d{number}" for number in range(9)]
        definitions = [hashlib.sha256(one.host.definition(name)).hexdigest() for name in names]
        revoked = known.replace(key, stranger)
        if how == "retired":  # its range ends: what it has signed keeps its key
            one.host.queue.add(PACKAGE, hashlib.sha256(one.host.definition("first")).hexdigest(), 0)
            wait(lambda: done(one) == 1, one.host.queue.list)
            start = known.rindex("[[rebuilder]]", 0, known.index(key))
            end = f"until_index = {len(one.log())}"
            revoked = f"{known[:start]}[[rebuilder]]\n{end}{known[start + len('[[rebuilder]]') :]}"
        logged = one.log()
        one.kill_node()
        admission.write_text(revoked)
        one.start_node()
        for sha256 in definitions:
            one.host.queue.add(PACKAGE, sha256, 0)
        assert [run.wait() for run in one.workers] == [2, 2], [run.err() for run in one.workers]
        assert all("does not take this key" in run.err() for run in one.workers)
        jobs = one.host.queue.list()
        failed = [job for job in jobs if job.state == "failed"]
        word = "unknown-key" if how == "removed" else "wrong-index"
        assert 2 <= len(failed) <= 4, jobs  # one for each slot at the most, and not all nine
        assert all(word in job.detail for job in failed)
        assert one.log() == logged
        # Nor does one begin with such a key.
        one.start_workers()
        assert [run.wait() for run in one.workers] == [2, 2], [run.err() for run in one.workers]
        assert sum(job.state == "failed" for job in one.host.queue.list()) == len(failed)
        one.kill_node()
        admission.write_text(known)
        one.start_node()
        for job in failed:
            one.host.queue.add(PACKAGE, job.definition, 0)
        one.start_workers()
        wait(lambda: done(one) == len(names) + len(logged) // 2, one.host.queue.list)
        assert [str(found) for found in (*one.stop_workers(), *one.stop_node())] == []
        assert len(one.log()) == 2 * len(names) + len(logged)


def test_a_worker_whose_key_others_can_read_meanwhile_gives_its_job_back_and_ends(tmp_path: Path) -> None:
    require_sandbox()
    with queue_host(tmp_path) as host:
        key = host.folder / "rebuilder.pem"
        worker = host.worker(0, slots=1)
        try:
            worker.wait_ready()
            key.chmod(0o644)
            number, definition = add(host, "waits")
            assert worker.wait() == 2
        finally:
            if worker.child.poll() is None:
                worker.end(signal.SIGKILL)
        assert "run chmod 600 on the file" in worker.lines[-1]
        job = host.queue.find(number)
        assert (job.state, job.lacks, job.lost) == ("waiting", 1, 0)
        assert job.detail.startswith("key-unusable: the key cannot be used: ")
        assert host.log() == []
        key.chmod(0o600)
        second = host.worker(1, slots=1)
        try:
            wait_for_all(host, [second])
        finally:
            assert second.end(signal.SIGTERM) == 0
        check_log(host, [definition])


def done(one: Fleet) -> int:
    return sum(job.state == "done" for job in one.host.queue.list())


def sleeper(host: Host) -> Job:
    """A job whose build lasts for an hour, unless somebody ends it."""
    value = parse_json(host.script, max_bytes=1 << 20)
    assert isinstance(value, dict)
    script = "import time; open('big', 'wb').write(b'x' * 999); print('asleep', flush=True); time.sleep(3600)"
    data = make_definition({**value, "name": "sleeper", "command": ["/usr/bin/python3", "-c", script]}).data
    sha256 = hashlib.sha256(data).hexdigest()
    host.evidence.store(sha256, data)
    return host.queue.add(PACKAGE, sha256, 9)[0]


def processes(word: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in line and "pytest" not in line:
            found.append(line)
    return found


def test_a_cancelled_job_is_ended_with_all_that_it_left_and_its_slot_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    require_sandbox()
    with queue_host(tmp_path) as host:
        job = sleeper(host)
        worker = host.worker(0, slots=1)
        options = ["--server", host.url, "--token-file", str(host.folder / "boss.token")]
        try:
            wait(lambda: "asleep" in list(host.queue.follow(job.number, wait=False)), lambda: worker.lines)
            assert processes("time.sleep(3600)")
            assert main(["jobs", "cancel", "--json", *options, str(job.number)]) == 0
            assert json.loads(capsys.readouterr().out)["state"] == "cancelled"
            wait(lambda: not processes("time.sleep(3600)"), lambda: processes("time.sleep(3600)"))
            wait(lambda: left_by(host) == [], lambda: left_by(host))
            assert worker.child.poll() is None
            _, definition = add(host, "next")
            wait_for_all(host, [worker])
        finally:
            assert worker.end(signal.SIGTERM) == 0
        assert host.queue.find(job.number).state == "cancelled"
        assert re.search(rf"job {job.number}: died .*not leased to you", "".join(worker.lines))
        check_log(host, [definition])


def left_by(host: Host) -> list[Path]:
    """Folders of jobs and of their sources."""
    return [*host.data(0).glob("slots/*/job-*"), *host.data(0).glob("tree-*")]
