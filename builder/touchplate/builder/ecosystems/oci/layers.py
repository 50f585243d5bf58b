"""Layers of an image: what they unpack to, and how two of them differ member by member.

Streams are read piece by piece; what is no tar or cannot be unpacked differs as a whole. Nothing is written.
"""

import gzip
import hashlib
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO

from touchplate.builder.archives.tars import TAR_DAMAGE, TarReader
from touchplate.builder.comparison.contents import Difference, compare_contents, printable
from touchplate.builder.comparison.entries import compare_order
from touchplate.builder.comparison.modes import compare_modes, compare_owners
from touchplate.builder.comparison.programs import START_BYTES
from touchplate.builder.ecosystems.oci.leftovers import STATUS, Content, compare_packages, named
from touchplate.builder.errors import ArchiveError, ImageError

MAX_UNPACKED_BYTES = 16 * 1024 * 1024 * 1024
"""Of one layer: above it a layer is not looked into. Ten times what the largest known ones have."""

MAX_IMAGE_BYTES = 4 * MAX_UNPACKED_BYTES
"""Of all layers of one image, or of all base images of a build: some minutes of unpacking."""

MAX_MEMBERS = 400_000
"""Members of one layer that are held side by side: a full distribution with its documentation has 100,000."""

MAX_CONTENT_BYTES = 1024 * 1024
"""Files up to this size are compared line by line; of larger ones the digests are."""

MAX_HELD_BYTES = 128 * 1024 * 1024
"""Of what is remembered of one layer's members: contents up to here, headers up to twice that."""

EMPTY_LAYER = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef"
"""sha256 of a tar with nothing in it (two zero blocks): what an instruction without files may leave."""

_CHUNK = 1024 * 1024
_OBJECT_BYTES = 200  # about what a member or a record costs beside its text
_GZIP = b"\x1f\x8b"
_GZIP_BITS = 16 + zlib.MAX_WBITS  # with header and checksum (zlib.h)
_ZSTD = b"\x28\xb5\x2f\xfd"

_CAPABILITIES = ".xattr.security.capability"
"""End of the PAX record that gives a program some of root's rights (capabilities(7))."""

_NOT_COMPARED: tuple[type[Exception], ...] = (ImageError, ArchiveError, *TAR_DAMAGE)

_FOLDER = "folder"
_KINDS = {
    tarfile.REGTYPE: "file", tarfile.AREGTYPE: "file", tarfile.LNKTYPE: "hard link", tarfile.SYMTYPE: "link",
    tarfile.DIRTYPE: _FOLDER, tarfile.CHRTYPE: "character device", tarfile.BLKTYPE: "block device",
    tarfile.FIFOTYPE: "pipe",
}  # fmt: skip


@dataclass(frozen=True)
class _Member:
    """One member's header, and its content: digest and first bytes always, all bytes when it is small."""

    kind: str
    """With the number of a device."""
    mode: int
    owner: tuple[int, int, str, str]
    time: float
    link: str
    size: int
    sha256: str
    start: bytes
    data: bytes | None
    extra: tuple[tuple[str, str], ...]

    @property
    def content(self) -> Content:
        """As far as it tells what the file is."""
        return Content(self.mode, self.start, self.data)


@dataclass(frozen=True)
class Unpacked:
    """What a layer unpacks to. `sha256`: its diff_id, in hex; `is_plain`: one gzip member, or a bare tar, so
    that nothing is packed in a way that only some readers follow; `size` in bytes."""

    sha256: str
    is_plain: bool
    size: int = 0
    is_gzip: bool = False


class Unpacker:
    """Unpacks the layers of one image, or of all that a build begins with: each blob once, and together not
    more than MAX_IMAGE_BYTES. A manifest of a few kilobytes can name one small blob 500 times."""

    def __init__(self) -> None:
        self._left = MAX_IMAGE_BYTES
        self._known: dict[str, Unpacked | ImageError] = {}

    def unpack(self, sha256: str, open_layer: Callable[[], BinaryIO]) -> Unpacked:
        """What the layer with this digest unpacks to. Raises ImageError as `unpack_layer`."""
        found = self._known.get(sha256)
        if found is None:
            found = self._known[sha256] = self._unpack(open_layer)
        if isinstance(found, ImageError):
            raise found
        return found

    def _unpack(self, open_layer: Callable[[], BinaryIO]) -> "Unpacked | ImageError":
        with open_layer() as stream:
            try:
                found = unpack_layer(stream, self._left)
            except ImageError as error:
                # Whatever is wrong with it, it may have cost as much as a layer can.
                self._left = max(0, self._left - MAX_UNPACKED_BYTES)
                return error
        self._left -= found.size
        return found


