"""The folders of one job on the host: made, filled, watched, and gone afterwards on every path.

    <work>/job-<random>/       root 0710 and the job's group, locked for as long as the job lives
        build/ home/           the job's uid: what the sandbox may write
        files/ repo/ mirror/   root: shown read-only inside

A job runs under a uid of its own (when the supervisor is root), taken from a range by lock files, so that two
jobs can neither read nor signal each other, and what belongs to that uid can be told from everything else.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from touchplate.builder.errors import DISK_FULL, HostLack, needing_disk, storage_lack
from touchplate.builder.plan import USUAL, Surroundings
from touchplate.builder.sandbox.ids import job_id, processes_of
from touchplate.builder.sandbox.layout import lay_out

FREE_BYTES = 512 * 1024 * 1024
"""Free disk without which no phase is started: a Maven build with its repository takes about 200 MB."""

FREE_ENTRIES = 20_000
"""Free inodes without which no phase is started: a Maven build with its repository makes 5,000 files."""

TREE_ENTRIES = 1_000_000
"""Files and folders that a workspace may hold: more only serve to exhaust inodes or the watcher."""

TREE_DEPTH = 200
"""Nesting of folders in a workspace: real trees stay below 40, a deep one defeats recursive tools."""

TOO_LARGE, TOO_MANY, TOO_DEEP = "too-large", "too-many-files", "too-deep"
"""`Outcome.stopped` of a job that wrote too many bytes, beyond TREE_ENTRIES, or beyond TREE_DEPTH."""

BEYOND = frozenset({TOO_LARGE, TOO_MANY, TOO_DEEP})
"""All of them. A source tree may be so from the start, before anything has run."""

JOB = "job-"
"""Prefix of job folders."""

MEMORY_FILES = Path("/dev/shm")  # noqa: S108
"""A tmpfs on every Linux; where folders elsewhere are, unless they are in the work folder."""

ELSEWHERE = "touchplate-job-"
"""Prefix of a build folder that lies in a place shared with other programs (`Surroundings.order_in`)."""

_NO_WORKSPACE = "cannot prepare a workspace"
_BLOCK_BYTES = 512  # unit of st_blocks, stat(2)
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Workspace:
    """One job's folders and its uid (the supervisor's own when it is not root). See `open_workspace`."""

    root: Path
    uid: int
    own_uid: bool
    ids: int = 1
    """Number of ids of the job, `uid` being the first."""
    inner: int = 0
    """The id of those that the command runs under, counted from `uid`."""
    elsewhere: Path | None = None
    """Where the build folder is, when not below `root`."""

    @property
    def owner(self) -> int:
        """The kernel's uid of the command: who owns what it may write."""
        return self.uid + self.inner

    @property
    def build(self) -> Path:
        """Shown as /build."""
        return (self.elsewhere or self.root) / "build"

    @property
    def home(self) -> Path:
        """Shown as /home/build."""
        return self.root / "home"

    @property
    def repo(self) -> Path:
        """Shown as /repo in Build."""
        return self.root / "repo"

    @property
    def mirror(self) -> Path:
        """Holds the mirror's socket in Fetch."""
        return self.root / "mirror"

    def place(self, number: int, content: bytes) -> Path:
        """Write a file that will be shown read-only inside; `number` keeps names apart. Raises HostLack."""
        path = self.root / "files" / str(number)
        with needing_disk(_NO_WORKSPACE, self.root.parent):
            path.write_bytes(content)
            path.chmod(0o644)
        return path

    def usage(self) -> "Usage":
        """Bytes and entries that the job wrote, as far as the limits of a tree go."""
        usage = Usage()
        for folder in (self.build, self.home):
            _add_usage(folder, usage)
        if self.own_uid:
            devices = {folder.stat().st_dev for folder in (self.build, self.home)}
            _add_unlinked(processes_of(self.uid, self.ids), devices, usage)
        return usage


@dataclass
class Usage:
    """Sizes of a tree: allocated bytes, entries; `deep` when it is nested deeper than TREE_DEPTH."""

    size: int = 0
    entries: int = 0
    deep: bool = False

    @property
    def absurd(self) -> str:
        """Which shape the tree has that only an attack has, whatever its size; empty for other trees."""
        if self.deep:
            return TOO_DEEP
        return TOO_MANY if self.entries > TREE_ENTRIES else ""


