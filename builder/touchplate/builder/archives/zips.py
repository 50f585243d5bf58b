"""Zip archives from strangers: read within limits, unpacked without leaving the folder.

Jars, source releases and tool distributions all come over the network. Python's `zipfile` checks
structure; what it does not check is done here: names that climb out, links, duplicates, and archives
that explode.
"""

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from touchplate.builder.archives.folders import missing_above
from touchplate.builder.errors import ArchiveError, is_of_host, storage_lack
from touchplate.builder.plan import MIB

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_ZIP_ENTRY = b"PK\x01\x02"  # in the central directory, once for each entry (APPNOTE 4.3.12)
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what java.util.zip reads; LZMA may ask for 4 GiB
_READ_BYTES = 256 * 1024  # one read: memory stays flat however large the entry

# zipfile raises all of these on damaged or hostile input, depending on the byte that is wrong.
ZIP_ERRORS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    OSError,
    LookupError,
)


@dataclass(frozen=True)
class ArchiveLimits:
    """What one archive may hold. The defaults take every source release and jar seen so far 20 times over."""

    entries: int = 100_000
    """Directories included; each costs memory before anything is unpacked. Likewise the folders that names
    imply: each is made on the disk."""
    total_bytes: int = 2048 * MIB
    """Sum of the unpacked sizes: protects the disk."""
    ratio: int = 200
    """Unpacked to packed size of the whole archive; source trees are at 10, bombs at 1000."""
    name_bytes: int = 1024
    """Longest name: above it, unpacking fails on common file systems anyway."""


@dataclass(frozen=True)
class Member:
    """One entry of an archive as its central directory describes it."""

    name: str
    size: int
    mode: int
    """Unix mode bits (with file type), 0 where the archive gives none."""
    time: tuple[int, int, int, int, int, int]
    method: int
    """Compression method number (0 stored, 8 deflated)."""

    @property
    def is_folder(self) -> bool:
        """Whether this is a directory entry."""
        return self.name.endswith("/")


class SafeZip:
    """A zip archive in memory. Raises ArchiveError for whatever does not parse or breaks `limits`."""

    def __init__(self, data: bytes, limits: ArchiveLimits | None = None) -> None:
        self._limits = limits or ArchiveLimits()
        self._packed = len(data)
        # Before zipfile makes an object of each: half a kilobyte for 46 bytes. (A stored archive inside has
        # entries as well; it counts against the same limit.)
        if (entries := data.count(_ZIP_ENTRY)) > self._limits.entries:
            raise ArchiveError(f"archive has {entries} entries, more than {self._limits.entries}")
        self._infos: dict[int, zipfile.ZipInfo] = {}
        try:
            self._zip = zipfile.ZipFile(io.BytesIO(data))
            infos = self._zip.infolist()
        except ZIP_ERRORS as error:
            raise ArchiveError(f"not a readable zip archive: {error}") from error
        if len(infos) > self._limits.entries:
            raise ArchiveError(f"archive has {len(infos)} entries, more than {self._limits.entries}")
        for info in infos:
            # zipfile ends a name there; Java, for one, does not.
            if "\0" in info.orig_filename:
                raise ArchiveError(f"entry {info.orig_filename[:80]!r} has a NUL in its name")
        self._check_total(sum(info.file_size for info in infos))
        self.members = tuple(
            Member(
                name=info.filename,
                size=info.file_size,
                mode=info.external_attr >> 16,
                time=info.date_time,
                method=info.compress_type,
            )
            for info in infos
        )
        self._infos = dict(enumerate(infos))

    def _check_total(self, total: int) -> None:
        if total > self._limits.total_bytes:
            raise ArchiveError(f"archive unpacks to {total} bytes, more than {self._limits.total_bytes}")
        # One MiB of slack: a tiny archive of highly regular text is no bomb.
        if total > self._limits.ratio * self._packed + MIB:
            raise ArchiveError(
                f"archive of {self._packed} bytes unpacks to {total}, more than {self._limits.ratio} times"
            )

    def read(self, position: int) -> bytes:
        """Content of the member at `position` in `members`; its size and CRC are checked."""
        return b"".join(self.chunks(position))

    def read_named(self, name: str, most: int) -> bytes | None:
        """Content of the first member called `name`, or None. ArchiveError for more than `most` bytes: a
        megabyte of archive may say that it holds two hundred."""
        for position, member in enumerate(self.members):
            if member.name == name:
                if member.size > most:
                    raise ArchiveError(f"entry {name[:80]!r} of {member.size} bytes is longer than {most}")
                return self.read(position)
        return None

    def chunks(self, position: int) -> Iterator[bytes]:
        """Content of one member piece by piece, never more than the size that was declared and counted."""
        info = self._infos[position]
        if info.compress_type not in _METHODS:
            raise ArchiveError(
                f"entry {info.filename[:80]!r} is packed by method {info.compress_type}; jars are stored or "
                "deflated"
            )
        left = info.file_size
        try:
            with self._zip.open(info) as stream:
                while chunk := stream.read(_READ_BYTES):
                    left -= len(chunk)
                    if left < 0:
                        raise ArchiveError(f"entry {info.filename[:80]!r} is longer than it declares")
                    yield chunk
        except ZIP_ERRORS as error:
            raise ArchiveError(f"entry {info.filename[:80]!r} does not unpack: {error}") from error
        if left:
            raise ArchiveError(f"entry {info.filename[:80]!r} is shorter than it declares")


