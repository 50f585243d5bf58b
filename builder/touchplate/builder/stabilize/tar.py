"""`tar-times@1` and `tar-owners@1`: a tar (or one inside neutral gzip) without times, or without owners.

Both rewrite header blocks in place and leave every other byte as it is: contents, names, types, modes, link
targets, extended attributes, order, and how numbers are spelled.

- `tar-times@1` sets the time of each header to 0 and drops the PAX records mtime, atime and ctime.
- `tar-owners@1` sets uid and gid of each header to 0, clears uname and gname, and drops the PAX records of
  those names.

Header checksums follow. A PAX header all of whose records are dropped is dropped itself, and the zero blocks
at the end become two, since their number depends on what stood before.

What they could hide: `tar-times` any time of any member, so also one that makes a build tool take a file for
up to date. `tar-owners` who owns a file once root unpacks it: with a setuid mode, which stays visible, that
decides whose rights the program has. Neither touches what GNU's own header form keeps at the place of POSIX's
name prefix (times of incremental archives): some readers take it for a name.

Refused, since readers disagree about it or it cannot be followed exactly: sparse members of GNU's old form,
vendor types, contents behind links and folders, sizes that are not plain octal or that a PAX record changes,
numbers that are none, wrong checksums, bytes behind the end.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from touchplate.builder.errors import StabilizeError
from touchplate.builder.stabilize import gzip
from touchplate.builder.stabilize.pax import MAX_PAX_BYTES, keep_records, pax_size

BLOCK = 512
"""Bytes of one tar block (POSIX ustar interchange format)."""

MAX_HEADERS = 500_000
"""Header blocks of one archive; each costs a few microseconds. The largest package known has 60,000."""

_TIME = re.compile(rb"|-?[0-9]{1,20}(\.[0-9]{1,20})?")  # empty: as if it were not there
_ID = re.compile(rb"[0-9]{0,20}")
_USER = re.compile(rb"[^\0]{0,255}")
TIME_RECORDS = {b"mtime": _TIME, b"atime": _TIME, b"ctime": _TIME}
OWNER_RECORDS = {b"uid": _ID, b"gid": _ID, b"uname": _USER, b"gname": _USER}
"""PAX records that are dropped, and what their values look like."""

_END = bytes(BLOCK)
_SIZE, _CHECKSUM, _TYPE, _LINK, _MAGIC = (
    slice(124, 136),
    slice(148, 156),
    slice(156, 157),
    slice(157, 257),
    slice(257, 262),
)
_UNUSED = slice(500, 512)
_TIMES = ((slice(136, 148), b"00000000000\0"),)
_NUMBERS = ((slice(108, 116), b"0000000\0"), (slice(116, 124), b"0000000\0"))
_NAMES = ((slice(265, 297), bytes(32)), (slice(297, 329), bytes(32)))  # only where there is a magic

_NUMBER = re.compile(rb" *[0-7]*[ \0]*|[\x80\xff].*", re.DOTALL)  # octal, blank, or GNU's base 256
_OCTAL = re.compile(rb" *([0-7]+)[ \0]*")
_WITH_CONTENT = (b"0", b"\0", b"7")  # regular, regular of old, contiguous
_WITHOUT_CONTENT = (b"1", b"2", b"3", b"4", b"5", b"6")  # links, devices, folder, pipe
_LONG = (b"L", b"K")  # GNU: the next member's long name or link target is the content
_PAX = (b"x", b"g")  # POSIX: records for the next member, or for all that follow


@dataclass(frozen=True)
class _Entry:
    """One header block with the blocks that belong to it. `size`: of the content, without padding."""

    header: bytes
    start: int
    size: int

    @property
    def type(self) -> bytes:
        return self.header[_TYPE]

    @property
    def end(self) -> int:
        return self.start + -(-self.size // BLOCK) * BLOCK


def drop_times(data: bytes) -> bytes:
    """The stabilizer `tar-times@1`."""
    return _rewrite(data, _TIMES, (), TIME_RECORDS)


def drop_owners(data: bytes) -> bytes:
    """The stabilizer `tar-owners@1`."""
    return _rewrite(data, _NUMBERS, _NAMES, OWNER_RECORDS)


_Fields = tuple[tuple[slice, bytes], ...]
_Records = Mapping[bytes, re.Pattern[bytes]]


def _rewrite(data: bytes, numbers: _Fields, names: _Fields, records: _Records) -> bytes:
    if gzip.is_gzip(data):
        return gzip.wrap(_rewrite_tar(gzip.unwrap(data), numbers, names, records))
    return _rewrite_tar(data, numbers, names, records)


def _rewrite_tar(data: bytes, numbers: _Fields, names: _Fields, records: _Records) -> bytes:
    made = bytearray()
    view = memoryview(data)
    for entry in _entries(data):
        header = _neutralise(entry.header, numbers, names)
        if entry.type not in _PAX:
            made += _checked(header) + view[entry.start : entry.end]
            continue
        kept = keep_records(data[entry.start : entry.start + entry.size], records)
        if len(kept) == entry.size:
            made += _checked(header) + view[entry.start : entry.end]
            continue
        # A part of the archive goes away: it may hold nothing but what is meant to go.
        if any(header[_LINK]) or any(header[_UNUSED]) or any(view[entry.start + entry.size : entry.end]):
            raise StabilizeError("a PAX header with something beside its records")
        if kept:
            header[_SIZE] = b"%011o\0" % len(kept)
            made += _checked(header) + kept + bytes(-len(kept) % BLOCK)
    return bytes(made + 2 * _END)


def _neutralise(header: bytes, numbers: _Fields, names: _Fields) -> bytearray:
    made = bytearray(header)
    for place, value in numbers:
        if _NUMBER.fullmatch(header[place]) is None:
            raise StabilizeError(f"a tar header with {header[place]!r} for a number")
        made[place] = value
    for place, value in names if header[_MAGIC] == b"ustar" else ():
        made[place] = value
    return made


def _entries(data: bytes) -> Iterator[_Entry]:
    """The header blocks in order. Raises StabilizeError unless `data` is one whole tar and nothing else."""
    at = count = 0
    waiting = False  # a header that belongs to the next member
    pax: int | None = None
    while (header := data[at : at + BLOCK]) != _END:
        entry = _read_entry(data, header, at)
        count += 1
        if count > MAX_HEADERS:
            raise StabilizeError(f"a tar of more than {MAX_HEADERS} headers")
        if entry.type in _PAX:
            pax = _sized(data, entry, pax)
        elif entry.type not in _LONG:
            if pax is not None and pax != entry.size:
                raise StabilizeError("a PAX record that gives a member another size than its header")
            pax = None
        waiting = entry.type in (*_LONG, b"x") or (waiting and entry.type == b"g")
        yield entry
        at = entry.end
    if waiting or count == 0:
        raise StabilizeError("a tar that ends where a member should follow" if count else "not tar: empty")
    rest = data[at:]
    if len(rest) < 2 * BLOCK or len(rest) % BLOCK or rest.count(0) != len(rest):
        raise StabilizeError("a tar that does not end in whole zero blocks, two or more")


def _read_entry(data: bytes, header: bytes, at: int) -> _Entry:
    if len(header) < BLOCK or header[_CHECKSUM] not in _spellings(_sum(header)):
        raise StabilizeError("not tar, cut short, or a header with a wrong checksum")
    found = _OCTAL.fullmatch(header[_SIZE])
    if found is None:
        raise StabilizeError("a tar header whose size is not plain octal")
    entry = _Entry(header, at + BLOCK, int(found[1], 8))
    if entry.end > len(data):
        raise StabilizeError("a tar cut short")
    if entry.type in _WITHOUT_CONTENT and entry.size:
        raise StabilizeError("a tar with content behind a link, a folder or a special file")
    if entry.type in _WITHOUT_CONTENT or entry.type in (*_WITH_CONTENT, *_LONG):
        return entry
    if entry.type not in _PAX:
        raise StabilizeError(f"a tar member of type {entry.type!r}")
    if entry.size > MAX_PAX_BYTES:
        raise StabilizeError(f"a PAX header of more than {MAX_PAX_BYTES} bytes")
    return entry


def _sized(data: bytes, entry: _Entry, before: int | None) -> int | None:
    """The size that PAX records give the next member; one for all that follow is refused."""
    size = pax_size(data[entry.start : entry.start + entry.size])
    if size is not None and (entry.type == b"g" or before not in (None, size)):
        raise StabilizeError("PAX records that give members sizes which readers disagree about")
    return before if size is None else size


def _sum(header: bytes | bytearray) -> int:
    return sum(header) - sum(header[_CHECKSUM]) + 8 * ord(" ")  # as if the field held blanks


def _spellings(total: int) -> tuple[bytes, ...]:
    """How archivers write a checksum: six digits and NUL, blank (POSIX), or as other numbers."""
    return b"%06o\0 " % total, b"%07o\0" % total, b"%6o\0 " % total, b"%06o \0" % total


def _checked(header: bytearray) -> bytes:
    header[_CHECKSUM] = b"%06o\0 " % _sum(header)
    return bytes(header)
