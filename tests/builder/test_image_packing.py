"""A folder packed as a build context: the same bytes everywhere, and the same image as from the folder."""

import hashlib
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.builder.imageparts import ImageScene

from touchplate.builder.archives.zips import ArchiveLimits
from touchplate.builder.ecosystems.oci.context import unpack_context
from touchplate.builder.ecosystems.oci.packing import PACKED_TIME, pack_context
from touchplate.builder.errors import ArchiveError, HostLack
from touchplate.builder.trees import tree_digest
from touchplate.verify.cli import main

FILES = {"Containerfile": b"FROM scratch\nCOPY hello.txt docs /\n", "hello.txt": b"hello\n", "docs/a": b"a\n"}


def lay_out(folder: Path, *, backwards: bool = False) -> Path:
    """A context; `backwards`: made in another order, at another time."""
    files = {
        "Containerfile": b"FROM scratch\n",
        "b/run": b"#!",
        "b/é": b"",
        "a-b/x": b"x",
        "a/y": b"y" * 9999,
    }
    for name, data in reversed(files.items()) if backwards else files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        path.write_bytes(data)
        path.chmod(0o755 if name == "b/run" else 0o644)
        os.utime(path, (5, 5) if backwards else None)
    (folder / "empty").mkdir(mode=0o750)
    (folder / "link").symlink_to("../outside")
    return folder


def test_the_same_files_are_the_same_bytes_and_come_out_as_they_were(tmp_path: Path) -> None:
    one, other = lay_out(tmp_path / "one"), lay_out(tmp_path / "other", backwards=True)
    packed = pack_context(one, tmp_path / "one.tar")
    assert pack_context(other, tmp_path / "other.tar") == packed
    data = (tmp_path / "one.tar").read_bytes()
    assert (packed.sha256, packed.size) == (hashlib.sha256(data).hexdigest(), len(data))
    with tarfile.open(tmp_path / "one.tar") as archive:
        assert {(one.mtime, one.uid, one.gid, one.uname, one.gname) for one in archive} == {
            (PACKED_TIME, 0, 0, "", "")
        }
    out = tmp_path / "out"
    out.mkdir()
    unpack_context(data, out)
    assert tree_digest(out) == tree_digest(one)
    assert (out / "empty").stat().st_mode & 0o777 == 0o750
    assert (out / "link").readlink() == Path("../outside")


def test_a_context_that_is_one_folder_keeps_it(tmp_path: Path) -> None:
    lay_out(tmp_path / "one" / "docker")
    pack_context(tmp_path / "one", tmp_path / "one.tar")
    (tmp_path / "out").mkdir()
    unpack_context((tmp_path / "one.tar").read_bytes(), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["docker"]


def pipe(folder: Path) -> None:
    os.mkfifo(folder / "pipe")


def control(folder: Path) -> None:
    (folder / "a\nb").write_bytes(b"")


def latin(folder: Path) -> None:
    (folder / os.fsdecode(b"\xfc")).write_bytes(b"")


@pytest.mark.parametrize(
    ("spoil", "said"), [(pipe, "device, pipe or socket"), (control, "unprintable"), (latin, "unprintable")]
)
def test_what_no_context_may_hold_is_refused_and_nothing_is_left(
    tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    folder = lay_out(tmp_path / "one")
    spoil(folder)
    with pytest.raises(ArchiveError, match=said):
        pack_context(folder, tmp_path / "one.tar")
    assert not (tmp_path / "one.tar").exists()


@pytest.mark.parametrize("limits", [ArchiveLimits(entries=3), ArchiveLimits(total_bytes=999)])
def test_more_than_a_context_may_be_is_refused(tmp_path: Path, limits: ArchiveLimits) -> None:
    with pytest.raises(ArchiveError, match="more than"):
        pack_context(lay_out(tmp_path / "one"), tmp_path / "one.tar", limits)


def test_neither_an_existing_file_nor_the_folder_itself_is_written_to(tmp_path: Path) -> None:
    folder, old = lay_out(tmp_path / "one"), tmp_path / "old.tar"
    old.write_bytes(b"mine")
    with pytest.raises(HostLack, match="is there already"):
        pack_context(folder, old)
    assert old.read_bytes() == b"mine"
    before = tree_digest(folder)
    with pytest.raises(ArchiveError, match="lies in the folder"):
        pack_context(folder, folder / "b" / "own.tar")
    assert tree_digest(folder) == before
    with pytest.raises(HostLack, match="cannot pack"):
        pack_context(tmp_path / "nothing", tmp_path / "new.tar")
    assert not (tmp_path / "new.tar").exists()


def test_an_image_made_from_a_folder_comes_out_again_from_its_archive(
    images: ImageScene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    published = images.publisher.publish("team/folder", dict(FILES))
    folder = tmp_path / "context"
    for name, data in published.context.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o644)
    out = tmp_path / "context.tar"
    assert main(["definition", "context", str(folder), "--out", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    definition = images.define(published, archive=out.read_bytes())
    assert (said["sha256"], said["size"]) == (definition.source.files[0].sha256, out.stat().st_size)
    done = images.rebuild(definition)
    assert (done.result, done.failure) == ("identical", None)