def unpack_layer(stream: BinaryIO, most: int = MAX_UNPACKED_BYTES) -> Unpacked:
    """Unpack a layer for its digest.

    Raises ImageError for damage, for bytes behind the end, for zstd, beyond `most` and MAX_UNPACKED_BYTES.
    """
    digest, size, members = hashlib.sha256(), 0, 0
    most = min(most, MAX_UNPACKED_BYTES)
    try:
        for member, piece in _pieces(stream):
            size, members = size + len(piece), member
            if size > most:
                raise ImageError(f"a layer unpacks to more than the {most} bytes that are left for it")
            digest.update(piece)
    except TAR_DAMAGE as error:
        raise ImageError(f"a layer cannot be unpacked: {error}") from error
    return Unpacked(digest.hexdigest(), members <= 1, size, is_gzip=members > 0)


def _pieces(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """(number of the gzip member, 0 for a bare tar; piece of its content)."""
    start = stream.read(len(_ZSTD))
    stream.seek(0)
    if not start.startswith(_GZIP):
        if start == _ZSTD:
            raise ImageError("it is packed by zstd, which is not read here")
        while piece := stream.read(_CHUNK):
            yield 0, piece
        return
    inflate, member = zlib.decompressobj(_GZIP_BITS), 1
    while raw := stream.read(_CHUNK):
        while raw:
            if inflate.eof:
                inflate, member = zlib.decompressobj(_GZIP_BITS), member + 1
            piece = inflate.decompress(raw, _CHUNK)
            yield member, piece
            while len(piece) == _CHUNK:  # more may be ready than was asked for, without any input left
                piece = inflate.decompress(inflate.unconsumed_tail, _CHUNK)
                yield member, piece
            raw = inflate.unused_data if inflate.eof else inflate.unconsumed_tail
    if not inflate.eof:
        raise ImageError("a layer is cut short")


def compare_layers(name: str, published: BinaryIO, rebuilt: BinaryIO) -> Iterator[Difference]:
    """Differences between two layers; `name` stands before the paths. At least one when the tars differ."""
    try:
        theirs, ours = _read(published), _read(rebuilt)
    except _NOT_COMPARED as error:
        yield Difference(name, "content", f"not compared member by member: {error}")
        return
    found = [*_compare(name, theirs.members, ours.members)]
    for layer, which in ((theirs, "published"), (ours, "rebuilt")):
        if not layer.is_whole:
            detail = f"the {which} layer goes on behind what all readers take for its end"
            found.append(Difference(name, "content", detail))
    yield from found or [Difference(name, "container", "the same members in another tar structure")]


def _plain(stream: BinaryIO) -> IO[bytes] | gzip.GzipFile:
    start = stream.read(len(_ZSTD))
    stream.seek(0)
    if start.startswith(_GZIP):
        return gzip.open(stream, "rb")
    if start == _ZSTD:
        raise ImageError("it is packed by zstd, which is not read here")
    return stream


@dataclass(frozen=True)
class _Layer:
    """Members by name. `is_whole`: whether nothing stands behind the last one, as far as it was read."""

    members: dict[str, _Member]
    is_whole: bool


def _read(stream: BinaryIO) -> _Layer:
    members: dict[str, _Member] = {}
    total = held = 0
    with _plain(stream) as plain:
        reader = TarReader(plain, MAX_UNPACKED_BYTES)
        for one in reader.members():
            total += one.size  # a sparse member's holes lie nowhere in the archive
            held += _header_bytes(one)
            if len(members) >= MAX_MEMBERS or total > MAX_UNPACKED_BYTES or held > 2 * MAX_HELD_BYTES:
                raise ImageError("a layer has more members or bytes than are compared")
            name = one.name if one.name not in members else f"{one.name} (again at {one.offset})"
            members[name] = _member(
                reader, one, keep=one.size <= min(MAX_CONTENT_BYTES, MAX_HELD_BYTES - held)
            )
            held += len(members[name].data or b"")
        return _Layer(members, reader.ends_in_zeros())


def _header_bytes(one: tarfile.TarInfo) -> int:
    records = sum(len(key) + len(value) + _OBJECT_BYTES for key, value in one.pax_headers.items())
    return _OBJECT_BYTES + len(one.name) + len(one.linkname) + records


def _member(reader: TarReader, one: tarfile.TarInfo, *, keep: bool) -> _Member:
    digest, kept, start = hashlib.sha256(), bytearray(), b""
    for piece in reader.pieces(one) if one.isreg() else ():
        digest.update(piece)
        start = start or piece[:START_BYTES]
        if keep:
            kept += piece
    extra = {
        key: value
        for key, value in one.pax_headers.items()
        if key not in ("path", "linkpath", "size", "mtime")
    }
    return _Member(
        kind=_kind(one),
        mode=one.mode,
        owner=(one.uid, one.gid, one.uname, one.gname),
        time=one.mtime,
        link=one.linkname,
        size=one.size,
        sha256=digest.hexdigest(),
        start=start,
        data=bytes(kept) if keep else None,
        extra=tuple(sorted(extra.items())),
    )


def _kind(one: tarfile.TarInfo) -> str:
    kind = _KINDS.get(one.type, f"special file of type {one.type.decode('latin-1')}")
    return f"{kind} {one.devmajor}:{one.devminor}" if one.ischr() or one.isblk() else kind


def _compare(name: str, theirs: dict[str, _Member], ours: dict[str, _Member]) -> Iterator[Difference]:
    for path in sorted(theirs.keys() - ours.keys()):
        yield Difference(f"{name}/{path}", "missing-entries", "is not in the rebuilt layer")
    for path in sorted(ours.keys() - theirs.keys()):
        yield Difference(f"{name}/{path}", "extra-entries", "is only in the rebuilt layer")
    common = theirs.keys() & ours.keys()
    orders = ([path for path in members if path in common] for members in (theirs, ours))
    yield from compare_order(name, "members", *orders, fold=str)
    for path in theirs:
        if path in common and theirs[path] != ours[path]:
            for found in _compare_members(f"{name}/{path}", theirs[path], ours[path]):
                yield named(path, found, theirs[path].content, ours[path].content)


def _compare_members(path: str, theirs: _Member, ours: _Member) -> Iterator[Difference]:
    if theirs.kind != ours.kind:
        yield Difference(path, "content", f"{theirs.kind} != {ours.kind}")
        return
    if theirs.time != ours.time:
        yield Difference(path, "timestamps", f"{theirs.time:g} != {ours.time:g} (Unix seconds)")
    is_folder = theirs.kind == _FOLDER
    modes = theirs.mode | ours.mode
    # Runtimes take numbers; whatever the names are, the rights are the same then.
    lent = 0 if is_folder or theirs.owner[:2] == ours.owner[:2] else modes
    yield from compare_owners(path, _owner(theirs), _owner(ours), lent)
    yield from compare_modes(path, theirs.mode, ours.mode, is_folder=is_folder)
    if theirs.link != ours.link:
        yield Difference(path, "links", f"{printable(theirs.link)} != {printable(ours.link)}")
    if theirs.extra != ours.extra:
        changed = {key for key, _ in set(theirs.extra) ^ set(ours.extra)}
        cause = "set-id" if any(key.endswith(_CAPABILITIES) for key in changed) else "attributes"
        yield Difference(path, cause, f"{dict(theirs.extra)} != {dict(ours.extra)}")
    if theirs.sha256 == ours.sha256 and theirs.size != ours.size:
        yield Difference(path, "content", f"{theirs.size} bytes are said to be behind it != {ours.size}")
    if theirs.sha256 != ours.sha256:
        if theirs.data is not None and ours.data is not None:
            packages = (
                [*compare_packages(path, theirs.data, ours.data)] if path.endswith(f"/{STATUS}") else []
            )
            yield from packages or compare_contents(path, theirs.data, ours.data, modes)
        else:
            yield Difference(
                path, "content", f"{theirs.size} bytes of {theirs.sha256} != {ours.size} of {ours.sha256}"
            )


def _owner(one: _Member) -> str:
    uid, gid, user, group = one.owner
    names = f" ({user}:{group})" if user or group else ""
    return f"{uid}:{gid}{names}"
