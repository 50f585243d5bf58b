"""A log exported to a folder: what readers find there, and when nothing is exported."""

import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.log.exports import ENTRIES, export, fill, look, served, sqlite_log
from tests.log.mirrors import files_in, wrong_with
from tests.log.support import raw_entries, sign, signed_entries
from tests.simkeys import ORIGIN, log_signer, solo_policy

from touchplate.base.errors import StorageError
from touchplate.base.postgresql import parse_address, postgresql_engine
from touchplate.base.sql import sqlite_engine
from touchplate.log.errors import CheckpointError, CorruptTreeError
from touchplate.log.export import Exporter, TreeSource
from touchplate.log.export_thread import DEFAULT_INTERVAL, ExportThread
from touchplate.log.mirror import Mirror
from touchplate.log.ports import Tree
from touchplate.log.storage.sql import open_tree
from touchplate.verify.cli import main
from touchplate.verify.client import LogClient
from touchplate.verify.errors import TrustError
from touchplate.verify.policy import format_policy


def test_a_static_web_server_serves_what_readers_and_fsck_accept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "export"
    export(sqlite_engine(sqlite_log(tmp_path, 520)), folder)
    (tmp_path / "policy.txt").write_text(format_policy(solo_policy()))
    with served(folder) as url:
        client = LogClient(url, solo_policy())
        assert client.checkpoint().size == 520
        assert [entry.envelope for _, entry in client.entries(500)] == [
            entry.packed[4 : 4 + int.from_bytes(entry.packed[:4], "big")] for entry in ENTRIES[500:]
        ]
        assert main(["log", "fsck", "--url", url, "--policy", str(tmp_path / "policy.txt")]) == 0
    assert "520 entries" in capsys.readouterr().out


def test_both_databases_export_the_same_files(tmp_path: Path, database: str) -> None:
    engine = postgresql_engine(parse_address(database))
    for size, start in ((1, 0), (250, 1), (520, 250)):
        fill(engine, ENTRIES[start:size])
        export(sqlite_engine(sqlite_log(tmp_path, size, start)), tmp_path / "one")
        export(engine, tmp_path / "other")
        assert look(tmp_path / "one") == (size, [])
        assert files_in(tmp_path / "one") == files_in(tmp_path / "other")


def test_partials_go_when_the_full_files_are_covered(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    for size, start in ((10, 0), (250, 10), (256, 250), (520, 256)):
        export(sqlite_engine(sqlite_log(tmp_path, size, start)), folder)
        left = {path.parent.relative_to(folder).as_posix() for path in folder.rglob("*.p/*")}
        number = size // 256
        unfinished = {f"tile/{kind}/{number:03d}.p" for kind in ("0", "entries", "envelopes")}
        higher = {"tile/1/000.p"} if size >= 256 else set()
        assert left == higher | (unfinished if size % 256 else set())
        assert look(folder) == (size, [])


def test_a_second_run_writes_nothing(tmp_path: Path) -> None:
    database, folder = sqlite_log(tmp_path, 300), tmp_path / "export"
    export(sqlite_engine(database), folder)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != ".lock"}
    done = export(sqlite_engine(database), folder)
    assert (done.since, done.healed, done.complete) == (300, False, True)
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.name != ".lock"}


def test_a_lost_edge_of_the_folder_is_written_again(tmp_path: Path) -> None:
    database, folder = sqlite_log(tmp_path, 300), tmp_path / "export"
    export(sqlite_engine(database), folder)
    whole = files_in(folder)
    (folder / "tile/0/001.p/44").unlink()
    (folder / "tile/entries/000").write_bytes(b"rotten")
    assert export(sqlite_engine(database), folder).healed
    assert files_in(folder) == whole


def test_a_damaged_file_is_mended_when_the_checkpoint_was_removed(tmp_path: Path) -> None:
    database, folder = sqlite_log(tmp_path, 520), tmp_path / "export"
    export(sqlite_engine(database), folder)
    whole = files_in(folder)
    (folder / "tile/0/000").write_bytes(bytes(8192))
    (folder / "tile/entries/000").write_bytes(b"rotten")
    (folder / "tile/envelopes/001").unlink()
    assert not export(sqlite_engine(database), folder).healed  # its edge is whole
    assert wrong_with(folder, solo_policy())
    (folder / "checkpoint").unlink()
    export(sqlite_engine(database), folder)
    assert files_in(folder) == whole


