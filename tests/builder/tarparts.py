"""Small tars for the builder's tests, and what a reader that is not ours sees of one."""

import gzip
import io
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

CHECKSUM = slice(148, 156)


@dataclass(frozen=True)
class Item:
    """One member."""

    name: str
    content: bytes = b""
    mode: int = 0o644
    time: float = 1_700_000_000
    owner: tuple[int, int, str, str] = (1000, 1000, "builder", "builder")
    type: bytes = tarfile.REGTYPE
    link: str = ""
    records: Mapping[str, str] = field(default_factory=dict)


PACKAGE = (
    Item("include", mode=0o755, type=tarfile.DIRTYPE),
    Item("include/a.h", b"#pragma once\n"),
    Item("bin/tool", b"\x7fELF" + bytes(range(256)) * 3, mode=0o755),
    Item("lib/liba.so", type=tarfile.SYMTYPE, link="liba.so.1", mode=0o777),
    Item("lib/" + "n" * 150, b"long name\n", records={"SCHILY.xattr.user.x": "1"}),
)


def tar_bytes(items: Sequence[Item], *, form: int = tarfile.PAX_FORMAT) -> bytes:
    """A tar as Python writes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form) as archive:
        for item in items:
            info = tarfile.TarInfo(item.name)
            info.type, info.mode, info.linkname = item.type, item.mode, item.link
            info.mtime = item.time  # a fraction becomes a PAX record
            info.uid, info.gid, info.uname, info.gname = item.owner
            info.pax_headers = dict(item.records)
            info.size = len(item.content)
            archive.addfile(info, io.BytesIO(item.content))
    return buffer.getvalue()


def gzip_bytes(content: bytes, *, time: int = 0, name: str = "", level: int = 9) -> bytes:
    """One gzip member as Python writes it."""
    buffer = io.BytesIO()
    with gzip.GzipFile(name, "wb", level, buffer, time) as stream:
        stream.write(content)
    return buffer.getvalue()


def later(items: Sequence[Item], seconds: float = 3600) -> tuple[Item, ...]:
    """The same members at other times."""
    return tuple(replace(item, time=item.time + seconds) for item in items)


def of(items: Sequence[Item], owner: tuple[int, int, str, str]) -> tuple[Item, ...]:
    """The same members of another owner."""
    return tuple(replace(item, owner=owner) for item in items)


def seen(data: bytes) -> object:
    """Everything but times and owners that Python's reader finds in a tar; None when it finds none."""
    owners_and_times = {"mtime", "atime", "ctime", "uid", "gid", "uname", "gname"}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            return [
                (
                    *(info.name, info.type, info.mode, info.linkname, info.size),
                    *(info.devmajor, info.devminor),
                    data[info.offset_data : info.offset_data + info.size] if info.isreg() else b"",
                    sorted(pair for pair in info.pax_headers.items() if pair[0] not in owners_and_times),
                )
                for info in archive
            ]
    except (tarfile.TarError, ValueError, EOFError, OSError, RecursionError, OverflowError, LookupError):
        return None


def with_checksums(data: bytes) -> bytes:
    """`data` with the checksum of each header block put right, so far as one can walk through it."""
    made, at = bytearray(data), 0
    while at + 512 <= len(made) and any(made[at : at + 512]):
        header = made[at : at + 512]
        header[CHECKSUM] = b" " * 8
        made[at + 148 : at + 156] = b"%06o\0 " % sum(header)
        try:
            size = int(bytes(header[124:136]).strip(b" \0") or b"0", 8)
        except ValueError:
            break
        at += 512 + -(-max(size, 0) // 512) * 512
    return bytes(made)


def block(name: bytes, kind: bytes, size: bytes = b"00000000000\0", more: bytes = b"") -> bytes:
    """A header block with its checksum, and what follows it, padded."""
    header = bytearray(512)
    header[: len(name)] = name
    header[100:124] = b"0000644\0" + b"0000000\0" * 2
    header[124:136], header[136:148] = size, b"00000000000\0"
    header[156:157], header[257:265] = kind, b"ustar\x0000"
    return with_checksums(bytes(header) + more + bytes(-len(more) % 512))


def pax(records: bytes, kind: bytes = b"x") -> bytes:
    """A PAX header of these records, whatever they are."""
    return block(b"PaxHeader", kind, b"%011o\0" % len(records), records)
