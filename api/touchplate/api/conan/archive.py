"""The files in an archive of a recipe or package, by MD5, as Conan's manifests list them.

Only for comparing manifests: the archive itself is identified by its sha256. Clients unpack these archives
without any check, so one that would write outside its folder is refused here.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import posixpath
import sys
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from touchplate.api.errors import RefusedError

MAX_MEMBERS = 200_000
"""Files in one archive: boost, the largest usual package, has 15,000."""

MAX_UNPACKED_BYTES = 32 * 1024**3
"""Bytes of an unpacked archive: sixteen times the largest packed one; a bomb must end."""

MAX_READ_BYTES = 64 * 1024
"""Bytes read at once, so of one header as well: real ones have under 2 KiB, and parsing long ones is slow."""

MAX_XZ_MEMORY = 512 * 1024**2
"""Bytes that unpacking xz may take: its highest preset needs 65 MiB, its format allows 4 GiB."""

MAX_NAME_BYTES = 1024
"""Bytes of a name, and 255 of each part of it: longer ones are left out by clients without a word."""

MAX_PART_BYTES = 255

MAX_PARTS = 64
"""Folders within folders, and the name: packages have a dozen. Names are kept with all their folders."""

MAX_NAMES_BYTES = 128 * 1024**2
"""Bytes in memory of all those names together: boost has 3 MB. Packed, names that are alike take next to
nothing."""

MAX_HOPS = 8
"""Links that point to links which are followed."""

_BROKEN = (tarfile.TarError, EOFError, lzma.LZMAError, zlib.error)


def digest_members(path: Path, suffix: str) -> dict[str, str]:
    """MD5 of every file by its name in the archive; of a link to a file, MD5 of the place it points to.

    `suffix`: tgz or txz. Raises RefusedError (`bad-archive`, `unsafe-archive`).
    """
    if suffix not in ("tgz", "txz"):
        raise RefusedError(f"archives of the form {suffix} cannot be read here", reason="bad-archive")
    try:
        with path.open("rb") as packed:
            unpacked = gzip.GzipFile(fileobj=packed) if suffix == "tgz" else _XZ(packed)
            return _Members(_Forward(unpacked)).digests()
    except (*_BROKEN, OSError, OverflowError, RecursionError, ValueError) as error:
        raise RefusedError(f"its archive cannot be read: {error}", reason="bad-archive") from error


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _XZ:
    """One stream of xz; `lzma.open` would take any memory that its header asks for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._state = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_XZ_MEMORY)

    def read(self, size: int, /) -> bytes:
        found = b""
        while len(found) < size and not self._state.eof:
            piece = self._file.read(MAX_READ_BYTES) if self._state.needs_input else b""
            if self._state.needs_input and not piece:
                raise EOFError("it is cut short")
            found += self._state.decompress(piece, size - len(found))
        if self._state.eof and (self._state.unused_data or self._file.read(1)):
            raise EOFError("it goes on after its end")
        return found


class _Forward:
    """An unpacking file that goes forward only, but for the one byte that `tarfile` steps back."""

    def __init__(self, file: _Readable) -> None:
        self._file = file
        self._at = 0
        self._last = b""
        self._is_back = False

    def tell(self) -> int:
        return self._at

    def seek(self, to: int) -> int:
        if to == self._at - 1 and self._last and not self._is_back:
            self._at, self._is_back = to, True
        while self._at < to:
            if not self.read(min(MAX_READ_BYTES, to - self._at)):
                break
        if self._at > to:
            raise RefusedError("its archive goes back", reason="bad-archive")
        return self._at

    def read(self, size: int) -> bytes:
        if not 0 <= size <= MAX_READ_BYTES:
            raise RefusedError(f"its archive has a header of {size} bytes", reason="bad-archive")
        before = b""
        if self._is_back and size:
            before, self._is_back = self._last, False
        data = before + self._file.read(size - len(before))
        self._at += len(data)
        self._last = data[-1:] or self._last
        if self._at > MAX_UNPACKED_BYTES:
            raise RefusedError(
                f"its archive holds more than {MAX_UNPACKED_BYTES} bytes", reason="bad-archive"
            )
        return data


