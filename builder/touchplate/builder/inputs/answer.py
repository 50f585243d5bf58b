"""An input may not be the answer: the published file that a build's output is compared with.

A build that copies the published jar into its output would be `identical` and prove nothing. So every input
is looked through: its own digest, and the digests of what it holds when it is an archive, two archives deep,
compressed or not. A file that is two kinds of archive at once is opened as both, and an archive is read as
any reader may read it: what some programs find behind its end, or in spite of a wrong checksum, name or
header, is found here. This finds copies, not disguises: whoever publishes an input could also have encrypted
the answer in it, and no reader of bytes can tell. zstd and lz4 are closed to it, too: the standard library
cannot read them. What cannot be looked through within the limits is refused.
"""

import contextlib
import hashlib
import io
import lzma
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import IO, Any

from touchplate.builder.archives.ar import AR, find_ar_members
from touchplate.builder.archives.packed import HEAD_BYTES, PackedContent, open_packed
from touchplate.builder.archives.tarchain import find_tar_members, is_tar
from touchplate.builder.archives.xz import ZIP_LZMA_BYTES, check_zip_lzma
from touchplate.builder.archives.zipviews import (
    MARK,
    MemberContent,
    Span,
    find_listed,
    find_other_entries,
    find_unlisted,
)
from touchplate.builder.errors import HostLack, TooMuchError, storage_lack
from touchplate.builder.known_contents import KnownContents
from touchplate.builder.plan import GIB, KIB, MIB

LAYERS = 4
"""Containers opened inside each other: two archives, each possibly compressed (`.tar.gz` is two layers)."""

EXPANDED_BYTES = 4 * GIB
"""Unpacked bytes read of one input, all layers together: a JDK unpacks to 0.4 GiB."""

TOTAL_BYTES = 64 * GIB
"""Unpacked bytes read of all inputs of one build: minutes of work, where bombs in each would make it days."""

MEMBERS = 200_000
"""Members read of one input: the largest known (the JDK's source) has 30,000."""

_CHUNK = 256 * KIB
_IN_MEMORY = 8 * MIB  # larger members wait on disk to be looked into
_ZIP_ENTRY = b"PK\x01\x02"  # in the central directory, once for each member (APPNOTE 4.3.12)
_ZIP_NAME_AT = 26  # in a member's own header: length of the name, of the extra field, the name (4.3.7)
_UTF8_NAME = 0x800  # general purpose bit 11 (4.4.4)
_STORED, _DEFLATED = 0, 8  # methods that are read here, in every way; others as zipfile does (4.4.5)
_DAMAGED: tuple[type[Exception], ...] = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError),
    # Unknown methods, passwords, odd names and places in zipfile.
    *(NotImplementedError, RuntimeError, LookupError, OverflowError, struct.error),
)


