"""Members of a zip archive in every way in which a reader may see them.

Most readers begin with the directory at the end. Those that read a stream (java.util.zip.ZipInputStream,
bsdtar) begin at the front and never look at it, so they find members of an archive that was cut, has
something behind it, or is followed by another one; and of each member they believe its own header, where
others believe the directory. Of sizes some believe none, and read a deflated member to its own end.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO, NamedTuple

MARK = b"PK\x03\x04"  # before each member (APPNOTE 4.3.7)

_HEADER = struct.Struct("<4s5H3I2H")
_STORED, _DEFLATED = 0, 8
_IN_ZIP64 = 0xFFFFFFFF  # a size that stands in an extra field, as the directory has it (4.5.3)
_CHUNK = 256 * 1024


class Member(NamedTuple):
    """One member as one header describes it. `end`: where it ends at the latest; `size`: unpacked bytes that
    are read of it, None: all there are."""

    name: str
    method: int
    start: int
    end: int
    size: int | None = None


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


def find_listed(file: IO[bytes], listed: zipfile.ZipInfo) -> Iterator["MemberContent"]:
    """The contents that readers see of a member of the directory: one, unless its headers or sizes lie.

    Each has to be read before the next one is asked for. Nothing of a member without a header of its own, and
    as `MemberContent` for other methods than deflate and none.
    """
    file.seek(listed.header_offset)
    header = file.read(_HEADER.size)
    if len(header) < _HEADER.size or not header.startswith(MARK):
        return
    _, _, _, method, _, _, _, packed, _, name_bytes, extra_bytes = _HEADER.unpack(header)
    start = listed.header_offset + _HEADER.size + name_bytes + extra_bytes
    end, name, size = start + listed.compress_size, listed.filename, listed.file_size
    as_listed = MemberContent(file, Member(name, listed.compress_type, start, end, size))
    yield as_listed
    by_directory = (listed.compress_type, end)
    if not as_listed.is_whole:
        yield MemberContent(file, Member(name, listed.compress_type, start, _latest(file, *by_directory)))
    by_itself = (method, start + packed)
    says_otherwise = method == _STORED and packed not in (0, _IN_ZIP64) and by_itself != by_directory
    if method != listed.compress_type or says_otherwise:
        yield MemberContent(file, Member(name, method, start, _latest(file, *by_itself)))


def _latest(file: IO[bytes], method: int, end: int) -> int:
    """Where a member of this method ends at the latest that says `end`: a deflated one ends by itself."""
    return file.seek(0, 2) if method == _DEFLATED else end


class MemberContent:
    """The bytes of one member, to be read in pieces. Raises zlib.error for damage."""

    def __init__(self, file: IO[bytes], member: Member) -> None:
        self._file = file
        self.member = member
        self._at, self._given = member.start, 0
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS) if member.method == _DEFLATED else None
        self._is_readable = member.method in (_STORED, _DEFLATED)

    @property
    def is_whole(self) -> bool:
        """Whether what was read is all that the packed bytes hold, and ends where they end."""
        if not self._is_readable:
            return True  # as far as anybody knows who does not read it
        if self._at != self.member.end or self._given != self.member.size:
            return False
        return self._inflate is None or (self._inflate.eof and not self._inflate.unused_data)

    def read(self, size: int) -> bytes:
        """The next piece of at most `size` bytes; empty at the end, and for methods that are not read."""
        data = self._read(size) if self._is_readable else b""
        most = self.member.size
        self._given += len(data)
        # One that goes on behind its size has more than was said: seen by this, and not given.
        return data if most is None or self._given <= most else data[: max(0, most - self._given + len(data))]

    def _read(self, size: int) -> bytes:
        if self._inflate is None:
            return self._raw(size)
        while not self._inflate.eof:
            packed = self._inflate.unconsumed_tail or self._raw(_CHUNK)
            if data := self._inflate.decompress(packed, size):
                return data
            if not packed:
                break
        return b""

    def _raw(self, size: int) -> bytes:
        self._file.seek(self._at)
        data = self._file.read(max(0, min(size, self.member.end - self._at)))
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
