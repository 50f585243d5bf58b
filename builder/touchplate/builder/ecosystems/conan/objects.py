"""The machine code inside the static libraries of a package archive: what its sources may not bring along.

A library is packed anew from its objects in any case, so sources that bring these give the published bytes
without anything being compiled.
"""

import contextlib
import gzip
import hashlib
import io
import tempfile
from collections.abc import Iterator
from pathlib import Path

from touchplate.builder.archives.ar import AR, find_ar_members
from touchplate.builder.archives.part import Part
from touchplate.builder.archives.tars import PIECE_BYTES, TAR_DAMAGE, TarReader
from touchplate.builder.ecosystems.conan.archive import MAX_UNPACKED_BYTES
from touchplate.builder.errors import ArchiveError, needing_disk

MAX_OBJECTS = 200_000
"""Of all libraries of one package: LLVM, the largest known, has 5,000."""

OBJECT = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"BC\xc0\xde", b"\xde\xc0\x17\x0b", b"\0asm")
"""How the objects begin that compilers for ELF and Mach-O write, and LLVM's bitcode."""

_IN_MEMORY = 8 * 1024 * 1024  # bytes; larger libraries wait on disk to be taken apart


def digest_objects(data: bytes) -> frozenset[str]:
    """sha256 of each object in the static libraries of a gzip-packed tar. Raises ArchiveError, HostLack."""
    found: set[str] = set()
    try:
        reader = TarReader(gzip.GzipFile(fileobj=io.BytesIO(data)), MAX_UNPACKED_BYTES)
        for member in reader.members():
            pieces = reader.pieces(member) if member.isreg() and not member.issparse() else iter(())
            first = next(pieces, b"")
            if first.startswith(AR):
                found.update(_digest_library(first, pieces))
            if len(found) > MAX_OBJECTS:
                raise ArchiveError(f"its static libraries have more than {MAX_OBJECTS} objects")
    except TAR_DAMAGE as error:
        raise ArchiveError(f"the archive cannot be read: {error}") from error
    return frozenset(found)


def _digest_library(first: bytes, rest: Iterator[bytes]) -> set[str]:
    found = set()
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as library:
        with needing_disk("cannot take a static library apart", Path(tempfile.gettempdir())):
            for piece in (first, *rest):
                library.write(piece)
        with contextlib.suppress(ValueError):  # damaged: what stands before that counts
            for _, content in find_ar_members(library):
                found.add(_digest_object(content))
                if len(found) > MAX_OBJECTS:
                    break
    return found - {""}


def _digest_object(content: Part) -> str:
    """Empty for what is no object."""
    sha256, piece = hashlib.sha256(), content.read(PIECE_BYTES)
    if not piece.startswith(OBJECT):
        return ""
    while piece:
        sha256.update(piece)
        piece = content.read(PIECE_BYTES)
    return sha256.hexdigest()
