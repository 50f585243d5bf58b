"""The build context: one tar archive (plain, or packed by gzip, bzip2 or xz), laid out as its publisher had
it.

Modes and times stay, since a COPY takes modes over and a RUN may look at times; owners do not: whoever
unpacks the archive becomes the owner, and so does the build. Links stay as they are and are never followed
here.
"""

import errno
import io
import lzma
import os
import stat
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from touchplate.builder.archives import ArchiveLimits, check_member_name
from touchplate.builder.errors import ArchiveError, HostLack

_CHUNK = 1024 * 1024
_MAX_TARGET = 4096  # PATH_MAX
_PERMISSIONS = 0o777  # set-id and sticky bits of a context have no meaning that a COPY keeps

_DAMAGED = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, ValueError, LookupError, OverflowError)


def unpack_context(data: bytes, target: Path, limits: ArchiveLimits | None = None) -> None:
    """Unpack `data` into the empty folder `target`; a single top folder is left out.

    Raises ArchiveError for damage, for names that climb, stand twice or lie behind a link, for devices and
    pipes, and beyond `limits`; HostLack without disk.
    """
    limits = limits or ArchiveLimits()
    try:
        members = list(_members(data, limits))
        top = _top_folder(members)
        writer = _Writer(target, limits)
        with _open(data) as archive:
            for member in archive:
                name = _clean(member.name)
                if name and f"{name}/" != top:
                    writer.take(archive, member, name.removeprefix(top))
        writer.finish()
    except _DAMAGED as error:
        raise ArchiveError(f"the context cannot be read as a tar archive: {error}") from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise HostLack(
                "no disk space left to unpack the context; free some", reason="disk-full"
            ) from error
        raise ArchiveError(f"the context cannot be unpacked: {error}") from error


def _open(data: bytes) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(data), mode="r:*")


def _members(data: bytes, limits: ArchiveLimits) -> Iterator[tuple[str, bool]]:
    """(name, whether it is a folder) of all members, after the checks that reading headers allows."""
    total = 0
    with _open(data) as archive:
        for number, member in enumerate(archive):
            if number >= limits.entries:
                raise ArchiveError(f"the context has more than {limits.entries} entries")
            total += member.size
            if total > limits.total_bytes:
                raise ArchiveError(f"the context unpacks to more than {limits.total_bytes} bytes")
            if name := _clean(member.name):
                check_member_name(name, limits)
                yield name, member.isdir()


def _clean(name: str) -> str:
    """A member's name without the `./` that `tar -C DIR .` writes; empty for the top itself."""
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return "" if name == "." else name.rstrip("/")


def _top_folder(members: list[tuple[str, bool]]) -> str:
    tops = {name.partition("/")[0] for name, _ in members}
    is_folder = any("/" in name or is_dir for name, is_dir in members)
    inner = [name for name, is_dir in members if "/" in name or not is_dir]
    if len(tops) == 1 and is_folder and all("/" in name for name in inner):
        return f"{tops.pop()}/"
    return ""


class _Writer:
    """Writes members; remembers what each path is, so that nothing is written through a link."""

    def __init__(self, target: Path, limits: ArchiveLimits) -> None:
        self._target = target
        self._left = limits.total_bytes
        self._kinds: dict[str, str] = {}
        self._folders: list[tuple[Path, int, float]] = []

    def take(self, archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> None:
        self._make_parents(name)
        if name in self._kinds and not (member.isdir() and self._kinds[name] == "folder"):
            raise ArchiveError(f"entry {name[:80]!r} stands twice")
        path = self._target / name
        if member.isdir():
            self._make_folder(name, member.mode & _PERMISSIONS | stat.S_IRWXU, member.mtime)
        elif member.issym():
            if len(member.linkname) > _MAX_TARGET or not member.linkname:
                raise ArchiveError(f"link {name[:80]!r} leads nowhere")
            path.symlink_to(member.linkname)
            os.utime(path, (member.mtime, member.mtime), follow_symlinks=False)
            self._kinds[name] = "link"
        elif member.isfile() or member.islnk():
            self._write(archive, member, path)
            self._kinds[name] = "file"
        else:
            raise ArchiveError(
                f"entry {name[:80]!r} is a device or a pipe; only files, folders and links are taken"
            )

    def finish(self) -> None:
        """Modes and times of folders, last: writing into them changes both."""
        for path, mode, mtime in reversed(self._folders):
            path.chmod(mode)
            os.utime(path, (mtime, mtime))

    def _write(self, archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> None:
        stream = archive.extractfile(member)
        if stream is None:
            raise ArchiveError(f"entry {member.name[:80]!r} is a link to nothing in the archive")
        with stream, path.open("xb") as file:
            while chunk := stream.read(_CHUNK):
                self._left -= len(chunk)
                if self._left < 0:  # a hard link is the same bytes again
                    raise ArchiveError("the context unpacks to more bytes than allowed")
                file.write(chunk)
        path.chmod(member.mode & _PERMISSIONS)
        os.utime(path, (member.mtime, member.mtime))

    def _make_parents(self, name: str) -> None:
        parts = name.split("/")[:-1]
        for end in range(1, len(parts) + 1):
            folder = "/".join(parts[:end])
            kind = self._kinds.get(folder)
            if kind is None:
                self._make_folder(folder, 0o755, 0)
            elif kind != "folder":
                raise ArchiveError(f"entry {name[:80]!r} lies behind a {kind}")

    def _make_folder(self, name: str, mode: int, mtime: float) -> None:
        path = self._target / name
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
        self._folders.append((path, mode, mtime))
        self._kinds[name] = "folder"
