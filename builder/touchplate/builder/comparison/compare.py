"""Published bytes against rebuilt bytes: identical, equivalent, or different with causes that can be named.

Pure: bytes in, a verdict out. `equivalent` says that both are the same bytes after a short, ordered list of
stabilizers (`stabilize/`), of those that the ecosystem allows. A cause is a help for people who look for the
reason; it never makes a difference smaller, and what no rule recognises is named `content` or `class-code`.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from touchplate.builder.archives.zips import Member, SafeZip
from touchplate.builder.comparison.contents import (
    MAX_DETAILED_BYTES,
    Difference,
    compare_contents,
    compare_pieces,
    printable,
)
from touchplate.builder.comparison.entries import match_entries
from touchplate.builder.comparison.modes import compare_modes, name_umask
from touchplate.builder.comparison.tars import compare_gzips, compare_tars, is_tar
from touchplate.builder.comparison.zipforms import compare_forms
from touchplate.builder.errors import ArchiveError
from touchplate.builder.stabilize.gzip import is_gzip
from touchplate.builder.stabilize.registry import Stabilized, find_shortest
from touchplate.verify.jcs import JSONValue, format_json

MAX_SUMMARY_LINES = 16
"""Lines that go into the signed statement: payloads carry digests, never long lists."""

MAX_SUMMARY_CHARACTERS = 200
"""Of one such line."""

MAX_REPORTED = 5000
"""Differences written out in the report (evidence); more are counted."""

_CAUSE_ORDER = (
    "jdk-major",
    "jdk-patch",
    "package-versions",
    "line-ends",
    "locale",
    "timestamps",
    "machine-id",
    "random",
    "logs",
    "caches",
    "archive-indexes",
    "backups",
    "missing-entries",
    "extra-entries",
    "manifest-order",
    "manifest",
    "class-code",
    "content",
    "set-id",
    "umask",
    "modes",
    "owners",
    "links",
    "attributes",
    "config",
    "history",
    "annotations",
    "media-types",
    "compression",
    "entry-order",
    "container",
)
"""Most telling first: in this order causes and summary lines are given."""

_GUILTY = ("class-code", "content", "set-id")
"""Causes that nothing innocent explains."""

_Item = TypeVar("_Item")

_PLURALS = {
    "class-code": "class files differ",
    "content": "files differ",
    "umask": "entry modes differ as by another umask",
    "modes": "entry modes differ",
    "owners": "entry owners differ",
    "set-id": "entries have other set-id modes",
}
_ARCHIVE_NAMES = (".jar", ".zip", ".war", ".tar", ".tgz", ".gz")
_GROUPED_FROM = 4  # differences of one cause that are summed up in one line instead of named each


@dataclass(frozen=True)
class Comparison:
    """The verdict over one published file. Empty causes and summary when identical."""

    result: Literal["identical", "equivalent", "different"]
    stabilizers: tuple[str, ...] = ()
    """When equivalent: what makes both files equal, in order of application."""
    stabilized: str = ""
    """When equivalent: sha256 that both files then have."""
    causes: tuple[str, ...] = ()
    summary: tuple[str, ...] = ()
    count: int = 0
    report: bytes = b""
    """When different: the difference report, RFC 8785 JSON: evidence, stored by digest."""
    detailed: bytes = b""
    """When different and asked for: diffoscope's text (`detailed.py`), which the report names; evidence."""
    matched: tuple[str, ...] = ()
    """Which parts of the two are the same, where a format has such parts (images)."""


def compare(published: bytes, rebuilt: bytes, name: str, allowed: Sequence[str] = ()) -> Comparison:
    """Compare the two forms of the file `name`; `allowed` names the stabilizers that may be tried.

    Never raises for what they hold.
    """
    if published == rebuilt:
        return Comparison(result="identical")
    differences = _find_differences(published, rebuilt, name)
    return conclude(name, (published, rebuilt), differences, find_shortest(published, rebuilt, allowed))


def conclude(
    name: str, files: tuple[bytes, bytes], differences: Iterable[Difference], equal: Stabilized | None
) -> Comparison:
    """The verdict over `files` (published, rebuilt) that differ, by at least one difference: `different`,
    unless stabilizers make them `equal`."""
    ordered = sorted(
        name_umask(list(differences)), key=lambda item: (_CAUSE_ORDER.index(item.cause), item.path)
    )
    found = Comparison(
        result="different",
        causes=tuple(dict.fromkeys(item.cause for item in ordered)),
        summary=tuple(_summary(ordered)),
        count=len(ordered),
    )
    if equal is None:
        return replace(found, report=_report(name, files, ordered))
    return replace(found, result="equivalent", stabilizers=equal.stabilizers, stabilized=equal.sha256)


