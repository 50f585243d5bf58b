"""Members of a zip archive in every way in which a reader may see them.

Most readers begin with the directory at the end. Those that read a stream (java.util.zip.ZipInputStream,
bsdtar) begin at the front and never look at it, so they find members of an archive that was cut, has
something behind it, or is followed by another one; and of each member they believe its own header, where
others believe the directory. Of sizes some believe none, and read a deflated member to its own end, or a
stored one to what looks like its descriptor (libarchive, and so bsdtar and CMake).
"""

import struct
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from typing import IO, NamedTuple, Protocol

from touchplate.builder.errors import TooMuchError

MAX_DESCRIPTORS = 200_000
"""Of one file, looked at where a stored member says only behind itself how long it is."""

MARK = b"PK\x03\x04"  # before each member (APPNOTE 4.3.7)

_ENTRY = struct.Struct("<4s6H3I5H2I")  # of a directory (4.3.12)
_ENTRY_MARK = b"PK\x01\x02"
_DESCRIPTOR = struct.Struct("<4s3I")  # mark, CRC, packed and unpacked size (4.3.9)
_DESCRIPTOR_MARK = b"PK\x07\x08"
_HAS_DESCRIPTOR = 0x0008  # general purpose flag (4.4.4)
_HEADER = struct.Struct("<4s5H3I2H")
HEADER_BYTES = _HEADER.size
"""Of a member's own header, before its name."""

_STORED, _DEFLATED = 0, 8
_UNSAID = 0  # a size that stands behind the data only
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


Span = tuple[int, int]
"""Start and end of a part of a file."""


class Listed(Protocol):
    """What a directory says of a member, as zipfile has it."""

    @property
    def filename(self) -> str: ...
    @property
    def header_offset(self) -> int: ...
    @property
    def compress_type(self) -> int: ...
    @property
    def compress_size(self) -> int: ...
    @property
    def file_size(self) -> int: ...


class _Entry(NamedTuple):
    filename: str
    header_offset: int
    compress_type: int
    compress_size: int
    file_size: int


def find_other_entries(file: IO[bytes], listed: Sequence[zipfile.ZipInfo], start: int) -> Iterator[Listed]:
    """What directories elsewhere in the file say, or this one to readers who take its offsets as they are:
    zipfile moves them to where the archive ends, and believes the last one. `start`: of the directory that
    `listed` comes from."""
    size = file.seek(0, 2)
    known = {(one.header_offset, one.compress_type, one.compress_size, one.file_size) for one in listed}
    moved = {0}
    if listed and (first := _entry_at(file, start)) is not None:
        moved.add(listed[0].header_offset - first.header_offset)
    for at in _marks(file, 0, size, _ENTRY_MARK):
        if (entry := _entry_at(file, at)) is None:
            continue
        for by in moved:
            one = entry._replace(header_offset=entry.header_offset + by)
            if one[1:] not in known and _is_member(file, one):
                known.add(one[1:])
                yield one


def _is_member(file: IO[bytes], entry: _Entry) -> bool:
    """Whether a header of that mark or name is there: most entries elsewhere are those of archives inside."""
    if entry.header_offset < 0:
        return False
    file.seek(entry.header_offset)
    header = file.read(HEADER_BYTES)
    return header.startswith(MARK) or file.read(len(entry.filename)) == entry.filename.encode("cp437")


def _entry_at(file: IO[bytes], at: int) -> _Entry | None:
    file.seek(at)
    data = file.read(_ENTRY.size)
    if len(data) < _ENTRY.size:
        return None
    fields = _ENTRY.unpack(data)
    name = file.read(fields[10]).decode("cp437")
    return _Entry(name, fields[16], fields[4], fields[8], fields[9])


def find_listed(file: IO[bytes], listed: Listed, read: list[Span]) -> Iterator["MemberContent"]:
    """The contents that readers of the directory see of one member: one, unless its sizes lie.

    Each has to be read before the next one is asked for. Where it lies goes into `read` once that is sure: by
    its own header, and by its data. Not all readers look for the mark of that header. Nothing of a member
    whose header would be behind the end, and as `MemberContent` for other methods than deflate and none.
    """
    at = listed.header_offset
    if not 0 <= at <= file.seek(0, 2):  # some are negative, or greater than a file's position can be
        return
    file.seek(at)
    header = file.read(HEADER_BYTES)
    if len(header) < HEADER_BYTES:
        return
    _, _, _, method, _, _, _, packed, _, name_bytes, extra_bytes = _HEADER.unpack(header)
    start = at + HEADER_BYTES + name_bytes + extra_bytes
    member = Member(
        listed.filename, listed.compress_type, start, start + listed.compress_size, listed.file_size
    )
    content = MemberContent(file, member)
    yield content
    if not content.is_whole:
        end = file.seek(0, 2) if member.method == _DEFLATED else member.end  # a deflated one ends by itself
        yield MemberContent(file, member._replace(end=end, size=None))
    elif (
        header.startswith(MARK)
        and method == member.method
        and (method == _DEFLATED or packed in (listed.compress_size, _UNSAID, _IN_ZIP64))
    ):
        read.append((at, member.end))


def find_unlisted(file: IO[bytes], read: Iterable[Span]) -> Iterator[Member]:
    """The members of a seekable file outside of what was `read` already, in order, each as its own header
    describes it.

    The caller may move the file's position meanwhile. Raises TooMuchError for more than MAX_DESCRIPTORS.
    """
    size = file.seek(0, 2)
    gaps = [*_gaps(size, read)]
    described: dict[int, int] | None = None
    for start, end in gaps:
        for at in _marks(file, start, end, MARK):
            file.seek(at)
            header = file.read(HEADER_BYTES)
            if len(header) < HEADER_BYTES:
                return
            _, _, flags, method, _, _, _, packed, _, name_bytes, extra_bytes = _HEADER.unpack(header)
            name = file.read(name_bytes).decode("cp437")
            content = at + HEADER_BYTES + name_bytes + extra_bytes
            if method == _STORED and flags & _HAS_DESCRIPTOR and packed == _UNSAID:
                described = _find_described(file, gaps) if described is None else described
                packed = described.get(content, packed)
            # The size of a deflated member may stand behind it only; it ends by itself.
            yield Member(name, method, content, min(content + packed, size) if method == _STORED else size)


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


def _gaps(size: int, read: Iterable[Span]) -> Iterator[Span]:
    """What of a file of `size` bytes lies outside of `read`."""
    at = 0
    for start, end in sorted(read):
        if start > at:
            yield at, min(start, size)
        at = max(at, end)
    if at < size:
        yield at, size


def _find_described(file: IO[bytes], gaps: Iterable[Span]) -> dict[int, int]:
    """Sizes of contents by where they begin, as descriptors behind them say."""
    sizes: dict[int, int] = {}
    for start, end in gaps:
        for at in _marks(file, start, end, _DESCRIPTOR_MARK):
            file.seek(at)
            data = file.read(_DESCRIPTOR.size)
            if len(data) == _DESCRIPTOR.size:
                packed = _DESCRIPTOR.unpack(data)[2]
                sizes.setdefault(at - packed, packed)
            if len(sizes) > MAX_DESCRIPTORS:
                raise TooMuchError(f"it holds more than {MAX_DESCRIPTORS} descriptors of members")
    return sizes


def _marks(file: IO[bytes], start: int, end: int, mark: bytes) -> Iterator[int]:
    for at in range(start, end, _CHUNK):
        file.seek(at)
        data = file.read(min(_CHUNK, end - at) + len(mark) - 1)
        found = data.find(mark)
        while found >= 0:
            yield at + found
            found = data.find(mark, found + 1)
