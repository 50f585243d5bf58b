"""Files that are whole or not there, and the folder of files by digest."""

from __future__ import annotations

import hashlib
import io
import os
import resource
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from touchplate.base import durable
from touchplate.base.durable import (
    DigestFolder,
    FileLock,
    Stored,
    remove_abandoned_writes,
    write_atomic,
)
from touchplate.base.errors import NotStoredError, StorageError, TooLargeError, WrongDigestError

DATA = b"the bytes of an artifact\n" * 1000
ROOT = Path(__file__).resolve().parents[2]
SHA256 = hashlib.sha256(DATA).hexdigest()


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def folder(tmp_path: Path) -> DigestFolder:
    return DigestFolder(tmp_path / "new" / "blobs")


def test_writes_and_replaces_a_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "head"
    write_atomic(path, b"one")
    write_atomic(path, b"two", mode=0o600)
    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert files(tmp_path) == ["head"]


def test_leaves_the_old_file_when_the_new_one_cannot_take_its_place(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "x").touch()
    with pytest.raises(StorageError, match="writing"):
        write_atomic(tmp_path / "folder", b"data")
    assert files(tmp_path) == ["folder/x"]
    with pytest.raises(StorageError, match="No such file"):
        write_atomic(tmp_path / "none" / "file", b"data")


@pytest.mark.parametrize(
    "source", [DATA, [DATA[:7], b"", DATA[7:]], io.BytesIO(DATA)], ids=["bytes", "chunks", "stream"]
)
def test_stores_bytes_however_they_come(folder: DigestFolder, source: object) -> None:
    assert folder.put(source, expected=SHA256, max_bytes=len(DATA)) == Stored(SHA256, len(DATA))  # type: ignore[arg-type]  # one of the three
    assert folder.path(SHA256).read_bytes() == DATA
    assert folder.path(SHA256).stat().st_mode & 0o777 == 0o644
    assert files(folder.folder) == [f"{SHA256[:2]}/{SHA256}"]


def test_finds_opens_lists_and_removes(folder: DigestFolder) -> None:
    other = folder.put(b"").sha256
    assert not folder.has(SHA256)
    folder.put(DATA)
    assert folder.has(SHA256)
    assert folder.size(SHA256) == len(DATA)
    assert list(folder.digests()) == sorted([SHA256, other])
    with folder.open(SHA256) as file:
        assert folder.remove(SHA256)
        assert file.read() == DATA
    assert not folder.remove(SHA256)
    for ask in (folder.open, folder.size):
        with pytest.raises(NotStoredError, match=SHA256):
            ask(SHA256)


def test_a_file_that_is_written_out_while_more_comes_is_whole(folder: DigestFolder) -> None:
    pieces = [bytes([number]) * (durable.CHUNK_BYTES + number) for number in range(100)]  # 25 MiB
    assert sum(map(len, pieces)) > 3 * durable.WRITE_BEHIND_BYTES
    stored = folder.put(pieces)
    assert stored.size == folder.size(stored.sha256) == sum(map(len, pieces))
    assert hashlib.sha256(folder.path(stored.sha256).read_bytes()).hexdigest() == stored.sha256


def test_a_wrong_digest_leaves_nothing_behind(folder: DigestFolder) -> None:
    with pytest.raises(WrongDigestError, match=SHA256) as caught:
        folder.put(DATA + b"x", expected=SHA256)
    assert caught.value.reason == "wrong-digest"
    assert files(folder.folder) == []


def test_too_many_bytes_leave_nothing_behind(folder: DigestFolder) -> None:
    with pytest.raises(TooLargeError, match=str(len(DATA) - 1)):
        folder.put(io.BytesIO(DATA), max_bytes=len(DATA) - 1)
    assert files(folder.folder) == []


def test_a_source_that_fails_leaves_nothing_behind(folder: DigestFolder) -> None:
    def broken() -> Iterator[bytes]:
        yield DATA
        raise ConnectionError("cut")

    with pytest.raises(ConnectionError):
        folder.put(broken())
    assert files(folder.folder) == []


def test_a_writer_that_is_left_without_commit_leaves_nothing(folder: DigestFolder) -> None:
    with folder.writer() as writer:
        writer.write(DATA)
    assert files(folder.folder) == []


@pytest.mark.parametrize(
    "name", ["", "..", "../../etc/passwd", SHA256[:-1], SHA256.upper(), SHA256 + "\n", "/" * 64]
)
def test_nothing_but_a_digest_can_become_a_path(folder: DigestFolder, name: str) -> None:
    for ask in (folder.path, folder.has, folder.open, folder.remove, folder.size):
        with pytest.raises(StorageError, match="64 lower-case hex") as caught:
            ask(name)
        assert caught.value.reason == "bad-digest"
    with pytest.raises(StorageError):
        folder.put(b"", expected=name)


