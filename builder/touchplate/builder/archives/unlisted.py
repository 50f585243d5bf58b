"""Members of a zip archive that its directory does not name, or that has none.

Most readers begin with the directory at the end. Those that read a stream (java.util.zip.ZipInputStream,
bsdtar) begin at the front and never look at it, so they find members of an archive that was cut, has
something behind it, or is followed by another one.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple

MARK = b"PK\x03\x04"  # before each member (APPNOTE 4.3.7)

_HEADER = struct.Struct("<4s5H3I2H")
_STORED, _DEFLATED = 0, 8
_CHUNK = 256 * 1024


class Member(NamedTuple):
    """One member as its own header describes it. `end`: where it ends at the latest."""

    name: str
    method: int
    start: int
    end: int


def find_unlisted(file: IO[bytes]) -> Iterator[Member]:
    """The members of a seekable file outside of all that its directory names, in order.

    The caller may move the file's position meanwhile.
    """
    for start, end in _gaps(file):
        for at in _marks(file, start, end):
            file.seek(at)
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                return
            _, _, _, method, _, _, _, size, _, name_bytes, extra_bytes = _HEADER.unpack(header)
            name = file.read(name_bytes).decode("cp437")
            content = at + _HEADER.size + name_bytes + extra_bytes
            # The size of a deflated member may stand behind it only; it ends by itself.
            yield Member(name, method, content, min(content + size, end) if method == _STORED else end)


class MemberContent:
    """The bytes of an unlisted member, to be read in pieces. Raises zlib.error for damage."""

    def __init__(self, file: IO[bytes], member: Member) -> None:
        self._file = file
        self._at, self._end = member.start, member.end
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == _DEFLATED else None
        self._is_readable = member.method in (_STORED, _DEFLATED)

    def read(self, size: int) -> bytes:
        """The next piece of at most `size` bytes; empty at the end, and for methods that are not read."""
        if self._inflate is None:
            return self._raw(size) if self._is_readable else b""
        while not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._raw(_CHUNK)
            if data := self._inflate.decompress(packed, size):
                return data
            if not packed:
                break
        return b""

    def _raw(self, size: int) -> bytes:
        self._file.seek(self._at)
        data = self._file.read(max(0, min(size, self._end - self._at)))
        self._at += len(data)
        return data


def _gaps(file: IO[bytes]) -> Iterator[tuple[int, int]]:
    """Where no member of the directory lies. Of each, header and packed bytes count, not the names between
    them, so what is left out is never more than the directory's reader sees."""
    file.seek(0, 2)
    size, at = file.tell(), 0
    try:
        with zipfile.ZipFile(file) as archive:
            listed = [
                (one.header_offset, one.header_offset + _HEADER.size + one.compress_size)
                for one in archive.filelist
            ]
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, struct.error):
        listed = []
    for start, end in sorted(listed):
        if start > at:
            yield at, min(start, size)
        at = max(at, end)
    if at < size:
        yield at, size


def _marks(file: IO[bytes], start: int, end: int) -> Iterator[int]:
    for at in range(start, end, _CHUNK):
        file.seek(at)
        data = file.read(min(_CHUNK, end - at) + len(MARK) - 1)
        found = data.find(MARK)
        while found >= 0:
            yield at + found
            found = data.find(MARK, found + 1)
