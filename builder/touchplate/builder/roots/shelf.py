"""The folder of roots: which stand there, which are in use, and which go when there are too many.

    <data>/roots/<tree digest>/         a root
    <data>/roots/.used-<tree digest>    its mark: the SHA-256 of its lock; its time is that of the last use

Whoever uses or makes a root holds its mark, shared, until its process ends, however that ends. A root is only
removed by whoever has its mark for himself. It loses its name first, and that is on disk before the first of
its files goes: so what stands under a tree digest is whole, and what a killed process left is unnamed, and
is removed by whoever comes next.
"""

import contextlib
import fcntl
import os
import re
import stat
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from touchplate.base.durable import make_folder, sync_folder
from touchplate.builder.errors import HostLack, needing_disk
from touchplate.builder.sandbox.workspace import locked_folder, remove_abandoned

ASIDE = ".new-"
"""Begins the names of folders in which roots are made and from which they are removed."""

MOST_ROOTS = 10
"""Roots that a worker keeps when nobody says how many: of a compiler and a JDK each, 8 GB."""

_MARK = ".used-"
_TREE = re.compile(r"[0-9a-f]{64}")
_OPEN = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


@dataclass(frozen=True)
class StandingRoot:
    """A root that stands on this host."""

    tree: str
    """Its tree digest, lower-case hex."""
    lock: str
    """SHA-256 of the lock by which it was used last; empty for one from before there were marks."""
    used: int
    """When it was used last, or made: Unix seconds."""
    size: int
    """Of its files, in bytes."""
    is_used: bool
    """Whether a process uses it now."""


class Shelf:
    """One folder of roots. Safe for several threads and processes at once. Raises HostLack where the disk
    fails."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._held: dict[str, int] = {}
        self._lock = threading.Lock()

    def home(self, tree: str) -> Path:
        """Where the root with this tree digest stands, or would."""
        return self.folder / tree

    def make(self) -> None:
        """Have the folder, without what killed processes left in it."""
        with needing_disk("cannot make the folder of roots", self.folder):
            make_folder(self.folder)
        remove_abandoned(self.folder, ASIDE)

    def hold(self, tree: str, lock: str) -> None:
        """Use the root `tree`, which is there or about to be made, by the lock with this SHA-256: until
        `close`, nobody removes it."""
        with needing_disk("cannot mark a root as used", self.folder), self._lock:
            if tree not in self._held:
                self._held[tree] = self._open_mark(tree, fcntl.LOCK_SH)
            # In place: whoever reads half of it takes it for none.
            os.pwrite(self._held[tree], lock.encode(), 0)
            os.utime(self._held[tree])

    def close(self) -> None:
        """Use none of them any more."""
        with self._lock:
            while self._held:
                os.close(self._held.popitem()[1])

    def standing(self) -> list[StandingRoot]:
        """What stands here, the last used first."""
        looked = [self._look(path.name) for path in self._folders()]
        found = [one for one in looked if one is not None]
        return sorted(found, key=lambda one: (-one.used, one.tree))

    def prune(
        self,
        *,
        keep: int | None = None,
        unused_since: float | None = None,
        removing: Callable[[StandingRoot], object] = lambda one: None,
    ) -> list[StandingRoot]:
        """Remove roots, none that is in use: all but the `keep` last used ones, among which those in use are
        counted first, or those that were last used before `unused_since` (Unix seconds). Those that are gone,
        the last used first. `removing` is told of each that is about to go."""
        if not self.folder.is_dir():
            return []
        self.make()
        standing = sorted(self.standing(), key=lambda one: not one.is_used)
        too_many = standing if keep is None else standing[keep:]
        gone = [one for one in too_many if unused_since is None or one.used < unused_since]
        removed = []
        for one in gone:
            removing(one)
            removed += [one] if self._remove(one) else []
        self._remove_stale_marks()
        return removed

    def _folders(self) -> list[Path]:
        try:
            return [path for path in self.folder.iterdir() if _TREE.fullmatch(path.name) and path.is_dir()]
        except FileNotFoundError:
            return []
        except OSError as error:
            raise HostLack(f"cannot read {self.folder}: {error.strerror}") from error

    def _look(self, tree: str) -> StandingRoot | None:
        """None when another one has removed it meanwhile."""
        mark, is_used = self.folder / f"{_MARK}{tree}", False
        try:
            with contextlib.suppress(FileNotFoundError), mark.open("rb") as stream:
                is_used = not _try_lock(stream.fileno())
            lock, used = self._last_use(tree)
            return StandingRoot(tree, lock, int(used), _size(self.home(tree)), is_used)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise HostLack(f"cannot look at the root {tree}: {error.strerror}") from error

    def _last_use(self, tree: str) -> tuple[str, float]:
        """By which lock, and when. Raises OSError."""
        with contextlib.suppress(FileNotFoundError), (self.folder / f"{_MARK}{tree}").open("rb") as stream:
            said = stream.read(65).decode("ascii", "replace")
            if _TREE.fullmatch(said):
                return said, os.fstat(stream.fileno()).st_mtime
        return "", self.home(tree).stat().st_ctime

    def _remove(self, one: StandingRoot) -> bool:
        """False when it is in use, or was used since it was looked at."""
        # The mark is let go before the files are removed: whoever waits for it makes the root anew meanwhile.
        with (
            _removing(f"the root {one.tree}"),
            locked_folder(self.folder, ASIDE) as aside,
            self._mine(one.tree) as is_mine,
        ):
            try:
                if not is_mine or int(self._last_use(one.tree)[1]) > one.used:
                    return False
                self.home(one.tree).rename(aside / "gone")
            except FileNotFoundError:
                return False  # another one removed it
            sync_folder(aside)
            sync_folder(self.folder)
            (self.folder / f"{_MARK}{one.tree}").unlink(missing_ok=True)
        return True

    def _remove_stale_marks(self) -> None:
        """Those of roots that are not there: their makings failed, or were killed."""
        for mark in self.folder.glob(f"{_MARK}*"):
            tree = mark.name.removeprefix(_MARK)
            with _removing("marks of roots"), self._mine(tree) as is_mine:
                if is_mine and not self.home(tree).exists():
                    mark.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _mine(self, tree: str) -> Iterator[bool]:
        """Whether nobody uses the root, and nobody can until the end. Raises OSError."""
        try:
            descriptor = self._open_mark(tree, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        try:
            yield True
        finally:
            os.close(descriptor)

    def _open_mark(self, tree: str, how: int) -> int:
        """The mark, made when it is not there, locked: the one that has the name. Raises OSError."""
        path = self.folder / f"{_MARK}{tree}"
        while True:
            descriptor = os.open(path, _OPEN, 0o644)
            try:
                fcntl.flock(descriptor, how)
                # Whoever removed the root may have taken the mark away while this one waited for it.
                if _is_at(descriptor, path):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)


@contextlib.contextmanager
def _removing(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HostLack(f"cannot remove {what}: {error.strerror}", reason="root-not-removed") from error


def _is_at(descriptor: int, path: Path) -> bool:
    found = os.fstat(descriptor)
    try:
        return os.path.samestat(found, path.lstat())
    except FileNotFoundError:
        return False


def _try_lock(descriptor: int) -> bool:
    """Whether nobody holds it; then this one has, for a moment."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return True


def _size(root: Path) -> int:
    total = 0
    for folder, _, files in os.walk(root):
        for name in files:
            with contextlib.suppress(FileNotFoundError):  # being removed
                found = os.lstat(os.path.join(folder, name))  # noqa: PTH118  twice as fast
                total += found.st_size if stat.S_ISREG(found.st_mode) else 0
    return total
