"""Published bytes against rebuilt bytes: identical, or different with the causes that can be named.

Pure: bytes in, a verdict out. A cause is a help for people who look for the reason; it never makes a
difference smaller: `different` stays `different`, and what no rule recognises is named `content` or
`class-code`.
"""

import hashlib
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from touchplate.builder.archives import Member, SafeZip
from touchplate.builder.contents import Difference, compare_contents, printable
from touchplate.builder.errors import ArchiveError
from touchplate.verify.jcs import JSONValue, format_json

MAX_SUMMARY_LINES = 16
"""Lines that go into the signed statement: payloads carry digests, never long lists."""

MAX_SUMMARY_CHARACTERS = 200
"""Of one such line."""

MAX_REPORTED = 5000
"""Differences written out in the report (evidence); more are counted."""

_CAUSE_ORDER = (
    "jdk-major",
    "line-ends",
    "timestamps",
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

_PLURALS = {"class-code": "class files differ", "content": "files differ", "modes": "entry modes differ"}
_GROUPED_FROM = 4  # differences of one cause that are summed up in one line instead of named each


@dataclass(frozen=True)
class Comparison:
    """The verdict over one published file. Causes, summary and report say what is `different`, and only
    then."""

    result: Literal["identical", "equivalent", "different"]
    causes: tuple[str, ...] = ()
    summary: tuple[str, ...] = ()
    count: int = 0
    report: bytes = b""
    """The difference report, RFC 8785 JSON: evidence, stored by digest."""
    stabilizers: tuple[str, ...] = ()
    """`name@version`, in order of application, after which both are the same; for `equivalent`."""
    stabilized: bytes = b""
    """What both are then."""
    matched: tuple[str, ...] = ()
    """Which parts of the two are the same, where a format has such parts (images)."""


def compare(published: bytes, rebuilt: bytes, name: str) -> Comparison:
    """Compare the two forms of the file `name`. Never raises for what they hold."""
    if published == rebuilt:
        return Comparison(result="identical")
    try:
        differences = list(_compare_archives(SafeZip(published), SafeZip(rebuilt)))
    except ArchiveError as error:
        # Not archives, or archives that are not to be unpacked: the bytes differ, and that is all we say.
        whole = compare_contents(name, published, rebuilt)
        note = Difference(name, "content", f"not compared as an archive: {error}")
        differences = [*whole, note] if name.endswith((".jar", ".zip", ".war")) else list(whole)
    if not differences:
        differences = [Difference(name, "container", "same entries in another zip structure")]
    return conclude(name, (published, rebuilt), differences)


def conclude(
    name: str, files: tuple[bytes, bytes], differences: Sequence[Difference], *, matched: tuple[str, ...] = ()
) -> Comparison:
    """The verdict `different` over the `files` (published, rebuilt), with at least one difference."""
    differences = sorted(differences, key=lambda item: (_CAUSE_ORDER.index(item.cause), item.path))
    causes = tuple(dict.fromkeys(item.cause for item in differences))
    summary = tuple(_summary(differences))
    return Comparison(
        result="different",
        causes=causes,
        summary=summary,
        count=len(differences),
        report=_report(name, files, differences),
        matched=matched,
    )


def _compare_archives(published: SafeZip, rebuilt: SafeZip) -> Iterable[Difference]:
    ours, theirs = _by_name(rebuilt), _by_name(published)
    for path in sorted(theirs.keys() - ours.keys()):
        yield Difference(path[0], "missing-entries", "is not in the rebuilt file")
    for path in sorted(ours.keys() - theirs.keys()):
        yield Difference(path[0], "extra-entries", "is only in the rebuilt file")
    common = theirs.keys() & ours.keys()
    if [path for path in theirs if path in common] != [path for path in ours if path in common]:
        yield Difference("", "entry-order", "the same entries in another order")
    for path in theirs:
        if path in common:
            yield from _compare_members(published, theirs[path], rebuilt, ours[path])


def _by_name(archive: SafeZip) -> dict[tuple[str, int], int]:
    """(name, how many of this name came before) → position: names may stand twice in a published jar."""
    seen: Counter[str] = Counter()
    positions = {}
    for position, member in enumerate(archive.members):
        positions[(member.name, seen[member.name])] = position
        seen[member.name] += 1
    return positions


def _compare_members(published: SafeZip, left: int, rebuilt: SafeZip, right: int) -> Iterable[Difference]:
    theirs, ours = published.members[left], rebuilt.members[right]
    yield from _compare_metadata(theirs, ours)
    before, after = published.read(left), rebuilt.read(right)
    if before != after:
        yield from compare_contents(theirs.name, before, after)


def _compare_metadata(theirs: Member, ours: Member) -> Iterable[Difference]:
    if theirs.time != ours.time:
        yield Difference(theirs.name, "timestamps", f"{_time(theirs.time)} != {_time(ours.time)}")
    if theirs.mode != ours.mode:
        yield Difference(theirs.name, "modes", f"{_mode(theirs.mode)} != {_mode(ours.mode)}")
    if theirs.method != ours.method:
        yield Difference(theirs.name, "compression", f"method {theirs.method} != {ours.method}")


def _time(time: Sequence[int]) -> str:
    return "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}".format(*time)


def _mode(mode: int) -> str:
    return f"{stat.S_IMODE(mode):04o}" if mode else "none"


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
