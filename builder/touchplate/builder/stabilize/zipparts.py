"""A zip archive taken to pieces and put together again, byte for byte the same (APPNOTE 6.3.10).

Only the plain form is taken, in which every reader sees the same members: local entries one behind the other
from the first byte on, in the order of the central directory and saying what it says, then the directory,
then the end with its comment, then nothing. What people use to show one reader this and another one that
(gaps, a prefix, two names for one entry, sizes that disagree, a second directory) is refused, and so are
encryption, several disks and Zip64.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from touchplate.builder.errors import StabilizeError
from touchplate.builder.plan import MIB

MAX_ENTRIES = 65_534
"""Entries of an archive that is not Zip64 (two bytes, the last value says Zip64)."""

MAX_CONTENT_BYTES = 512 * MIB
"""All members unpacked, in bytes: held in memory. Published files are bounded by the same."""

STORED, DEFLATED = 0, 8
ENCRYPTED, HAS_DESCRIPTOR, STRONG, MASKED = 0x0001, 0x0008, 0x0040, 0x2000  # general purpose flags, 4.4.4
UTF8 = 0x0800  # flag 11

MAX_NEEDED = 45
"""Version that an entry may say it needs, 4.4.3: that of Zip64, which careful packers write. Of a later one
some readers take no notice, and others leave the entry out."""

_LOCAL = struct.Struct("<4s5H3I2H")  # signature, needed, flags, method, time, date, CRC, sizes, lengths
_CENTRAL = struct.Struct("<4s6H3I5H2I")
_END = struct.Struct("<4s4H2IH")
_LOCAL_MARK, _CENTRAL_MARK, _END_MARK = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_DESCRIPTOR_MARK = b"PK\x07\x08"
_ZIP64_LOCATOR = struct.Struct("<4sIQI")
_ZIP64_MARK = b"PK\x06\x07"
_SIZES = struct.Struct("<3I")  # CRC, compressed, uncompressed
_MAX_COMMENT = 0xFFFF


@dataclass(frozen=True)
class ZipEntry:
    """One member: what its two headers say, and its data as packed."""

    name: bytes
    made_by: int
    """System in the high byte, version in the low one."""
    needed: tuple[int, int]
    """Version that is needed, as the local and as the central header say."""
    flags: int
    method: int
    time: int
    date: int
    crc: int
    packed: bytes
    size: int
    """Unpacked, in bytes."""
    local_extra: bytes
    central_extra: bytes
    internal: int
    external: int
    comment: bytes
    zeroed: bool = False
    """With a descriptor: whether the local header leaves CRC and sizes at zero."""
    descriptor: bytes = b""
    """What follows the data, as it stands there."""

    def content(self) -> bytes:
        """Unpacked, with its CRC checked. Raises StabilizeError."""
        if self.method == STORED:
            data = self.packed
        elif self.method == DEFLATED:
            stream = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                data = stream.decompress(self.packed, self.size + 1)
            except zlib.error as error:
                raise StabilizeError(f"{self.name[:80]!r} does not decompress: {error}") from error
            if not stream.eof or stream.unused_data or stream.unconsumed_tail:
                raise StabilizeError(f"{self.name[:80]!r} does not end where its data end")
        else:
            raise StabilizeError(f"{self.name[:80]!r} is packed by method {self.method}")
        if len(data) != self.size or zlib.crc32(data) != self.crc:
            raise StabilizeError(f"{self.name[:80]!r} has another size or CRC than it says")
        return data


@dataclass(frozen=True)
class ZipArchive:
    """All members, in order, and the comment of the archive."""

    entries: tuple[ZipEntry, ...]
    comment: bytes


def read_zip(data: bytes) -> ZipArchive:
    """`data` in pieces: `write_zip` of them is `data`. Raises StabilizeError for all but the plain form."""
    at = data.rfind(_END_MARK, max(0, len(data) - _END.size - _MAX_COMMENT))
    if at < 0 or len(data) - at < _END.size:
        raise StabilizeError("not a zip archive, or something stands behind its end")
    _, disk, first, here, count, size, start, length = _END.unpack_from(data, at)
    if disk or first or here != count or count > MAX_ENTRIES or 0xFFFFFFFF in (size, start):
        raise StabilizeError("a zip archive on several disks, or Zip64")
    if at + _END.size + length != len(data) or start + size != at:
        raise StabilizeError("a zip archive with something before, behind or between its parts")
    if data[max(0, at - _ZIP64_LOCATOR.size) : at].startswith(_ZIP64_MARK):  # in a comment, say
        raise StabilizeError("a zip archive with the end of Zip64 before its own")
    headers = list(_read_directory(data[start:at], count))
    if sum(header.size for header, _ in headers) > MAX_CONTENT_BYTES:
        raise StabilizeError(f"a zip archive of more than {MAX_CONTENT_BYTES} bytes")
    entries, position = [], 0
    for number, (header, offset) in enumerate(headers):
        end = headers[number + 1][1] if number + 1 < count else start
        if offset != position or not offset < end <= start:
            raise StabilizeError("a zip archive whose members do not stand one behind the other")
        entries.append(_read_local(data[offset:end], header))
        position = end
    if position != start:
        raise StabilizeError("a zip archive with something before its directory")
    archive = ZipArchive(tuple(entries), data[at + _END.size :])
    if write_zip(archive) != data:
        raise StabilizeError("a zip archive that says one thing in two ways")
    return archive


def write_zip(archive: ZipArchive) -> bytes:
    """The bytes of the plain form."""
    body, directory = bytearray(), bytearray()
    for entry in archive.entries:
        offset = len(body)
        sizes = (entry.crc, len(entry.packed), entry.size)
        local = (0, 0, 0) if entry.zeroed else sizes
        common = (entry.flags, entry.method, entry.time, entry.date)
        body += _LOCAL.pack(
            _LOCAL_MARK, entry.needed[0], *common, *local, len(entry.name), len(entry.local_extra)
        )
        body += entry.name + entry.local_extra + entry.packed + entry.descriptor
        lengths = (len(entry.name), len(entry.central_extra), len(entry.comment))
        directory += _CENTRAL.pack(
            _CENTRAL_MARK, entry.made_by, entry.needed[1], *common, *sizes, *lengths,
            0, entry.internal, entry.external, offset,
        )  # fmt: skip
        directory += entry.name + entry.central_extra + entry.comment
    count = len(archive.entries)
    end = _END.pack(_END_MARK, 0, 0, count, count, len(directory), len(body), len(archive.comment))
    return bytes(body + directory + end + archive.comment)


@dataclass(frozen=True)
class _Header:
    """What the central directory says of one member; `packed`: bytes."""

    fields: Sequence[int]
    name: bytes
    extra: bytes
    comment: bytes
    crc: int
    packed: int
    size: int


def _read_directory(data: bytes, count: int) -> Iterator[tuple[_Header, int]]:
    """(header, offset of the local entry) of each member."""
    at = 0
    for _ in range(count):
        if data[at : at + 4] != _CENTRAL_MARK or len(data) < at + _CENTRAL.size:
            raise StabilizeError("a zip archive with a damaged directory")
        _, *fields = _CENTRAL.unpack_from(data, at)
        crc, packed, size, name, extra, comment, disk, _, _, offset = fields[6:]
        if disk or 0xFFFFFFFF in (packed, size, offset):
            raise StabilizeError("a zip archive on several disks, or Zip64")
        marks = [at + _CENTRAL.size]
        for length in (name, extra, comment):
            marks.append(marks[-1] + length)
        parts = [data[marks[part] : marks[part + 1]] for part in range(3)]
        at = marks[3]
        yield _Header(fields, parts[0], parts[1], parts[2], crc, packed, size), offset
    if at != len(data):
        raise StabilizeError("a zip archive with something behind its directory")


def _read_local(data: bytes, header: _Header) -> ZipEntry:
    """The member whose local entry is `data`, from its header to the next one's."""
    shown = repr(header.name[:80])
    if data[:4] != _LOCAL_MARK or len(data) < _LOCAL.size:
        raise StabilizeError(f"no local header for {shown}")
    _, needed, flags, method, time, date, crc, packed, size, name_length, extra_length = _LOCAL.unpack_from(
        data
    )
    start = _LOCAL.size + name_length + extra_length
    if flags & (ENCRYPTED | STRONG | MASKED):
        raise StabilizeError(f"{shown} is encrypted")
    if (flags, method, time, date) != tuple(header.fields[2:6]) or data[_LOCAL.size :][
        :name_length
    ] != header.name:
        raise StabilizeError(f"{shown} is another one in its local header")
    if max(needed, header.fields[1]) > MAX_NEEDED:
        raise StabilizeError(f"{shown} needs a version of the format later than {MAX_NEEDED}")
    zeroed = bool(flags & HAS_DESCRIPTOR) and (crc, packed, size) == (0, 0, 0)
    if zeroed and method == STORED and header.size:
        # Who reads a stream must guess where it ends, from what looks like a descriptor in it.
        raise StabilizeError(f"{shown} is stored, and says only behind itself how long it is")
    if not zeroed and (crc, packed, size) != (header.crc, header.packed, header.size):
        raise StabilizeError(f"{shown} has other sizes in its local header")
    end = start + header.packed
    descriptor = data[end:]
    sizes = _SIZES.pack(header.crc, header.packed, header.size)
    expected = (_DESCRIPTOR_MARK + sizes, sizes) if flags & HAS_DESCRIPTOR else (b"",)
    if descriptor == sizes and sizes.startswith(_DESCRIPTOR_MARK):
        raise StabilizeError(f"{shown} has a CRC that is the mark of a descriptor")
    if end > len(data) or descriptor not in expected:
        raise StabilizeError(f"{shown} is followed by something that is not its data")
    return ZipEntry(
        name=header.name,
        made_by=header.fields[0],
        needed=(needed, header.fields[1]),
        flags=flags,
        method=method,
        time=time,
        date=date,
        crc=header.crc,
        packed=data[start:end],
        size=header.size,
        local_extra=data[start - extra_length : start],
        central_extra=header.extra,
        internal=header.fields[13],
        external=header.fields[14],
        comment=header.comment,
        zeroed=zeroed,
        descriptor=descriptor,
    )