class AnswerFinder:
    """Looks for forbidden digests in files. Any number of threads may look at once."""

    def __init__(self, digests: frozenset[str], known: KnownContents | None = None) -> None:
        """`known`: what was looked through before, for any build; more is put into it."""
        self._digests = digests
        self._known = known
        self._left = TOTAL_BYTES

    def find(self, path: Path, sha256: str | None = None, *, just_hashed: bool = False) -> str | None:
        """How the answer is in this file ("itself", "in a.zip!b.jar"-like member path), or None.

        Raises TooMuchError when the file cannot be looked through within the limits, HostLack when this host
        cannot read it or has no room to unpack it. `sha256`: of the file, when it is known; `just_hashed`:
        that it comes from these very bytes, on their way to the disk, and is not only the file's name.
        """
        if not self._digests:
            return None
        if self._known is not None and self._is_known_clean(self._known, path, sha256):
            return None
        search = _Search(self._digests, min(EXPANDED_BYTES, self._left))
        try:
            with path.open("rb") as file:
                found = search.look(file, "", LAYERS, sha256 if just_hashed else None)
            if self._known is not None and found is None and search.members and not search.troubles:
                self._known.keep(search.outermost, search.seen)
            return found
        except OSError as error:
            raise _lack(error) from error
        finally:
            self._left -= search.read_bytes

    def _is_known_clean(self, known: KnownContents, path: Path, sha256: str | None) -> bool:
        if sha256 is None:
            try:
                with path.open("rb") as file:
                    sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise _lack(error) from error
        contents = known.find(sha256)
        return contents is not None and self._digests.isdisjoint(contents)

    def find_in_source(self, data: bytes) -> str | None:
        """As `find`, for an archive that is unpacked for the build: itself, and what it holds, no deeper. Its
        files are looked through where they are unpacked (`find_below`)."""
        if not self._digests:
            return None
        search = _Search(self._digests, min(EXPANDED_BYTES, self._left))
        try:
            return search.look(io.BytesIO(data), "", 1)
        finally:
            self._left -= search.read_bytes

    def find_below(self, folder: Path) -> str | None:
        """As `find`, for the first regular file of a tree that is or holds the answer."""
        for path in sorted(folder.rglob("*")) if self._digests else ():
            if path.is_file() and not path.is_symlink() and (found := self.find(path)) is not None:
                return f"{path.relative_to(folder)} {found}"
        return None

    def find_in_tree(self, folder: Path, sha256: str) -> str | None:
        """As `find_below`, for a tree of this tree digest: looked through once, whatever a build has to make.

        The caller answers for the digest.
        """
        if not self._digests:
            return None
        contents = self._known.find(sha256) if self._known is not None else None
        if contents is not None and self._digests.isdisjoint(contents):
            return None
        seen: set[str] = set()
        whole = True
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                search = _Search(self._digests, min(EXPANDED_BYTES, self._left))
                try:
                    with path.open("rb") as file:
                        found = search.look(file, "", LAYERS)
                except OSError as error:
                    raise _lack(error) from error
                self._left -= search.read_bytes
                if found is not None:
                    return f"{path.relative_to(folder)} {found}"
                seen |= search.seen
                whole = whole and not search.troubles
        if self._known is not None and whole:
            self._known.keep(sha256, seen)
        return None


class _Search:
    def __init__(self, digests: frozenset[str], limit: int) -> None:
        self._digests = digests
        self._limit = limit
        self.read_bytes = 0
        self.members = 0
        self.seen: set[str] = set()
        self.outermost = ""
        # Taken for damage of the archive, as they mostly are; a failing disk gives them too.
        self.troubles: list[OSError] = []

    def look(self, file: IO[bytes], name: str, layers: int, known: str | None = None) -> str | None:
        """Hash a seekable file, unless its digest is known; open it as far as `layers` go."""
        digest = known or _digest(file)
        self.outermost = self.outermost or digest
        self.seen.add(digest)
        if digest in self._digests:
            return f"holds it as {name!r}" if name else "is it"
        if layers == 0:
            return None
        for open_members in _kinds(file, self.troubles):
            # A damaged archive gives what could be read before the damage.
            with _ignoring_damage(self.troubles):
                for member, content in open_members(file):
                    if found := self._look_into(content, f"{name}!{member}" if name else member, layers - 1):
                        return found
        return None

    def _look_into(self, content: IO[bytes], name: str, layers: int) -> str | None:
        self.members += 1
        if self.members > MEMBERS:
            raise TooMuchError(f"it holds more than {MEMBERS} files")
        try:
            with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as copy:
                while data := _read(content, self.troubles):
                    self.read_bytes += len(data)
                    if self.read_bytes > self._limit:
                        raise TooMuchError(f"it unpacks to more than {self._limit} bytes")
                    copy.write(data)
                return self.look(copy, name, layers)
        except OSError as error:
            # Our own disk, not the archive's damage: what was not looked through must not pass.
            raise _lack(error) from error


