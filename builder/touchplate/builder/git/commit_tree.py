"""The source tree of a commit: unpacked from the tar that the sandbox gave, and checked by its tree digest.

The tar was written next to a stranger's pack, so it is read as a stranger's. What makes it the source of a
definition is the digest alone.
"""

import errno
import io
import os
import posixpath
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from touchplate.builder.archives.folders import missing_above
from touchplate.builder.archives.tars import TAR_DAMAGE, TarReader
from touchplate.builder.archives.zips import ArchiveLimits, check_member_name
from touchplate.builder.errors import DISK_FULL, ArchiveError, HostLack
from touchplate.builder.git.export import MAX_TARGET_BYTES
from touchplate.builder.trees import tree_digest

FILE_TIME = 1_000_000_000
"""Modification time of everything, 2001-09-09T01:46:40Z: a commit has none, and a zip none before 1980,
also not in a build that is varied by a year (`vary.py`)."""

MAX_FILES = 100_000
"""As many as a source archive may have entries; and the most folders: trees may be tied together so that few
files lie below millions."""

MAX_PART_BYTES = 255
"""Of one name in a path: what common file systems take (NAME_MAX), and more on none that rebuilds run on."""

MAX_LINKS_FOLLOWED = 40
"""On the way to where a link leads in the end; Linux gives up above it (path_resolution(7))."""

MAX_STEPS = 5_000_000
"""Names passed on the ways of all links together: some seconds. Real trees have thousands."""

_HIDDEN = ".git"


def unpack_tree(data: bytes, target: Path) -> str:
    """Unpack the tar `data` into the empty folder `target`, and return the tree digest.

    Files are 0644 or 0755. Raises ArchiveError for what is refused: names that climb or are git's own, links
    that lead out of the tree, names that stand twice or behind a link; HostLack without disk.
    """
    try:
        _unpack(data, target)
        for folder, folders, _ in os.walk(target, topdown=False):
            for name in folders:
                if not (path := Path(folder, name)).is_symlink():
                    os.utime(path, (FILE_TIME, FILE_TIME))
    except OSError as error:  # names are checked beforehand: it is the disk's
        reason = DISK_FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else None
        raise HostLack(f"cannot unpack the commit: {error.strerror}", reason=reason) from error
    except TAR_DAMAGE as error:
        raise ArchiveError(f"the commit cannot be unpacked: {error}") from error
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
        yield from ((one.name, one, reader) for one in reader.members() if _is_file(one))
    except TAR_DAMAGE as error:
        raise ArchiveError(f"the commit cannot be read: {error}") from error


def _unpack(data: bytes, target: Path) -> None:
    limits = ArchiveLimits()
    kinds: dict[str, str] = {}
    links: dict[str, str] = {}
    reader = TarReader(io.BytesIO(data), len(data))
    for number, member in enumerate(reader.members()):
        name = member.name
        if number >= MAX_FILES:
            raise ArchiveError(f"the commit has more than {MAX_FILES} files")
        check_member_name(name, limits)
        _check_parts(name)
        if name in kinds:
            raise ArchiveError(f"{name[:80]!r} stands twice, or is a file and a folder at once")
        _make_folders(name, target, kinds)
        if member.issym():
            _check_target(name, member.linkname)
            (target / name).symlink_to(member.linkname)
            kinds[name], links[name] = "link", member.linkname
        elif _is_file(member):
            _write(reader, member, target / name)
            kinds[name] = "file"
        else:
            raise ArchiveError(f"{name[:80]!r} is neither file nor link")
        os.utime(target / name, (FILE_TIME, FILE_TIME), follow_symlinks=False)
    _check_ends(kinds, links)


def _is_file(member: tarfile.TarInfo) -> bool:
    """A sparse member is none: some bytes of header would fill the disk with zeros."""
    return member.isreg() and not member.issparse()


def _write(reader: TarReader, member: tarfile.TarInfo, path: Path) -> None:
    with path.open("xb") as stream:
        for piece in reader.pieces(member):
            stream.write(piece)
    path.chmod(0o755 if member.mode & 0o111 else 0o644)


def _make_folders(name: str, target: Path, kinds: dict[str, str]) -> None:
    """The folders above `name`: real ones, made here, so that nothing is written through a link."""
    missing = missing_above(name, kinds)
    nearest = (missing[0] if missing else name).rpartition("/")[0]
    kind = kinds.get(nearest, "folder")  # all above it are folders: so it was made
    if kind != "folder":
        raise ArchiveError(f"{name[:80]!r} lies behind a {kind}")
    if len(kinds) + len(missing) > 2 * MAX_FILES:
        raise ArchiveError(f"the commit has more than {2 * MAX_FILES} files and folders")
    for folder in missing:
        (target / folder).mkdir()
        (target / folder).chmod(0o755)
        kinds[folder] = "folder"


def _check_parts(name: str) -> None:
    parts = name.split("/")
    if any(len(os.fsencode(part)) > MAX_PART_BYTES for part in parts):
        raise ArchiveError(f"{name[:80]!r} has a part of more than {MAX_PART_BYTES} bytes")
    # Git commands of a build would take such a folder for a repository, with the hooks in it.
    if any(part.lower() == _HIDDEN for part in parts):
        raise ArchiveError(f"{name[:80]!r} is a name that belongs to git")


def _check_target(name: str, target: str) -> None:
    if not 0 < len(os.fsencode(target)) <= MAX_TARGET_BYTES:
        raise ArchiveError(f"link {name[:80]!r} has no target of 1 to {MAX_TARGET_BYTES} bytes")
    # Already as it reads: programs shorten a path before they ask the disk.
    inner = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
    if target.startswith("/") or inner == ".." or inner.startswith("../"):
        raise _leads_out(name, target)


def _check_ends(kinds: Mapping[str, str], links: Mapping[str, str]) -> None:
    """Where each link leads in the end, and on its way there: one that goes through others can climb further
    than it says. It may lead nowhere, but not away: outside the sandbox it would name a file of the host.

    Counted here and not asked of the disk, since links can be tied into knots that take hours to follow.
    """
    steps = 0
    for name in links:
        at = [""]  # what is reached, and all above it
        missing = 0  # names below it that are not there
        ahead = name.split("/")[::-1]
        followed = 0
        while ahead and followed <= MAX_LINKS_FOLLOWED:
            steps += 1
            if steps > MAX_STEPS:
                raise ArchiveError(f"its links lead through more than {MAX_STEPS} folders")
            part = ahead.pop()
            path = f"{at[-1]}/{part}".removeprefix("/")
            if part in ("", "."):
                continue
            if part == ".." and missing:
                missing -= 1
            elif part == "..":
                at.pop()
                if not at:
                    raise _leads_out(name, links[name])
            elif missing or path not in kinds:
                missing += 1
            elif path in links:
                followed += 1
                ahead += links[path].split("/")[::-1]
            else:
                at.append(path)


def _leads_out(name: str, target: str) -> ArchiveError:
    return ArchiveError(f"link {name[:80]!r} leads out of the tree, to {target[:80]!r}")