@contextlib.contextmanager
def open_workspace(
    work: Path,
    locks: Path,
    source: Path,
    uids: range,
    inner: int = 0,
    *,
    around: Surroundings = USUAL,
) -> Iterator[Workspace]:
    """A workspace with a copy of `source` as its build folder; removed with all it holds afterwards.

    `uids`: what to choose the job's from; one with a step gives it all ids up to the next (see `ranged`), of
    which the command runs under the one numbered `inner`.
    Raises HostLack without a free uid, a searchable folder or enough disk.
    """
    for place in (work, around.order_in):
        if place is not None:
            check_searchable(place)
            check_free(place)
    with (
        job_id(locks, uids) as (uid, own_uid),
        locked_folder(work, JOB) as root,
        _folder_elsewhere(around) as elsewhere,
    ):
        workspace = Workspace(root, uid, own_uid, uids.step, inner, elsewhere)
        try:
            for closed in (root, elsewhere):
                if own_uid and closed is not None:
                    # Other users of the host neither look in nor start what a build has marked setuid.
                    os.chown(closed, -1, uid)
                    closed.chmod(0o710)
            for folder in (workspace.home, workspace.repo, workspace.mirror, root / "files"):
                make_open(folder)
            lay_out(source, workspace.build, around, usual=root)
            workspace.build.chmod(0o755)
            if own_uid:
                _give(workspace.build, workspace.owner)
                _give(workspace.home, workspace.owner)
        except OSError as error:
            raise storage_lack(_NO_WORKSPACE, work, error) from error
        yield workspace


@contextlib.contextmanager
def _folder_elsewhere(around: Surroundings) -> Iterator[Path | None]:
    if around.order_in is None:
        yield None
        return
    with locked_folder(around.order_in, ELSEWHERE) as folder:
        yield folder


def make_open(folder: Path) -> None:
    """Make a folder that every user can read and search, whatever the supervisor's umask is."""
    folder.mkdir()
    folder.chmod(0o755)


def show_copy(source: Path, target: Path) -> None:
    """Have the file `source` at `target`, too, readable by every user: as the same file where the file system
    can do that, which costs nothing, else as a copy. Raises OSError."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(source, target)
        target.chmod(0o644)


def check_searchable(folder: Path) -> None:
    """Raise HostLack unless other users can search the way to `folder`, as the job's uid must."""
    if os.getuid() != 0:
        return
    for part in (folder, *folder.parents):
        if not part.stat().st_mode & stat.S_IXOTH:
            raise HostLack(
                f"{part} is closed to other users, and a sandbox runs as one: chmod o+x it, or choose "
                "another folder",
                reason="folder-closed",
            )


def check_free(work: Path) -> None:
    """Raise HostLack when the disk of `work` is (nearly) full."""
    if not is_free(work):
        raise HostLack(
            f"less than {FREE_BYTES} bytes or {FREE_ENTRIES} inodes are free below {work}: make room there, "
            "or use another folder",
            reason=DISK_FULL,
        )


def is_free(work: Path, *, share: int = 1) -> bool:
    """Whether the disk of `work` has 1/`share` of the room that a phase needs."""
    disk = os.statvfs(work)
    has_entries = disk.f_files == 0 or disk.f_favail >= FREE_ENTRIES // share  # 0: made when needed
    return has_entries and disk.f_bavail * disk.f_frsize >= FREE_BYTES // share


def tidy(work: Path) -> bool:
    """Remove what killed supervisors left of jobs that were run in `work`; whether all went, as
    `remove_abandoned`."""
    elsewhere = [remove_abandoned(place, ELSEWHERE) for place in (work, MEMORY_FILES)]
    return remove_abandoned(work) and all(elsewhere)


def remove_abandoned(folder: Path, prefix: str = JOB) -> bool:
    """Remove locked folders that a killed supervisor left; those of living ones are locked and stay.

    Whether all went: of one whose sandbox is about to die, too, something may be written meanwhile.
    """
    is_all = True
    for root in folder.glob(f"{prefix}*"):
        with contextlib.suppress(OSError):
            descriptor = os.open(root, _FOLDER)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(descriptor).st_uid == os.getuid():  # where anyone may make one, only our own
                    is_all = _is_removed(root) and is_all
            finally:
                os.close(descriptor)
    return is_all


def _is_removed(root: Path) -> bool:
    with contextlib.suppress(OSError):
        remove_tree(root)
        return True
    return not root.exists()


