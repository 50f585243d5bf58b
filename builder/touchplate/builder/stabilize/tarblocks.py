"""The header blocks of a tar, read strictly: what readers of tars disagree about is refused. Pure.

Whoever changes header blocks must be sure that they are header blocks for everybody else, too.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from touchplate.builder.errors import StabilizeError
from touchplate.builder.stabilize.pax import MAX_PAX_BYTES, pax_size

BLOCK = 512
"""Bytes of one tar block (POSIX ustar interchange format)."""

MAX_HEADERS = 500_000
"""Header blocks of one archive; each costs a few microseconds. The largest package known has 60,000."""

END = bytes(BLOCK)
"""Two of these end an archive."""

MODE, UID, GID = slice(100, 108), slice(108, 116), slice(116, 124)
SIZE, TIME = slice(124, 136), slice(136, 148)
CHECKSUM, TYPE, MAGIC = slice(148, 156), slice(156, 157), slice(257, 262)
"""Fields of a header block; SIZE is that of what follows."""

USTAR = b"ustar"
"""Magic of POSIX's and of GNU's form. Without it, only the fields up to the link target mean anything."""

GLOBAL, PAX, LONG_NAME, LONG_LINK = b"g", b"x", b"L", b"K"
"""Types that say something about members: POSIX's records for all that follow, and for the next one; GNU's
long name and long link target of the next one."""

_DEVICE = (slice(329, 337), slice(337, 345))
_NUMBER = re.compile(rb" *[0-7]*[ \0]*|[\x80\xff].*", re.DOTALL)  # octal, blank, or GNU's base 256
_OCTAL = re.compile(rb" *([0-7]+)[ \0]*")
_WITH_CONTENT = (b"0", b"\0", b"7")  # regular, regular of old, contiguous
_WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folder, pipe


@dataclass(frozen=True)
class TarEntry:
    """One header block with the blocks that belong to it. `size`: of these, in bytes, without padding."""

    header: bytes
    start: int
    size: int

    @property
    def type(self) -> bytes:
        """One byte, as in the header."""
        return self.header[TYPE]

    @property
    def end(self) -> int:
        """Where the next header block is."""
        return self.start + -(-self.size // BLOCK) * BLOCK


class _NextMember:
    """What headers before a member say about it, in one of the two ways that archivers write: one PAX header,
    or GNU's long name and long link target. Other mixtures mean different things to different readers."""

    def __init__(self) -> None:
        self.is_awaited = False
        self._types: list[bytes] = []
        self._size: int | None = None

    def announce(self, entry: TarEntry, records: bytes) -> None:
        """A header that is no member. `records`: what belongs to it."""
        self.is_awaited = True
        if PAX in self._types or (self._types and entry.type in (PAX, GLOBAL)) or entry.type in self._types:
            raise StabilizeError("a tar with two headers about one member: readers disagree which counts")
        if entry.type != GLOBAL:
            self._types.append(entry.type)
        if entry.type in (PAX, GLOBAL):
            self._size = pax_size(records)
        if entry.type == GLOBAL and self._size is not None:
            raise StabilizeError("a PAX record that gives one size to all members that follow")

    def arrive(self, entry: TarEntry) -> None:
        """The member itself."""
        if self._size not in (None, entry.size):
            raise StabilizeError("a PAX record that gives a member another size than its header")
        self.is_awaited, self._size = False, None
        self._types.clear()


def read_entries(data: bytes) -> Iterator[TarEntry]:
    """The header blocks in order. Raises StabilizeError unless `data` is one whole tar and nothing else."""
    at = count = members = 0
    coming = _NextMember()
    while (header := data[at : at + BLOCK]) != END:
        entry = _read_entry(data, header, at)
        count += 1
        if count > MAX_HEADERS:
            raise StabilizeError(f"a tar of more than {MAX_HEADERS} headers")
        if entry.type in (*_WITH_CONTENT, *_WITHOUT_CONTENT):
            coming.arrive(entry)
            members += 1
        else:
            coming.announce(entry, data[entry.start : entry.start + entry.size])
        yield entry
        at = entry.end
    if coming.is_awaited or not members:
        raise StabilizeError("a tar that ends where a member should follow, or without any")
    rest = data[at:]
    if len(rest) < 2 * BLOCK or len(rest) % BLOCK or rest.count(0) != len(rest):
        raise StabilizeError("a tar that does not end in whole zero blocks, two or more")


def _read_entry(data: bytes, header: bytes, at: int) -> TarEntry:
    if len(header) < BLOCK or header[CHECKSUM] not in _spellings(sum_header(header)):
        raise StabilizeError("not tar, cut short, or a header with a wrong checksum")
    found = _OCTAL.fullmatch(header[SIZE])
    if found is None:
        raise StabilizeError("a tar header whose size is not plain octal")
    entry = TarEntry(header, at + BLOCK, int(found[1], 8))
    for place in (MODE, UID, GID, TIME, *(_DEVICE if header[MAGIC] == USTAR else ())):
        if _NUMBER.fullmatch(header[place]) is None:
            raise StabilizeError(f"a tar header with {header[place]!r} for a number")
    if entry.end > len(data):
        raise StabilizeError("a tar cut short")
    if entry.type in _WITHOUT_CONTENT and entry.size:
        raise StabilizeError("a tar with content behind a link, a folder or a special file")
    if entry.type not in (*_WITHOUT_CONTENT, *_WITH_CONTENT, GLOBAL, PAX, LONG_NAME, LONG_LINK):
        raise StabilizeError(f"a tar member of type {entry.type!r}")
    if entry.type in (GLOBAL, PAX, LONG_NAME, LONG_LINK) and entry.size > MAX_PAX_BYTES:
        raise StabilizeError(f"a header about a member of more than {MAX_PAX_BYTES} bytes")
    return entry


def sum_header(header: bytes | bytearray) -> int:
    """The checksum of a header block: the sum of its bytes, as if the field itself held blanks."""
    return sum(header) - sum(header[CHECKSUM]) + 8 * ord(" ")


def _spellings(total: int) -> tuple[bytes, ...]:
    """How archivers write a checksum: six digits, NUL and blank (POSIX), or nearly so."""
    return b"%06o\0 " % total, b"%07o\0" % total, b"%6o\0 " % total, b"%06o \0" % total