def test_refuses_a_folder_that_is_ahead_or_of_another_history(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    export(sqlite_engine(sqlite_log(tmp_path / "new", 300)), folder)
    before = files_in(folder)
    with pytest.raises(CheckpointError, match="it is an older copy"):
        export(sqlite_engine(sqlite_log(tmp_path / "old", 299)), folder)
    for number, entries in enumerate((signed_entries(300, 1000), signed_entries(400, 1))):
        engine = sqlite_engine(tmp_path / f"{number}.sqlite")
        fill(engine, entries)
        with pytest.raises(CheckpointError, match="another history"):
            export(engine, folder)
    assert files_in(folder) == before


def test_refuses_another_logs_folder_and_a_second_writer(tmp_path: Path) -> None:
    folder = tmp_path / "export"
    database = sqlite_log(tmp_path, 3)
    export(sqlite_engine(database), folder)
    with Mirror(folder, solo_policy()), pytest.raises(StorageError, match="locked"):
        export(sqlite_engine(database), folder)
    other = solo_policy(log_signer("another"))
    with pytest.raises(TrustError):
        export(sqlite_engine(database), folder, other)
    with pytest.raises(CheckpointError, match="cannot be exported"):
        export(sqlite_engine(database), tmp_path / "elsewhere", other)
    assert not (tmp_path / "elsewhere" / "checkpoint").exists()


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        ("DELETE FROM leaves WHERE leaf_index = 270", "leaf 270 is not stored"),
        ("UPDATE leaves SET leaf_data = x'00' WHERE leaf_index = 270", "leaf 270 is not the leaf data"),
        ("UPDATE leaves SET packed = x'00' WHERE leaf_index = 270", "envelope 270 is no entry"),
        # Both belong together, and are not what was signed.
        (
            "UPDATE leaves SET (leaf_data, packed) = (SELECT leaf_data, packed FROM leaves"
            " WHERE leaf_index = 1) WHERE leaf_index = 270",
            "the leaves lead to root",
        ),
        ("UPDATE tiles SET hashes = zeroblob(length(hashes)) WHERE level = 0", "another history"),
    ],
)
def test_a_damaged_database_leaves_the_exported_log_as_it_was(tmp_path: Path, damage: str, word: str) -> None:
    folder = tmp_path / "export"
    export(sqlite_engine(sqlite_log(tmp_path, 260)), folder)
    database = sqlite_log(tmp_path, 300, 260)
    with closing(sqlite3.connect(database)) as connection, connection:
        assert connection.execute(damage).rowcount > 0
    with pytest.raises((CorruptTreeError, CheckpointError), match=word):
        export(sqlite_engine(database), folder)
    assert look(folder) == (260, [])


def test_what_is_no_log_of_envelopes_is_not_exported(tmp_path: Path) -> None:
    engine = sqlite_engine(tmp_path / "log.sqlite")
    fill(engine, raw_entries(3))
    with pytest.raises(CorruptTreeError, match="envelope 0"):
        export(engine, tmp_path / "export")


def test_a_log_without_a_checkpoint_has_nothing_to_export(tmp_path: Path) -> None:
    engine = sqlite_engine(tmp_path / "log.sqlite")
    open_tree(engine, ORIGIN).close()
    assert export(engine, tmp_path / "export").head is None
    fill(engine, [])
    tree = open_tree(engine, ORIGIN)
    tree.store_checkpoint(0, sign(0, tree.head().root))
    tree.close()
    head = export(engine, tmp_path / "export").head
    assert head is not None
    assert head.size == 0


class Stumbling:
    """A tree whose leaves cannot be read once, for a reason that nobody foresaw."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.stumbled = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._tree, name)

    def read_leaf_data(self, start: int, end: int) -> list[bytes]:
        if not self.stumbled:
            self.stumbled = True
            raise RuntimeError("nobody foresaw this")
        return self._tree.read_leaf_data(start, end)


def test_the_thread_that_exports_outlives_what_nobody_foresaw(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sqlite_log(tmp_path, 300)
    tree = open_tree(sqlite_engine(tmp_path / "log.sqlite"), ORIGIN)
    stumbling: Any = Stumbling(tree)
    ended = threading.Event()

    def wait_for_growth(size: int, seconds: float) -> int:
        if size == 300:
            ended.wait(seconds)
        return 300

    exporter = Exporter(Mirror(tmp_path / "public", solo_policy()), solo_policy())
    source = TreeSource(stumbling, stumbling.head)
    exporting = ExportThread(exporter, source, DEFAULT_INTERVAL, wait_for_growth)
    exporting.start()
    deadline = time.monotonic() + 60
    while not (tmp_path / "public" / "checkpoint").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    ended.set()
    exporting.stop()
    tree.close()
    assert stumbling.stumbled
    assert "could not be exported" in caplog.text
    assert look(tmp_path / "public") == (300, [])
