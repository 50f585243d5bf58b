"""Five steps for zips and jars, each of which takes one accident of packing out: see `STEPS`.

Each reads the plain form (`zipparts.py`), changes what it names in every member, and writes the plain form.
They commute: what one of them changes no other one looks at, but for `pom-properties-date@1`, which refuses
members that are still packed. Names, contents, the order of members (except for the step that is named after
it), comments, text flags, extra fields and, above all, signatures below META-INF stay as they are.

- `zip-compression@1` takes out how each member was packed: method, deflate's bytes and flags, descriptors,
  the versions of the packer, and the flag of UTF-8 where all is ASCII. It could hide a stream made to trip
  one decompressor.
- `zip-entry-times@1`: time and date of each member, and the extra fields of Unix and NTFS times. It could
  hide any time, so also one that makes a build tool take a file for up to date.
- `zip-entry-modes@1`: permissions of each member, and on which system it was packed. It could hide which
  members are executable, or readable by whom, once they are unpacked.
- `zip-entry-order@1`: the order of members, sorted by name. It could hide whether a reader that reads a jar
  as a stream meets the manifest first, and so knows of signatures.
- `pom-properties-date@1`: comment lines of META-INF/maven/*/*/pom.properties, in which old Mavens wrote the
  date. It could hide the text of such comments.

Refused, since it is no accident: links and special files, setuid and setgid bits, two members of one name,
extra fields of times that are longer than times, lines of pom.properties that go on in the next one.
"""

import re
import stat
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace

from touchplate.builder.errors import StabilizeError
from touchplate.builder.stabilize.zipparts import (
    HAS_DESCRIPTOR,
    STORED,
    ZipArchive,
    ZipEntry,
    read_zip,
    write_zip,
)

NEUTRAL_VERSION = 20
"""Version of the format that folders and deflate need (APPNOTE 4.4.3.2): what nearly all packers write."""

NEUTRAL_DATE = (1 << 5) | 1
"""1 January 1980, the earliest that the form knows."""

MAX_PROPERTIES_BYTES = 64 * 1024
"""Of a pom.properties: those of Maven have 120."""

_DEFLATE_OPTIONS, _UTF8 = 0x0006, 0x0800  # flags 1 and 2: how hard it was tried; flag 11
_UNIX_TIMES, _NTFS = 0x5455, 0x000A  # extra fields
_UNIX_TIMES_SIZES = (1, 5, 9, 13)  # flags, then modification, access, creation time
_NTFS_TIMES = re.compile(rb"\0{4}\x01\0\x18\0.{24}", re.DOTALL)
_FIELD = struct.Struct("<HH")
_POM_PROPERTIES = re.compile(rb"META-INF/maven/[^/]+/[^/]+/pom\.properties")


def drop_compression(data: bytes) -> bytes:
    """`zip-compression@1`."""
    return _each(data, _store)


def drop_times(data: bytes) -> bytes:
    """`zip-entry-times@1`."""
    return _each(data, _without_times)


def drop_modes(data: bytes) -> bytes:
    """`zip-entry-modes@1`."""
    return _each(data, _without_mode)


def drop_order(data: bytes) -> bytes:
    """`zip-entry-order@1`."""
    archive = read_zip(data)
    if len({entry.name for entry in archive.entries}) != len(archive.entries):
        raise StabilizeError("two members of one name: their order decides which one is seen")
    return write_zip(replace(archive, entries=tuple(sorted(archive.entries, key=lambda entry: entry.name))))


def drop_pom_properties_date(data: bytes) -> bytes:
    """`pom-properties-date@1`."""
    return _each(data, _without_comments)


STEPS: tuple[tuple[str, Callable[[bytes], bytes]], ...] = (
    ("zip-compression@1", drop_compression),
    ("zip-entry-times@1", drop_times),
    ("zip-entry-modes@1", drop_modes),
    ("zip-entry-order@1", drop_order),
    ("pom-properties-date@1", drop_pom_properties_date),
)
"""In order of application: the last one reads contents, which the first one lays open."""


def _each(data: bytes, change: Callable[[ZipEntry], ZipEntry]) -> bytes:
    archive = read_zip(data)
    return write_zip(ZipArchive(tuple(change(entry) for entry in archive.entries), archive.comment))


def _store(entry: ZipEntry) -> ZipEntry:
    dropped = _DEFLATE_OPTIONS | HAS_DESCRIPTOR
    if entry.name.isascii() and entry.comment.isascii():
        dropped |= _UTF8
    return replace(
        entry,
        made_by=entry.made_by & 0xFF00 | NEUTRAL_VERSION,
        needed=(NEUTRAL_VERSION, NEUTRAL_VERSION),
        flags=entry.flags & ~dropped,
        method=STORED,
        packed=entry.content(),
        zeroed=False,
        descriptor=b"",
    )


def _without_times(entry: ZipEntry) -> ZipEntry:
    return replace(
        entry,
        time=0,
        date=NEUTRAL_DATE,
        local_extra=_keep_fields(entry.local_extra),
        central_extra=_keep_fields(entry.central_extra),
    )


def _keep_fields(extra: bytes) -> bytes:
    """Extra fields (APPNOTE 4.5) without those that are times."""
    kept, at = bytearray(), 0
    while at < len(extra):
        if len(extra) - at < _FIELD.size:
            raise StabilizeError("an extra field that is cut short")
        kind, size = _FIELD.unpack_from(extra, at)
        value = extra[at + _FIELD.size :][:size]
        if len(value) != size:
            raise StabilizeError("an extra field that is cut short")
        is_time = kind in (_UNIX_TIMES, _NTFS)
        if kind == _UNIX_TIMES and size not in _UNIX_TIMES_SIZES:
            raise StabilizeError("an extra field of Unix times with something beside them")
        if kind == _NTFS and not _NTFS_TIMES.fullmatch(value):
            raise StabilizeError("an extra field of NTFS times with something beside them")
        if not is_time:
            kept += extra[at : at + _FIELD.size + size]
        at += _FIELD.size + size
    return bytes(kept)


def _without_mode(entry: ZipEntry) -> ZipEntry:
    mode = entry.external >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR) or mode & (stat.S_ISUID | stat.S_ISGID):
        raise StabilizeError(f"{entry.name[:80]!r} is a link, a special file, or setuid")
    folder = 0x10 if entry.name.endswith(b"/") else 0
    return replace(entry, made_by=entry.made_by & 0xFF, external=folder)


def _without_comments(entry: ZipEntry) -> ZipEntry:
    if not _POM_PROPERTIES.fullmatch(entry.name):
        return entry
    if entry.method != STORED or entry.descriptor or entry.size > MAX_PROPERTIES_BYTES:
        raise StabilizeError("pom.properties is packed; zip-compression@1 comes first")
    lines = entry.content().splitlines(keepends=True)
    if any(line.rstrip(b"\r\n").endswith(b"\\") for line in lines):
        raise StabilizeError("a line of pom.properties goes on in the next one")
    content = b"".join(line for line in lines if not line.startswith(b"#"))
    return replace(entry, packed=content, size=len(content), crc=zlib.crc32(content))