class _Members:
    def __init__(self, file: _Forward) -> None:
        self._file = file
        self._archive = tarfile.open(fileobj=file, mode="r:")  # type: ignore[call-overload]  # noqa: SIM115
        self._files: dict[str, str] = {}
        self._links: dict[str, str] = {}
        self._folders: set[str] = set()
        self._names_left = MAX_NAMES_BYTES

    def digests(self) -> dict[str, str]:
        for number, member in enumerate(self._walk()):
            if number >= MAX_MEMBERS:
                raise RefusedError(f"its archive holds more than {MAX_MEMBERS} files", reason="bad-archive")
            self._take(member)
        # To the end, so that the check sum of the packed bytes is looked at, too.
        while rest := self._file.read(MAX_READ_BYTES):
            if rest.strip(b"\0"):
                raise RefusedError("its archive goes on after its end", reason="bad-archive")
        for name, target in self._links.items():
            if not self._is_folder(name, target):
                self._files[name] = _md5(target.encode())
        return self._files

    def _walk(self) -> Iterator[tarfile.TarInfo]:
        while (member := self._archive.next()) is not None:
            yield member
            # Else every member is kept in memory.
            self._archive.members = []

    def _take(self, member: tarfile.TarInfo) -> None:
        name = _checked(member.name)
        if member.name.endswith("/") and not member.isdir():
            # A file for one client, a folder for another.
            raise _unsafe(member.name, "is named as a folder and is none")
        folders = _folders_of(name)
        if any(folder in self._links or folder in self._files for folder in folders):
            raise _unsafe(name, "lies below a link or a file")
        if name in self._files or name in self._links or (name in self._folders and not member.isdir()):
            raise _unsafe(name, "is there twice")
        self._remember(name, *folders)
        self._folders.update(folders)
        if member.isdir():
            self._folders.add(name)
        elif member.issym():
            if not (0 < len(member.linkname.encode("utf-8", "replace")) <= MAX_NAME_BYTES):
                raise _unsafe(name, "is a link to nothing")
            self._remember(member.linkname)
            self._links[name] = member.linkname
        elif member.islnk():
            target = self._files.get(_checked(member.linkname))
            if target is None:
                raise _unsafe(name, "is a hard link to a file that is not before it")
            self._files[name] = target
        elif member.isreg() and not member.issparse() and member.size >= 0:
            self._files[name] = self._digest(member)
        else:
            raise _unsafe(name, "is neither file, link nor folder")

    def _remember(self, *names: str) -> None:
        """Take their place in memory off what there is for names."""
        self._names_left -= sum(sys.getsizeof(name) for name in names if name not in self._folders)
        if self._names_left < 0:
            raise RefusedError(
                f"its archive has more than {MAX_NAMES_BYTES} bytes of names", reason="bad-archive"
            )

    def _digest(self, member: tarfile.TarInfo) -> str:
        state, left = hashlib.md5(usedforsecurity=False), member.size
        file = self._archive.extractfile(member)
        assert file is not None
        while left:
            piece = file.read(min(MAX_READ_BYTES, left))
            if not piece:
                raise RefusedError("its archive is cut short", reason="bad-archive")
            state.update(piece)
            left -= len(piece)
        return state.hexdigest()

    def _is_folder(self, name: str, target: str) -> bool:
        """Whether a link points to a folder of the archive: manifests leave those out."""
        for _ in range(MAX_HOPS):
            place = posixpath.normpath(posixpath.join(posixpath.dirname(name), target))
            if place in self._folders or place == ".":
                return True
            if place not in self._links:
                return False
            name, target = place, self._links[place]
        return False


def _checked(name: str) -> str:
    """A member's name, without a leading `./`. Raises RefusedError."""
    plain = name.removeprefix("./").rstrip("/") if name not in (".", "./") else "."
    parts = plain.split("/")
    is_short = (
        len(parts) <= MAX_PARTS
        and len(plain.encode("utf-8", "replace")) <= MAX_NAME_BYTES
        and all(len(part.encode("utf-8", "replace")) <= MAX_PART_BYTES for part in parts)
    )
    is_inside = all(part not in ("", ".", "..") for part in parts) and plain.isprintable()
    if plain == "." or (is_inside and is_short):
        return plain
    raise _unsafe(name, "is no path inside the archive")


def _folders_of(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: number + 1]) for number in range(len(parts))]


def _unsafe(name: str, why: str) -> RefusedError:
    return RefusedError(f"its archive is refused: {name[:120]!r} {why}", reason="unsafe-archive")


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()
