"""The compiled classes in a published jar: what its source may not hold.

The jar itself is packed anew in any case, so a source that brings its classes ready made gives the published
bytes without anything being compiled. Jars that are inputs are another matter: who shades them packs their
classes as they are.
"""

import hashlib
import io
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from touchplate.builder.archives.zips import ZIP_ERRORS
from touchplate.builder.archives.zipviews import HEADER_BYTES, MARK, MemberContent, find_listed, find_unlisted
from touchplate.builder.errors import DefinitionError
from touchplate.builder.plan import GIB, KIB

MAX_CLASS_BYTES = 4 * GIB
"""Unpacked classes of one jar, in bytes: a thousand times what large ones have."""

MAX_MEMBERS = 200_000
"""Members of one jar; the largest known has 60,000."""

_CLASS = b"\xca\xfe\xba\xbe"  # JVM specification 4.1
_EMPTY = "package-info.class"
"""Holds annotations and no code, so that jars of all ages have the same one."""

_ENTRY = b"PK\x01\x02"  # in the central directory, once for each member (APPNOTE 4.3.12)
_CHUNK = 256 * KIB


def digest_classes(data: bytes) -> frozenset[str]:
    """sha256 of each class in a jar, as any reader may see it; nothing for what is no zip archive.

    Raises DefinitionError beyond the limits.
    """
    # Before zipfile makes an object of each; and those that no directory names.
    if max(data.count(_ENTRY), data.count(MARK)) > MAX_MEMBERS:
        raise DefinitionError(f"the published jar has more than {MAX_MEMBERS} members")
    digests, left = set(), MAX_CLASS_BYTES
    for content in _contents(io.BytesIO(data)):
        sha256, size = hashlib.sha256(), 0
        for piece in _pieces(content):
            size += len(piece)
            if size > left:
                raise DefinitionError(f"the published jar has more than {MAX_CLASS_BYTES} bytes of classes")
            sha256.update(piece)
        if size:
            digests.add(sha256.hexdigest())
            left -= size
    return frozenset(digests)


def _contents(file: IO[bytes]) -> Iterator[MemberContent]:
    try:
        with zipfile.ZipFile(file) as archive:
            listed = archive.filelist
    except ZIP_ERRORS:
        listed = []
    for one in listed:
        if not one.filename.endswith(_EMPTY):
            yield from find_listed(file, one, [])
    # Not read to its end, so what the directory says has to do.
    spans = [(one.header_offset, one.header_offset + HEADER_BYTES + one.compress_size) for one in listed]
    for member in find_unlisted(file, spans):
        yield MemberContent(file, member)


def _pieces(content: MemberContent) -> Iterator[bytes]:
    """The bytes of a class; nothing of another file. What is damaged ends there."""
    try:
        piece = content.read(_CHUNK)
        while piece and len(piece) < len(_CLASS) and (more := content.read(_CHUNK)):
            piece += more
        if not piece.startswith(_CLASS):
            return
        while piece:
            yield piece
            piece = content.read(_CHUNK)
    except zlib.error:
        return
