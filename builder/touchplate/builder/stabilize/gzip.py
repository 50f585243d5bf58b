"""`gzip-header@1`: one gzip member (RFC 1952) with a header that says nothing, and its content in the clear.

Neutralised: the header's time, original file name, operating system, extra flags (XFL) and text flag, and the
way in which the content was compressed, of which XFL speaks. The decompressed content stays, byte for byte,
and so does whatever follows the first member: a second member or trailing bytes that differ, differ.

What it could hide: up to 255 bytes of "original file name", a field that `gunzip -N` alone reads, and any
choice of a compressor (a stream made to crash one particular decompressor, for example). What RFC 1952 has
for free data (extra field, comment) is not neutralised: a member with one of them is refused.
"""

import struct
import zlib
from dataclasses import dataclass

from touchplate.builder.errors import StabilizeError
from touchplate.builder.plan import MIB

MAX_CONTENT_BYTES = 512 * MIB
"""Decompressed content, in bytes: held in memory, a few times. Published files are bounded by the same."""

MAX_NAME_BYTES = 255
"""Original file name, in bytes without the final NUL: what file systems take (NAME_MAX)."""

NEUTRAL_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""Deflate, no flags, no time, no extra flags, operating system unknown (RFC 1952, 2.3.1)."""

_MAGIC = b"\x1f\x8b\x08"
_FIXED = struct.Struct("<3sBIBB")  # ID1 ID2 CM, FLG, MTIME, XFL, OS
_TRAILER = struct.Struct("<II")  # CRC32, ISIZE
_TEXT, _HEADER_CRC, _NAME = 0x01, 0x02, 0x08  # FLG bits that are neutralised; all others refuse
_STORED_BYTES = 65535  # of one stored block (RFC 1951, 3.2.4)
_STEP = MIB


@dataclass(frozen=True)
class GzipMember:
    """The first member of a gzip file, decompressed, and the bytes after it."""

    time: int
    """Unix seconds as in the header, 0 for none."""
    name: bytes
    flags: int
    extra_flags: int
    system: int
    start: int
    """Where the compressed content begins."""
    content: bytes
    rest: bytes


def neutralise_header(data: bytes) -> bytes:
    """The stabilizer: neutral header, content in stored blocks, what follows as it is."""
    member = read_member(data)
    return wrap(member.content) + member.rest


def is_gzip(data: bytes) -> bool:
    """Whether `data` begins like a gzip file."""
    return data.startswith(_MAGIC)


def read_member(data: bytes) -> GzipMember:
    """The first member of `data`. Raises StabilizeError when it is damaged, too large or has free data."""
    if len(data) < _FIXED.size or not is_gzip(data):
        raise StabilizeError("not gzip")
    _, flags, time, extra_flags, system = _FIXED.unpack_from(data)
    if flags & ~(_TEXT | _HEADER_CRC | _NAME):
        raise StabilizeError(f"a gzip header with flags {flags:#04x}: extra field, comment or reserved bits")
    at, name = _FIXED.size, b""
    if flags & _NAME:
        end = data.find(b"\0", at, at + MAX_NAME_BYTES + 1)
        if end < 0:
            raise StabilizeError(f"a gzip header with a name of more than {MAX_NAME_BYTES} bytes")
        name, at = data[at:end], end + 1
    if flags & _HEADER_CRC:
        if data[at : at + 2] != struct.pack("<H", zlib.crc32(data[:at]) & 0xFFFF):
            raise StabilizeError("a gzip header with a wrong checksum")
        at += 2
    content, rest = _inflate(data, at)
    if rest[: _TRAILER.size] != _trailer(content):
        raise StabilizeError("a gzip member cut short, or with a wrong checksum or size")
    return GzipMember(time, name, flags, extra_flags, system, at, content, rest[_TRAILER.size :])


def wrap(content: bytes) -> bytes:
    """The one neutral gzip file that holds `content`: stored blocks as long as they can be."""
    parts: list[bytes | memoryview] = [NEUTRAL_HEADER]
    view = memoryview(content)
    last = max(0, len(content) - 1) // _STORED_BYTES * _STORED_BYTES
    for start in range(0, last + 1, _STORED_BYTES):
        block = view[start : start + _STORED_BYTES]
        parts.append(struct.pack("<BHH", start == last, len(block), len(block) ^ 0xFFFF))
        parts.append(block)
    return b"".join([*parts, _trailer(content)])


def unwrap(data: bytes) -> bytes:
    """The content of what `wrap` made. Raises StabilizeError for any other gzip file."""
    content = read_member(data).content if data.startswith(NEUTRAL_HEADER) else None
    if content is None or wrap(content) != data:
        raise StabilizeError("gzip that is not neutral; gzip-header@1 comes first")
    return content


def _inflate(data: bytes, start: int) -> tuple[bytes, bytes]:
    """(content, what follows the deflate stream that begins at `start`)."""
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    content = bytearray()
    view = memoryview(data)
    at = start
    try:
        while not stream.eof:
            packed: bytes | memoryview = stream.unconsumed_tail
            if not packed:
                packed = view[at : at + _STEP]
                at += len(packed)
                if not packed:
                    raise StabilizeError("a gzip member cut short")
            content += stream.decompress(packed, _STEP)
            if len(content) > MAX_CONTENT_BYTES:
                raise StabilizeError(f"a gzip member of more than {MAX_CONTENT_BYTES} bytes")
    except zlib.error as error:
        raise StabilizeError(f"a gzip member that does not decompress: {error}") from error
    return bytes(content), data[at - len(stream.unused_data) :]


def _trailer(content: bytes) -> bytes:
    return _TRAILER.pack(zlib.crc32(content), len(content) & 0xFFFFFFFF)