def remove_tree(root: Path) -> None:
    """Remove a folder and everything in it, however deep, without following a link.

    Folders are moved up to the top before they are emptied, so neither the depth of a hostile tree nor the
    length of its paths matters. No process may be writing to it any more.
    """
    top = os.open(root, _FOLDER)
    moved = 0
    try:
        while folders := _remove_files(top):
            for name in folders:
                inner = _open_folder(name, top)
                try:
                    for deeper in _remove_files(inner):
                        moved += 1
                        _take_rights(deeper, inner)
                        new = f".moved-{secrets.token_hex(8)}-{moved}"
                        os.rename(deeper, new, src_dir_fd=inner, dst_dir_fd=top)
                finally:
                    os.close(inner)
                os.rmdir(name, dir_fd=top)
    finally:
        os.close(top)
    root.rmdir()


def _remove_files(folder: int) -> list[str]:
    """Unlink all but folders; the names of those."""
    folders = []
    with os.scandir(folder) as entries:
        for entry in list(entries):
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.name)
            else:
                os.unlink(entry.name, dir_fd=folder)
    return folders


def _open_folder(name: str, parent: int) -> int:
    _take_rights(name, parent)
    return os.open(name, _FOLDER, dir_fd=parent)


def _take_rights(name: str, parent: int) -> None:
    if os.getuid() != 0:
        # A build may have taken away its own rights to a folder; root does not ask for them.
        os.chmod(name, 0o700, dir_fd=parent)


def _add_usage(top: Path, usage: Usage) -> None:
    """Walk depth first: one descriptor per level, so a hostile tree cannot exhaust the supervisor's own."""
    levels = [_Level(os.open(top, _FOLDER))]
    try:
        while levels and not usage.absurd:
            level = levels[-1]
            entry = next(level.entries, None)
            if entry is None:
                levels.pop().close()
                continue
            usage.entries += 1
            with contextlib.suppress(OSError):  # it may be gone again
                usage.size += entry.stat(follow_symlinks=False).st_blocks * _BLOCK_BYTES
                if entry.is_dir(follow_symlinks=False):
                    # By descriptor and without following links: a build may swap a folder for a link.
                    levels.append(_Level(os.open(entry.name, _FOLDER, dir_fd=level.folder)))
                    usage.deep = usage.deep or len(levels) > TREE_DEPTH
    finally:
        for level in levels:
            level.close()


class _Level:
    def __init__(self, folder: int) -> None:
        self.folder = folder
        self.entries = os.scandir(folder)

    def close(self) -> None:
        self.entries.close()
        os.close(self.folder)


def _add_unlinked(processes: list[int], devices: set[int], usage: Usage) -> None:
    """Add files that `processes` hold open without a name, which no walk sees."""
    seen: set[int] = set()
    for pid in processes:
        with contextlib.suppress(OSError):
            for link in Path("/proc", str(pid), "fd").iterdir():
                with contextlib.suppress(OSError):
                    found = link.stat()
                    if stat.S_ISREG(found.st_mode) and not found.st_nlink and found.st_dev in devices:
                        usage.size += 0 if found.st_ino in seen else found.st_blocks * _BLOCK_BYTES
                        seen.add(found.st_ino)


def _give(folder: Path, uid: int) -> None:
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            os.lchown(Path(parent, name), uid, uid)
    os.lchown(folder, uid, uid)


@contextlib.contextmanager
def locked_folder(parent: Path, prefix: str, mode: int = 0o700) -> Iterator[Path]:
    """A new folder, removed with all it holds at the end, and by `remove_abandoned` if this process dies.

    Raises HostLack when it cannot be made.
    """
    while True:
        root = parent / f"{prefix}{secrets.token_hex(8)}"
        with needing_disk("cannot make a folder", parent):
            root.mkdir()
        with contextlib.suppress(FileNotFoundError):
            root.chmod(mode)
            descriptor = os.open(root, _FOLDER)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Whoever tidies up may have taken it for abandoned before it was locked; now nobody can.
            if root.is_dir():
                break
            os.close(descriptor)
    try:
        yield root
    finally:
        try:
            remove_tree(root)
        finally:
            os.close(descriptor)


def rename_unless_there(aside: Path, home: Path) -> None:
    """Give what was made at `aside` its name `home`; another process may have been first with the same."""
    try:
        aside.rename(home)
    except OSError:
        if not home.is_dir():
            raise
