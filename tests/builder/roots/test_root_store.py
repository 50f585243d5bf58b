"""Roots are made whole or not at all, and are what their locks say.

What makes them here is a small sandbox that copies a folder; mmdebstrap does in `tests.e2e.roots`.
"""

import fcntl
import hashlib
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.builder.rootparts import EPOCH, PACKAGE, require_root_makers
from tests.builder.sandboxes import require_sandbox

from touchplate.base.durable import DigestFolder
from touchplate.base.progress import QuietProgress
from touchplate.builder.errors import HostLack
from touchplate.builder.process import Outcome
from touchplate.builder.roots.apt import machine_architecture
from touchplate.builder.roots.inside import BROKEN
from touchplate.builder.roots.lock import RootLock, RootLockError, make_root_lock
from touchplate.builder.roots.make import tidy_root
from touchplate.builder.roots.shelf import Shelf, StandingRoot
from touchplate.builder.roots.store import Roots
from touchplate.builder.sandbox.bubblewrap import Job, Sandbox, SandboxConfig
from touchplate.builder.sandbox.workspace import Workspace
from touchplate.builder.trees import tree_digest

DEB = b"a package"
JOB_UIDS = range(30_000, 30_064)
CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.chmod", "os.chown", "os.utime")
"""Calls at which the process is killed; files that are written are caught by their `open`."""


class Copying(Sandbox):
    """Makes a root by copying a folder. `edit` is given the number of the making and what was made."""

    makings = 0

    def __init__(
        self, config: SandboxConfig, model: Path, edit: Callable[[int, Path], object], outcome: Outcome
    ) -> None:
        super().__init__(config)
        self._model = model
        self._edit = edit
        self._outcome = outcome

    def run(self, workspace: Workspace, job: Job, **_: Any) -> Outcome:
        made = workspace.build / "root"
        shutil.copytree(self._model, made, symlinks=True)
        Copying.makings += 1
        self._edit(Copying.makings, made)
        return self._outcome


GOOD = Outcome(0, "", b"", b"", 0, 0.1, out_of_memory=False)


