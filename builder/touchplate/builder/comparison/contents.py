"""Two contents of one archive entry that are not the same: what differs, and which cause it names. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from touchplate.builder.archives.manifest import MANIFEST, parse_sections
from touchplate.builder.errors import ArchiveError

_CLASS_MAGIC = b"\xca\xfe\xba\xbe"
_CLASS_HEADER_BYTES = 8  # magic, minor, major (JVM specification 4.1)

_JDK_ATTRIBUTES = frozenset({"build-jdk-spec", "build-jdk"})
_TIME_ATTRIBUTES = frozenset({"bnd-lastmodified", "build-time", "build-date", "built-on", "build-timestamp"})
_JDK_CREATED_BY = re.compile(r"[0-9][0-9._]*.* \(.+\)")

MAX_DETAILED_BYTES = 64 * 1024 * 1024
"""Of a content that is looked at for more than its first differing byte, which takes copies of it. Entries of
archives may be thirty times as long."""

_MAX_TEXT_BYTES = 256 * 1024  # of contents that are searched for their first differing line
_STEP = 64 * 1024  # bytes compared at once on the way to the first differing one

_MAX_VALUE = 60  # characters of a value that a line repeats


@dataclass(frozen=True)
class Difference:
    """One difference: `path` of the entry, `cause` (stable word), `detail` as `published != rebuilt`."""

    path: str
    cause: str
    detail: str

    def __str__(self) -> str:
        return f"{self.path}: {self.detail}" if self.path else self.detail


def printable(text: str) -> str:
    """`text` with everything that could disturb a terminal or a table written as an escape."""
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "replace").decode("ascii")
        for character in text
    )


def compare_contents(path: str, published: bytes, rebuilt: bytes) -> list[Difference]:
    """Differences between two contents of `path`; at least one when the bytes differ."""
    if path.rpartition("/")[2] == "MANIFEST.MF":
        found = list(_compare_manifests(path, published, rebuilt))
        if found:
            return found
    if published.startswith(_CLASS_MAGIC) and rebuilt.startswith(_CLASS_MAGIC):
        return [_compare_classes(path, published, rebuilt)]
    if max(len(published), len(rebuilt)) > MAX_DETAILED_BYTES:
        return [Difference(path, "content", _first_byte(published, rebuilt))]
    if line_ends := _line_ends(published, rebuilt):
        return [Difference(path, "line-ends", f"line ends {line_ends}")]
    if _is_text(published) and _is_text(rebuilt):
        return [_compare_texts(path, published, rebuilt)]
    return [Difference(path, "content", _first_byte(published, rebuilt))]


def compare_pieces(path: str, published: Iterator[bytes], rebuilt: Iterator[bytes]) -> Iterator[Difference]:
    """As `compare_contents`, of contents too long to be held: where they begin to differ; nothing if they do
    not. Pieces have one length in both, but for the last one."""
    at = 0
    for theirs, ours in zip_longest(published, rebuilt, fillvalue=b""):
        if theirs != ours:
            yield Difference(path, "content", f"differs from byte {at + _first_offset(theirs, ours)}")
            return
        at += len(theirs)


def _line_ends(published: bytes, rebuilt: bytes) -> str | None:
    """`CRLF != LF` when the two are the same text but for their line ends."""
    if b"\0" in published or published.replace(b"\r\n", b"\n") != rebuilt.replace(b"\r\n", b"\n"):
        return None
    return f"{_line_end(published)} != {_line_end(rebuilt)}"


def _line_end(data: bytes) -> str:
    crlf, lf = data.count(b"\r\n"), data.count(b"\n")
    return "LF" if crlf == 0 else "CRLF" if crlf == lf else "mixed"


def _compare_classes(path: str, published: bytes, rebuilt: bytes) -> Difference:
    theirs, ours = (int.from_bytes(data[6:_CLASS_HEADER_BYTES], "big") for data in (published, rebuilt))
    if theirs != ours:
        return Difference(path, "jdk-major", f"class file version {theirs} != {ours}")
    return Difference(path, "class-code", _first_byte(published, rebuilt))


def _compare_manifests(path: str, published: bytes, rebuilt: bytes) -> Iterable[Difference]:
    try:
        theirs, ours = parse_sections(published), parse_sections(rebuilt)
    except ArchiveError:
        return
    if line_ends := _line_ends(published, rebuilt):
        yield Difference(path, "line-ends", f"line ends {line_ends}")
    elif theirs == ours:
        yield Difference(path, "manifest", "the same attributes with other line breaks")
    elif sorted(map(sorted, theirs)) == sorted(map(sorted, ours)):
        yield Difference(path, "manifest-order", "the same attributes in another order")
    elif path == MANIFEST or theirs[0] != ours[0]:
        yield from _compare_sections(path, dict(theirs[0]), dict(ours[0]))
        if sorted(map(sorted, theirs[1:])) != sorted(map(sorted, ours[1:])):
            yield Difference(path, "manifest", "sections about single entries differ")


def _compare_sections(path: str, theirs: dict[str, str], ours: dict[str, str]) -> Iterable[Difference]:
    for name in dict.fromkeys([*theirs, *ours]):
        before, after = theirs.get(name), ours.get(name)
        if before != after:
            values = f"{_shown(before)} != {_shown(after)}"
            yield Difference(path, _attribute_cause(name, before, after), f"{name} {values}")


def _attribute_cause(name: str, before: str | None, after: str | None) -> str:
    if name.lower() in _JDK_ATTRIBUTES:
        return "jdk-major"
    if name.lower() == "created-by" and all(
        value is not None and _JDK_CREATED_BY.fullmatch(value) for value in (before, after)
    ):
        return "jdk-major"
    return "timestamps" if name.lower() in _TIME_ATTRIBUTES else "manifest"


def _shown(value: str | None) -> str:
    if value is None:
        return "(absent)"
    return value if len(value) <= _MAX_VALUE else value[: _MAX_VALUE - 1] + "…"


def _is_text(data: bytes) -> bool:
    if len(data) > _MAX_TEXT_BYTES or b"\0" in data:
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _compare_texts(path: str, published: bytes, rebuilt: bytes) -> Difference:
    theirs, ours = (data.decode("utf-8").splitlines() for data in (published, rebuilt))
    changed = _changed(theirs, ours)
    if not changed:  # splitlines also splits at form feeds and the like
        return Difference(path, "content", _first_byte(published, rebuilt))
    before, after = changed[0]
    detail = f"{_shown(before[0] if before else None)} != {_shown(after[0] if after else None)}"
    # java.util.Properties writes the date as a comment; nothing else of such a file changes by itself.
    only_comments = all(line.startswith("#") for pair in changed for lines in pair for line in lines)
    dated = path.endswith(".properties") and only_comments
    return Difference(path, "timestamps" if dated else "content", detail)


def _changed(theirs: Sequence[str], ours: Sequence[str]) -> list[tuple[Sequence[str], Sequence[str]]]:
    """Runs of lines that differ: line by line, or what lies between the same beginning and the same end.

    In linear time: difflib takes minutes for some texts, and an archive may hold ten thousand of them.
    """
    if len(theirs) == len(ours):
        return [((before,), (after,)) for before, after in zip(theirs, ours, strict=True) if before != after]
    start = _common(theirs, ours)
    end = _common(theirs[start:][::-1], ours[start:][::-1])
    return [(theirs[start : len(theirs) - end], ours[start : len(ours) - end])]


def _common(theirs: Sequence[str], ours: Sequence[str]) -> int:
    """How many lines at the beginning are the same."""
    pairs = enumerate(zip(theirs, ours, strict=False))
    return next((at for at, (before, after) in pairs if before != after), min(len(theirs), len(ours)))


def _first_byte(published: bytes, rebuilt: bytes) -> str:
    """Where the first differing byte is, and the sizes when they differ."""
    sizes = "" if len(published) == len(rebuilt) else f", {len(published)} != {len(rebuilt)} bytes"
    return f"differs from byte {_first_offset(published, rebuilt)}{sizes}"


def _first_offset(published: bytes, rebuilt: bytes) -> int:
    shorter = min(len(published), len(rebuilt))
    start = next(
        (at for at in range(0, shorter, _STEP) if published[at : at + _STEP] != rebuilt[at : at + _STEP]), 0
    )
    return next((at for at in range(start, shorter) if published[at] != rebuilt[at]), shorter)
