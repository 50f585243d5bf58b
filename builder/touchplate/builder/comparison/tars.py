"""How two tars, or two gzip files, differ: by their members, with causes as for zips. Pure.

Only asked when it is clear that they differ: nothing here decides what is equal.
"""

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass

from touchplate.builder.archives.tars import TAR_DAMAGE, UNBOUNDED, TarReader
from touchplate.builder.comparison.contents import Difference, compare_contents
from touchplate.builder.comparison.entries import match_entries
from touchplate.builder.comparison.modes import compare_modes, compare_owners
from touchplate.builder.errors import ArchiveError, StabilizeError
from touchplate.builder.stabilize.gzip import GzipMember, read_member
from touchplate.builder.stabilize.tarblocks import (
    CHECKSUM,
    GID,
    GLOBAL,
    MODE,
    PAX,
    SIZE,
    TIME,
    UID,
    read_entries,
)

MAX_MEMBERS = 200_000
"""Members that are compared one by one; the largest package known has 60,000."""

MAX_RECORDS = 1_000_000
"""PAX records of all members, those for the whole archive counted for each; real members have two."""

_MAGIC_AT = 257  # of `ustar`, POSIX and GNU alike
_TIMES = ("mtime", "atime", "ctime")
# PAX records that are shown by other fields of a member.
_SHOWN = frozenset((*_TIMES, "uid", "gid", "uname", "gname", "path", "linkpath", "size"))


_RECORDS = (GLOBAL, PAX)
_COMPARED = (MODE, UID, GID, SIZE, TIME, CHECKSUM, slice(265, 329))  # the last: names of user and group
_MOVED = {"missing-entries", "extra-entries", "entry-order"}  # then no header stands beside its own


@dataclass(frozen=True)
class _Member:
    name: str
    kind: str
    """Type as in the header, with the link target, or the number of a device."""
    mode: int
    owner: str
    time: str
    attributes: tuple[tuple[str, str], ...]
    content: slice
    is_folder: bool


def is_tar(data: bytes) -> bool:
    """Whether `data` begins like a tar of POSIX's or GNU's form."""
    return data[_MAGIC_AT : _MAGIC_AT + 5] == b"ustar"


def compare_gzips(name: str, published: bytes, rebuilt: bytes) -> Iterator[Difference]:
    """Differences between two gzip files. Raises ArchiveError when one is not read."""
    try:
        theirs, ours = read_member(published), read_member(rebuilt)
    except StabilizeError as error:
        raise ArchiveError(str(error)) from error
    if theirs.time != ours.time:
        yield Difference(name, "timestamps", f"gzip header {theirs.time} != {ours.time}")
    if _header(theirs) != _header(ours):
        yield Difference(name, "container", f"gzip header {_header(theirs)} != {_header(ours)}")
    if theirs.rest != ours.rest:
        yield Difference(name, "content", "other bytes behind the first gzip member")
    if theirs.content != ours.content:
        if is_tar(theirs.content) and is_tar(ours.content):
            yield from compare_tars(name, theirs.content, ours.content)
        else:
            yield from compare_contents(name, theirs.content, ours.content)
    elif _packed(published, theirs) != _packed(rebuilt, ours):
        yield Difference(name, "compression", "the same content, compressed in another way")


def compare_tars(name: str, published: bytes, rebuilt: bytes) -> Iterator[Difference]:
    """Differences between two tars, at least one when the bytes differ. Raises ArchiveError."""
    theirs, ours = _read(published), _read(rebuilt)
    matched = match_entries([one.name for one in theirs], [one.name for one in ours])
    found = list(matched.differences)
    for left, right in matched.pairs:
        found += _compare_members(theirs[left], ours[right])
        before, after = published[theirs[left].content], rebuilt[ours[right].content]
        if before != after:
            modes = theirs[left].mode | ours[right].mode
            found += compare_contents(theirs[left].name, before, after, modes)
    found += _compare_forms(name, published, rebuilt, {item.cause for item in found})
    yield from found or [Difference(name, "container", "the same members in another tar structure")]


