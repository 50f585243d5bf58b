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
_CHECKSUM, _CHECKSUM_AT = re.compile(rb"[ \0]*[0-7]+[ \0]"), slice(148, 156)  # of a header


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
    beginnings = _Beginnings(file, size)
    seen: set[Span] = set()
    has_other_sizes = False
    while (start := beginnings.find(at)) is not None:
        at = start + BLOCK
        members = _read(file, start, size)
        while (found := next(members, None)) is not None:
            at = max(at, found.end)
            seen.add(found.span)
            has_other_sizes = has_other_sizes or found.has_other_size
            if found.content is not None:
                yield found.name, found.content
    # Else both ways lead to the same members, and this one takes time.
    for name, span in _find_by_headers(file, size) if has_other_sizes else ():
        if span not in seen:
            yield name, Part(file, *span)


Span = tuple[int, int]
"""Where a content begins in the file, and its size in bytes."""


class _Beginnings:
    """Finds the first header of each tar in a file, up to MAX_BEGINNINGS."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = size
        self._count = 0

    def find(self, at: int) -> int | None:
        """Where the first header at or behind `at` is. Raises TooMuchError."""
        start = _find_header(self._file, at, self._size)
        self._count += start is not None
        if self._count > MAX_BEGINNINGS:
            raise TooMuchError(f"it holds more than {MAX_BEGINNINGS} beginnings of tars")
        return start


class _Found(NamedTuple):
    """A member as tarfile reads it: where it ends in the file, and where its content lies. `has_other_size`:
    whether that may be as long as another record than its own header says."""

    end: int
    name: str
    content: Part | TarContent | None
    span: Span
    has_other_size: bool


def _read(file: IO[bytes], start: int, size: int) -> Iterator[_Found]:
    """Each member of the tar that begins at `start`, as far as tarfile reads it."""
    reader = TarReader(Part(file, start, size - start), UNBOUNDED, TooMuchError)
    try:
        for member in reader.members():
            end, at = start + reader.next_at, start + member.offset_data
            other = member.issparse() or any(key.startswith(_OF_SIZES) for key in member.pax_headers)
            # Where the bytes of a sparse one lie is another matter.
            span = (at, -1 if member.issparse() else member.size)
            if member.isreg() or member.type not in tarfile.SUPPORTED_TYPES:
                # Unknown types are unpacked as files by everybody.
                yield _Found(end, member.name, TarContent(reader, member), span, other)
            else:
                behind = Part(file, *span) if member.size else None
                yield _Found(end + -(-member.size // BLOCK) * BLOCK, member.name, behind, span, other)
    except TAR_DAMAGE as error:
        if isinstance(error, OSError) and not isinstance(error, tarfile.TarError):
            raise


def _find_by_headers(file: IO[bytes], size: int) -> Iterator[tuple[str, Span]]:
    """Name and place of the content of each member, as long as its own header block says, whatever stands
    before it."""
    beginnings = _Beginnings(file, size)
    at: int | None = beginnings.find(0)
    while at is not None:
        member = _header_at(file, at)
        if member is None:
            at = beginnings.find(at)
            continue
        start = at + BLOCK
        if member.type == tarfile.GNUTYPE_SPARSE:
            start = _skip_sparse_map(file, at)
        if member.size > 0 and member.type not in _ABOUT_MEMBERS:
            yield member.name, (start, member.size)
        at = start + -(-max(0, member.size) // BLOCK) * BLOCK


def _header_at(file: IO[bytes], at: int) -> tarfile.TarInfo | None:
    file.seek(at)
    block = file.read(BLOCK)
    return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape") if _is_header(block) else None


def _skip_sparse_map(file: IO[bytes], at: int) -> int:
    """Where the content of a sparse member of GNU's old form begins: behind the blocks of its map."""
    file.seek(at)
    block, more = file.read(BLOCK), _IS_EXTENDED
    while len(block) == BLOCK and block[more]:
        block, more = file.read(BLOCK), _IS_EXTENDED_AGAIN
    return file.tell()


def _find_header(file: IO[bytes], start: int, size: int) -> int | None:
    """Where the first header block at or behind `start` is."""
    for at in range(start, size, _CHUNK):
        file.seek(at)
        data = file.read(_CHUNK)
        for place in range(0, len(data), BLOCK):
            if _is_header(data[place : place + BLOCK]):
                return at + place
    return None


def _is_header(block: bytes) -> bool:
    if not _CHECKSUM.match(block[_CHECKSUM_AT]):  # most blocks that are none end here
        return False
    try:
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return False
    return True
