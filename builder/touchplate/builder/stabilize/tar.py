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

Refused, since readers disagree about it or it cannot be followed exactly (`tarblocks.py`): sparse members,
vendor types, contents behind links and folders, sizes that are not plain octal or that a PAX record changes,
two headers about one member, numbers that are none, wrong checksums, bytes behind the end.
"""

import re
from collections.abc import Mapping

from touchplate.builder.errors import StabilizeError
from touchplate.builder.stabilize import gzip
from touchplate.builder.stabilize.pax import keep_records
from touchplate.builder.stabilize.tarblocks import (
    BLOCK,
    CHECKSUM,
    END,
    GID,
    GLOBAL,
    MAGIC,
    PAX,
    SIZE,
    TIME,
    UID,
    USTAR,
    read_entries,
    sum_header,
)

_TIME = re.compile(rb"|-?[0-9]{1,20}(\.[0-9]{1,20})?")  # empty: as if it were not there
_ID = re.compile(rb"[0-9]{0,20}")
_USER = re.compile(rb"[^\0\n]{0,255}")  # some readers split records at line ends, whatever their lengths say
TIME_RECORDS = {b"mtime": _TIME, b"atime": _TIME, b"ctime": _TIME}
OWNER_RECORDS = {b"uid": _ID, b"gid": _ID, b"uname": _USER, b"gname": _USER}
"""PAX records that are dropped, and what their values look like."""

_LINK, _UNUSED = slice(157, 257), slice(500, 512)
_TIMES = ((TIME, b"00000000000\0"),)
_NUMBERS = ((UID, b"0000000\0"), (GID, b"0000000\0"))
_NAMES = ((slice(265, 297), bytes(32)), (slice(297, 329), bytes(32)))  # only where there is a magic


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
    for entry in read_entries(data):
        header = _neutralise(entry.header, numbers, names)
        if entry.type not in (GLOBAL, PAX):
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
            header[SIZE] = b"%011o\0" % len(kept)
            made += _checked(header) + kept + bytes(-len(kept) % BLOCK)
    return bytes(made + 2 * END)


def _neutralise(header: bytes, numbers: _Fields, names: _Fields) -> bytearray:
    made = bytearray(header)
    for place, value in (*numbers, *(names if header[MAGIC] == USTAR else ())):
        made[place] = value
    return made


def _checked(header: bytearray) -> bytes:
    header[CHECKSUM] = b"%06o\0 " % sum_header(header)
    return bytes(header)
