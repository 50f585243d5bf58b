"""The members of an ar archive (ar(5)): a static library, or the outer form of a Debian package (deb(5))."""

from collections.abc import Iterator
from typing import IO

from touchplate.builder.archives.part import Part

AR = b"!<arch>\n"
"""How one begins."""

_HEADER_BYTES, _SIZE = 60, slice(48, 58)
_LONG_NAME = "#1/"  # and its length


def find_ar_members(file: IO[bytes]) -> Iterator[tuple[str, Part]]:
    """Name and content of each member of a seekable file, up to its end. Raises ValueError for damage.

    The caller may move the file's position meanwhile.
    """
    at = len(AR)
    while True:
        file.seek(at)
        header = file.read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES:
            return
        size = int(header[_SIZE])
        name = header[:16].decode("latin-1").strip()
        # BSD's form of a long name stands before the content, and counts as such.
        before = int(name.removeprefix(_LONG_NAME)) if name.startswith(_LONG_NAME) else 0
        yield name, Part(file, at + _HEADER_BYTES + before, size - before)
        at += _HEADER_BYTES + size + size % 2
