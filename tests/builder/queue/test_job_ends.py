"""How a job ends that this host cannot do: tried again elsewhere, or never again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.builder.queue.queuehost import WORKER, Host, queue_host
from tests.builder.queue.test_work import add
from tests.builder.sandboxes import require_sandbox
from tests.builder.test_conan_pins import WHOLE, definition_with

from touchplate.base.http import AddressRules, HTTPClient
from touchplate.builder import job
from touchplate.builder.definitions.definition import make_definition
from touchplate.builder.errors import NOT_PINNED, BuilderError, DefinitionError, HostLack
from touchplate.builder.queue.client import QueueClient
from touchplate.builder.queue.jobs import Job
from touchplate.builder.queue.wire import MAX_MESSAGE_BYTES
from touchplate.verify.usage import read_version


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    require_sandbox()
    with queue_host(tmp_path) as one:
        yield one


def end_with(host: Host, monkeypatch: pytest.MonkeyPatch, error: BuilderError, name: str = "lacking") -> Job:
    """A job whose work ends with this error, as the queue has it then."""

    def fail(_task: job.Task, _queue: QueueClient) -> None:
        raise error

    monkeypatch.setattr(job, "_run", fail)
    number, _ = add(host, name)
    settings = job.Settings(f"{host.url}/builder", f"{host.url}/log", WORKER, "", "", None, (), "")
    with HTTPClient(AddressRules(anything=True)) as client:
        lease = QueueClient(f"{host.url}/builder/jobs", client, WORKER).lease("one")
    assert lease is not None
    job.run_task(job.Task(settings, "", lease))
    return host.queue.find(number)


@pytest.mark.parametrize(("reason", "state"), [(NOT_PINNED, "failed"), ("disk-full", "waiting")])
def test_what_every_host_lacks_is_not_tried_on_another(
    host: Host, monkeypatch: pytest.MonkeyPatch, reason: str, state: str
) -> None:
    ended = end_with(host, monkeypatch, HostLack("libogg/1.3.5", reason=reason))
    assert (ended.state, ended.detail) == (state, f"{reason}: libogg/1.3.5")


def test_a_definition_for_a_later_version_is_left_to_a_worker_that_has_it(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DefinitionError) as later:
        make_definition(definition_with(WHOLE) | {"rehearsals": 2})
    ended = end_with(host, monkeypatch, later.value)
    assert ended.state == "waiting"
    assert "rehearsals: is unknown; known here: version, name" in ended.detail
    assert f"this is touchplate {read_version()}, and a later one may know it" in ended.detail
    with pytest.raises(DefinitionError) as wrong:
        make_definition(definition_with([]))
    assert end_with(host, monkeypatch, wrong.value, "wrong").state == "failed"
    with pytest.raises(DefinitionError, match="a later one may know it") as no_definition:
        make_definition({"no definition": "is this"})
    assert end_with(host, monkeypatch, no_definition.value, "none").state == "failed"


def test_a_reason_of_any_length_and_of_any_characters_is_told(
    host: Host, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Parts of it come from remotes; a message that the queue refuses would be sent again for ten minutes."""
    monkeypatch.setattr(job, "PATIENCE_SECONDS", 0.0)
    ended = end_with(
        host, monkeypatch, DefinitionError("\x1b[2J \ud800\nfiles: " + "é, " * MAX_MESSAGE_BYTES)
    )
    assert ended.state == "failed"
    assert ended.detail.startswith("\ufffd[2J \ufffd files: é, é, ")
    assert "\x1b" not in capfd.readouterr().err
