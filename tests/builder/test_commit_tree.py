"""The tar that a sandbox gave of a commit, by a stranger: what is unpacked of it, and what is said."""

import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from touchplate.builder.errors import ArchiveError, HostLack
from touchplate.builder.git import commit_tree
from touchplate.builder.git.commit_tree import list_files, unpack_tree
from touchplate.builder.git.export import MAX_TARGET_BYTES


def tar(*members: tuple[str, str | None]) -> bytes:
    """A tar of links by name and target, and of empty files where there is no target."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8") as archive:
        for name, target in members:
            member = tarfile.TarInfo(name)
            if target is not None:
                member.type, member.linkname = tarfile.SYMTYPE, target
            archive.addfile(member, io.BytesIO())
    return out.getvalue()


def refusal(data: bytes, folder: Path) -> str:
    with pytest.raises(ArchiveError) as caught:
        unpack_tree(data, folder)
    return str(caught.value)


def test_a_chain_of_links_longer_than_any_stack_is_followed_as_far_as_linux_does(tmp_path: Path) -> None:
    links = [(f"l{number:05}", f"l{number - 1:05}") for number in range(1, 5000)]
    assert len(unpack_tree(tar(("l00000", None), *links), tmp_path)) == 64


def test_links_in_a_circle_lead_nowhere(tmp_path: Path) -> None:
    assert len(unpack_tree(tar(("a", "b"), ("b", "a"), ("c", "c/x"), ("d", "d/../d")), tmp_path)) == 64


@pytest.mark.parametrize("target", ["a/b/up/../../etc/passwd", "a/b/up/none/../../../x", "d1/../../x"])
def test_a_link_through_links_does_not_climb_out(tmp_path: Path, target: str) -> None:
    data = tar(("a/b/up", "../../top"), ("top/file", None), ("d1", "a/b"), ("away", target))
    assert "leads out of the tree" in refusal(data, tmp_path)


def test_a_link_through_a_link_stays_where_it_leads_to(tmp_path: Path) -> None:
    data = tar(("a/b/up", "../.."), ("a/file", None), ("in", "a/b/up/a/../a/file"))
    unpack_tree(data, tmp_path)
    assert (tmp_path / "in").resolve() == tmp_path / "a/file"


def test_links_tied_into_a_knot_are_given_up(tmp_path: Path) -> None:
    """Each goes forty times through another, with two thousand names on each way."""
    links = [(f"l{number:03}", f"{'./' * 2000}l{number - 1:03}") for number in range(1, 200)]
    assert "links lead through more than" in refusal(tar(("l000", None), *links), tmp_path)


@pytest.mark.parametrize(
    ("member", "said"),
    [
        (("n" * 256, None), "has a part of more than 255 bytes"),
        (("é" * 128, None), "has a part of more than 255 bytes"),
        (("d/" + "n" * 256 + "/f", None), "has a part of more than 255 bytes"),
        (("l", ""), "has no target"),
        (("l", "\0x"), "has no target"),
        (("l", "x" * (MAX_TARGET_BYTES + 1)), "has no target"),
    ],
    ids=["name", "utf-8", "folder", "empty", "nothing", "long"],
)
def test_what_no_disk_takes_is_refused_without_a_word_about_this_host(
    tmp_path: Path, member: tuple[str, str | None], said: str
) -> None:
    text = refusal(tar(member), tmp_path)
    assert said in text
    assert str(tmp_path) not in text


def test_a_target_may_be_as_long_as_linux_has_them(tmp_path: Path) -> None:
    unpack_tree(tar(("l", "x/" * 2047 + "x")), tmp_path)
    assert len(str((tmp_path / "l").readlink())) == MAX_TARGET_BYTES


def test_a_disk_that_does_not_take_the_tree_says_nothing_about_the_commit(tmp_path: Path) -> None:
    with pytest.raises(HostLack, match="cannot unpack the commit: No such file") as caught:
        unpack_tree(tar(("a", None)), tmp_path / "gone")
    assert str(tmp_path) not in str(caught.value)


def test_a_sparse_member_is_no_file(tmp_path: Path) -> None:
    """In 1,536 bytes of tar, 10 GB on the disk."""
    member = tarfile.TarInfo("big")
    member.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[386:410] = b"%011o\0%011o\0" % (10_000_000_000, 0)  # one piece, of no bytes, at the end
    header[483:495] = b"%011o\0" % 10_000_000_000
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    data = bytes(header) + bytes(1024)
    assert "neither file nor link" in refusal(data, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert list_files(data) == {}


_OPEN = """
import sys
from pathlib import Path
from touchplate.base.progress import QuietProgress
from touchplate.builder.errors import HostLack
from touchplate.builder.workshop import open_workshop
try:
    with open_workshop(Path(sys.argv[1]), QuietProgress()):
        pass
except HostLack as lack:
    print(lack.reason)
"""


def test_a_host_where_names_are_not_utf_8_refuses_no_source_for_them(tmp_path: Path) -> None:
    """With another encoding, what is a letter elsewhere is an unprintable character."""
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PATH": os.environ["PATH"]}
    command = [sys.executable, "-c", _OPEN, str(tmp_path)]
    done = subprocess.run(command, env=plain, capture_output=True, text=True, check=True)
    assert done.stdout == "no-utf-8\n"


def test_few_files_below_very_many_folders_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Trees that hold each other give a hundred thousand paths of five hundred folders in a small pack."""
    monkeypatch.setattr(commit_tree, "MAX_FILES", 20)
    data = tar(*((f"{number}/{'d/' * 9}f", None) for number in range(5)))
    assert "more than 40 files and folders" in refusal(data, tmp_path)


def test_nothing_lies_behind_a_file_or_a_link_however_deep(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert "'a/f/c/d' lies behind a file" in refusal(tar(("a/f", None), ("a/f/c/d", None)), tmp_path / "a")
    assert "'a/f/c/d' lies behind a link" in refusal(tar(("a/f", "g"), ("a/f/c/d", None)), tmp_path / "b")