def _find_differences(published: bytes, rebuilt: bytes, name: str) -> list[Difference]:
    """At least one."""
    try:
        differences = list(_compare_archives(published, rebuilt, name))
    except ArchiveError as error:
        # Not archives, or archives that are not to be unpacked: the bytes differ, and that is all we say.
        whole = compare_contents(name, published, rebuilt)
        note = Difference(name, "content", f"not compared as an archive: {error}")
        differences = [*whole, note] if name.endswith(_ARCHIVE_NAMES) else list(whole)
    if not differences:
        differences = [Difference(name, "container", "same entries in another archive structure")]
    return differences


def _compare_archives(published: bytes, rebuilt: bytes, name: str) -> Iterable[Difference]:
    if is_gzip(published) and is_gzip(rebuilt):
        return compare_gzips(name, published, rebuilt)
    if is_tar(published) and is_tar(rebuilt):
        return compare_tars(name, published, rebuilt)
    return [
        *_compare_zips(SafeZip(published), SafeZip(rebuilt)),
        *compare_forms(name, published, rebuilt),
    ]


def _compare_zips(published: SafeZip, rebuilt: SafeZip) -> Iterable[Difference]:
    names = ([member.name for member in archive.members] for archive in (published, rebuilt))
    matched = match_entries(*names)
    yield from matched.differences
    for left, right in matched.pairs:
        yield from _compare_members(published, left, rebuilt, right)


def _compare_members(published: SafeZip, left: int, rebuilt: SafeZip, right: int) -> Iterable[Difference]:
    theirs, ours = published.members[left], rebuilt.members[right]
    yield from _compare_metadata(theirs, ours)
    if max(theirs.size, ours.size) > MAX_DETAILED_BYTES:  # never held: each may have gigabytes
        yield from compare_pieces(theirs.name, published.chunks(left), rebuilt.chunks(right))
        return
    before, after = published.read(left), rebuilt.read(right)
    if before != after:
        yield from compare_contents(theirs.name, before, after, theirs.mode | ours.mode)


def _compare_metadata(theirs: Member, ours: Member) -> Iterable[Difference]:
    if theirs.time != ours.time:
        yield Difference(theirs.name, "timestamps", f"{_time(theirs.time)} != {_time(ours.time)}")
    yield from compare_modes(theirs.name, theirs.mode, ours.mode, is_folder=theirs.is_folder)
    if theirs.method != ours.method:
        yield Difference(theirs.name, "compression", f"method {theirs.method} != {ours.method}")


def _time(time: Sequence[int]) -> str:
    return "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}".format(*time)


def _summary(differences: Sequence[Difference]) -> Iterable[str]:
    groups = []
    for cause, of_cause in _by_cause(differences).items():
        if len(of_cause) >= _GROUPED_FROM:
            what = _PLURALS.get(cause, f"entries differ by {cause}")
            groups.append((cause, [f"{len(of_cause)} {what}, first {of_cause[0]}"]))
        else:
            groups.append((cause, [str(item) for item in of_cause]))
    return [_cut(line) for line in _choose(groups, MAX_SUMMARY_LINES)]


def _by_cause(differences: Sequence[Difference]) -> dict[str, list[Difference]]:
    found: dict[str, list[Difference]] = {}
    for item in differences:
        found.setdefault(item.cause, []).append(item)
    return found


def _choose(groups: Sequence[tuple[str, Sequence[_Item]]], most: int) -> list[_Item]:
    """Up to `most` items of all causes, in their order: of each cause as many as of the others, and first of
    those that deserve a look, so that many differences of one kind do not hide one of another."""
    taken = dict.fromkeys((cause for cause, _ in sorted(groups, key=lambda one: one[0] not in _GUILTY)), 0)
    sizes = {cause: len(items) for cause, items in groups}
    left = min(most, sum(sizes.values()))
    while left:
        for cause in taken:
            if left and taken[cause] < sizes[cause]:
                taken[cause] += 1
                left -= 1
    return [item for cause, items in groups for item in items[: taken[cause]]]


def _cut(line: str) -> str:
    line = printable(line)
    return line if len(line) <= MAX_SUMMARY_CHARACTERS else line[: MAX_SUMMARY_CHARACTERS - 1] + "…"


def _report(name: str, files: tuple[bytes, bytes], differences: Sequence[Difference]) -> bytes:
    published, rebuilt = files
    value: dict[str, JSONValue] = {
        "version": 1,
        "artifact": name,
        "published": _described(published),
        "rebuilt": _described(rebuilt),
        "count": len(differences),
        "differences": [
            {"path": printable(item.path), "cause": item.cause, "detail": printable(item.detail)}
            for item in _choose([*_by_cause(differences).items()], MAX_REPORTED)
        ],
        "omitted": max(0, len(differences) - MAX_REPORTED),
    }
    return format_json(value)


def _described(data: bytes) -> JSONValue:
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
