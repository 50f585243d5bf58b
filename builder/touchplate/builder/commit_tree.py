"""The source tree of a commit: unpacked from the tar that the sandbox gave, and checked by its tree digest.

The tar was written next to a stranger's pack, so it is read as a stranger's. What makes it the source of a
definition is the digest alone.
"""

import errno
import io
import os
import posixpath
import tarfile
from collections.abc import Iterator
from pathlib import Path

from touchplate.builder.archives import ArchiveLimits, check_member_name
from touchplate.builder.errors import ArchiveError, HostLack
from touchplate.builder.tars import TAR_DAMAGE, TarReader
from touchplate.builder.trees import tree_digest

FILE_TIME = 1_000_000_000
"""Modification time of everything, 2001-09-09T01:46:40Z: a commit has none, and a zip none before 1980,
also not in a build that is varied by a year (`vary.py`)."""

MAX_FILES = 100_000
"""As many as a source archive may have entries."""

_HIDDEN = ".git"


def unpack_tree(data: bytes, target: Path) -> str:
    """Unpack the tar `data` into the empty folder `target`, and return the tree digest.

    Files are 0644 or 0755. Raises ArchiveError for what is refused: names that climb or are git's own, links
    that lead out of the tree, names that stand twice or behind a link; HostLack without disk.
    """
    try:
        _unpack(data, target)
    except TAR_DAMAGE as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HostLack("no disk space left to unpack the commit", reason="disk-full") from error
        raise ArchiveError(f"the commit cannot be unpacked: {error}") from error
    for folder, folders, _ in os.walk(target, topdown=False):
        for name in folders:
            if not (path := Path(folder, name)).is_symlink():
                os.utime(path, (FILE_TIME, FILE_TIME))
    _check_ends(target)
    return tree_digest(target)


def list_files(data: bytes) -> dict[str, int]:
    """Size by path of the regular files in a commit's tar. Raises ArchiveError."""
    return {name: member.size for name, member, _ in _regular(data)}


def read_files(data: bytes, names: frozenset[str]) -> dict[str, bytes]:
    """Content of those regular files in a commit's tar. Raises ArchiveError."""
    return {name: b"".join(reader.pieces(member)) for name, member, reader in _regular(data) if name in names}


def _regular(data: bytes) -> Iterator[tuple[str, tarfile.TarInfo, TarReader]]:
    reader = TarReader(io.BytesIO(data), len(data))
    try:
        yield from ((one.name, one, reader) for one in reader.members() if one.isreg())
    except TAR_DAMAGE as error:
        raise ArchiveError(f"the commit cannot be read: {error}") from error


def _unpack(data: bytes, target: Path) -> None:
    limits = ArchiveLimits()
    kinds: dict[str, str] = {}
    reader = TarReader(io.BytesIO(data), len(data))
    for number, member in enumerate(reader.members()):
        name = member.name
        if number >= MAX_FILES:
            raise ArchiveError(f"the commit has more than {MAX_FILES} files")
        check_member_name(name, limits)
        _check_not_gits(name)
        if name in kinds:
            raise ArchiveError(f"{name[:80]!r} stands twice, or is a file and a folder at once")
        _make_folders(name, target, kinds)
        if member.issym():
            _check_link(name, member.linkname)
            (target / name).symlink_to(member.linkname)
            kinds[name] = "link"
        elif member.isreg():
            _write(reader, member, target / name)
            kinds[name] = "file"
        else:
            raise ArchiveError(f"{name[:80]!r} is neither file nor link")
        os.utime(target / name, (FILE_TIME, FILE_TIME), follow_symlinks=False)


def _write(reader: TarReader, member: tarfile.TarInfo, path: Path) -> None:
    with path.open("xb") as stream:
        for piece in reader.pieces(member):
            stream.write(piece)
    path.chmod(0o755 if member.mode & 0o111 else 0o644)


def _make_folders(name: str, target: Path, kinds: dict[str, str]) -> None:
    """The folders above `name`: real ones, made here, so that nothing is written through a link."""
    parts = name.split("/")[:-1]
    for end in range(1, len(parts) + 1):
        folder = "/".join(parts[:end])
        kind = kinds.setdefault(folder, "new")
        if kind == "new":
            (target / folder).mkdir()
            (target / folder).chmod(0o755)
            kinds[folder] = "folder"
        elif kind != "folder":
            raise ArchiveError(f"{name[:80]!r} lies behind a {kind}")


def _check_ends(target: Path) -> None:
    """Where each link leads in the end: one that goes through others can climb further than it says."""
    root = Path(os.path.realpath(target))
    for folder, folders, files in os.walk(target):
        for name in (*folders, *files):
            path = Path(folder, name)
            if path.is_symlink() and not Path(os.path.realpath(path)).is_relative_to(root):
                raise ArchiveError(f"link {str(path.relative_to(target))[:80]!r} leads out of the tree")


def _check_not_gits(name: str) -> None:
    """Git commands of a build would take such a folder for a repository, with the hooks in it."""
    if any(part.lower() == _HIDDEN for part in name.split("/")):
        raise ArchiveError(f"{name[:80]!r} is a name that belongs to git")


def _check_link(name: str, target: str) -> None:
    """A link may lead nowhere, but not away: outside the sandbox it would name a file of the host."""
    inner = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    if target.startswith("/") or inner == ".." or inner.startswith("../"):
        raise ArchiveError(f"link {name[:80]!r} leads out of the tree, to {target[:80]!r}")
