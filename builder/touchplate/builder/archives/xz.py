"""xz and the older .lzma, unpacked in bounded memory.

A file says itself how much memory its unpacking takes, up to 4 GiB, and liblzma believes it unless it is
given a limit: half a megabyte of zeros would be enough to take it all.
"""

import io
import lzma
from typing import IO

from touchplate.builder.errors import TooMuchError
from touchplate.builder.plan import MIB

MAX_MEMORY = 256 * MIB
"""Of one decoder, in bytes: `xz -9`, the most that it offers without being told more, takes 65 MiB."""

ZIP_LZMA_BYTES = 9
"""Before the data of a zip member of method 14: version and properties (APPNOTE 5.8.8)."""

_CHUNK = 64 * 1024


class Lzma:
    """A decoder as `lzma.LZMADecompressor` is; `form`: FORMAT_XZ or FORMAT_ALONE."""

    def __init__(self, form: int = lzma.FORMAT_XZ) -> None:
        self._stream = lzma.LZMADecompressor(form, memlimit=MAX_MEMORY)

    @property
    def eof(self) -> bool:
        """Whether the stream is over."""
        return self._stream.eof

    @property
    def needs_input(self) -> bool:
        """Whether all that was given is used up."""
        return self._stream.needs_input

    @property
    def unused_data(self) -> bytes:
        """What was given and stands behind the end."""
        return self._stream.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """The next piece. Raises lzma.LZMAError for damage, TooMuchError beyond MAX_MEMORY."""
        try:
            return self._stream.decompress(data, max_length)
        except lzma.LZMAError as error:
            if "limit" in str(error):  # LZMA_MEMLIMIT_ERROR has no type of its own
                raise _too_much() from error
            raise


def check_zip_lzma(head: bytes) -> None:
    """Raise TooMuchError for a zip member of method 14 that begins with `head` and takes more than
    MAX_MEMORY: zipfile sets no limit."""
    if int.from_bytes(head[5:ZIP_LZMA_BYTES], "little") > MAX_MEMORY:  # size of the dictionary
        raise _too_much()


def _too_much() -> TooMuchError:
    return TooMuchError(f"it asks for more than {MAX_MEMORY} bytes of memory")


def open_xz(file: IO[bytes]) -> IO[bytes]:
    """The content of all xz streams in a file, as `lzma.open` gives it.

    Reading raises lzma.LZMAError or EOFError for damage, TooMuchError beyond MAX_MEMORY.
    """
    return io.BufferedReader(_XZ(file))


class _XZ(io.RawIOBase):
    def __init__(self, file: IO[bytes]) -> None:
        super().__init__()
        self._file = file
        self._stream = Lzma()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        while True:
            if self._stream.eof:
                raw = self._next_stream()
                if not raw:
                    return 0
                self._stream = Lzma()
            else:
                raw = self._file.read(_CHUNK) if self._stream.needs_input else b""
                if self._stream.needs_input and not raw:
                    raise EOFError("it is cut short")
            if data := self._stream.decompress(raw, len(buffer)):
                buffer[: len(data)] = data
                return len(data)

    def _next_stream(self) -> bytes:
        """What stands behind a stream and the zeros that may follow it (xz format 2.2); empty at the end."""
        raw = self._stream.unused_data.lstrip(b"\0")
        while not raw and (more := self._file.read(_CHUNK)):
            raw = more.lstrip(b"\0")
        return raw