class Place:
    """A data folder with one package, and what a root made there looks like."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.work = folder / "work"
        self.data.mkdir()
        self.model = folder / "model"
        for name in ("usr/bin", "etc", "var/cache", "var/log"):
            (self.model / name).mkdir(parents=True)
        (self.model / "usr/bin/sh").write_bytes(b"a shell")
        (self.model / "usr/bin/sh").chmod(0o4755)
        (self.model / "etc/shadow").write_bytes(b"closed")
        (self.model / "etc/shadow").chmod(0o640)
        (self.model / "etc/machine-id").write_bytes(b"another each time")
        (self.model / "var/log/made").write_bytes(b"today")
        (self.model / "bin").symlink_to("usr/bin")
        self.package = replace(PACKAGE, sha256=hashlib.sha256(DEB).hexdigest(), size=len(DEB))
        DigestFolder(self.data / "debs").put(DEB)

    @property
    def roots(self) -> Path:
        return self.data / "roots"

    def open(
        self,
        edit: Callable[[int, Path], object] = lambda number, made: None,
        *,
        outcome: Outcome = GOOD,
        most: int | None = None,
    ) -> Roots:
        self.work.mkdir(mode=0o711, exist_ok=True)
        evidence = DigestFolder(self.data / "evidence")
        return Roots(
            self.data, self.work, evidence, QuietProgress(), most=most,
            open_sandbox=lambda config: Copying(replace(config, uids=JOB_UIDS), self.model, edit, outcome),
        )  # fmt: skip

    def standing(self) -> list[str]:
        """Names in the folder of roots, but for the marks of use."""
        return sorted(path.name for path in self.roots.iterdir() if not path.name.startswith(".used-"))

    def lock(self, tree: str = "") -> RootLock:
        """Of the model, or of another tree."""
        if not tree:
            with tempfile.TemporaryDirectory() as name:
                copy = Path(name) / "copy"
                shutil.copytree(self.model, copy, symlinks=True)
                tidy_root(copy, EPOCH)
                tree = tree_digest(copy)
        return make_root_lock("bookworm", machine_architecture(), EPOCH, [self.package], tree)


@pytest.fixture
def place() -> Iterator[Place]:
    require_sandbox()
    require_root_makers()
    with tempfile.TemporaryDirectory(prefix="touchplate-roots-") as name:
        Path(name).chmod(0o755)
        yield Place(Path(name))


def test_a_root_is_tidied_and_stands_under_its_tree_digest(place: Place) -> None:
    lock = place.lock()
    root = place.open().make(lock)
    assert root.path == place.roots / lock.tree
    assert tree_digest(root.path) == lock.tree
    assert (root.path / "usr/bin/sh").stat().st_mode & 0o7777 == 0o755
    assert (root.path / "etc/shadow").stat().st_mode & 0o7777 == 0o644
    assert not (root.path / "etc/machine-id").exists()
    assert not list((root.path / "var/log").iterdir())
    assert max(path.lstat().st_mtime for path in root.path.rglob("*")) <= EPOCH


def test_a_root_that_is_there_is_not_made_again(place: Place) -> None:
    place.open().make(place.lock())
    before = Copying.makings
    place.open().make(place.lock())
    assert Copying.makings == before


def test_a_root_that_becomes_another_is_refused_with_the_first_file_that_differs(place: Place) -> None:
    lock = place.lock()
    first = place.open()
    first.make(lock)
    shutil.rmtree(place.roots / lock.tree)  # its listing stays
    with pytest.raises(HostLack, match=r"'etc/added' is there, and should not be") as caught:
        place.open(lambda number, made: (made / "etc/added").touch()).make(lock)
    assert caught.value.reason == "root-differs"
    assert place.standing() == []


def test_without_a_listing_a_root_that_is_another_each_time_names_the_file(place: Place) -> None:
    def number_it(number: int, made: Path) -> None:
        (made / "etc/number").write_text(str(number))

    with pytest.raises(HostLack, match=r"another each time: 'etc/number' has other bytes"):
        place.open(number_it).make(place.lock())


def test_a_lock_is_wrong_whose_root_becomes_the_same_other_one_each_time(place: Place) -> None:
    lock, true, before = place.lock("ab" * 32), place.lock(), Copying.makings
    with pytest.raises(RootLockError, match="the same each time here; the lock is wrong") as caught:
        place.open().make(lock)
    # Which lock, what it says, and what its packages are.
    assert all(digest in str(caught.value) for digest in (lock.sha256, lock.tree, true.tree))
    assert (caught.value.reason, Copying.makings) == ("wrong-root-lock", before + 2)
    assert place.standing() == []
    # Nothing of it is left that would speak against the true one.
    assert place.open().make(true).path == place.roots / true.tree


def test_a_host_that_makes_another_root_each_time_blames_no_lock(place: Place) -> None:
    def number_it(number: int, made: Path) -> None:
        (made / "etc/number").write_text(str(number))

    with pytest.raises(HostLack, match="another each time") as caught:
        place.open(number_it).make(place.lock("ab" * 32))
    assert caught.value.reason == "root-differs"


def test_a_package_that_is_not_what_the_lock_calls_it_is_the_lock_s_fault(place: Place) -> None:
    said = Outcome(BROKEN, "", b"", b"x.deb is zlib 1 all, and the lock calls it python3\n", 0, 0.1, False)
    with pytest.raises(RootLockError, match="is zlib 1 all, and the lock calls it python3"):
        place.open(outcome=said).make(place.lock())


@pytest.mark.parametrize(("code", "stopped"), [(1, ""), (25, ""), (0, "timeout")])
def test_a_making_that_fails_here_is_a_lack_of_the_host(place: Place, code: int, stopped: str) -> None:
    said = Outcome(code, stopped, b"", b"no space left on device\n", 0, 0.1, False)
    with pytest.raises(HostLack, match="the root could not be made"):
        place.open(outcome=said).make(place.lock())


def test_a_package_of_other_bytes_is_never_given_to_what_makes_roots(place: Place) -> None:
    wrong = replace(place.package, size=len(DEB) + 1)
    lock = make_root_lock("bookworm", machine_architecture(), EPOCH, [wrong], "ab" * 32)
    before = Copying.makings
    with pytest.raises(RootLockError, match=f"has {len(DEB)} bytes, and not {len(DEB) + 1}") as caught:
        place.open().make(lock)
    assert (caught.value.reason, Copying.makings) == ("wrong-root-lock", before)


def test_a_root_of_another_machine_is_not_made(place: Place) -> None:
    lock = make_root_lock("bookworm", "riscv64", EPOCH, [replace(place.package, arch="all")], "ab" * 32)
    with pytest.raises(HostLack, match="the root is of riscv64, and this machine of"):
        place.open().make(lock)


def test_links_that_a_package_leaves_lead_to_nothing_of_the_host(place: Place, tmp_path: Path) -> None:
    victim = tmp_path / "host"
    for name in ("cache", "lib/apt", "log"):
        (victim / name).mkdir(parents=True)
        (victim / name / "precious").write_text("kept")
    (victim / "machine-id").write_text("kept")

    def lead_out(number: int, made: Path) -> None:
        for name in ("var", "etc"):
            shutil.rmtree(made / name)
            (made / name).symlink_to(victim)

    with pytest.raises(RootLockError, match="became"):
        place.open(lead_out).make(place.lock())
    assert sorted(path.read_text() for path in victim.rglob("*") if path.is_file()) == ["kept"] * 4


def test_a_root_that_is_itself_a_link_is_refused(place: Place, tmp_path: Path) -> None:
    (tmp_path / "usr").mkdir()
    (tmp_path / "usr/precious").write_text("kept")

    def lead_out(number: int, made: Path) -> None:
        shutil.rmtree(made)
        made.symlink_to(tmp_path)

    with pytest.raises(HostLack, match="mmdebstrap left none"):
        place.open(lead_out).make(place.lock())
    assert (tmp_path / "usr/precious").stat().st_mode & 0o777 == 0o644


def test_special_files_are_refused(place: Place) -> None:
    with pytest.raises(HostLack, match="neither file nor link"):
        place.open(lambda number, made: os.mkfifo(made / "etc/pipe")).make(place.lock())


def test_a_kill_at_any_step_leaves_no_half_root_and_the_next_makes_it(place: Place) -> None:
    lock = place.lock()
    steps = _killed_at(place, lock, sys.maxsize)
    assert steps > 50
    shutil.rmtree(place.roots / lock.tree)
    last = range(max(0, steps - 25), steps)  # where it gets its name
    for step in sorted({*range(1, steps, max(1, steps // 25)), *last}):
        _killed_at(place, lock, step)
        for path in place.roots.iterdir() if place.roots.exists() else ():
            if not path.name.startswith("."):
                assert tree_digest(path) == path.name == lock.tree
        assert tree_digest(place.open().make(lock).path) == lock.tree
        assert place.standing() == [lock.tree]
        shutil.rmtree(place.roots / lock.tree)


def _killed_at(place: Place, lock: RootLock, step: int) -> int:
    """Make the root in a process that is killed before its change number `step`; how many it came to."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        count = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal count
            changes = event in CHANGES or (
                event == "open" and isinstance(arguments[2], int) and arguments[2] & 3
            )
            if changes and str(place.data.parent) in str(arguments[0]):
                count += 1
                if count == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        code = 1
        try:
            place.open().make(lock)
            os.write(write, str(count).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        said = stream.read()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == (0 if said else -signal.SIGKILL)
    return int(said or b"0")


def test_no_more_roots_are_kept_than_wanted_and_the_one_in_use_always_is(place: Place) -> None:
    made = []
    for number in range(4):
        (place.model / "etc/number").write_text(str(number))
        roots = place.open(most=2)
        made.append(place.lock())
        roots.make(made[-1])
        # Each is used a second later than the one before, by what its mark says.
        os.utime(place.roots / f".used-{made[-1].tree}", (EPOCH + number, EPOCH + number))
        if number != 0:
            roots.close()  # the first stays in use
    assert place.standing() == sorted(lock.tree for lock in (made[0], made[3]))
    # It is made again when it is needed.
    (place.model / "etc/number").write_text("1")
    assert place.open(most=2).make(made[1]).path.is_dir()


def test_a_root_is_not_removed_while_it_is_made(place: Place) -> None:
    def prune(number: int, made: Path) -> None:
        assert place.open().shelf.prune(keep=0) == []

    lock = place.lock()
    assert place.open(prune).make(lock).path.is_dir()
    assert [(one.tree, one.lock, one.is_used) for one in place.open().shelf.standing()] == [
        (lock.tree, lock.sha256, True)
    ]


def test_packages_are_not_removed_while_a_root_is_made_of_them(place: Place) -> None:
    told: list[str] = []
    lock = place.lock()
    roots = place.open(lambda number, made: told.append(place.open().prune_packages().why_not))
    roots.make(lock)
    assert told == ["a root is being made of some"]
    assert place.open().prune_packages().count == 0  # the root stands
    assert DigestFolder(place.data / "debs").has(place.package.sha256)


def test_no_root_is_made_between_the_look_at_those_that_stand_and_the_removal(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.open().make(place.lock())
    standing, looks = Shelf.standing, []

    def looking(shelf: Shelf) -> list[StandingRoot]:
        descriptor = os.open(place.data / "debs/.lock", os.O_RDWR)
        try:
            with pytest.raises(BlockingIOError):
                fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        finally:
            os.close(descriptor)
        looks.append(shelf)
        return standing(shelf)

    monkeypatch.setattr(Shelf, "standing", looking)
    assert place.open().prune_packages().count == 0
    assert len(looks) == 1
    assert DigestFolder(place.data / "debs").has(place.package.sha256)


def nest(top: Path, depth: int) -> None:
    """Folders in one another, by descriptors: what a package runs is not bound by the length of paths."""
    inner = os.open(top, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("a", dir_fd=inner)
        outer, inner = inner, os.open("a", os.O_RDONLY, dir_fd=inner)
        os.close(outer)
    os.close(inner)


@pytest.mark.parametrize("depth", [101, 1500], ids=["one too many", "past the stack"])
def test_a_root_of_folders_in_one_another_without_end_is_refused(place: Place, depth: int) -> None:
    with pytest.raises(HostLack, match="more than 100 folders in one another") as caught:
        place.open(lambda number, made: nest(made / "etc", depth)).make(place.lock())
    assert caught.value.reason == "root-too-large"
    assert place.standing() == []
    assert [path.name for path in place.work.iterdir() if path.name.startswith("job-")] == []
