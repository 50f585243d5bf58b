"""A whole log through a folder into another database; what is no whole log is refused, and nothing
written."""

import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.log.mirrors import files_in
from tests.log.operated import Operated, note_in
from tests.log.support import record_envelope
from tests.simkeys import ORIGIN, log_signer

from touchplate.base.sql import sqlite_engine
from touchplate.log.errors import CheckpointError
from touchplate.log.ports import PackedEntry
from touchplate.log.storage.rows import TreeRows
from touchplate.log.storage.states import ImportTree


def test_a_log_moves_from_sqlite_by_a_folder_to_postgresql_and_back(
    tmp_path: Path, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new, back = (
        Operated(tmp_path / "old"),
        Operated(tmp_path / "new", database),
        Operated(tmp_path / "back"),
    )
    note = old.append(0, 600)
    assert old.run("export", str(tmp_path / "folder")) == 0
    told = new.told(capsys, "import", str(tmp_path / "folder"))
    assert (told["imported"], told["new"], told["size"]) == (True, "600", "600")
    assert new.findings() == []
    with new.running() as service:
        assert service.checkpoint() == note
        (again,) = service.append([record_envelope(17)])
        assert (again.index, again.duplicate) == (17, True)
    assert new.run("export", str(tmp_path / "second")) == 0
    assert files_in(tmp_path / "second") == files_in(tmp_path / "folder")
    assert back.run("import", str(tmp_path / "second")) == 0
    assert back.append(600, 601).splitlines()[1] == b"601"
    assert back.findings() == []


def test_an_older_copy_is_brought_forward(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, folder = Operated(tmp_path / "log"), tmp_path / "folder"
    log.append(0, 300)
    shutil.copy(log.database, tmp_path / "older.sqlite")
    note = log.append(300, 700)
    assert log.run("export", str(folder)) == 0
    shutil.copy(tmp_path / "older.sqlite", log.database)
    with pytest.raises(CheckpointError, match="it is an older copy"):
        log.append(700, 701)
    assert log.told(capsys, "import", str(folder))["new"] == "400"
    with log.running() as service:
        assert service.checkpoint() == note
    assert log.findings() == []


def test_refuses_a_folder_that_is_older_than_what_was_published(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, folder = Operated(tmp_path / "log"), tmp_path / "folder"
    log.append(0, 300)
    assert log.run("export", str(folder)) == 0
    log.append(300, 301)
    log.database.unlink()
    told = log.told(capsys, "import", str(folder), code=1)
    assert told["findings"] == [
        {"where": "an older checkpoint", "what": "speaks of 301 entries; the log has 300"}
    ]
    assert not log.database.exists()


def test_refuses_a_database_of_another_history_and_one_that_is_ahead(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, folder = Operated(tmp_path / "log"), tmp_path / "folder"
    log.append(0, 300)
    assert log.run("export", str(folder)) == 0
    for number, (start, end) in enumerate(((1, 300), (1, 301), (0, 301))):
        other = Operated(tmp_path / f"other-{number}")
        note = other.append(start, end)
        (other.data / "newest.checkpoint").unlink()
        assert other.told(capsys, "import", str(folder), code=1)["imported"] is False
        with other.running() as service:
            assert service.checkpoint() == note


@pytest.mark.parametrize(
    "path", ["tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000", "tile/envelopes/001.p/44"]
)
@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_refuses_a_damaged_folder_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], path: str, damage: str
) -> None:
    log, folder, new = Operated(tmp_path / "log"), tmp_path / "folder", Operated(tmp_path / "new")
    log.append(0, 300)
    assert log.run("export", str(folder)) == 0
    file = folder / path
    data = file.read_bytes()
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(data[:-1] if damage == "cut" else data[:-7] + bytes([data[-7] ^ 1]) + data[-6:])
    assert new.told(capsys, "import", str(folder), code=1)["imported"] is False
    assert not new.database.exists()


def test_refuses_a_checkpoint_of_another_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, folder, new = Operated(tmp_path / "log"), tmp_path / "folder", Operated(tmp_path / "new")
    log.append(0, 3)
    assert log.run("export", str(folder)) == 0
    (new.folder / "log.key").write_text(log_signer("another").format() + "\n")
    assert new.run("import", str(folder)) != 0
    assert "not signed by a log" in capsys.readouterr().err
    assert new.run("import", str(tmp_path / "nowhere")) == 2
    assert not new.database.exists()


def test_a_running_log_is_not_imported_into(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, folder = Operated(tmp_path / "log"), tmp_path / "folder"
    log.append(0, 3)
    assert log.run("export", str(folder)) == 0
    with log.running():
        assert log.run("import", str(folder)) == 2
    assert "locked" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_killed_import_is_not_served_and_goes_on(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    address = "sqlite" if kind == "sqlite" else request.getfixturevalue("database")
    log, folder = Operated(tmp_path / "log"), tmp_path / "folder"
    note = log.append(0, 5000)
    assert log.run("export", str(folder)) == 0
    new = Operated(tmp_path / "new", address)
    pid = os.fork()
    if pid == 0:
        real = ImportTree.append

        def killed(tree: ImportTree, entries: Sequence[PackedEntry]) -> None:
            real(tree, entries)
            os.kill(os.getpid(), signal.SIGKILL)

        ImportTree.append = killed  # type: ignore[assignment,method-assign]
        new.run("import", str(folder))
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WTERMSIG(status) == signal.SIGKILL
    assert new.told(capsys, "stats")["state"] == "importing"
    with pytest.raises(CheckpointError, match="import into this database was not finished"):
        new.append(5000, 5001)
    assert new.run("freeze") == 2
    assert new.told(capsys, "import", str(folder))["new"] == "904"
    with new.running() as service:
        assert service.checkpoint() == note
    assert new.findings() == []
    assert note_in(folder) == note


def test_a_finished_import_again_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, folder = Operated(tmp_path / "log"), tmp_path / "folder"
    note = log.append(0, 3)
    assert log.run("export", str(folder)) == 0
    assert log.told(capsys, "import", str(folder))["new"] == "0"
    engine = sqlite_engine(log.database)
    rows = TreeRows(engine, ORIGIN)
    assert (rows.head()[2], rows.state()) == (note, "active")
    rows.close()
    engine.dispose()
