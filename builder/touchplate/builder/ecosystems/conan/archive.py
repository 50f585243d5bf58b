"""The archives of recipes and packages, read by the supervisor: digests of their members, nothing unpacked.

They come over the network, or from a hostile build. Python's `tarfile` checks structure; what it does not
check is done here: archives that explode, headers that do, and names that mean two files.
"""

import gzip
import hashlib
import io
import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from touchplate.builder.errors import ArchiveError

MIB = 1024 * 1024

MAX_MEMBERS = 100_000
"""Of one archive: boost, the largest usual package, has 15,000."""

MAX_UNPACKED_BYTES = 2048 * MIB
"""Of one archive: four times the largest file that is read at all, which is packed. Seconds of digesting."""

READ_BYTES = 256 * 1024
"""Read at once, so the most that one header may hold: real ones stay under 2 KiB."""

MAX_LINKS = 8
"""Links that point to links which are followed."""

_BROKEN = (tarfile.TarError, EOFError, zlib.error, OSError, OverflowError, RecursionError, ValueError)


@dataclass(frozen=True)
class MemberDigests:
    """Of one file or link of an archive. `sha256` is empty for a link."""

    md5: str
    sha256: str = ""
    start: bytes = b""
    """Its first bytes, as many as the usual marks of file types need."""


def digest_members(data: bytes) -> dict[str, MemberDigests]:
    """Digests of every file in a gzip-packed tar, by its name; of a link to a file, MD5 of where it points.

    Links to folders are left out, as Conan's manifests do. Raises ArchiveError.
    """
    try:
        return _Walk(data).digests()
    except _BROKEN as error:
        raise ArchiveError(f"the archive cannot be read: {error}") from error


class _Forward:
    """Unpacks, forward only, in bounded pieces, up to a bound."""

    def __init__(self, data: bytes) -> None:
        self._file = gzip.GzipFile(fileobj=io.BytesIO(data))
        self._at = 0

    def tell(self) -> int:
        return self._at

    def seek(self, to: int) -> int:
        # tarfile goes forward from member to member.
        while self._at < to and self.read(min(READ_BYTES, to - self._at)):
            pass
        if self._at > to:
            raise ArchiveError("the archive goes back in itself")
        return self._at

    def read(self, size: int) -> bytes:
        if not 0 <= size <= READ_BYTES:
            raise ArchiveError(f"the archive has a header of {size} bytes")
        piece = self._file.read(size)
        self._at += len(piece)
        if self._at > MAX_UNPACKED_BYTES:
            raise ArchiveError(f"the archive unpacks to more than {MAX_UNPACKED_BYTES} bytes")
        return piece


class _Walk:
    def __init__(self, data: bytes) -> None:
        self._file = _Forward(data)
        self._files: dict[str, MemberDigests] = {}
        self._links: dict[str, str] = {}
        self._folders: set[str] = set()

    def digests(self) -> dict[str, MemberDigests]:
        for number, member in enumerate(self._members()):
            if number >= MAX_MEMBERS:
                raise ArchiveError(f"the archive has more than {MAX_MEMBERS} members")
            self._take(member)
        for name, target in self._links.items():
            if not self._is_folder(name, target):
                self._files[name] = MemberDigests(
                    hashlib.md5(target.encode(), usedforsecurity=False).hexdigest()
                )
        return self._files

    def _members(self) -> Iterator[tarfile.TarInfo]:
        archive = tarfile.open(fileobj=self._file, mode="r:")  # type: ignore[call-overload]  # noqa: SIM115
        self._archive = archive
        while (member := archive.next()) is not None:
            yield member
            archive.members = []  # else each one is kept in memory

    def _take(self, member: tarfile.TarInfo) -> None:
        name = _plain(member.name)
        if name in self._files or name in self._links:
            raise ArchiveError(f"member {name[:120]!r} stands twice")
        parents = name.split("/")[:-1]
        self._folders.update("/".join(parents[: count + 1]) for count in range(len(parents)))
        if member.isdir():
            self._folders.add(name)
        elif member.issym():
            self._links[name] = member.linkname
        elif member.islnk():
            target = self._files.get(_plain(member.linkname))
            if target is None:
                raise ArchiveError(f"member {name[:120]!r} is a hard link to what is not before it")
            self._files[name] = target
        elif member.isreg() and not member.issparse() and member.size >= 0:
            self._files[name] = self._digest(member)
        else:
            raise ArchiveError(f"member {name[:120]!r} is neither file, link nor folder")

    def _digest(self, member: tarfile.TarInfo) -> MemberDigests:
        md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        file = self._archive.extractfile(member)
        assert file is not None  # it is a regular file
        left, start = member.size, b""
        while left:
            piece = file.read(min(READ_BYTES, left))
            if not piece:
                raise ArchiveError("the archive is cut short")
            start = start or piece[:8]
            md5.update(piece)
            sha256.update(piece)
            left -= len(piece)
        return MemberDigests(md5.hexdigest(), sha256.hexdigest(), start)

    def _is_folder(self, name: str, target: str) -> bool:
        for _ in range(MAX_LINKS):
            place = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
            if place in self._folders or place == ".":
                return True
            if place not in self._links:
                return False
            name, target = place, self._links[place]
        return False


def _plain(name: str) -> str:
    plain = name.removeprefix("./").rstrip("/") or "."
    parts = plain.split("/")
    if plain != "." and (any(part in ("", ".", "..") for part in parts) or not plain.isprintable()):
        raise ArchiveError(f"member {name[:120]!r} is no plain path inside the archive")
    return plain
