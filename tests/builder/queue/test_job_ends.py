"""How a job ends that this host cannot do: tried again elsewhere, or never again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.builder.queue.queuehost import WORKER, Host, queue_host
from tests.builder.queue.test_work import add
from tests.builder.sandboxes import require_sandbox

from touchplate.base.http import AddressRules, HTTPClient
from touchplate.builder import job
from touchplate.builder.errors import NOT_PINNED, HostLack
from touchplate.builder.queue.client import QueueClient


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    require_sandbox()
    with queue_host(tmp_path) as one:
        yield one


@pytest.mark.parametrize(("reason", "state"), [(NOT_PINNED, "failed"), ("disk-full", "waiting")])
def test_what_every_host_lacks_is_not_tried_on_another(
    host: Host, monkeypatch: pytest.MonkeyPatch, reason: str, state: str
) -> None:
    def lack(_task: job.Task, _queue: QueueClient) -> None:
        raise HostLack("libogg/1.3.5", reason=reason)

    monkeypatch.setattr(job, "_run", lack)
    number, _ = add(host, "lacking")
    settings = job.Settings(f"{host.url}/builder", f"{host.url}/log", WORKER, "", "", None, (), "")
    with HTTPClient(AddressRules(anything=True)) as client:
        lease = QueueClient(f"{host.url}/builder/jobs", client, WORKER).lease("one")
    assert lease is not None
    job.run_task(job.Task(settings, "", lease))
    ended = host.queue.find(number)
    assert (ended.state, ended.detail) == (state, f"{reason}: libogg/1.3.5")
