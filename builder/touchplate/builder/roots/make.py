"""Making a root: mmdebstrap on the locked packages alone, in the sandbox of images, and what is left of it.

What packages run while they are set up (maintainer scripts) runs as root of a range of ids that are nobody's,
without a network (`runc.py`). What differs from one making to the next is taken out afterwards, and owners,
modes and times become the same everywhere.
"""

import os
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from touchplate.base.durable import DigestFolder
from touchplate.base.environment import read_environment
from touchplate.base.progress import Progress
from touchplate.builder.errors import HostLack, storage_lack
from touchplate.builder.plan import GIB, HOME_FOLDER, REPOSITORY_FOLDER, RESERVED_FOLDER, Limits
from touchplate.builder.process import LINE_CHARS, Outcome, printable
from touchplate.builder.roots.archives import digest_of
from touchplate.builder.roots.inside import BROKEN
from touchplate.builder.roots.lock import RootLockError, RootPackage
from touchplate.builder.sandbox.bubblewrap import Job, Sandbox
from touchplate.builder.sandbox.probe import PYTHON
from touchplate.builder.sandbox.workspace import Workspace, remove_tree, show_copy
from touchplate.verify.jcs import JSONValue, format_json

LIMITS = Limits(workspace_bytes=40 * GIB, memory_bytes=4 * GIB, wall_seconds=3600.0)
"""A root of a compiler and a JDK takes 0.8 GB, less memory and a minute."""

MAX_DEPTH = 100
"""Folders in one another below a root: Debian's own packages have 20. What walks a tree goes as deep on the
interpreter's stack."""

EMPTIED = (
    *("boot", "dev", "home", "media", "mnt", "proc", "root", "run", "srv", "sys", "tmp"),
    *("var/backups", "var/cache", "var/lib/apt", "var/log", "var/tmp"),
)
"""Folders of a root of which nothing is kept: the sandbox has its own, or they tell of the making only."""

REMOVED = (
    *("etc/.pwd.lock", "etc/apt/sources.list", "etc/hostname", "etc/machine-id", "etc/resolv.conf"),
    *("etc/group-", "etc/gshadow-", "etc/passwd-", "etc/shadow-", "etc/subgid-", "etc/subuid-"),
    *("var/lib/dbus/machine-id", "var/lib/dpkg/lock", "var/lib/dpkg/lock-frontend"),
    *("var/lib/dpkg/diversions-old", "var/lib/dpkg/statoverride-old", "var/lib/dpkg/status-old"),
    "etc/ssl/certs/java/cacerts",
)
"""Files of a root that are not kept: of the making, of the machine, or other bytes each time, as Java's
own store of certificates, whose entries bear the time at which they were put in. No build reaches a
TLS server."""

_INSIDE, _JOB = f"{RESERVED_FOLDER}/root.py", f"{RESERVED_FOLDER}/root.json"
_USERS = b"root:x:0:0:root:/root:/bin/sh\n_apt:x:100:65534::/nonexistent:/usr/sbin/nologin\n"
_GROUPS = b"root:x:0:\nnogroup:x:65534:\n"
_ENVIRONMENT = MappingProxyType(
    {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "TMPDIR": f"{HOME_FOLDER}/tmp",  # noqa: S108
        "DEBIAN_FRONTEND": "noninteractive",
    }
)


@dataclass(frozen=True)
class Recipe:
    """What decides a root. `epoch`: Unix seconds; no file of it is newer."""

    architecture: str
    epoch: int
    packages: tuple[RootPackage, ...]


def need_mmdebstrap() -> None:
    """Raise HostLack unless this host has what makes roots."""
    for name in ("mmdebstrap", "dpkg-deb", "apt-get"):
        if read_environment().find_program(name) is None:
            raise HostLack(
                f"{name} is not installed: build roots are made with it; install the package "
                f"{'mmdebstrap' if name == 'mmdebstrap' else 'apt'}",
                reason="no-mmdebstrap",
            )


def make_root(recipe: Recipe, debs: DigestFolder, sandbox: Sandbox, target: Path, display: Progress) -> None:
    """Make the root as the new folder `target`, from packages that are in `debs`.

    Raises RootLockError for a package that is not what the lock calls it; HostLack for one that is damaged
    here, and for what the making says.
    """
    empty = target.with_name(f"{target.name}.empty")
    empty.mkdir()
    with sandbox.workspace(empty) as workspace:
        job = _job(recipe, debs, workspace)
        task = display.task("make the root")

        def hear(line: str) -> None:
            if line.startswith("Setting up "):
                task.advance()

        outcome = sandbox.run(workspace, job, on_line=hear)
        _check_outcome(outcome)
        task.finish(f"{outcome.seconds:.0f} seconds")
        made = workspace.build / "root"
        if not _is_folder(made):
            raise HostLack("the root could not be made: mmdebstrap left none", reason="root-not-made")
        try:
            tidy_root(made, recipe.epoch)
            _move(made, target)
        except OSError as error:
            raise storage_lack("cannot keep the root", target.parent, error) from error


