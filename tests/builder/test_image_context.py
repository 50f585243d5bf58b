"""Contexts from strangers: laid out as they were, or refused; nothing is written outside the folder."""

import io
import lzma
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.builder.test_answer import greedy_xz

from touchplate.builder.archives.zips import ArchiveLimits
from touchplate.builder.ecosystems.oci.context import unpack_context
from touchplate.builder.errors import ArchiveError


def archive(*members: tuple[str, dict[str, Any], bytes], mode: str = "w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for name, fields, data in members:
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.mtime = len(data), 0o640, 77
            for key, value in fields.items():
                setattr(member, key, value)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


FOLDER = {"type": tarfile.DIRTYPE, "mode": 0o750}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_modes_times_and_links_stay_whatever_the_umask(tmp_path: Path, mode: str) -> None:
    data = archive(
        ("./", FOLDER, b""),
        ("./d", {**FOLDER, "mtime": 5}, b""),
        ("./d/run.sh", {"mode": 0o755}, b"x"),
        ("./link", {"type": tarfile.SYMTYPE, "linkname": "/etc/shadow"}, b""),
        ("./same", {"type": tarfile.LNKTYPE, "linkname": "./d/run.sh", "mode": 0o600}, b""),
        mode=mode,
    )
    before = os.umask(0o077)
    try:
        unpack_context(data, tmp_path)
    finally:
        os.umask(before)
    assert (tmp_path / "d").stat().st_mode & 0o7777 == 0o750
    assert (tmp_path / "d").stat().st_mtime == 5
    assert (tmp_path / "d/run.sh").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "d/run.sh").stat().st_mtime == 77
    assert (tmp_path / "link").readlink() == Path("/etc/shadow")
    assert (tmp_path / "same").read_bytes() == b"x"


def test_single_top_folder_is_left_out_and_several_are_not(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    unpack_context(archive(("app-1/Containerfile", {}, b"x"), ("app-1/a/b", {}, b"y")), tmp_path / "one")
    unpack_context(archive(("app/Containerfile", {}, b"x"), ("b", {}, b"y")), tmp_path / "two")
    assert (tmp_path / "one/Containerfile").exists()
    assert (tmp_path / "one/a/b").exists()
    assert (tmp_path / "two/app/Containerfile").exists()


def test_set_id_bits_are_dropped(tmp_path: Path) -> None:
    unpack_context(archive(("a", {"mode": 0o6755}, b"x")), tmp_path)
    assert (tmp_path / "a").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([("../out", {}, b"x")], "leaves the folder"),
        ([("/out", {}, b"x")], "leaves the folder"),
        ([("a/../../out", {}, b"x")], "leaves the folder"),
        ([("l", {"type": tarfile.SYMTYPE, "linkname": ".."}, b""), ("l/out", {}, b"x")], "behind a link"),
        ([("f", {}, b""), ("f/out", {}, b"x")], "behind a file"),
        ([("a", {}, b"1"), ("a", {}, b"2")], "stands twice"),
        ([("l", {"type": tarfile.SYMTYPE, "linkname": "/out"}, b""), ("l", {}, b"x")], "stands twice"),
        ([("d", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3}, b"")], "device or a pipe"),
        ([("p", {"type": tarfile.FIFOTYPE}, b"")], "device or a pipe"),
        ([("h", {"type": tarfile.LNKTYPE, "linkname": "/etc/shadow"}, b"")], "no file before it"),
    ],
)
def test_archive_that_reaches_out_is_refused(
    tmp_path: Path, members: list[tuple[str, dict[str, Any], bytes]], said: str
) -> None:
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(ArchiveError, match=said):
        unpack_context(archive(*members, ("z", {}, b"z")), target)
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert not Path("/out").exists()


def test_bombs_and_damage_are_refused(tmp_path: Path) -> None:
    limits = ArchiveLimits(entries=3, total_bytes=1000)
    members: Sequence[tuple[str, dict[str, Any], bytes]]
    for members in ([(f"f{n}", {}, b"") for n in range(4)], [("big", {}, bytes(1001))]):
        with pytest.raises(ArchiveError, match="more than"):
            unpack_context(archive(*members), tmp_path, limits)
    links = [("a", {}, bytes(900)), ("b", {"type": tarfile.LNKTYPE, "linkname": "a"}, b"")]
    with pytest.raises(ArchiveError, match="more bytes"):
        unpack_context(archive(*links), tmp_path, limits)
    good = archive(("a2", {}, b"x" * 3000), mode="w")
    for data in (b"", b"no archive", good[:700], b"PK\x03\x04" + bytes(30)):
        with pytest.raises(ArchiveError):
            unpack_context(data, tmp_path)


@pytest.mark.parametrize("name", ["n" * 256, "d/" + "n" * 256])
def test_a_name_that_no_disk_takes_is_refused_without_the_folder_of_this_host(
    tmp_path: Path, name: str
) -> None:
    """The reason is signed, and read by strangers."""
    with pytest.raises(ArchiveError, match="File name too long") as caught:
        unpack_context(archive((name, {}, b"")), tmp_path)
    assert str(tmp_path) not in str(caught.value)


def test_folders_that_names_imply_are_counted(tmp_path: Path) -> None:
    """Archives of a megabyte would fill a disk with folders."""
    limits = ArchiveLimits(entries=30)
    with pytest.raises(ArchiveError, match="the names in the context make more than 30 folders"):
        unpack_context(archive(*((f"{n}/{'d/' * 9}f", {}, b"") for n in range(4))), tmp_path, limits)


@pytest.mark.parametrize(
    ("first", "behind"),
    [(("a/b", {}, b""), "file"), (("a/b", {"type": tarfile.SYMTYPE, "linkname": "c"}, b""), "link")],
)
def test_nothing_lies_behind_what_is_no_folder_however_deep(
    tmp_path: Path, first: tuple[str, dict[str, Any], bytes], behind: str
) -> None:
    with pytest.raises(ArchiveError, match=f"'a/b/c/d/e' lies behind a {behind}"):
        unpack_context(archive(("z", {}, b""), first, ("a/b/c/d/e", {}, b"")), tmp_path)


def test_an_archive_that_asks_for_all_memory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="asks for more than 268435456 bytes of memory"):
        unpack_context(greedy_xz(archive(("a", {}, b"x"), mode="w")), tmp_path)


def test_an_archive_of_several_xz_streams_is_one(tmp_path: Path) -> None:
    whole = archive(("a/b", {}, b"x" * 200_000), ("c", {}, b"y"), mode="w")
    parts = [lzma.compress(whole[:70_000]), bytes(8), lzma.compress(whole[70_000:]), bytes(4)]
    unpack_context(b"".join(parts), tmp_path)
    assert (tmp_path / "a" / "b").read_bytes() == b"x" * 200_000
    for number, cut in enumerate((parts[0], parts[0][:-20], parts[0] + b"no xz")):
        (target := tmp_path / f"cut{number}").mkdir()
        with pytest.raises(ArchiveError, match="cannot be read"):
            unpack_context(cut, target)