def test_threads_store_the_same_bytes_at_the_same_time(folder: DigestFolder) -> None:
    together = threading.Barrier(8)
    results: list[Stored] = []

    def put() -> None:
        together.wait(10)
        results.append(folder.put([DATA[:100], DATA[100:]]))

    threads = [threading.Thread(target=put) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [Stored(SHA256, len(DATA))] * 8
    assert files(folder.folder) == [f"{SHA256[:2]}/{SHA256}"]


def test_storing_again_heals_a_damaged_file(folder: DigestFolder) -> None:
    folder.put(DATA)
    folder.path(SHA256).write_bytes(b"rotten")
    folder.put(DATA)
    assert folder.path(SHA256).read_bytes() == DATA


def test_opening_removes_what_a_crashed_writer_left_and_keeps_what_a_living_one_holds(
    folder: DigestFolder,
) -> None:
    (folder.folder / "tmp" / "dead.tmp").write_bytes(b"half")
    with folder.writer() as writer:
        writer.write(DATA)
        second = DigestFolder(folder.folder)
        assert len(files(folder.folder)) == 1
        assert writer.commit().sha256 == SHA256
    assert second.has(SHA256)


def test_a_full_disk_is_a_storage_error_that_leaves_nothing(folder: DigestFolder) -> None:
    # A limit on file size is what a full disk looks like to a writer; Python ignores SIGXFSZ.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StorageError, match="too large"):
            folder.put(DATA)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert files(folder.folder) == []


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="opening"):
        DigestFolder(tmp_path / "file" / "blobs")


def test_makes_folders_once(tmp_path: Path) -> None:
    for _ in range(2):
        durable.make_folder(tmp_path / "a" / "b")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError):
        durable.make_folder(tmp_path / "file")


def test_a_lock_has_one_holder_at_a_time(tmp_path: Path) -> None:
    lock = FileLock(tmp_path / "new" / "lock")
    with pytest.raises(StorageError, match="locked by another process") as caught:
        FileLock(tmp_path / "new" / "lock")
    assert caught.value.reason == "locked"
    lock.close()
    lock.close()
    FileLock(tmp_path / "new" / "lock").close()
    with pytest.raises(StorageError, match="locking"):
        FileLock(tmp_path)


def test_a_crash_at_any_line_leaves_the_whole_file_or_none(tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.base.crash_durable", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    states = [line.split()[1:] for line in ended.stdout.splitlines()]
    assert len(states) > 40, "no line was reached"
    assert {tuple(state) for state in states} == {
        ("0", "whole", "old"),  # before the name: nothing is left once the folder was opened again
        ("1", "whole", "old"),
        ("1", "whole", "new"),
    }
    assert states[-1] == ["1", "whole", "new"]


def test_what_a_crashed_write_left_is_removed_and_a_living_one_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    abandoned = tmp_path / f".head.{'ab' * 8}.tmp"
    others = [tmp_path / name for name in ("head", ".head.tmp", ".hidden", f"head.{'ab' * 8}.tmp")]
    for path in (abandoned, *others):
        path.write_bytes(b"half")
    fsync = os.fsync
    kept: list[str] = []

    def tidying_fsync(descriptor: int) -> None:
        # Another process opens the folder in the middle of this write.
        remove_abandoned_writes(tmp_path)
        kept.extend(path.name for path in tmp_path.glob(".head.*.tmp"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", tidying_fsync)
    write_atomic(tmp_path / "head", b"new")
    assert len(kept) == 1
    assert kept[0] != abandoned.name
    assert files(tmp_path) == sorted(path.name for path in others)
    assert (tmp_path / "head").read_bytes() == b"new"
    remove_abandoned_writes(tmp_path / "none")


def test_the_name_of_a_folder_is_on_disk_whoever_made_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = DigestFolder(tmp_path / "blobs")
    # By a process that crashed, or a thread that was not quick enough, before the name was synced.
    folder.path(SHA256).parent.mkdir()
    calls = Calls(monkeypatch)
    folder.put(DATA)
    assert "sync folder blobs" in calls.take()
    folder.put(DATA)
    assert "sync folder blobs" not in calls.take()  # once is enough for this process


class Calls:
    """Notes what is made durable, and when a name is given, in order; all of it really happens."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[str] = []
        fsync, replace = os.fsync, Path.replace

        def noting_fsync(descriptor: int) -> None:
            kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
            self.made.append(f"sync {kind} {Path(f'/proc/self/fd/{descriptor}').readlink().name}")
            fsync(descriptor)

        def noting_replace(path: Path, target: Path) -> Path:
            self.made.append(f"name {Path(target).name}")
            return replace(path, target)

        monkeypatch.setattr(os, "fsync", noting_fsync)
        monkeypatch.setattr(Path, "replace", noting_replace)

    def take(self) -> list[str]:
        """The notes since the last call, temporary names as `*`."""
        made, self.made = self.made, []
        return ["sync file *" if note.endswith(".tmp") else note for note in made]


def test_bytes_are_on_disk_before_their_name_and_the_name_before_the_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch)
    folder = DigestFolder(tmp_path / "blobs")
    # First that of a folder which was there: its maker may have crashed before.
    assert calls.take() == [f"sync folder {name}" for name in (tmp_path.parent.name, tmp_path.name, "blobs")]
    sha256, _ = folder.put(DATA)
    assert (
        calls.take()
        == [
            "sync file *",
            f"sync folder {tmp_path.name}",
            "sync folder blobs",  # the new folder's own name
            f"name {sha256}",
            f"sync folder {sha256[:2]}",
        ]
    )
    folder.remove(sha256)
    assert calls.take() == [f"sync folder {sha256[:2]}"]
    write_atomic(tmp_path / "file", DATA)
    assert calls.take() == ["sync file *", "name file", f"sync folder {tmp_path.name}"]
