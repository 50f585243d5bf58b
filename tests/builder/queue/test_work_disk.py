"""A worker whose disk refuses something: its jobs go back to the queue, and are not taken for its killers."""

import errno
import hashlib
import json
import signal
import time
from pathlib import Path

import pytest
from tests.builder.mavenparts import publish, zip_bytes
from tests.builder.queue.queuehost import WAIT_SECONDS, queue_host
from tests.builder.queue.test_work import add, check_log, wait_for_all
from tests.builder.rebuildparts import PACKAGE
from tests.builder.sandboxes import require_sandbox

from touchplate.builder.definitions.definition import make_definition
from touchplate.builder.job import Settings
from touchplate.builder.sandbox import workspace
from touchplate.builder.worker import Worker, WorkerSettings

MAVEN = zip_bytes({"apache-maven-3.9.11/bin/mvn": b"#!/bin/sh\n"})


def test_a_job_that_its_disk_refuses_something_is_given_back_and_no_lease_is_lost(tmp_path: Path) -> None:
    require_sandbox()
    with queue_host(tmp_path) as host:
        name = "org/apache/maven/apache-maven/3.9.11/apache-maven-3.9.11-bin.zip"
        publish(host.open_folder / "repository", name, MAVEN)
        tool = {"version": "3.9.11", "sha256": hashlib.sha256(MAVEN).hexdigest()}
        value = json.loads(host.make_definition("refused")) | {"tools": {"maven": tool}}
        definition = make_definition(value).data
        sha256 = hashlib.sha256(definition).hexdigest()
        host.evidence.store(sha256, definition)
        number = host.queue.add(PACKAGE, sha256, 0)[0].number
        host.data(0).mkdir(mode=0o755)
        (host.data(0) / "tools").touch()  # where the folder of unpacked tools has to be
        worker = host.worker(0, slots=1)
        try:
            deadline = time.monotonic() + WAIT_SECONDS
            while not (job := host.queue.find(number)).lacks and not job.lost:
                assert time.monotonic() < deadline, (job, worker.lines[-9:])
                time.sleep(0.1)
        finally:
            assert worker.end(signal.SIGTERM) == 0
        assert (job.lacks, job.lost) == (1, 0)
        assert job.detail.startswith("storage-failed: ")
        assert str(host.data(0) / "tools") in job.detail
        assert host.log() == []


def test_a_node_that_can_keep_no_evidence_is_given_nothing_to_log_until_it_can(tmp_path: Path) -> None:
    """Evidence goes ahead: an entry whose digests nobody can fetch helps nobody."""
    require_sandbox()
    with queue_host(tmp_path) as host:
        number, definition = add(host, "kept")
        folder = host.folder / "data" / "evidence"
        blocked = [folder / f"{first:02x}" for first in range(256)]
        blocked = [path for path in blocked if not path.exists()]
        for path in blocked:  # where folders of what comes have to be
            path.touch()
        worker = host.worker(0, slots=1)
        try:
            deadline = time.monotonic() + WAIT_SECONDS
            while not (job := host.queue.find(number)).lacks:
                assert time.monotonic() < deadline, (job, worker.lines[-9:])
                time.sleep(0.1)
            assert (job.lost, job.is_signed) == (0, False)
            assert "507" in job.detail, job
            assert "try again later" in job.detail, job
            assert host.log() == []
            for path in blocked:
                path.unlink()
            wait_for_all(host, [worker])
        finally:
            assert worker.end(signal.SIGTERM) == 0
        check_log(host, [definition])


@pytest.mark.parametrize(
    "left",
    ["slots/0/job-0123456789abcdef", "slots/0/touchplate-job-0123456789abcdef", "tree-0123456789abcdef"],
)
def test_what_is_written_while_it_is_removed_goes_once_its_writer_is_dead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    (tmp_path / left / "build").mkdir(parents=True)
    remove_tree, tries = workspace.remove_tree, []

    def written_meanwhile(root: Path) -> None:
        tries.append(root)
        if len(tries) <= 4:
            raise OSError(errno.ENOTEMPTY, "Directory not empty")
        remove_tree(root)

    monkeypatch.setattr(workspace, "remove_tree", written_meanwhile)
    nowhere = "http://127.0.0.1:1"
    settings = Settings(
        server=f"{nowhere}/builder", log=f"{nowhere}/log", token="", operator="", key="", password_file=None,
        upstreams=(), data=str(tmp_path),
    )  # fmt: skip
    worker = Worker(WorkerSettings(settings, 1, "w"), tell=print)
    worker.stop()
    worker.run()
    assert not (tmp_path / left).exists()
    assert tries == [tmp_path / left] * 5
