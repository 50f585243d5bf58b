"""The members of all tars that stand one behind the other in a file, and of one whose headers are damaged.

Programs differ in where a tar ends (`tar -i`, bsdtar and Java's readers go on behind zero blocks), in what
they do at a header that is none (GNU tar says so and goes on at the next one), and in whether something
stands behind the header of a link or a folder (POSIX has it behind hard links). All that any of them sees is
found.
"""

import re
import tarfile
from collections.abc import Iterator
from typing import IO

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
    file.seek(0, 2)
    size, at, beginnings = file.tell(), 0, 0
    while (start := _find_header(file, at, size)) is not None:
        beginnings += 1
        if beginnings > MAX_BEGINNINGS:
            raise TooMuchError(f"it holds more than {MAX_BEGINNINGS} beginnings of tars")
        at = start + BLOCK
        members = _read(file, start, size)
        while (found := next(members, None)) is not None:
            end, name, content = found
            at = max(at, start + end)
            if content is not None:
                yield name, content


def _read(file: IO[bytes], start: int, size: int) -> Iterator[tuple[int, str, Part | TarContent | None]]:
    """(where it ends, behind `start`; name; content) of each member of the tar there, as far as tarfile reads
    it."""
    reader = TarReader(Part(file, start, size - start), UNBOUNDED, TooMuchError)
    try:
        for member in reader.members():
            end = reader.next_at
            if member.isreg() or member.type not in tarfile.SUPPORTED_TYPES:
                # Unknown types are unpacked as files by everybody.
                yield end, member.name, TarContent(reader, member)
            else:
                behind = Part(file, start + member.offset_data, member.size) if member.size else None
                yield end + -(-member.size // BLOCK) * BLOCK, member.name, behind
    except TAR_DAMAGE as error:
        if isinstance(error, OSError) and not isinstance(error, tarfile.TarError):
            raise


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
