"""What the listing of a tree tells without the tree."""

import hashlib
import os
from pathlib import Path

import pytest

from touchplate.builder.roots.listing import file_digest, first_difference, folder_digest
from touchplate.builder.roots.use import resolve_inside
from touchplate.builder.trees import tree_digest, tree_lines, tree_seal


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with an odd name, a link and a program."""
    (tmp_path / "usr/lib/jdk 17/bin").mkdir(parents=True)
    (tmp_path / "usr/lib/jdk 17/bin/javac").write_bytes(b"compiler")
    (tmp_path / "usr/lib/jdk 17/bin/javac").chmod(0o755)
    (tmp_path / "usr/lib/jdk 17/a b%c\n").write_bytes(b"odd")
    (tmp_path / "usr/lib/jdk 17-extra").write_bytes(b"beside")
    (tmp_path / "usr/lib/java").symlink_to("/usr/lib/jdk 17")
    (tmp_path / "usr/up").symlink_to("../../../etc")
    (tmp_path / "usr/loop").symlink_to("loop")
    return tmp_path


def listing(tree: Path) -> bytes:
    return b"".join(tree_lines(tree))


def test_the_listing_is_what_the_tree_digest_is_taken_over(tree: Path) -> None:
    assert hashlib.sha256(listing(tree)).hexdigest() == tree_digest(tree)


def test_the_digest_of_a_folder_follows_from_the_listing(tree: Path) -> None:
    assert folder_digest(listing(tree), "usr/lib/jdk 17") == tree_digest(tree / "usr/lib/jdk 17")


def test_the_digest_of_a_file_follows_from_the_listing(tree: Path) -> None:
    found = file_digest(listing(tree), "usr/lib/jdk 17/bin/javac")
    assert found == hashlib.sha256(b"compiler").hexdigest()
    assert file_digest(listing(tree), "usr/lib/java") is None
    assert file_digest(listing(tree), "usr/lib/none") is None


def test_the_first_difference_names_file_and_kind(tree: Path) -> None:
    before = listing(tree)
    assert first_difference(before, before) == ""
    (tree / "usr/lib/jdk 17-extra").write_bytes(b"other")
    assert first_difference(before, listing(tree)) == "'usr/lib/jdk%2017-extra' has other bytes"
    (tree / "usr/lib/java").unlink()
    assert first_difference(before, listing(tree)) == "'usr/lib/java' is not there"
    (tree / "usr/lib/aaa").touch()
    assert first_difference(before, listing(tree)) == "'usr/lib/aaa' is there, and should not be"


def test_a_changed_mode_and_a_changed_link_are_differences(tree: Path) -> None:
    before = listing(tree)
    (tree / "usr/lib/jdk 17/bin/javac").chmod(0o644)
    assert "is of another kind or mode" in first_difference(before, listing(tree))
    (tree / "usr/lib/jdk 17/bin/javac").chmod(0o755)
    (tree / "usr/up").unlink()
    (tree / "usr/up").symlink_to("/elsewhere")
    assert first_difference(before, listing(tree)) == "'usr/up' leads elsewhere"


@pytest.mark.parametrize("change", ["content", "mode", "new file", "same content again", "replaced"])
def test_the_seal_changes_with_whatever_is_done_to_a_tree(tree: Path, change: str) -> None:
    path = tree / "usr/lib/jdk 17/bin/javac"
    before, found = tree_seal(tree), path.stat()
    assert tree_seal(tree) == before
    if change == "content":
        path.write_bytes(b"compileR")
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))  # as somebody would who hides it
    elif change == "mode":
        path.chmod(0o700)
    elif change == "new file":
        (tree / "usr/new").touch()
    elif change == "same content again":
        path.write_bytes(b"compiler")
    else:
        copy = path.with_name("copy")
        copy.write_bytes(b"compileR")
        copy.chmod(0o755)
        copy.replace(path)
    assert tree_seal(tree) != before


def test_links_of_a_root_are_followed_inside_it_only(tree: Path) -> None:
    assert resolve_inside(tree, "/usr/lib/java/bin/javac") == "usr/lib/jdk 17/bin/javac"
    assert resolve_inside(tree, "/usr/up/passwd") is None  # there is no /etc in this one
    (tree / "etc").mkdir()
    (tree / "etc/passwd").touch()
    assert resolve_inside(tree, "/usr/up/passwd") == "etc/passwd"
    assert resolve_inside(tree, "/usr/loop") is None
    assert resolve_inside(tree, "/usr/none") is None
