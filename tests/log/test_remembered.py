"""A log refuses databases that are older than what it has said, of another log, or open elsewhere."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from tests.log.support import open_sqlite, record_envelope, running_log, sign, signed_entries, write_settings
from tests.simkeys import ORIGIN, log_signer, note_signer, solo_policy

from touchplate.base.errors import StorageError
from touchplate.log.errors import CheckpointError
from touchplate.log.remembered import FILE_NAME, Remembered
from touchplate.log.service import LogService, database_path
from touchplate.verify.checkpoints import open_checkpoint, sign_checkpoint

SECONDS = 20


def append(folder: Path, start: int, count: int) -> None:
    with running_log(folder) as service:
        service.append([record_envelope(number) for number in range(start, start + count)])


def reopen(folder: Path) -> None:
    LogService(write_settings(folder / "settings"), folder / "data").stop()


def remembered_size(folder: Path) -> int:
    return open_checkpoint((folder / "data" / FILE_NAME).read_bytes(), solo_policy()).size


def test_refuses_an_older_copy_of_its_database(tmp_path: Path) -> None:
    append(tmp_path, 0, 3)
    old = tmp_path / "old.sqlite"
    shutil.copy(database_path(tmp_path / "data"), old)
    append(tmp_path, 3, 300)
    assert remembered_size(tmp_path) == 303
    new = database_path(tmp_path / "data").read_bytes()
    shutil.copy(old, database_path(tmp_path / "data"))
    with pytest.raises(
        CheckpointError, match="has 3 entries, but this log has published a checkpoint of 303"
    ):
        reopen(tmp_path)
    database_path(tmp_path / "data").write_bytes(new)
    append(tmp_path, 303, 1)
    assert remembered_size(tmp_path) == 304


def test_refuses_an_empty_database_in_place_of_a_lost_one(tmp_path: Path) -> None:
    append(tmp_path, 0, 1)
    database_path(tmp_path / "data").unlink()
    with pytest.raises(CheckpointError, match="has 0 entries"):
        reopen(tmp_path)


def test_refuses_a_database_with_another_history_that_is_as_long_or_longer(tmp_path: Path) -> None:
    append(tmp_path, 0, 3)
    note = (tmp_path / "data" / FILE_NAME).read_bytes()
    for start, count in ((10, 3), (1, 300)):
        other = tmp_path / f"other-{start}"
        append(other, start, count)
        (other / "data" / FILE_NAME).write_bytes(note)
        with pytest.raises(CheckpointError, match="another history"):
            reopen(other)


def test_takes_a_memory_that_is_behind_as_after_a_crash(tmp_path: Path) -> None:
    append(tmp_path, 0, 3)
    note = (tmp_path / "data" / FILE_NAME).read_bytes()
    append(tmp_path, 3, 300)
    (tmp_path / "data" / FILE_NAME).write_bytes(note)
    append(tmp_path, 303, 1)
    (tmp_path / "data" / FILE_NAME).unlink()
    append(tmp_path, 304, 1)
    assert remembered_size(tmp_path) == 305


@pytest.mark.parametrize("damage", [b"", b"nonsense", sign_checkpoint(ORIGIN, 1, b"r" * 32, log_signer("x"))])
def test_refuses_a_memory_that_its_key_did_not_sign(tmp_path: Path, damage: bytes) -> None:
    append(tmp_path, 0, 1)
    (tmp_path / "data" / FILE_NAME).write_bytes(damage)
    with pytest.raises(CheckpointError, match="not signed by the configured key"):
        reopen(tmp_path)


def test_remembers_while_it_runs_and_not_only_at_the_end(tmp_path: Path) -> None:
    tree = open_sqlite(tmp_path)
    grown = threading.Semaphore(0)

    def wait_for_growth(size: int, timeout_seconds: float) -> int:
        assert grown.acquire(timeout=SECONDS)
        return tree.head().size

    tree.apply(signed_entries(1), sign)
    memory = Remembered(tmp_path, tree, wait_for_growth)
    memory.start()
    first = (tmp_path / FILE_NAME).read_bytes()
    tree.apply(signed_entries(5), sign)
    grown.release(100)
    memory.stop()
    assert open_checkpoint(first, solo_policy()).size == 1
    assert open_checkpoint((tmp_path / FILE_NAME).read_bytes(), solo_policy()).size == 5
    tree.close()


def test_a_log_goes_on_when_the_memory_cannot_be_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running_log(tmp_path) as service:
        (tmp_path / "data" / FILE_NAME).unlink()
        (tmp_path / "data" / FILE_NAME / "in the way").mkdir(parents=True)
        assert service.append([record_envelope(0)])[0].index == 0
    assert "could not be written" in caplog.text


def test_refuses_another_origin_instead_of_beginning_an_empty_log(tmp_path: Path) -> None:
    append(tmp_path, 0, 3)
    before = database_path(tmp_path / "data").read_bytes()
    config = write_settings(
        tmp_path / "other", "other.example.org", signer=note_signer("other.example.org", "log")
    )
    with pytest.raises(CheckpointError, match=r"is that of the log 'log\.example\.org'"):
        LogService(config, tmp_path / "data")
    assert database_path(tmp_path / "data").read_bytes() == before
    append(tmp_path, 3, 1)


def test_a_second_process_cannot_open_the_log(tmp_path: Path) -> None:
    with running_log(tmp_path) as service:
        service.append([record_envelope(0)])
        with pytest.raises(StorageError, match="locked by another process") as caught:
            reopen(tmp_path)
        assert caught.value.reason == "locked"
        program = (
            "import sys; from pathlib import Path; from touchplate.base.durable import FileLock; "
            "FileLock(Path(sys.argv[1]))"
        )
        command = [sys.executable, "-c", program, str(tmp_path / "data" / "lock")]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert "locked by another process" in ended.stderr
    reopen(tmp_path)


def test_starting_removes_what_a_crash_left_beside_it(tmp_path: Path) -> None:
    append(tmp_path, 0, 1)
    (tmp_path / "data" / f".{FILE_NAME}.{'ab' * 8}.tmp").write_bytes(b"half")
    append(tmp_path, 1, 1)
    assert remembered_size(tmp_path) == 2
    assert list((tmp_path / "data").glob(".*")) == []
