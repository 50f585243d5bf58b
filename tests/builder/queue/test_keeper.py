"""A worker's hold on one job: what it does when a heartbeat is answered that the lease is over."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import pytest
from tests.builder.queue.queuehost import WORKER, Host, queue_host
from tests.builder.queue.suite import ENVELOPES
from tests.builder.queue.test_work import add
from tests.builder.sandboxes import require_sandbox

from touchplate.base.http import AddressRules, HTTPClient
from touchplate.builder.process import Program
from touchplate.builder.queue.client import QueueClient
from touchplate.builder.queue.jobs import Lease
from touchplate.builder.worker import _Keeper


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    require_sandbox()
    with queue_host(tmp_path) as one:
        yield one


@pytest.fixture
def queue(host: Host) -> Iterator[QueueClient]:
    """The queue as a worker sees it."""
    with HTTPClient(AddressRules(anything=True)) as client:
        yield QueueClient(f"{host.url}/builder/jobs", client, WORKER)


def leased(host: Host, queue: QueueClient) -> Lease:
    add(host, "slow-end")
    lease = queue.lease("one")
    assert lease is not None
    return lease


def follow(queue: QueueClient, lease: Lease, seconds: float = 4) -> tuple[int, str]:
    """(exit code of the process, why it was ended). `seconds`: after which it would end by itself."""
    program = Program("tests.builder.queue.slow_end", b"%f\n" % seconds)
    keeper = _Keeper(queue, lease, program, threading.Event())
    return keeper.follow(lambda phase: None), keeper.lost


def test_a_process_that_told_all_may_end_by_itself(host: Host, queue: QueueClient) -> None:
    lease = leased(host, queue)
    number, secret = lease.job.number, lease.secret
    assert queue.judge(number, secret, "identical")
    queue.sign(number, secret, ENVELOPES)
    queue.finish(number, secret, (0, 1))
    assert follow(queue, lease) == (0, "")


@pytest.mark.parametrize("how", ["fail", "give_back"])
def test_a_process_whose_job_failed_or_is_back_may_end_and_say_why(
    host: Host, queue: QueueClient, how: Literal["fail", "give_back"]
) -> None:
    lease = leased(host, queue)
    getattr(queue, how)(lease.job.number, lease.secret, "no log takes what this key signs")
    assert follow(queue, replace(lease, seconds=600)) == (0, "")


@pytest.mark.parametrize("how", ["fail", "give_back"])
def test_a_process_whose_job_was_given_up_or_taken_back_is_ended_all_the_same(
    host: Host, queue: QueueClient, how: Literal["fail", "give_back"]
) -> None:
    lease = leased(host, queue)
    getattr(queue, how)(lease.job.number, lease.secret, "lost too often")
    code, lost = follow(queue, replace(lease, seconds=4), seconds=600)
    assert code != 0
    assert "is not leased to you" in lost


def test_a_process_whose_lease_is_over_is_ended(host: Host, queue: QueueClient) -> None:
    lease = leased(host, queue)
    host.queue.cancel(lease.job.number)
    code, lost = follow(queue, lease)
    assert code != 0
    assert "is not leased to you" in lost
