"""An input may not be the answer: the published file that a build's output is compared with.

A build that copies the published jar into its output would be `identical` and prove nothing. So every input
is looked through: its own digest, and the digests of what it holds when it is an archive, two archives deep,
compressed or not. This finds copies, not disguises: whoever publishes an input could also have encrypted the
answer in it, and no reader of bytes can tell. What cannot be looked through within the limits is refused.
"""

import bz2
import contextlib
import gzip
import hashlib
import lzma
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from touchplate.builder.plan import GIB, KIB, MIB

LAYERS = 4
"""Containers opened inside each other: two archives, each possibly compressed (`.tar.gz` is two layers)."""

EXPANDED_BYTES = 4 * GIB
"""Unpacked bytes read of one input, all layers together: a JDK unpacks to 0.4 GiB."""

MEMBERS = 200_000
"""Members read of one input: the largest known (the JDK's source) has 30,000."""

_CHUNK = 256 * KIB
_IN_MEMORY = 8 * MIB  # larger members wait on disk to be looked into
_TAR_MAGIC_AT = 257  # POSIX ustar: the magic stands in the 512-byte header of the first member
_COMPRESSED: tuple[tuple[bytes, Any], ...] = (
    (b"\x1f\x8b", gzip.open),
    (b"BZh", bz2.open),
    (b"\xfd7zXZ\x00", lzma.open),
)
_DAMAGED: tuple[type[Exception], ...] = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, OSError, ValueError),
    *(NotImplementedError, RuntimeError, LookupError),  # unknown methods, passwords, odd names in zipfile
)


class TooMuchError(Exception):
    """An input cannot be looked through within the limits."""


class AnswerFinder:
    """Looks for forbidden digests in files. Any number of threads may look at once."""

    def __init__(self, digests: frozenset[str]) -> None:
        self._digests = digests

    def find(self, path: Path) -> str | None:
        """How the answer is in this file ("itself", "in a.zip!b.jar"-like member path), or None.

        Raises TooMuchError when the file cannot be looked through within the limits, OSError when it cannot
        be read.
        """
        if not self._digests:
            return None
        with path.open("rb") as file:
            return _Search(self._digests).look(file, "", LAYERS)

    def find_below(self, folder: Path) -> str | None:
        """As `find`, for the first regular file of a tree that is or holds the answer."""
        for path in sorted(folder.rglob("*")) if self._digests else ():
            if path.is_file() and not path.is_symlink() and (found := self.find(path)) is not None:
                return f"{path.relative_to(folder)} {found}"
        return None


class _Search:
    def __init__(self, digests: frozenset[str]) -> None:
        self._digests = digests
        self._bytes = EXPANDED_BYTES
        self._members = MEMBERS

    def look(self, file: IO[bytes], name: str, layers: int) -> str | None:
        """Hash a seekable file; open it as far as `layers` go."""
        file.seek(0)
        hasher = hashlib.sha256()
        while data := file.read(_CHUNK):
            hasher.update(data)
        if hasher.hexdigest() in self._digests:
            return f"holds it as {name!r}" if name else "is it"
        if layers == 0:
            return None
        # A damaged archive gives what could be read before the damage; what is then tried as another kind
        # is only looked at again.
        with contextlib.suppress(*_DAMAGED):
            for member, content in _open_members(file):
                if found := self._look_into(content, f"{name}!{member}" if name else member, layers - 1):
                    return found
        return None

    def _look_into(self, content: IO[bytes], name: str, layers: int) -> str | None:
        self._members -= 1
        if self._members < 0:
            raise TooMuchError(f"it holds more than {MEMBERS} files")
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as copy:
            while data := _read(content):
                self._bytes -= len(data)
                if self._bytes < 0:
                    raise TooMuchError(f"it unpacks to more than {EXPANDED_BYTES} bytes")
                copy.write(data)
            return self.look(copy, name, layers)


def _read(content: IO[bytes]) -> bytes:
    """The next piece; nothing after damage, which must not hide the members behind it."""
    with contextlib.suppress(*_DAMAGED):
        return content.read(_CHUNK)
    return b""


def _open_members(file: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each member, when the file is a container of a kind that builds read."""
    file.seek(0)
    head = file.read(_TAR_MAGIC_AT + 8)
    for magic, opener in _COMPRESSED:
        if head.startswith(magic):
            file.seek(0)
            with opener(file, "rb") as content:
                yield "(unpacked)", content
            return
    if head[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar":
        yield from _open_tar(file)
    elif zipfile.is_zipfile(file):  # by its end: something may stand before an archive
        yield from _open_zip(file)


def _open_tar(file: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    file.seek(0)
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            content = archive.extractfile(member) if member.isreg() else None
            if content is not None:
                with content:
                    yield member.name, content


def _open_zip(file: IO[bytes]) -> Iterator[tuple[str, IO[bytes]]]:
    with zipfile.ZipFile(file) as archive:
        if len(archive.filelist) > MEMBERS:
            raise TooMuchError(f"it holds more than {MEMBERS} files")
        for member in archive.filelist:
            if member.is_dir():
                continue
            with contextlib.suppress(*_DAMAGED), archive.open(member) as content:
                yield member.filename, content
