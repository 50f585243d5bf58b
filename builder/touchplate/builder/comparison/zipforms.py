"""What two zips differ in beside the names, times, modes and contents of their members. Pure.

The causes that are named elsewhere come from one way of reading a zip: by its directory at the end. What else
an archive holds, or shows to other readers, would hide behind them: a program before a jar, another archive
around it, members that no directory names, second names in extra fields, comments.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from touchplate.builder.comparison.contents import Difference
from touchplate.builder.errors import StabilizeError
from touchplate.builder.stabilize.zip import DOS_FOLDER, DOS_LABEL, split_fields, without_times
from touchplate.builder.stabilize.zipparts import DEFLATED, STORED, ZipArchive, ZipEntry, read_zip

_PLAIN_FIELDS = frozenset({0x0001, 0x000A, 0x5455, 0x5855, 0x7855, 0x7875, 0xA11E, 0xCAFE})
"""Extra fields that packers write by themselves: sizes, times, numbers of owners, alignment, and Java's mark
of a jar (APPNOTE 4.5.2; Info-ZIP's extrafld.txt; java.util.jar.JarOutputStream; Apache Commons Compress)."""


def compare_forms(name: str, published: bytes, rebuilt: bytes) -> Iterator[Difference]:
    """Differences in the form of two zips called `name`; none when both have the plain form, and say the same
    of each member beside what a stabilizer takes out."""
    archives = []
    for data, which in ((published, "published"), (rebuilt, "rebuilt")):
        try:
            archives.append(read_zip(data))
        except StabilizeError as error:
            detail = f"the {which} file is not the same for all readers of zips: {error}"
            yield Difference(name, "content", detail)
    if len(archives) == 2:  # both
        yield from _compare(name, *archives)


def _compare(name: str, theirs: ZipArchive, ours: ZipArchive) -> Iterator[Difference]:
    if theirs.comment != ours.comment:
        yield Difference(name, "content", "the comments of both archives differ")
    others = dict(_numbered(ours.entries))
    for key, entry in _numbered(theirs.entries):
        if (other := others.get(key)) is not None:
            yield from _compare_entries(entry.name.decode("utf-8", "backslashreplace"), entry, other)


def _numbered(entries: Sequence[ZipEntry]) -> Iterator[tuple[tuple[bytes, int], ZipEntry]]:
    """Each with its name, and how many of that name came before."""
    seen: Counter[bytes] = Counter()
    for entry in entries:
        yield (entry.name, seen[entry.name]), entry
        seen[entry.name] += 1


def _compare_entries(path: str, theirs: ZipEntry, ours: ZipEntry) -> Iterator[Difference]:
    if theirs.comment != ours.comment:
        yield Difference(path, "content", "comments differ")
    if _attributes(theirs) != _attributes(ours):
        cause = "content" if (theirs.external ^ ours.external) & DOS_LABEL else "container"
        yield Difference(path, cause, "attributes of MS-DOS, or of a text, differ")
    if theirs.packed != ours.packed:
        yield from _compare_packing(path, theirs, ours)
    if _extra(theirs) == _extra(ours):
        return
    try:
        kinds = {kind for kind, _ in set(_fields(theirs)) ^ set(_fields(ours))}
        only_times = [*map(without_times, _extra(theirs))] == [*map(without_times, _extra(ours))]
    except StabilizeError as error:
        yield Difference(path, "content", f"extra fields differ: {error}")
        return
    cause = "timestamps" if only_times else "container" if kinds <= _PLAIN_FIELDS else "content"
    shown = ", ".join(f"{kind:#06x}" for kind in sorted(kinds))
    yield Difference(path, cause, f"extra fields {shown or 'in another order'} differ")


def _compare_packing(path: str, theirs: ZipEntry, ours: ZipEntry) -> Iterator[Difference]:
    """Bytes behind a deflated stream, which some readers take for what comes next."""
    for entry, which in ((theirs, "published"), (ours, "rebuilt")):
        try:
            if entry.method in (STORED, DEFLATED):
                entry.content()
        except StabilizeError as error:
            yield Difference(path, "content", f"in the {which} file, {error}")


def _attributes(entry: ZipEntry) -> tuple[int, int]:
    """All that a member says of itself beside its mode, times and packing."""
    ignored = DOS_FOLDER if entry.name.endswith(b"/") else 0
    return entry.external & 0xFFFF & ~ignored, entry.internal


def _extra(entry: ZipEntry) -> tuple[bytes, bytes]:
    return entry.local_extra, entry.central_extra


def _fields(entry: ZipEntry) -> Iterator[tuple[int, bytes]]:
    for extra in _extra(entry):
        yield from split_fields(extra)
