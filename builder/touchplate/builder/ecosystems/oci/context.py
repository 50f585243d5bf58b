"""The build context: one tar archive (plain, or packed by gzip, bzip2 or xz), laid out as its publisher had
it.

Modes and times stay, since a COPY takes modes over and a RUN may look at times; owners do not: whoever
unpacks the archive becomes the owner, and so does the build. Links stay as they are and are never followed
here.
"""

import bz2
import gzip
import io
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from touchplate.builder.archives.folders import missing_above
from touchplate.builder.archives.tars import TAR_DAMAGE, TarReader
from touchplate.builder.archives.xz import open_xz
from touchplate.builder.archives.zips import ArchiveLimits, check_member_name
from touchplate.builder.errors import ArchiveError, TooMuchError, is_of_host, storage_lack

_CHUNK = 1024 * 1024
_MAX_TARGET = 4096  # PATH_MAX
_HEADER_BYTES = 4096  # headers of a member and padding of its content; most have 1024
_PERMISSIONS = 0o777  # set-id and sticky bits of a context have no meaning that a COPY keeps

_PACKED: tuple[tuple[bytes, Any], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lambda file, _mode: open_xz(file)),
)


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
        with _open(data) as stream:
            reader = TarReader(stream, _most_bytes(limits))
            for member in reader.members():
                name = _clean(member.name)
                if name and f"{name}/" != top:
                    writer.take(reader, member, name.removeprefix(top), top)
        writer.finish()
    except TooMuchError as error:
        raise ArchiveError(f"the context cannot be unpacked: {error}") from error
    except TAR_DAMAGE as error:
        if not isinstance(error, OSError):
            raise ArchiveError(f"the context cannot be read as a tar archive: {error}") from error
        if is_of_host(error):
            raise storage_lack("cannot unpack the context", target.parent, error) from error
        raise ArchiveError(f"the context cannot be unpacked: {error.strerror}") from error  # no path of ours


def _open(data: bytes) -> Any:
    for mark, opener in _PACKED:
        if data.startswith(mark):
            return opener(io.BytesIO(data), "rb")
    return io.BytesIO(data)


def _most_bytes(limits: ArchiveLimits) -> int:
    """Of the archive itself: contents, and headers with padding around each."""
    return limits.total_bytes + limits.entries * _HEADER_BYTES


def _members(data: bytes, limits: ArchiveLimits) -> Iterator[tuple[str, bool]]:
    """(name, whether it is a folder) of all members, after the checks that reading headers allows."""
    total = 0
    with _open(data) as stream:
        for number, member in enumerate(TarReader(stream, _most_bytes(limits)).members()):
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
        self._most_folders = limits.entries
        self._kinds: dict[str, str] = {}
        self._folders: list[tuple[Path, int, float]] = []

    def take(self, reader: TarReader, member: tarfile.TarInfo, name: str, top: str) -> None:
        """`name`: without the top folder `top`."""
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
        elif member.islnk():
            self._write(self._linked(_clean(member.linkname).removeprefix(top), name), member, path)
            self._kinds[name] = "file"
        elif member.isfile():
            self._write(reader.pieces(member), member, path)
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

    def _linked(self, target: str, name: str) -> Iterator[bytes]:
        """Content of a hard link: of the file before it that has the name `target`."""
        if self._kinds.get(target) != "file":
            raise ArchiveError(f"entry {name[:80]!r} is a hard link to no file before it in the archive")
        with (self._target / target).open("rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    def _write(self, pieces: Iterable[bytes], member: tarfile.TarInfo, path: Path) -> None:
        with path.open("xb") as file:
            for chunk in pieces:
                self._left -= len(chunk)
                if self._left < 0:  # a hard link is the same bytes again
                    raise ArchiveError("the context unpacks to more bytes than allowed")
                file.write(chunk)
        path.chmod(member.mode & _PERMISSIONS)
        os.utime(path, (member.mtime, member.mtime))

    def _make_parents(self, name: str) -> None:
        missing = missing_above(name, self._kinds)
        nearest = (missing[0] if missing else name).rpartition("/")[0]
        kind = self._kinds.get(nearest, "folder")  # all above it are folders: so it was made
        if kind != "folder":
            raise ArchiveError(f"entry {name[:80]!r} lies behind a {kind}")
        for folder in missing:
            self._make_folder(folder, 0o755, 0)

    def _make_folder(self, name: str, mode: int, mtime: float) -> None:
        if len(self._folders) >= self._most_folders:
            raise ArchiveError(f"the names in the context make more than {self._most_folders} folders")
        path = self._target / name
        path.mkdir(exist_ok=True)
        path.chmod(0o755)
        self._folders.append((path, mode, mtime))
        self._kinds[name] = "folder"
