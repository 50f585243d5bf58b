"""A folder as a build context: one tar archive, the same bytes for the same files wherever it is packed.

Names, contents, links and permissions stay. Times, owners and the order in which a disk lists files do not:
they differ on each machine, and reach no image, unless a RUN looks at times.
"""

import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from touchplate.builder.archives.zips import ArchiveLimits, check_member_name
from touchplate.builder.errors import ArchiveError, HostLack, storage_lack

TOP = "context"
"""The single top folder of the archive: so one that the context itself has is never taken for it."""

PACKED_TIME = 1_000_000_000
"""Of every member, as in the tree of a commit, which has no times of files either."""

_PERMISSIONS = 0o777


@dataclass(frozen=True)
class PackedContext:
    """An archive that was written: sha256 (hex) and size in bytes, as a definition names its source."""

    sha256: str
    size: int


def pack_context(folder: Path, out: Path, limits: ArchiveLimits | None = None) -> PackedContext:
    """Pack `folder` into the new file `out`.

    Raises ArchiveError for what no context may hold (devices, pipes, sockets, names that are not plain, more
    than `limits`) and for an `out` inside the folder, HostLack for what cannot be read or written. Nothing is
    left of an archive that is not whole.
    """
    limits = limits or ArchiveLimits()
    if out.absolute().parent.resolve().is_relative_to(folder.resolve()):
        raise ArchiveError(f"{str(out)!r} lies in the folder that is packed; write it elsewhere")
    try:
        with out.open("xb") as file:
            try:
                _write(folder, file, limits)
            except BaseException:
                out.unlink()
                raise
        with out.open("rb") as file:
            return PackedContext(hashlib.file_digest(file, "sha256").hexdigest(), out.stat().st_size)
    except FileExistsError as error:
        raise HostLack(f"{str(out)!r} is there already; write to a new file") from error
    except OSError as error:
        raise storage_lack(f"cannot pack {str(folder)!r}", out.parent, error) from error


def _write(folder: Path, file: BinaryIO, limits: ArchiveLimits) -> None:
    left = limits.total_bytes
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        _add(archive, TOP, folder)
        for number, path in enumerate(_found(folder)):
            if number >= limits.entries:
                raise ArchiveError(f"the folder has more than {limits.entries} entries")
            name = path.relative_to(folder).as_posix()
            check_member_name(name, limits)
            left -= _add(archive, f"{TOP}/{name}", path)
            if left < 0:
                raise ArchiveError(f"the folder holds more than {limits.total_bytes} bytes")


def _found(folder: Path) -> Iterator[Path]:
    """All below `folder`, each folder before what it holds, by the bytes of their names."""
    with os.scandir(folder) as entries:
        listed = sorted(entries, key=lambda entry: os.fsencode(entry.name))
    for entry in listed:
        path = folder / entry.name
        yield path
        if entry.is_dir(follow_symlinks=False):
            yield from _found(path)


def _add(archive: tarfile.TarFile, name: str, path: Path) -> int:
    """Add one member; the size of its content."""
    found = path.lstat()
    member = tarfile.TarInfo(name)
    member.mode, member.mtime = found.st_mode & _PERMISSIONS, PACKED_TIME
    if stat.S_ISLNK(found.st_mode):
        member.type, member.linkname, member.mode = tarfile.SYMTYPE, str(path.readlink()), _PERMISSIONS
        archive.addfile(member)
    elif stat.S_ISDIR(found.st_mode):
        member.type = tarfile.DIRTYPE
        archive.addfile(member)
    elif stat.S_ISREG(found.st_mode):
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as content:
            member.size = os.fstat(descriptor).st_size
            archive.addfile(member, content)
    else:
        raise ArchiveError(f"{str(path)!r} is a device, pipe or socket; a context has files, folders, links")
    return member.size
