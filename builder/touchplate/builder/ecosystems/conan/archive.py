"""The archives of recipes and packages, read by the supervisor: digests of their members, nothing unpacked.

They come over the network, or from a hostile build. Python's `tarfile` checks structure, `tars` what
explodes; what is left is done here: names that mean two files.
"""

import gzip
import hashlib
import io
import posixpath
import tarfile
from dataclasses import dataclass

from touchplate.builder.archives.folders import missing_above
from touchplate.builder.archives.tars import TAR_DAMAGE, TarReader
from touchplate.builder.errors import ArchiveError
from touchplate.builder.plan import MIB

MAX_MEMBERS = 100_000
"""Of one archive: boost, the largest usual package, has 15,000. And the most folders that names imply."""

MAX_NAME_BYTES = 1024
"""Of one member, as in every archive that is read here; real ones have 200."""

MAX_UNPACKED_BYTES = 2048 * MIB
"""Of one archive: four times the largest file that is read at all, which is packed. Seconds of digesting."""

MAX_LINKS = 8
"""Links that point to links which are followed."""


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
    except TAR_DAMAGE as error:
        raise ArchiveError(f"the archive cannot be read: {error}") from error


def check_whole(data: bytes) -> None:
    """Refuse (ArchiveError) an archive whose own checksum, length or end is wrong: whoever unpacks it may see
    that, or stop reading before."""
    total = 0
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            while piece := stream.read(MIB):
                total += len(piece)
                if total > MAX_UNPACKED_BYTES:
                    raise ArchiveError(f"the archive unpacks to more than {MAX_UNPACKED_BYTES} bytes")
    except TAR_DAMAGE as error:
        raise ArchiveError(f"the archive is damaged: {error}") from error


class _Walk:
    def __init__(self, data: bytes) -> None:
        self._reader = TarReader(gzip.GzipFile(fileobj=io.BytesIO(data)), MAX_UNPACKED_BYTES)
        self._files: dict[str, MemberDigests] = {}
        self._links: dict[str, str] = {}
        self._folders: set[str] = set()

    def digests(self) -> dict[str, MemberDigests]:
        for number, member in enumerate(self._reader.members()):
            if number >= MAX_MEMBERS:
                raise ArchiveError(f"the archive has more than {MAX_MEMBERS} members")
            self._take(member)
        for name, target in self._links.items():
            if not self._is_folder(name, target):
                self._files[name] = MemberDigests(
                    hashlib.md5(target.encode(), usedforsecurity=False).hexdigest()
                )
        return self._files

    def _take(self, member: tarfile.TarInfo) -> None:
        name = _plain(member.name)
        if member.name.endswith("/") and not member.isdir():
            # A file for one client, a folder for another.
            raise ArchiveError(f"member {member.name[:120]!r} is named as a folder and is none")
        if name in self._files or name in self._links:
            raise ArchiveError(f"member {name[:120]!r} stands twice")
        above = missing_above(name, self._folders)
        # No folder that is known lies below a link.
        if not self._links.keys().isdisjoint(above) or (member.issym() and name in self._folders):
            # Whoever unpacks it follows the link, and writes wherever that leads.
            raise ArchiveError(f"member {name[:120]!r} is below a link, or a link in place of a folder")
        self._folders.update(above)
        if len(self._folders) > MAX_MEMBERS:
            raise ArchiveError(f"the names in the archive make more than {MAX_MEMBERS} folders")
        if member.isdir():
            self._folders.add(name)
        elif member.issym():
            self._links[name] = member.linkname
        elif member.islnk():
            target = self._files.get(_plain(member.linkname))
            if target is None:
                raise ArchiveError(f"member {name[:120]!r} is a hard link to what is not before it")
            self._files[name] = target
        elif member.isreg() and not member.issparse():
            self._files[name] = self._digest(member)
        else:
            raise ArchiveError(f"member {name[:120]!r} is neither file, link nor folder")

    def _digest(self, member: tarfile.TarInfo) -> MemberDigests:
        md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        left, start = member.size, b""
        for piece in self._reader.pieces(member):
            start = start or piece[:8]
            md5.update(piece)
            sha256.update(piece)
            left -= len(piece)
        if left:
            raise ArchiveError("the archive is cut short")
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
    if len(plain.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES:
        raise ArchiveError(f"member {name[:120]!r}… has a name of more than {MAX_NAME_BYTES} bytes")
    parts = plain.split("/")
    if plain != "." and (any(part in ("", ".", "..") for part in parts) or not plain.isprintable()):
        raise ArchiveError(f"member {name[:120]!r} is no plain path inside the archive")
    return plain
