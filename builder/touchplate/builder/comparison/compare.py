"""Published bytes against rebuilt bytes: identical, equivalent, or different with causes that can be named.

Pure: bytes in, a verdict out. `equivalent` says that both are the same bytes after a short, ordered list of
stabilizers (`stabilize/`), of those that the ecosystem allows. A cause is a help for people who look for the
reason; it never makes a difference smaller, and what no rule recognises is named `content` or `class-code`.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from touchplate.builder.archives.zips import Member, SafeZip
from touchplate.builder.comparison.contents import (
    MAX_DETAILED_BYTES,
    Difference,
    compare_contents,
    compare_pieces,
    printable,
)
from touchplate.builder.comparison.entries import match_entries, show_mode
from touchplate.builder.comparison.tars import compare_gzips, compare_tars, is_tar
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
    "package-versions",
    "line-ends",
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

_PLURALS = {
    "class-code": "class files differ",
    "content": "files differ",
    "modes": "entry modes differ",
    "owners": "entry owners differ",
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
    ordered = sorted(differences, key=lambda item: (_CAUSE_ORDER.index(item.cause), item.path))
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
    return _compare_zips(SafeZip(published), SafeZip(rebuilt))


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
        yield from compare_contents(theirs.name, before, after)


def _compare_metadata(theirs: Member, ours: Member) -> Iterable[Difference]:
    if theirs.time != ours.time:
        yield Difference(theirs.name, "timestamps", f"{_time(theirs.time)} != {_time(ours.time)}")
    if theirs.mode != ours.mode:
        yield Difference(theirs.name, "modes", f"{show_mode(theirs.mode)} != {show_mode(ours.mode)}")
    if theirs.method != ours.method:
        yield Difference(theirs.name, "compression", f"method {theirs.method} != {ours.method}")


def _time(time: Sequence[int]) -> str:
    return "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}".format(*time)


def _summary(differences: Sequence[Difference]) -> Iterable[str]:
    lines: list[str] = []
    for cause in dict.fromkeys(item.cause for item in differences):
        of_cause = [item for item in differences if item.cause == cause]
        if len(of_cause) >= _GROUPED_FROM:
            what = _PLURALS.get(cause, f"entries differ by {cause}")
            lines.append(f"{len(of_cause)} {what}, first {of_cause[0]}")
        else:
            lines.extend(str(item) for item in of_cause)
    return [_cut(line) for line in lines[:MAX_SUMMARY_LINES]]


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
            for item in differences[:MAX_REPORTED]
        ],
        "omitted": max(0, len(differences) - MAX_REPORTED),
    }
    return format_json(value)


def _described(data: bytes) -> JSONValue:
    return {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
