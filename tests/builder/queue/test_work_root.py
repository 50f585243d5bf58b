"""Workers and build roots whose locks they do not know: taken from the evidence by digest, or refused."""

import hashlib
import json
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.builder.queue.queuehost import Host, queue_host
from tests.builder.rebuildparts import PACKAGE
from tests.builder.rootparts import EPOCH, lay_out, require_root_makers, small_files, small_root
from tests.builder.rootparts import PACKAGE as ROOT_PACKAGE
from tests.builder.sandboxes import require_sandbox

from touchplate.base.durable import DigestFolder
from touchplate.builder.attestation.evidence import EvidenceServer
from touchplate.builder.definitions.definition import make_definition
from touchplate.builder.queue.jobs import CLOSED, Job
from touchplate.builder.roots.apt import machine_architecture
from touchplate.builder.roots.lock import make_root_lock
from touchplate.builder.roots.shelf import MOST_ROOTS, Shelf
from touchplate.builder.trees import tree_digest
from touchplate.verify.dsse import parse_envelope
from touchplate.verify.statements import Provenance, parse_predicate, parse_statement

SECONDS = 120.0


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    require_sandbox()
    with queue_host(tmp_path) as one:
        yield one


def add(host: Host, root: str) -> int:
    """The number of a job whose definition names the root lock `root`."""
    value = json.loads(host.make_definition("rooted")) | {"root": {"lock": root}}
    data = make_definition(value).data
    sha256 = store(host.evidence, data)
    return host.queue.add(PACKAGE, sha256, 0)[0].number


def store(evidence: EvidenceServer, data: bytes) -> str:
    sha256 = hashlib.sha256(data).hexdigest()
    evidence.store(sha256, data)
    return sha256


def run_until(host: Host, number: int, is_there: Callable[[Job], bool]) -> Job:
    """The job, once a worker has brought it there."""
    worker = host.worker(0, slots=1)
    try:
        deadline = time.monotonic() + SECONDS
        while not is_there(job := host.queue.find(number)):
            assert time.monotonic() < deadline, (job, worker.lines[-9:])
            time.sleep(0.1)
    finally:
        assert worker.end(signal.SIGTERM) == 0
    return job


def test_a_worker_takes_a_root_lock_that_it_does_not_know_from_the_evidence(host: Host) -> None:
    with tempfile.TemporaryDirectory(prefix="touchplate-root-") as name:
        lock = lay_out(host.data(0), small_root(Path(name) / "root"))
    number = add(host, store(host.evidence, lock.data))
    job = run_until(host, number, lambda job: job.state in CLOSED)
    assert (job.state, job.result) == ("done", "identical")
    predicates = [parse_predicate(parse_statement(parse_envelope(each).payload)) for each in host.log()]
    made = next(one for one in predicates if isinstance(one, Provenance))
    tools = {one.name: one for one in made.dependencies if one.kind == "tool"}
    assert tools["build-root"].digests["sha256"] == lock.tree
    assert tools["root-lock"].digests["sha256"] == lock.sha256
    assert not made.has_host_tools
    # Whoever repeats it finds both in the evidence.
    assert host.evidence.fetch(lock.sha256) == lock.data
    assert hashlib.sha256(host.evidence.fetch(lock.tree)).hexdigest() == lock.tree


def test_a_root_lock_that_is_none_fails_its_job_at_once(host: Host) -> None:
    number = add(host, store(host.evidence, b'{"tree":"../.."}'))
    job = run_until(host, number, lambda job: job.state in CLOSED)
    assert (job.state, job.lacks) == ("failed", 0)
    assert "root lock: the lock" in job.detail
    assert host.log() == []


def test_a_root_lock_that_lies_fails_its_job_at_once_and_is_named(host: Host) -> None:
    require_root_makers()
    deb = b"the very bytes of the lock, and not as many"
    DigestFolder(host.data(0) / "debs").put(deb)
    wrong = replace(ROOT_PACKAGE, sha256=hashlib.sha256(deb).hexdigest(), size=len(deb) + 1)
    lock = make_root_lock("bookworm", machine_architecture(), EPOCH, [wrong], "ab" * 32)
    shelf = Shelf(host.data(0) / "roots")
    shelf.make()
    for one in range(MOST_ROOTS + 2):
        made = small_files(shelf.folder / "made", f"{one}")
        made.rename(shelf.home(tree_digest(made)))
    number = add(host, store(host.evidence, lock.data))
    job = run_until(host, number, lambda job: job.state in CLOSED)
    # The worker made room for another root before it went to make it.
    assert len(shelf.standing()) == MOST_ROOTS - 1
    assert (job.state, job.lacks, job.attempts) == ("failed", 0, 1)
    assert f"root lock: {wrong.name} {wrong.version} has {len(deb)} bytes" in job.detail
    assert host.log() == []


def test_a_job_whose_root_lock_the_evidence_lacks_is_given_back_saying_which(host: Host) -> None:
    number = add(host, "ef" * 32)
    job = run_until(host, number, lambda job: job.lacks > 0)
    assert f"evidence {'ef' * 32} is not at " in job.detail
    assert host.log() == []
