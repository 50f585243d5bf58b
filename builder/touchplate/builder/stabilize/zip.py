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
  as a stream meets the manifest first, and so knows of signatures; and what comes first for whoever takes
  all files of a folder in the order in which they lie there.
- `pom-properties-date@1`: comment lines of META-INF/maven/*/*/pom.properties, in which old Mavens wrote the
  date. It could hide the text of such comments.

Refused, since it is no accident: links and special files, setuid and setgid bits, folders by mode that are
none by name, extra fields of times that are longer than times, lines of pom.properties that go on in the
next one or end as only some readers know. To put in order: two members whose names some system takes for
one, names beyond ASCII or of characters that Windows has no files of, and several archives, whose order is
a class path (Spring Boot). Where the packer's system or version goes: names that are read by these, being
neither ASCII nor marked as UTF-8, or with a backslash (Info-ZIP); labels of disks, which are not unpacked.
Where descriptors go: sizes of Zip64, by which some readers take descriptors for longer.
"""

import re
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

from touchplate.builder.errors import StabilizeError
from touchplate.builder.stabilize.zipparts import (
    HAS_DESCRIPTOR,
    STORED,
    UTF8,
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

_DEFLATE_OPTIONS = 0x0006  # flags 1 and 2: how hard it was tried
_UNIX_TIMES, _NTFS = 0x5455, 0x000A  # extra fields
_UNIX_TIMES_SIZES = (1, 5, 9, 13)  # flags, then modification, access, creation time
_NTFS_TIMES = re.compile(rb"\0{4}\x01\0\x18\0.{24}", re.DOTALL)
_UNICODE_PATH = 0x7075  # extra field that gives a member a second name, 4.6.9
_XCEED_NAME = 0x554E  # another one
_ZIP64_SIZES = 0x0001  # 4.5.3
_NO_FILE = re.compile(r'[<>:"|?*\x01-\x1f\x7f]')  # in names: Windows refuses them, or tools put others there
_ARCHIVES = (b".jar", b".war", b".zip", b".aar")
DOS_LABEL, DOS_FOLDER = 0x08, 0x10
"""Of external attributes (4.4.15): the name of a disk, which Info-ZIP does not unpack; a folder."""

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
    places = []
    for entry in archive.entries:
        for extra in (entry.local_extra, entry.central_extra):
            if any(kind in (_UNICODE_PATH, _XCEED_NAME) for kind, _ in split_fields(extra)):
                raise StabilizeError(f"{entry.name[:80]!r} has a second name")
        places.append((_place(entry), not entry.name.endswith(b"/"), entry.name))
    for (place, is_file, name), (next_place, _, next_name) in pairwise(sorted(places)):
        if place == next_place or (is_file and next_place[: len(place)] == place):
            raise StabilizeError(
                f"{name[:80]!r} and {next_name[:80]!r}: two members of one name, whose order decides which "
                "one is seen"
            )
    if sum(entry.name.lower().endswith(_ARCHIVES) for entry in archive.entries) > 1:
        raise StabilizeError("several archives inside, whose order is that of a class path")
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


def _place(entry: ZipEntry) -> tuple[str, ...]:
    """Folders and name of a member, the same for two that are unpacked to one file on any system.

    Systems differ in case and in which ends of names they leave out; `./`, `//` and `..` lead unpackers to a
    file of another name. How they compare letters beyond ASCII changes with each version of Unicode.
    """
    if not entry.name.isascii():
        raise StabilizeError(
            f"{entry.name[:80]!r} is not ASCII: systems differ about which names are the same"
        )
    plain = entry.name.decode("ascii").lower().partition("\0")[0]
    if _NO_FILE.search(plain):
        raise StabilizeError(f"{entry.name[:80]!r} is no name of a file on some systems")
    parts: list[str] = []
    for part in plain.replace("\\", "/").split("/"):
        if part == "..":
            parts = parts[:-1]
        elif kept := part.rstrip(" ."):
            parts.append(kept)
    return tuple(parts)


def _check_charset(entry: ZipEntry) -> None:
    if not (entry.flags & UTF8 or (entry.name.isascii() and entry.comment.isascii())):
        raise StabilizeError(f"{entry.name[:80]!r} is read by the packer's system and version")


def _store(entry: ZipEntry) -> ZipEntry:
    _check_charset(entry)
    if entry.descriptor and any(kind == _ZIP64_SIZES for kind, _ in split_fields(entry.local_extra)):
        raise StabilizeError(f"{entry.name[:80]!r} has a descriptor of one of two lengths")
    dropped = _DEFLATE_OPTIONS | HAS_DESCRIPTOR
    if entry.name.isascii() and entry.comment.isascii():
        dropped |= UTF8
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
        local_extra=without_times(entry.local_extra),
        central_extra=without_times(entry.central_extra),
    )


def split_fields(extra: bytes) -> Iterator[tuple[int, bytes]]:
    """(kind, value) of extra fields (APPNOTE 4.5). Raises StabilizeError when one is cut short."""
    at = 0
    while at < len(extra):
        if len(extra) - at < _FIELD.size:
            raise StabilizeError("an extra field that is cut short")
        kind, size = _FIELD.unpack_from(extra, at)
        value = extra[at + _FIELD.size :][:size]
        if len(value) != size:
            raise StabilizeError("an extra field that is cut short")
        yield kind, value
        at += _FIELD.size + size


def without_times(extra: bytes) -> bytes:
    """Extra fields without those that are times. Raises StabilizeError for those that are more than that."""
    kept = bytearray()
    for kind, value in split_fields(extra):
        if kind == _UNIX_TIMES and len(value) not in _UNIX_TIMES_SIZES:
            raise StabilizeError("an extra field of Unix times with something beside them")
        if kind == _NTFS and not _NTFS_TIMES.fullmatch(value):
            raise StabilizeError("an extra field of NTFS times with something beside them")
        if kind not in (_UNIX_TIMES, _NTFS):
            kept += _FIELD.pack(kind, len(value)) + value
    return bytes(kept)


def _without_mode(entry: ZipEntry) -> ZipEntry:
    _check_charset(entry)
    mode = entry.external >> 16
    is_folder = entry.name.endswith(b"/")
    if (
        (stat.S_ISDIR(mode) and not is_folder)
        or (stat.S_ISREG(mode) and is_folder)
        or (entry.external & DOS_FOLDER and not is_folder)
    ):
        raise StabilizeError(f"{entry.name[:80]!r} is a folder by its mode or by its name alone")
    if b"\\" in entry.name or entry.external & DOS_LABEL:
        raise StabilizeError(f"{entry.name[:80]!r} is read by the packer's system, or is a disk's label")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR) or mode & (stat.S_ISUID | stat.S_ISGID):
        raise StabilizeError(f"{entry.name[:80]!r} is a link, a special file, or setuid")
    return replace(entry, made_by=entry.made_by & 0xFF, external=DOS_FOLDER if is_folder else 0)


def _without_comments(entry: ZipEntry) -> ZipEntry:
    if not _POM_PROPERTIES.fullmatch(entry.name):
        return entry
    if entry.method != STORED or entry.descriptor or entry.size > MAX_PROPERTIES_BYTES:
        raise StabilizeError("pom.properties is packed; zip-compression@1 comes first")
    content = entry.content()
    if b"\r" in content.replace(b"\r\n", b""):  # for Java the end of a line, for other readers none
        raise StabilizeError("a line of pom.properties ends with CR alone")
    lines = content.splitlines(keepends=True)
    if any(line.rstrip(b"\r\n").endswith(b"\\") for line in lines):
        raise StabilizeError("a line of pom.properties goes on in the next one")
    content = b"".join(line for line in lines if not line.startswith(b"#"))
    return replace(entry, packed=content, size=len(content), crc=zlib.crc32(content))