def _digest(file: IO[bytes]) -> str:
    file.seek(0)
    hasher = hashlib.sha256()
    while data := file.read(_CHUNK):
        hasher.update(data)
    return hasher.hexdigest()


def _count_zip_entries(file: IO[bytes]) -> int:
    file.seek(0)
    entries = 0
    while data := file.read(_CHUNK):
        entries += data.count(_ZIP_ENTRY)
    return entries


def _lack(error: OSError) -> HostLack:
    # Members of archives are unpacked in memory, and large ones there.
    folder = Path(tempfile.tempdir or "/tmp")  # noqa: S108  asking for it may raise, where all are full
    return storage_lack("cannot look through an input for the answer", folder, error)


@contextlib.contextmanager
def _ignoring_damage(troubles: list[OSError]) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        troubles.append(error)
    except _DAMAGED:
        pass


def _read(content: IO[bytes], troubles: list[OSError]) -> bytes:
    """The next piece; nothing after damage, which must not hide the members behind it."""
    with _ignoring_damage(troubles):
        return content.read(_CHUNK)
    return b""


_Opener = Callable[[IO[bytes]], Iterator[tuple[str, Any]]]


def _kinds(file: IO[bytes], troubles: list[OSError]) -> Iterator[_Opener]:
    """How to open the file, for each kind of container that it is."""
    file.seek(0)
    head = file.read(max(HEAD_BYTES, len(AR)))
    if packed := open_packed(file, head):
        yield partial(_unpack, packed)
    if head.startswith(AR):
        yield find_ar_members
    if is_tar(file):
        yield find_tar_members
    is_listed = zipfile.is_zipfile(file)  # by its end: something may stand before an archive
    is_zip = is_listed or head.startswith(MARK)
    if is_zip and _count_zip_entries(file) > MEMBERS:
        raise TooMuchError(f"it holds more than {MEMBERS} files")  # before zipfile makes objects of them
    read: list[Span] = []
    if is_listed:
        yield partial(_open_zip, troubles, read)
    if is_zip:
        yield partial(_open_unlisted, read)
        yield _open_elsewhere_listed


def _unpack(content: PackedContent, file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    yield "(unpacked)", content
    if content.has_several:
        yield "(unpacked, first part)", content.first()


def _open_zip(troubles: list[OSError], read: list[Span], file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    with zipfile.ZipFile(file) as archive:
        if len(archive.filelist) > MEMBERS:
            raise TooMuchError(f"it holds more than {MEMBERS} files")
        for member in archive.filelist:
            if member.compress_type in (_STORED, _DEFLATED):
                for view in find_listed(file, member, read):
                    yield member.filename, view
                continue
            with _ignoring_damage(troubles):
                _read_as_others_do(file, member)
                with archive.open(member) as content:
                    yield member.filename, content


def _open_elsewhere_listed(file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    listed, start = [], -1
    with contextlib.suppress(*_DAMAGED), zipfile.ZipFile(file) as archive:
        listed, start = archive.filelist, archive.start_dir
    for one in find_other_entries(file, listed, start):
        for view in find_listed(file, one, []):
            yield one.filename, view


def _open_unlisted(read: Sequence[Span], file: IO[bytes]) -> Iterator[tuple[str, Any]]:
    for member in find_unlisted(file, read):
        yield member.name, MemberContent(file, member)


def _read_as_others_do(file: IO[bytes], member: zipfile.ZipInfo) -> None:
    """Have zipfile read a member whose checksum or second name is wrong, as Java's ZipFile does."""
    del member.CRC
    file.seek(member.header_offset + _ZIP_NAME_AT)
    length = int.from_bytes(file.read(2), "little")
    extra = int.from_bytes(file.read(2), "little")
    name = file.read(length)
    if member.compress_type == zipfile.ZIP_LZMA:
        file.seek(extra, 1)
        check_zip_lzma(file.read(ZIP_LZMA_BYTES))
    member.orig_filename = name.decode("utf-8" if member.flag_bits & _UTF8_NAME else "cp437")