def _compare_forms(name: str, published: bytes, rebuilt: bytes, causes: set[str]) -> Iterator[Difference]:
    """What other readers of tars may see, and tarfile does not: members behind the end, or behind a broken
    header, or names that a PAX record overrides would hide behind causes that are found elsewhere."""
    rests = []
    for data, which in ((published, "published"), (rebuilt, "rebuilt")):
        try:
            rests.append([_rest(entry.header) for entry in read_entries(data) if entry.type not in _RECORDS])
        except StabilizeError as error:
            detail = f"the {which} file is not the same for all readers of tars: {error}"
            yield Difference(name, "content", detail)
    if len(rests) == 2 and causes and not causes & {*_MOVED, "content"} and rests[0] != rests[1]:
        yield Difference(name, "container", "headers differ in what no reader that knows all of them shows")


def _rest(header: bytes) -> bytes:
    """A header without what is compared of it."""
    made = bytearray(header)
    for place in _COMPARED:
        made[place] = bytes(place.stop - place.start)
    return bytes(made)


def _compare_members(theirs: _Member, ours: _Member) -> Iterator[Difference]:
    if theirs.kind != ours.kind:
        yield Difference(theirs.name, "content", f"{theirs.kind} != {ours.kind}")
    is_folder = theirs.is_folder and ours.is_folder
    yield from compare_modes(theirs.name, theirs.mode, ours.mode, is_folder=is_folder)
    modes = 0 if is_folder else theirs.mode | ours.mode
    yield from compare_owners(theirs.name, theirs.owner, ours.owner, modes)
    if theirs.time != ours.time:
        yield Difference(theirs.name, "timestamps", f"{theirs.time} != {ours.time}")
    if theirs.attributes != ours.attributes:
        changed = sorted({key for key, _ in set(theirs.attributes) ^ set(ours.attributes)})
        yield Difference(theirs.name, "content", f"attributes {', '.join(changed)} differ")


def _read(data: bytes) -> list[_Member]:
    members: list[_Member] = []
    try:
        records = 0
        for info in TarReader(io.BytesIO(data), UNBOUNDED).members():
            records += len(info.pax_headers)
            if len(members) == MAX_MEMBERS:
                raise ArchiveError(f"a tar of more than {MAX_MEMBERS} members")
            if records > MAX_RECORDS:
                raise ArchiveError(f"a tar of more than {MAX_RECORDS} PAX records")
            members.append(_member(info))
    except TAR_DAMAGE as error:
        raise ArchiveError(f"not a readable tar: {error}") from error
    return members


def _member(info: tarfile.TarInfo) -> _Member:
    if info.issparse():
        raise ArchiveError(f"a sparse member {info.name[:80]!r}")
    records = info.pax_headers
    recorded = " ".join(f"{key} {records[key]}" for key in _TIMES if key in records)
    link = f" to {info.linkname}" if info.linkname else ""
    device = f" {info.devmajor}:{info.devminor}" if info.ischr() or info.isblk() else ""
    end = info.offset_data + info.size if info.isreg() else info.offset_data
    return _Member(
        name=info.name,
        kind=f"type {info.type.decode('latin-1')}{link}{device}",
        mode=info.mode,
        owner=f"{info.uid}/{info.gid} {info.uname}/{info.gname}",
        time=recorded or str(info.mtime),
        attributes=tuple(sorted(pair for pair in records.items() if pair[0] not in _SHOWN)),
        content=slice(info.offset_data, end),
        is_folder=info.isdir(),
    )


def _header(member: GzipMember) -> str:
    name = member.name.decode("latin-1")
    return f"flags {member.flags}, XFL {member.extra_flags}, OS {member.system}, name {name!r}"


def _packed(data: bytes, member: GzipMember) -> bytes:
    """The compressed stream of the first member."""
    return data[member.start : len(data) - len(member.rest)]
