"""The blob store: what is stored is hashed on the way in, and again before it is trusted."""

import hashlib
import os
from pathlib import Path

import pytest

from touchplate.api import blobs
from touchplate.api.blobs import DIGESTS, BlobStore
from touchplate.api.errors import NotFoundError
from touchplate.base.durable import DigestFolder

DATA = b"some bytes\n" * 100


def store(folder: Path) -> BlobStore:
    return BlobStore(DigestFolder(folder))


def stored(here: BlobStore, data: bytes = DATA) -> str:
    with here.writer() as writer:
        for start in range(0, len(data), 7):
            writer.write(data[start : start + 7])
        blob = writer.commit()
    assert blob.size == len(data)
    assert all(getattr(blob, name) == hashlib.new(name, data).hexdigest() for name in DIGESTS)
    return blob.sha256


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_stores_pieces_under_the_digest_of_the_whole(tmp_path: Path) -> None:
    here = store(tmp_path)
    assert here.path(stored(here)).read_bytes() == DATA
    assert here.path(stored(here, b"")).read_bytes() == b""


def test_what_is_not_committed_leaves_nothing_behind(tmp_path: Path) -> None:
    with store(tmp_path).writer() as writer:
        writer.write(DATA)
    with store(tmp_path).writer():
        pass
    assert files(tmp_path) == []


def test_a_missing_blob_is_neither_sound_nor_sent(tmp_path: Path) -> None:
    here = store(tmp_path)
    assert not here.is_sound("0" * 64)
    with pytest.raises(NotFoundError):
        here.path("0" * 64)


@pytest.mark.parametrize("position", [0, len(DATA) // 2, len(DATA) - 1])
def test_notices_one_flipped_bit_even_when_the_time_is_set_back(tmp_path: Path, position: int) -> None:
    here = store(tmp_path)
    sha256 = stored(here)
    assert here.is_sound(sha256)
    path = here.path(sha256)
    times = path.stat()
    with path.open("r+b") as file:
        file.seek(position)
        file.write(bytes([DATA[position] ^ 1]))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert not here.is_sound(sha256)
    assert not store(tmp_path).is_sound(sha256)
    assert stored(here) == sha256
    assert here.is_sound(sha256)


@pytest.mark.parametrize("data", [DATA[:-1], DATA + b"x", b""])
def test_notices_a_file_of_another_length(tmp_path: Path, data: bytes) -> None:
    here = store(tmp_path)
    sha256 = stored(here)
    here.path(sha256).write_bytes(data)
    assert not here.is_sound(sha256)


def test_forgets_the_oldest_of_very_many_sound_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "SOUND_ENTRIES", 2)
    here = store(tmp_path)
    names = [stored(here, bytes([number])) for number in range(4)]
    assert all(here.is_sound(name) for name in names * 2)
    assert len(here._sound) == 2
