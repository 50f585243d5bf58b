"""The members of all tars that stand one behind the other in a file, and of one whose headers are damaged.

Programs differ in where a tar ends (`tar -i`, bsdtar and Java's readers go on behind zero blocks), in what
they do at a header that is none (GNU tar says so and goes on at the next one), in whether something
stands behind the header of a link or a folder (POSIX has it behind hard links), and in how long a member is
(busybox's tar knows neither sizes in PAX records nor sparse members). All that any of them sees is found.
"""

import re
import tarfile
from collections.abc import Iterator
from typing import IO, NamedTuple

from touchplate.builder.archives.part import Part
from touchplate.builder.archives.tars import TAR_DAMAGE, UNBOUNDED, TarReader
from touchplate.builder.errors import TooMuchError

BLOCK = 512
"""Bytes of one tar block (POSIX ustar interchange format)."""

LEADING_BLOCKS = 20
"""Blocks within which the first header of a tar has to stand: one record, as tapes have it."""

MAX_BEGINNINGS = 10_000
"""Beginnings that are tried in one file: `cat *.tar` has some dozens, and each may cost 256 KiB to read."""

_CHUNK = 512 * BLOCK
_ABOUT_MEMBERS = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
_OF_SIZES = ("size", "GNU.sparse.")  # PAX records by which tarfile takes a member for longer or shorter
_IS_EXTENDED, _IS_EXTENDED_AGAIN = 482, 504  # in a header, in a block of its map (GNU tar, Basic Tar Format)
_NAME_BYTES, _SIZE, _CHECKSUM_AT, _TYPE = (
    100,
    slice(124, 136),
    slice(148, 156),
    slice(156, 157),
)  # of a header
_ASCII = bytes(range(128))
_CHECKSUM, _OCTAL = re.compile(rb"[ \0]*([0-7]+)[ \0]"), re.compile(rb"[ \0]*([0-7]+)")


class TarContent:
    """The bytes of one member as tarfile gives them. An end that comes early is no error."""

    def __init__(self, reader: TarReader, member: tarfile.TarInfo) -> None:
        self._content = reader.open(member)

    def read(self, size: int) -> bytes:
        """The next piece."""
        return self._content.read(size) if self._content is not None else b""


def is_tar(file: IO[bytes]) -> bool:
    """Whether one of the first blocks of a seekable file is the header of a member."""
    file.seek(0)
    head = file.read(LEADING_BLOCKS * BLOCK)
    return any(_is_header(head[at : at + BLOCK]) for at in range(0, len(head), BLOCK))


def find_tar_members(file: IO[bytes]) -> Iterator[tuple[str, Part | TarContent]]:
    """Name and content of each member, with what stands behind headers that have no content.

    The caller may move the file's position meanwhile. Raises TooMuchError, and OSError of the file itself.
    """
    size, at = file.seek(0, 2), 0
    seen: set[Span] = set()
    is_plain, beginnings = True, 0
    while (start := next(_headers(file, at, size), None)) is not None:
        beginnings += 1
        if beginnings > MAX_BEGINNINGS:
            raise TooMuchError(f"it holds more than {MAX_BEGINNINGS} beginnings of tars")
        at = start + BLOCK
        tar = _Tar(file, start, size)
        for found in tar.members():
            at = max(at, found.end)
            seen.add(found.span)
            if found.content is not None:
                yield found.name, found.content
        is_plain = is_plain and tar.is_plain
    # Else all ways lead to the same members, and this one takes time.
    for name, span in _find_by_headers(file, size) if not is_plain else ():
        if span not in seen:
            yield name, Part(file, *span)


Span = tuple[int, int]
"""Where a content begins in the file, and its size in bytes."""


class _Found(NamedTuple):
    """A member as tarfile reads it: where it ends in the file, and where its content lies."""

    end: int
    name: str
    content: Part | TarContent | None
    span: Span


class _Tar:
    """The tar that begins at `start`. `is_plain`, once it was read: whether its members are as long as their
    own headers say, and it ends where nothing more stands, so that no reader sees others."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._file = file
        self._start = start
        self._reader = TarReader(Part(file, start, size - start), UNBOUNDED, TooMuchError)
        self.is_plain = True

    def members(self) -> Iterator[_Found]:
        """Each member, as far as tarfile reads it."""
        try:
            for member in self._reader.members():
                yield self._found(member)
            self.is_plain = self.is_plain and self._reader.ended_at_zeros
        except TAR_DAMAGE as error:
            self.is_plain = False
            if isinstance(error, OSError) and not isinstance(error, tarfile.TarError):
                raise

    def _found(self, member: tarfile.TarInfo) -> _Found:
        end, at = self._start + self._reader.next_at, self._start + member.offset_data
        if member.issparse() or any(key.startswith(_OF_SIZES) for key in member.pax_headers):
            self.is_plain = False
        # Where the bytes of a sparse one lie is another matter.
        span = (at, -1 if member.issparse() else member.size)
        if member.isreg() or member.type not in tarfile.SUPPORTED_TYPES:
            # Unknown types are unpacked as files by everybody.
            return _Found(end, member.name, TarContent(self._reader, member), span)
        behind = Part(self._file, *span) if member.size else None
        return _Found(end + -(-member.size // BLOCK) * BLOCK, member.name, behind, span)


def _find_by_headers(file: IO[bytes], size: int) -> Iterator[tuple[str, Span]]:
    """Name and place of the content of each member, wherever a header block of one is, and as long as that
    says: readers that meet damage go on at the next one, each by a way of its own."""
    for at in _headers(file, 0, size):
        file.seek(at)
        block = file.read(BLOCK)
        kind, length = block[_TYPE], _size_of(block)
        start = _skip_sparse_map(file, at) if kind == tarfile.GNUTYPE_SPARSE else at + BLOCK
        if length > 0 and kind not in _ABOUT_MEMBERS:
            yield block[:_NAME_BYTES].partition(b"\0")[0].decode("utf-8", "surrogateescape"), (start, length)


def _size_of(block: bytes) -> int:
    """What a header says of the bytes behind it: in octal, or in GNU's base 256. 0 for what is no number."""
    field = block[_SIZE]
    if field[0] & 0x80:
        return int.from_bytes(field[1:], "big") if field[0] == 0x80 else 0
    match = _OCTAL.match(field)
    return int(match[1], 8) if match else 0


def _skip_sparse_map(file: IO[bytes], at: int) -> int:
    """Where the content of a sparse member of GNU's old form begins: behind the blocks of its map."""
    file.seek(at)
    block, more = file.read(BLOCK), _IS_EXTENDED
    while len(block) == BLOCK and block[more]:
        block, more = file.read(BLOCK), _IS_EXTENDED_AGAIN
    return file.tell()


def _headers(file: IO[bytes], start: int, size: int) -> Iterator[int]:
    """Where each header block at or behind `start` is."""
    for at in range(start, size, _CHUNK):
        file.seek(at)
        data = file.read(_CHUNK)
        for place in range(0, len(data), BLOCK):
            if _is_header(data[place : place + BLOCK]):
                yield at + place


def _is_header(block: bytes) -> bool:
    """Whether the checksum is right, of bytes with or without sign: GNU tar asks for no more."""
    match = _CHECKSUM.match(block[_CHECKSUM_AT])  # most blocks that are none end here
    if match is None or len(block) != BLOCK:
        return False
    summed = block[: _CHECKSUM_AT.start] + b" " * 8 + block[_CHECKSUM_AT.stop :]
    total = sum(summed)
    return int(match[1], 8) in (total, total - 256 * len(summed.translate(None, _ASCII)))
