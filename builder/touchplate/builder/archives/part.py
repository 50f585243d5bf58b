"""A part of a file, read as if it were one."""

from typing import IO


class Part:
    """Some bytes of a seekable file, read one piece after the other."""

    def __init__(self, file: IO[bytes], start: int, size: int) -> None:
        self._file = file
        self._at, self._end = start, start + max(0, size)

    def read(self, size: int) -> bytes:
        """The next bytes, as many as asked for until the end."""
        self._file.seek(self._at)
        data = self._file.read(max(0, min(size, self._end - self._at)))
        self._at += len(data)
        return data
