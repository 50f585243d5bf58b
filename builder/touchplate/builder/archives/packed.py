"""What a compressed file unpacks to, as far as it can be unpacked.

The readers of the standard library keep back what they have unpacked when a checksum is wrong, something
stands behind the end, or the end is missing. Most programs that unpack do not: they have given the content
out by then. gzip's checksums are not looked at here at all; those of bzip2 and xz are, since their libraries
do.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import IO, Protocol

from touchplate.builder.archives.xz import Lzma
from touchplate.builder.errors import TooMuchError

GZIP, BZIP2, XZ = b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00"

HEAD_BYTES = 14
"""Of a file, to know whether it is compressed: the header of the older .lzma, and the first byte after it."""

MAX_STREAMS = 100_000
"""Members or streams of one file: `bgzip` makes one of each 64 KiB, and an empty one has 20 bytes."""

_CHUNK = 64 * 1024
_PADDING = 4096  # zero bytes between streams, looked for in such pieces
_GZIP_FIXED, _GZIP_TRAILER = 10, 8  # RFC 1952, 2.3: bytes of the fixed header; checksum and size
_HEADER_CRC, _EXTRA, _NAME, _COMMENT = 0x02, 0x04, 0x08, 0x10
_LZMA_PROPERTIES, _LZMA_SIZE = 9 * 5 * 5, 1 << 38  # as liblzma takes a file for .lzma (alone_decoder.c)


class Unpacker(Protocol):
    """As the decompressor of bz2 is."""

    @property
    def eof(self) -> bool:
        """Whether the stream is over."""
        ...

    @property
    def needs_input(self) -> bool:
        """Whether all that was given is used up."""
        ...

    @property
    def unused_data(self) -> bytes:
        """What was given and stands behind the end."""
        ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """The next piece of at most `max_length` bytes."""
        ...


def open_packed(file: IO[bytes], head: bytes) -> "PackedContent | None":
    """The content of a seekable file that begins with `head`; None when that is not how a compressed file
    begins."""
    if head.startswith(GZIP):
        return PackedContent(file, GZIP, Inflate)
    if head.startswith(BZIP2):
        return PackedContent(file, BZIP2, bz2.BZ2Decompressor)
    if head.startswith(XZ):
        return PackedContent(file, XZ, Lzma)
    if _is_lzma(head):
        return PackedContent(file, b"", lambda: Lzma(lzma.FORMAT_ALONE))
    return None


class PackedContent:
    """Read in pieces: all members or streams of the file, one after the other, up to what is none; or no more
    than the first one (`only_first`), as Apache Commons Compress does unless it is told otherwise."""

    def __init__(
        self, file: IO[bytes], magic: bytes, make: Callable[[], Unpacker], *, only_first: bool = False
    ) -> None:
        self._file = file
        self._magic = magic
        self._make = make
        self._only_first = only_first
        self._at = 0  # of the next bytes to unpack
        self._streams = 0
        self._unpacker: Unpacker | None = self._begin()

    @property
    def has_several(self) -> bool:
        """Whether more than one member or stream was found so far."""
        return self._streams > 1

    def first(self) -> "PackedContent":
        """The first member or stream alone, from its beginning."""
        return PackedContent(self._file, self._magic, self._make, only_first=True)

    def read(self, size: int) -> bytes:
        """The next piece of at most `size` bytes; empty at the end. Raises zlib.error, lzma.LZMAError or
        OSError for damage, TooMuchError for more than MAX_STREAMS, or than `xz.MAX_MEMORY`."""
        while (unpacker := self._unpacker) is not None:
            if unpacker.eof:
                self._at -= len(unpacker.unused_data)
                self._unpacker = self._next()
                continue
            raw = self._raw(_CHUNK) if (is_hungry := unpacker.needs_input) else b""
            if data := unpacker.decompress(raw, size):
                return data
            if is_hungry and not raw and not unpacker.eof:
                return b""
        return b""

    def _next(self) -> Unpacker | None:
        if not self._magic or self._only_first:
            return None
        if self._magic == GZIP:
            self._at += _GZIP_TRAILER
        while (raw := self._raw(_PADDING)) and not raw.strip(b"\0"):
            pass
        self._at -= len(raw.lstrip(b"\0"))
        self._file.seek(self._at)
        return self._begin() if self._file.read(len(self._magic)) == self._magic else None

    def _begin(self) -> Unpacker:
        self._streams += 1
        if self._streams > MAX_STREAMS:
            raise TooMuchError(f"it is packed in more than {MAX_STREAMS} pieces")
        if self._magic == GZIP:
            self._skip_header()
        return self._make()

    def _skip_header(self) -> None:
        fixed = self._raw(_GZIP_FIXED)
        flags = fixed[3] if len(fixed) == _GZIP_FIXED else 0
        if flags & _EXTRA:
            self._at += int.from_bytes(self._raw(2), "little")
        for flag in (_NAME, _COMMENT):
            while flags & flag and (byte := self._raw(1)) and byte != b"\0":
                pass
        if flags & _HEADER_CRC:
            self._at += 2

    def _raw(self, size: int) -> bytes:
        self._file.seek(self._at)
        data = self._file.read(size)
        self._at += len(data)
        return data


class Inflate:
    """A deflate stream without header and checksum (RFC 1951), as an Unpacker."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(-zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        """Whether the stream is over."""
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        """Whether all that was given is used up."""
        return not self._stream.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        """What was given and stands behind the end."""
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """The next piece. Raises zlib.error."""
        return self._stream.decompress(self._stream.unconsumed_tail + data, max_length)


def _is_lzma(head: bytes) -> bool:
    """Whether this is the header of the older .lzma, as liblzma tells it from other files."""
    if len(head) < HEAD_BYTES or head[0] >= _LZMA_PROPERTIES or head[-1]:
        return False
    dictionary, size = int.from_bytes(head[1:5], "little"), int.from_bytes(head[5:13], "little")
    low = dictionary & -dictionary
    is_usual = dictionary in (low, 3 * low, 0xFFFFFFFF) and dictionary >= 1 << 12
    return is_usual and (size < _LZMA_SIZE or size == (1 << 64) - 1)
