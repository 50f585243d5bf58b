"""Where jobs' control groups of version 2 may stand: what is taken, what is left alone, and what is said.

Plain folders stand for the tree here, so nothing of what the kernel does about it is seen: that is tried on a
kernel with version 2 only (tests/cgroup2).
"""

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from touchplate.builder.delegation import LEAF, Place, Places, find_places

ALL = "cpu io memory pids"


@dataclass(frozen=True)
class Tree:
    """A tree at `top` in which the process is in /slice/own."""

    folder: Path
    root: str = "/"

    @property
    def top(self) -> Path:
        return self.folder / "tree"

    @property
    def own(self) -> Path:
        return self.top / "slice" / "own"

    def make(self, controllers: str, handed: str) -> None:
        """`controllers`: that the tree has; `handed`: that the slice hands down."""
        self.own.mkdir(parents=True)
        (self.folder / "proc").mkdir()
        (self.folder / "proc" / "cgroup").write_text("0::/slice/own\n")
        line = f"41 31 0:38 {self.root} {self.top} rw - cgroup2 cgroup2 rw\n"
        (self.folder / "proc" / "mountinfo").write_text(line)
        for group in (self.top, self.own.parent, self.own):
            (group / "cgroup.type").write_text("domain\n")
            (group / "cgroup.controllers").write_text(controllers)
            (group / "cgroup.subtree_control").write_text("")
            (group / "cgroup.procs").write_text("")
        (self.own.parent / "cgroup.subtree_control").write_text(handed)

    def find(self, *, systemd: bool) -> Places:
        return find_places(self.folder / "proc", systemd=self.folder if systemd else self.folder / "none")


def delegate(group: Path) -> None:
    """Mark a group as systemd does (systemd.resource-control(5))."""
    try:
        os.setxattr(group, "user.delegate", b"1")
    except OSError as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"DELEGATION NOT TESTED: {error}")


def test_what_is_systemds_is_used_as_it_is_and_the_rest_is_said(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.make(ALL, "memory pids")
    found = tree.find(systemd=True)
    assert found.usable == [Place("memory", 2, tree.own.parent), Place("pids", 2, tree.own.parent)]
    assert (tree.own.parent / "cgroup.subtree_control").read_text() == "memory pids"
    (lack,) = found.lacks
    assert lack.startswith(f"{tree.own.parent} hands down no cpu: ")
    assert "Delegate=yes" in lack
    assert not (tree.own / LEAF).exists()


def test_without_systemd_controllers_are_handed_down_where_the_supervisor_is(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.make(ALL, "memory pids")
    tree.find(systemd=False)
    assert (tree.own.parent / "cgroup.subtree_control").read_text() == "+cpu"


def test_processes_of_a_delegated_group_go_into_its_leaf(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.make(ALL, ALL)
    delegate(tree.own)
    (tree.own / "cgroup.subtree_control").write_text(ALL)
    (tree.own / "cgroup.procs").write_text("4711\n")
    found = tree.find(systemd=True)
    assert (tree.own / LEAF / "cgroup.procs").read_text() == "4711"
    assert {place.parent for place in found.usable} == {tree.own}
    assert found.lacks == []


def test_leaf_that_another_program_made_stays_as_it_is(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.make(ALL, ALL)
    delegate(tree.own.parent)
    found = tree.find(systemd=True)
    assert {place.parent for place in found.usable} == {tree.own.parent}
    assert not (tree.own / LEAF).exists()


def test_process_that_cannot_be_seen_is_not_moved_and_said(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.make(ALL, ALL)
    delegate(tree.own)
    (tree.own / "cgroup.procs").write_text("0\n")
    found = tree.find(systemd=True)
    assert found.usable == []
    assert "cannot be seen" in found.lacks[0]
    assert not (tree.own / LEAF / "cgroup.procs").exists()


def test_tree_without_controllers_is_left_alone(tmp_path: Path) -> None:
    tree = Tree(tmp_path)
    tree.make("hugetlb", "")
    delegate(tree.own)
    assert tree.find(systemd=True) == Places()
    assert not (tree.own / LEAF).exists()


def test_tree_of_another_namespace_is_not_written_and_said(tmp_path: Path) -> None:
    tree = Tree(tmp_path, root="/../..")
    tree.make(ALL, ALL)
    found = tree.find(systemd=False)
    assert found.usable == []
    assert "shows more than this namespace" in found.lacks[0]