def check_member_name(name: str, limits: ArchiveLimits) -> None:
    """Refuse (ArchiveError) a name that is not a plain relative path with forward slashes."""
    shown = repr(name[:80])
    if len(name.encode("utf-8", "surrogatepass")) > limits.name_bytes:
        raise ArchiveError(f"entry name {shown}… is longer than {limits.name_bytes} bytes")
    if _CONTROL.search(name) or "\\" in name or not name.isprintable():
        raise ArchiveError(f"entry name {shown} holds a backslash, control or unprintable character")
    parts = name.removesuffix("/").split("/")
    if name.startswith("/") or any(part in ("", ".", "..") for part in parts) or ":" in parts[0]:
        raise ArchiveError(f"entry name {shown} leaves the folder or is not plain")


def _no_link(name: str) -> bool:
    return False


def checked_files(
    archive: SafeZip, limits: ArchiveLimits | None = None, *, drops_link: Callable[[str], bool] = _no_link
) -> list[tuple[int, Member]]:
    """(position, member) of all plain files, after the checks that unpacking needs.

    Raises ArchiveError for climbing names, links and other special files, names that stand twice, and a
    file whose name is also a folder. A link whose name `drops_link` is left out instead; none is ever made.
    """
    limits = limits or ArchiveLimits()
    files: dict[str, tuple[int, Member]] = {}
    folders: set[str] = set()
    for position, member in enumerate(archive.members):
        check_member_name(member.name, limits)
        kind = stat.S_IFMT(member.mode)
        if kind == stat.S_IFLNK and drops_link(member.name):
            continue
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise ArchiveError(
                f"entry {member.name[:80]!r} is a link or a special file; only files are taken"
            )
        path = member.name.removesuffix("/")
        folders.update(missing_above(path, folders))
        if len(folders) > limits.entries:
            raise ArchiveError(f"the names in the archive make more than {limits.entries} folders")
        if member.is_folder:
            folders.add(path)  # a folder may be listed twice: nothing can be hidden by it
        elif path in files:
            raise ArchiveError(f"entry {member.name[:80]!r} stands twice")
        else:
            files[path] = (position, member)
    both = folders & files.keys()
    if both:
        raise ArchiveError(f"entry {min(both)[:80]!r} is a file and a folder at once")
    return list(files.values())


def unpack(
    archive: SafeZip,
    target: Path,
    place: Callable[[str], str | None],
    *,
    drops_link: Callable[[str], bool] = _no_link,
) -> int:
    """Unpack into the empty folder `target` and return the number of files.

    `place` maps a member's name to a relative path below `target`, or None to leave it out; `drops_link` as
    in `checked_files`. Modes become 0755 for files with any x bit, else 0644. Raises ArchiveError as
    `checked_files`, and when two members are placed at one path.
    """
    written: set[str] = set()
    for position, member in checked_files(archive, drops_link=drops_link):
        place_at = place(member.name)
        if place_at is None:
            continue
        check_member_name(place_at, ArchiveLimits())
        if place_at in written:
            raise ArchiveError(f"two entries land at {place_at[:80]!r}")
        written.add(place_at)
        path = target / place_at
        try:
            _make_folders(target, path.parent)
            with path.open("xb") as stream:
                for chunk in archive.chunks(position):
                    stream.write(chunk)
            path.chmod(0o755 if member.mode & 0o111 else 0o644)
        except OSError as error:
            if is_of_host(error):
                raise storage_lack("cannot unpack an archive", target.parent, error) from error
            raise ArchiveError(f"cannot write {place_at[:80]!r}: {error.strerror}") from error
    return len(written)


def _make_folders(target: Path, folder: Path) -> None:
    """`folder` and its parents up to `target`, 0755 whatever the umask: another uid must enter them."""
    missing = []
    while folder != target and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for one in reversed(missing):
        one.mkdir()
        one.chmod(0o755)