def _job(recipe: Recipe, debs: DigestFolder, workspace: Workspace) -> Job:
    packages: list[JSONValue] = []
    for one in recipe.packages:
        file = f"{one.sha256}.deb"
        _show(debs.path(one.sha256), workspace.repo / file, one)
        fields = ("arch", "name", "sha256", "size", "version")
        packages.append({"file": file, **{field: getattr(one, field) for field in fields}})
    files = {
        _INSIDE: Path(__file__).with_name("inside.py").read_bytes(),
        _JOB: format_json({"architecture": recipe.architecture, "packages": packages}),
        "/etc/passwd": _USERS,
        "/etc/group": _GROUPS,
    }
    shown = {path: workspace.place(number, data) for number, (path, data) in enumerate(files.items())}
    return Job(
        command=(PYTHON, "-I", "-S", _INSIDE, _JOB),
        shown={**shown, REPOSITORY_FOLDER: workspace.repo},
        environment={**_ENVIRONMENT, "SOURCE_DATE_EPOCH": str(recipe.epoch)},
        limits=LIMITS,
    )


def _show(source: Path, target: Path, one: RootPackage) -> None:
    """Lay a package out, hashed where it now lies."""
    try:
        show_copy(source, target)
        found, size = digest_of(target), target.stat().st_size
    except OSError as error:
        raise HostLack(f"cannot read {one.name} {one.version}: {error}", reason="cache-damaged") from error
    if found == one.sha256 and size != one.size:
        raise RootLockError(f"root lock: {one.name} {one.version} has {size} bytes, and not {one.size}")
    if found != one.sha256:
        raise HostLack(
            f"{one.name} {one.version} has sha256 {found}, and the root lock says {one.sha256}",
            reason="wrong-digest",
        )


def _check_outcome(outcome: Outcome) -> None:
    if not outcome.stopped and not outcome.exit_code:
        return
    lines = [printable(line) for line in outcome.tail.splitlines() if line.strip()]
    said = "; ".join(lines[-3:])[: 3 * LINE_CHARS]
    why = outcome.stopped or f"exit code {outcome.exit_code}"
    if outcome.exit_code == BROKEN:  # before anything of a package was run
        raise RootLockError(f"root lock: {said}")
    raise HostLack(f"the root could not be made: {why}: {said}", reason="root-not-made", log=outcome.log)


def tidy_root(root: Path, epoch: int) -> None:
    """Take out what is not kept; root's files, 0644 or 0755, none newer than `epoch`.

    The packages may be a stranger's: no link of the tree is followed. Nothing may write to it any more.
    Raises OSError, HostLack for a tree that is too deep.
    """
    for name in EMPTIED:
        if _stands_in(root, name) and _is_folder(root / name):
            remove_tree(root / name)
            (root / name).mkdir()
    for name in REMOVED:
        if _stands_in(root, name):
            (root / name).unlink(missing_ok=True)
    _check_depth(root)
    for folder, folders, files in os.walk(root, topdown=False):
        for name in (*files, *folders):
            _level(Path(folder, name), epoch)
    _level(root, epoch)


def _check_depth(root: Path) -> None:
    top = len(root.parts)
    for folder, _, _ in os.walk(root):  # from the top: it is left before the stack is full
        if len(Path(folder).parts) - top > MAX_DEPTH:
            raise HostLack(
                f"the root has more than {MAX_DEPTH} folders in one another, as in "
                f"{printable(os.fsencode(Path(folder).relative_to(root)))[:80]!r}",
                reason="root-too-large",
            )


def _stands_in(root: Path, name: str) -> bool:
    """Whether all folders on the way from `root` to `name` are folders, not links that lead elsewhere."""
    return all(_is_folder(root / parent) for parent in list(PurePosixPath(name).parents)[:-1])


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _level(path: Path, epoch: int) -> None:
    found = path.lstat()
    if os.getuid() == 0:
        os.lchown(path, 0, 0)
    if not stat.S_ISLNK(found.st_mode):
        # Neither setuid nor closed to the uid of a job; after the owner, whose change would clear bits.
        path.chmod(0o755 if stat.S_ISDIR(found.st_mode) or found.st_mode & 0o111 else 0o644)
    if found.st_mtime > epoch:
        os.utime(path, (epoch, epoch), follow_symlinks=False)


def _move(made: Path, target: Path) -> None:
    try:
        made.rename(target)
    except OSError:  # the work folder is on another disk
        shutil.copytree(made, target, symlinks=True)
