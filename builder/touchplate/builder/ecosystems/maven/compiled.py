"""The compiled classes in a published jar: what its source may not hold.

The jar itself is packed anew in any case, so a source that brings its classes ready made gives the published
bytes without anything being compiled. Jars that are inputs are another matter: who shades them packs their
classes as they are.
"""

import hashlib
import io
import struct
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
_PACKAGE_INFO = "package-info.class"
"""Holds annotations and no code, so that jars of all ages have the same one; unless it has methods."""

MAX_INFO_BYTES = 64 * KIB
"""Of a package-info.class that is looked into; real ones have 500 bytes."""

_DESCRIPTOR = b"PK\x07\x08"  # behind a member whose size is unsaid before it (4.3.9)
_ENTRY = b"PK\x01\x02"  # in the central directory, once for each member (APPNOTE 4.3.12)
_CHUNK = 256 * KIB


def digest_classes(data: bytes) -> frozenset[str]:
    """sha256 of each class in a jar, as any reader may see it; nothing for what is no zip archive.

    Raises DefinitionError beyond the limits.
    """
    # Before zipfile makes an object of each; and those that no directory names.
    if max(map(data.count, (_ENTRY, MARK, _DESCRIPTOR))) > MAX_MEMBERS:
        raise DefinitionError(f"the published jar has more than {MAX_MEMBERS} members")
    digests, left = set(), MAX_CLASS_BYTES
    for content in _contents(io.BytesIO(data)):
        sha256, size, start = hashlib.sha256(), 0, b""
        is_info = content.member.name.rpartition("/")[2] == _PACKAGE_INFO
        for piece in _pieces(content):
            start += piece[: MAX_INFO_BYTES + 1 - len(start)] if is_info else b""
            size += len(piece)
            if size > left:
                raise DefinitionError(f"the published jar has more than {MAX_CLASS_BYTES} bytes of classes")
            sha256.update(piece)
        if size and not (is_info and has_no_methods(start)):
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
        yield from find_listed(file, one, [])
    # Not read to its end, so what the directory says has to do.
    spans = [(one.header_offset, one.header_offset + HEADER_BYTES + one.compress_size) for one in listed]
    for member in find_unlisted(file, spans):
        yield MemberContent(file, member)


def has_no_methods(data: bytes) -> bool:
    """Whether this is a class file without any method, and so without code. False for what cannot be read, or
    has more than MAX_INFO_BYTES."""
    try:
        return len(data) <= MAX_INFO_BYTES and _count_methods(data) == 0
    except (struct.error, KeyError):
        return False


_CONSTANT_BYTES = {
    **dict.fromkeys((3, 4, 9, 10, 11, 12, 17, 18), 4),
    **dict.fromkeys((5, 6), 8),
    **dict.fromkeys((7, 8, 16, 19, 20), 2),
    15: 3,
}
"""What follows the tag of a constant, in bytes (JVM specification 4.4)."""

_TEXT, _TAKES_TWO = 1, (5, 6)  # a constant of a length of its own; long and double are two constants


def _count_methods(data: bytes) -> int:
    """Of a class file (JVM specification 4.1). Raises struct.error or KeyError for one that is damaged."""
    at, number = 10, 1
    (constants,) = _U2.unpack_from(data, 8)
    while number < constants:
        (tag,) = struct.unpack_from("B", data, at)
        size = 2 + _U2.unpack_from(data, at + 1)[0] if tag == _TEXT else _CONSTANT_BYTES[tag]
        at += 1 + size
        number += 2 if tag in _TAKES_TWO else 1
    at += 6  # access flags, this class, super class
    at += 2 + 2 * _U2.unpack_from(data, at)[0]  # interfaces
    (fields,) = _U2.unpack_from(data, at)
    at += 2
    for _ in range(fields):
        (attributes,) = _U2.unpack_from(data, at + 6)
        at += 8
        for _ in range(attributes):
            at += 6 + _U4.unpack_from(data, at + 2)[0]
    methods: int = _U2.unpack_from(data, at)[0]
    return methods


_U2, _U4 = struct.Struct(">H"), struct.Struct(">I")


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
