"""The remembered checkpoint: what may be forgotten, and what only a person may decide."""

import os
from pathlib import Path

import pytest
from tests.simlog import SimLog

from touchplate.verify.client import LogClient
from touchplate.verify.errors import ForkError, NotFoundError, TransportError, TrustError
from touchplate.verify.sources import open_source


@pytest.fixture
def log(tmp_path: Path) -> SimLog:
    made = SimLog(tmp_path / "log")
    made.grow(5)
    made.publish()
    return made


def remembering(log: SimLog, state: Path) -> LogClient:
    return LogClient(log.folder, log.policy, state)


def test_a_file_that_is_not_there_is_nothing_to_remember(log: SimLog, tmp_path: Path) -> None:
    assert remembering(log, tmp_path / "state").checkpoint().size == 5


@pytest.mark.parametrize("target", ["loop", "gone"])
def test_a_link_that_leads_nowhere_is_not_forgotten(log: SimLog, tmp_path: Path, target: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    state = tmp_path / "state"
    state.symlink_to(target)
    with pytest.raises(TrustError, match="cannot be read") as caught:
        remembering(log, state).checkpoint()
    assert caught.value.reason == "remembered-checkpoint"
    assert state.readlink() == Path(target)


def test_what_another_process_remembers_must_fit_what_this_one_saw(log: SimLog, tmp_path: Path) -> None:
    state = tmp_path / "state"
    client = remembering(log, state)
    seen = client.checkpoint()
    # Somebody takes the file away, and another process then believes another history.
    state.unlink()
    other = log.fork(tmp_path / "other", 3)
    other.grow(6, "other ")
    other.publish()
    remembering(other, state).checkpoint()
    client._source = open_source(other.folder)
    with pytest.raises(ForkError):
        client.checkpoint()
    assert client.head == seen


def test_a_file_that_fell_back_does_not_take_a_process_back(log: SimLog, tmp_path: Path) -> None:
    state = tmp_path / "state"
    client = remembering(log, state)
    client.checkpoint()
    state.write_bytes(log.note(size=2))
    assert client.checkpoint().size == 5
    assert state.read_bytes() == log.note()


def test_a_pipe_in_a_folder_keeps_nobody_waiting(log: SimLog) -> None:
    for make in (os.mkfifo, lambda path: Path(path).symlink_to("/dev/zero")):
        path = log.folder / "checkpoint"
        path.unlink()
        make(path)
        with pytest.raises(TransportError, match="no regular file") as caught:
            LogClient(log.folder, log.policy).checkpoint()
        assert not isinstance(caught.value, NotFoundError)


def test_the_names_of_new_folders_are_on_disk_before_the_head_counts_as_remembered(
    log: SimLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, synced = os.fsync, []

    def noting_fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    state = tmp_path / "new" / "deep" / "state"
    remembering(log, state).checkpoint()
    assert synced == [tmp_path.name, "new", ".state.tmp", "deep"]
