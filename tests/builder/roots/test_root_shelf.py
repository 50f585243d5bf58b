"""Roots are listed and removed: the longest unused first, and never one that anybody uses."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from tests.builder.rootparts import EPOCH, PACKAGE, small_files

from touchplate.base.durable import DigestFolder
from touchplate.builder.errors import HostLack
from touchplate.builder.roots.debs import Debs
from touchplate.builder.roots.lock import RootPackage, make_root_lock
from touchplate.builder.roots.shelf import MOST_ROOTS, Shelf
from touchplate.builder.trees import tree_digest
from touchplate.verify.cli import main

HELD = "import sys; from pathlib import Path; from touchplate.builder.roots.shelf import Shelf"
HOLD = f"{HELD}; Shelf(Path(sys.argv[1])).hold(*sys.argv[2:]); print('holds', flush=True); sys.stdin.read()"
LOCK = "cd" * 32


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    shelf = Shelf(tmp_path / "roots")
    shelf.make()
    yield shelf
    shelf.close()


def stand(shelf: Shelf, number: int, used: int | None = None) -> str:
    """A root that stands, and was used then."""
    made = small_files(shelf.folder / "made", f"{number}")
    tree = tree_digest(made)
    made.rename(shelf.home(tree))
    if used is not None:
        mark = shelf.folder / f".used-{tree}"
        mark.write_text(LOCK)
        os.utime(mark, (used, used))
    return tree


def trees(shelf: Shelf) -> list[str]:
    return [one.tree for one in shelf.standing()]


def test_roots_are_listed_with_their_last_use(shelf: Shelf) -> None:
    old, new = stand(shelf, 1, EPOCH), stand(shelf, 2, EPOCH + 60)
    unmarked = stand(shelf, 3)
    listed = shelf.standing()
    assert [one.tree for one in listed] == [unmarked, new, old]
    assert [(one.lock, one.is_used) for one in listed] == [("", False), (LOCK, False), (LOCK, False)]
    assert listed[2].used == EPOCH
    assert listed[2].size == sum(path.stat().st_size for path in shelf.home(old).rglob("*") if path.is_file())


def test_the_longest_unused_go(shelf: Shelf) -> None:
    made = [stand(shelf, number, EPOCH + number) for number in range(5)]
    assert [one.tree for one in shelf.prune(keep=2)] == [made[2], made[1], made[0]]
    assert trees(shelf) == [made[4], made[3]]
    assert [one.tree for one in shelf.prune(unused_since=EPOCH + 4)] == [made[3]]
    assert shelf.prune(keep=1) == []
    assert sorted(path.name for path in shelf.folder.iterdir()) == sorted([made[4], f".used-{made[4]}"])


@pytest.mark.parametrize("keep", [0, 1])
def test_a_root_in_use_stays_until_its_process_ends_however_that_ends(shelf: Shelf, keep: int) -> None:
    tree = stand(shelf, 1, EPOCH)
    others = [stand(shelf, number, EPOCH + number) for number in range(2, 4)]
    command = [sys.executable, "-c", HOLD, str(shelf.folder), tree, LOCK]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == "holds\n"
        assert [one.tree for one in shelf.standing() if one.is_used] == [tree]
        assert [one.tree for one in shelf.prune(keep=keep)] == others[::-1]
        assert trees(shelf) == [tree]
        user.kill()
    assert [one.is_used for one in shelf.standing()] == [False]
    assert [one.tree for one in shelf.prune(keep=0)] == [tree]


def test_a_root_that_is_used_between_the_look_and_the_removal_stays(shelf: Shelf) -> None:
    tree = stand(shelf, 1, EPOCH)
    (before,) = shelf.standing()
    other = Shelf(shelf.folder)
    other.hold(tree, LOCK)
    other.close()  # used, and over
    assert not shelf._remove(before)
    assert trees(shelf) == [tree]


def test_a_use_makes_it_the_last_used_one_and_says_by_which_lock(shelf: Shelf) -> None:
    old, new = stand(shelf, 1, EPOCH), stand(shelf, 2, EPOCH + 60)
    other = Shelf(shelf.folder)
    other.hold(old, "ef" * 32)
    other.hold(old, "ef" * 32)
    other.close()
    assert [(one.tree, one.lock) for one in shelf.standing()] == [(old, "ef" * 32), (new, LOCK)]


def test_a_mark_whose_root_was_never_made_goes_unless_it_is_being_made(shelf: Shelf) -> None:
    for tree in ("ab" * 32, "ba" * 32):
        (shelf.folder / f".used-{tree}").write_text(LOCK)
    maker = Shelf(shelf.folder)
    maker.hold("ba" * 32, LOCK)
    assert shelf.prune(keep=0) == []
    assert [path.name for path in shelf.folder.iterdir()] == [f".used-{'ba' * 32}"]
    maker.close()


def test_many_that_use_and_remove_at_once_never_remove_what_is_used(shelf: Shelf) -> None:
    tree = stand(shelf, 1, EPOCH)
    wrong: list[str] = []
    begin = threading.Barrier(4)

    def use() -> None:
        begin.wait()
        for _ in range(50):
            one = Shelf(shelf.folder)
            one.hold(tree, LOCK)
            # As the store does it: who holds the mark and finds the root may build in it.
            if one.home(tree).is_dir() and tree_digest(one.home(tree)) != tree:
                wrong.append("half a root was used")
            one.close()

    def remove() -> None:
        begin.wait()
        for _ in range(20):
            Shelf(shelf.folder).prune(keep=0)

    threads = [threading.Thread(target=one) for one in (use, use, remove, remove)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert shelf.prune(keep=0) is not None
    assert [path.name for path in shelf.folder.iterdir()] == []


def test_what_is_no_root_is_left_alone(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious/file").touch()
    (shelf.folder / "notes").mkdir()
    (shelf.folder / ("ab" * 32)).symlink_to(tmp_path / "precious")
    (shelf.folder / ("cd" * 32)).touch()
    shelf.prune(keep=0)
    assert (tmp_path / "precious/file").exists()
    assert (shelf.folder / "notes").is_dir()


def test_a_folder_that_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "roots").touch()
    with pytest.raises(HostLack, match="cannot read"):
        Shelf(tmp_path / "roots").standing()


def test_a_folder_that_cannot_be_made_is_not_called_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HostLack, match="cannot make the folder of roots: ") as caught:
        Shelf(tmp_path / "file" / "roots").make()
    assert caught.value.reason == "storage-failed"


def run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str]:
    code = main(["builder", "root", *argv])
    return code, capsys.readouterr().out


def test_the_commands_list_and_prune(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = ("--data", str(tmp_path))
    assert run(capsys, "list", *data) == (0, "no build root is here\n")
    assert run(capsys, "prune", *data) == (
        0,
        "0 build roots and 0 downloaded packages removed, 0.0 MB freed\n",
    )
    shelf = Shelf(tmp_path / "roots")
    shelf.make()
    made = [stand(shelf, number, EPOCH + number) for number in range(3)]
    lock = make_root_lock("bookworm", "amd64", EPOCH, [PACKAGE], made[0])
    DigestFolder(tmp_path / "evidence").put(lock.data)
    shelf.hold(made[0], lock.sha256)
    code, said = run(capsys, "list", *data)
    assert code == 0
    assert said.splitlines()[1].split() == [
        made[0][:16], lock.sha256[:16], "1", "of", "bookworm", "0.0", "MB", "now",
    ]  # fmt: skip
    first, *rest = json.loads(run(capsys, "list", "--json", *data)[1])
    assert {name: first[name] for name in ("tree", "lock", "suite", "packages", "in_use")} == {
        "tree": made[0], "lock": lock.sha256, "suite": "bookworm", "packages": 1, "in_use": True,
    }  # fmt: skip
    assert [one["used"] for one in rest] == ["2023-11-14T22:13:22Z", "2023-11-14T22:13:21Z"]
    assert run(capsys, "prune", *data)[1].startswith("0 build roots")  # fewer than MOST_ROOTS
    assert len(made) < MOST_ROOTS
    code, said = run(capsys, "prune", "--keep", "2", "--json", *data)
    assert code == 0
    assert [one["tree"] for one in json.loads(said)["removed"]] == [made[1]]
    assert made[2] in run(capsys, "prune", "--older-than", "30", *data)[1]
    assert trees(shelf) == [made[0]]
    shelf.close()


def store(data: Path, *packages: bytes) -> list[RootPackage]:
    """Downloaded packages."""
    debs = DigestFolder(data / "debs")
    return [
        replace(PACKAGE, name=f"package{number}", sha256=debs.put(one).sha256, size=len(one))
        for number, one in enumerate(packages)
    ]


def stand_locked(shelf: Shelf, number: int, packages: Sequence[RootPackage]) -> str:
    """A root that stands, and was made of these."""
    tree = stand(shelf, number)
    lock = make_root_lock("bookworm", "amd64", EPOCH, packages, tree)
    DigestFolder(shelf.folder.parent / "evidence").put(lock.data)
    mark = shelf.folder / f".used-{tree}"
    mark.write_text(lock.sha256)
    os.utime(mark, (EPOCH + number, EPOCH + number))
    return tree


def kept(data: Path) -> set[str]:
    return set(DigestFolder(data / "debs").digests())


def test_packages_go_that_no_root_which_stays_is_made_of(
    shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared, old, new, stray = store(tmp_path, b"shared", b"of the old", b"of the new one", b"nobody's")
    stand_locked(shelf, 1, [shared, old])
    stand_locked(shelf, 2, [shared, new])
    data = ("--data", str(tmp_path))
    said = run(capsys, "prune", "--keep", "2", *data)
    assert said == (0, "0 build roots and 1 downloaded packages removed, 0.0 MB freed\n")
    assert kept(tmp_path) == {shared.sha256, old.sha256, new.sha256}
    assert stray.sha256 not in kept(tmp_path)
    told = json.loads(run(capsys, "prune", "--keep", "1", "--json", *data)[1])
    assert (told["packages"], len(told["removed"])) == ({"kept": None, "removed": 1}, 1)
    assert told["freed_bytes"] == told["removed"][0]["size"] + old.size
    assert kept(tmp_path) == {shared.sha256, new.sha256}
    run(capsys, "prune", "--keep", "0", *data)
    assert kept(tmp_path) == set()


def test_packages_stay_while_a_root_stands_whose_lock_nobody_knows(
    shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (stray,) = store(tmp_path, b"nobody's")
    tree = stand(shelf, 1)
    assert main(["builder", "root", "prune", "--data", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert f"all downloaded packages stay: the lock of the root {tree} is not known here" in said.err
    assert kept(tmp_path) == {stray.sha256}


def test_packages_stay_while_somebody_makes_a_root_of_them_however_that_ends(
    shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (stray,) = store(tmp_path, b"of a root that is made")
    script = (
        "import sys; from pathlib import Path; from touchplate.builder.roots.debs import Debs\n"
        "with Debs(Path(sys.argv[1])).using(): print('uses', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "debs")]
    prune = ("prune", "--json", "--data", str(tmp_path))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == "uses\n"
        told = json.loads(run(capsys, *prune)[1])
        assert told["packages"] == {"kept": "a root is being made of some", "removed": 0}
        assert kept(tmp_path) == {stray.sha256}
        user.kill()
    assert json.loads(run(capsys, *prune)[1])["packages"] == {"kept": None, "removed": 1}


def test_what_is_no_package_is_left_alone(shelf: Shelf, tmp_path: Path) -> None:
    store(tmp_path, b"nobody's")
    for name in ("debs/notes.txt", "debs/ab/notes.txt", "debs/tmp/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert Debs(tmp_path / "debs").remove_others(lambda: ((), "")).count == 1
    assert all(
        (tmp_path / f"debs/{name}").exists() for name in ("notes.txt", "ab/notes.txt", "tmp/notes.txt")
    )


def test_a_folder_of_packages_that_cannot_be_used_is_said_so(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "debs").touch()
    with pytest.raises(HostLack, match="cannot use"), Debs(tmp_path / "debs").using():
        raise AssertionError
    (tmp_path / "debs").unlink()
    (tmp_path / "debs/.lock").mkdir(parents=True)
    with pytest.raises(HostLack, match="cannot use"):
        Debs(tmp_path / "debs").remove_others(lambda: ((), ""))


@pytest.mark.parametrize(
    "options", [("--keep", "-1"), ("--older-than", "-1"), ("--older-than", "nan"), ("--keep", "x")]
)
def test_a_bound_that_is_none_is_refused(tmp_path: Path, options: tuple[str, str]) -> None:
    assert main(["builder", "root", "prune", *options, "--data", str(tmp_path)]) == 64
