"""Two contents of one archive entry that are not the same: what differs, and which cause it names. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, zip_longest

from touchplate.builder.archives.manifest import MANIFEST, parse_jdk_major, parse_sections
from touchplate.builder.comparison.classes import JDK_MAJOR, is_class, is_same_body, name_jdk
from touchplate.builder.comparison.locales import is_for_people, name_locale
from touchplate.builder.comparison.programs import is_program, is_script
from touchplate.builder.errors import ArchiveError

_JDK_SPEC = "build-jdk-spec"
_JDK_ATTRIBUTES = frozenset({_JDK_SPEC, "build-jdk"})
_Sections = list[list[tuple[str, str]]]

_ACTED_UPON = frozenset(
    {
        *("main-class", "class-path", "multi-release", "sealed", "automatic-module-name"),
        *("launcher-agent-class", "premain-class", "agent-class", "boot-class-path"),
        *("can-redefine-classes", "can-retransform-classes", "can-set-native-method-prefix"),
        *("add-exports", "add-opens", "enable-native-access", "start-class"),
        *("bundle-activator", "bundle-classpath", "dynamicimport-package", "fragment-host"),
        *("bundle-nativecode", "service-component", "rsrc-main-class", "rsrc-class-path"),
        *("spring-boot-classes", "spring-boot-lib", "spring-boot-classpath-index"),
    }
)
"""Attributes by which a JVM, Spring Boot or OSGi decides what runs: no build writes them by accident."""
_PROSE_ATTRIBUTES = re.compile(
    r"(?:bundle|implementation|specification)-(?:name|title|vendor|description|copyright|developers"
    r"|contactaddress)|built-by"
)
"""What people read of a manifest; of other attributes each letter may belong to a name."""

_PROSE = "README"  # a value of these is as what such a file holds

_TIME_ATTRIBUTES = frozenset({"bnd-lastmodified", "build-time", "build-date", "built-on", "build-timestamp"})
_JDK_CREATED_BY = re.compile(r"[0-9][0-9._]*.* \(.+\)")

_IN_TEXTS = bytes(one for one in range(256) if one >= ord(" ") or one in b"\t\n\v\f\r\x1b")
MAX_DETAILED_BYTES = 64 * 1024 * 1024
"""Of a content that is looked at for more than its first differing byte, which takes copies of it. Entries of
archives may be thirty times as long."""

_KNOW_CR = (".properties", ".xml", ".xsd", ".tld", ".html")
"""Ends of names of files for whose readers CRLF is LF (java.util.Properties; XML 1.0 section 2.11; HTML)."""

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


@dataclass(frozen=True)
class ModeDifference(Difference):
    """One of permissions, with both modes (`st_mode`)."""

    theirs: int
    ours: int


def printable(text: str) -> str:
    """`text` with everything that could disturb a terminal or a table written as an escape."""
    return "".join(
        character
        if character.isprintable()
        else character.encode("unicode_escape", "replace").decode("ascii")
        for character in text
    )


def compare_contents(path: str, published: bytes, rebuilt: bytes, modes: int = 0) -> list[Difference]:
    """Differences between two contents of `path`; at least one when the bytes differ.

    `modes`: all permissions that the file has on either side, as far as they are known.
    """
    if path.rpartition("/")[2] == "MANIFEST.MF":
        found = list(_compare_manifests(path, published, rebuilt))
        if found:
            return found
    if max(len(published), len(rebuilt)) > MAX_DETAILED_BYTES:
        return [Difference(path, "content", _first_byte(published, rebuilt))]
    if is_class(published) and is_class(rebuilt):
        return list(_compare_classes(path, published, rebuilt))
    named = _name_innocent(path, published, rebuilt)
    # A shell knows no `exit` that ends in CR, and takes `?` for a pattern.
    may_run = is_script(path) or any(is_program(modes, data) for data in (published, rebuilt))
    means_the_same = not may_run and (
        named is None or named.cause != "locale" or is_for_people(path, published, rebuilt)
    )
    if named is not None and means_the_same:
        return [named]
    if _is_text(published) and _is_text(rebuilt):
        other = _compare_texts(path, published, rebuilt, may_run=may_run)
    else:
        other = Difference(path, "content", _first_byte(published, rebuilt))
    return [other] if named is None else [named, other]


def _name_innocent(path: str, published: bytes, rebuilt: bytes) -> Difference | None:
    """Line ends or a locale, when these are all that two texts differ in."""
    if line_ends := _line_ends(published, rebuilt):
        is_joined = _is_joined(path, published, rebuilt)
        return None if is_joined else Difference(path, "line-ends", f"line ends {line_ends}")
    if all(map(_has_no_control, (published, rebuilt))) and (locale := name_locale(published, rebuilt)):
        return Difference(path, "locale", locale)
    return None


def _has_no_control(data: bytes) -> bool:
    return len(data) <= _MAX_TEXT_BYTES and not data.translate(None, _IN_TEXTS)


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
    if published.translate(None, _IN_TEXTS) or published.replace(b"\r\n", b"\n") != rebuilt.replace(
        b"\r\n", b"\n"
    ):
        return None
    return f"{_line_end(published)} != {_line_end(rebuilt)}"


def _is_joined(path: str, published: bytes, rebuilt: bytes) -> bool:
    """Whether a line goes on in the next one by a backslash before CRLF: only where nobody sees the CR. In a
    shell's script, what follows is then a command of its own."""
    return not path.endswith(_KNOW_CR) and any(b"\\\r\n" in data for data in (published, rebuilt))


def _line_end(data: bytes) -> str:
    crlf, lf = data.count(b"\r\n"), data.count(b"\n")
    return "LF" if crlf == 0 else "CRLF" if crlf == lf else "mixed"


def _compare_classes(path: str, published: bytes, rebuilt: bytes) -> Iterable[Difference]:
    named = name_jdk(published, rebuilt)
    if named is not None:
        yield Difference(path, *named)
    if named is None or (named[0] == JDK_MAJOR and not is_same_body(published, rebuilt)):
        yield Difference(path, "class-code", _first_byte(published, rebuilt))


def _compare_manifests(path: str, published: bytes, rebuilt: bytes) -> Iterable[Difference]:
    """Nothing where readers disagree about what a manifest says: then it is text as any other."""
    try:
        theirs, ours = _parse_plain(published), _parse_plain(rebuilt)
    except ArchiveError:
        return
    if line_ends := _line_ends(published, rebuilt):
        yield Difference(path, "line-ends", f"line ends {line_ends}")
    elif theirs == ours:
        yield Difference(path, "manifest", "the same attributes with other line breaks")
    elif sorted(theirs[0]) == sorted(ours[0]) and _others(theirs) == _others(ours):
        yield Difference(path, "manifest-order", "the same attributes in another order")
    elif path == MANIFEST or theirs[0] != ours[0]:
        yield from _compare_sections(path, dict(theirs[0]), dict(ours[0]))
        if _others(theirs) != _others(ours):
            cause = "manifest" if _acted_upon(theirs) == _acted_upon(ours) else "content"
            yield Difference(path, cause, "sections about single entries differ")


def _parse_plain(data: bytes) -> _Sections:
    """The sections. Raises ArchiveError when the main one is empty for some readers, or an attribute or the
    name of a section stands twice: some take the first, others the last."""
    sections = parse_sections(data)
    names = [value for section in sections[1:] for name, value in section if name.lower() == "name"]
    keys = [[name.lower() for name, _ in section] for section in sections]
    if data[:1] in (b"\r", b"\n") or any(len(set(each)) < len(each) for each in (names, *keys)):
        raise ArchiveError("readers disagree about this manifest")
    return sections


def _others(sections: _Sections) -> list[list[tuple[str, str]]]:
    """All sections but the main one, and the attributes in each, in one order."""
    return sorted(map(sorted, sections[1:]))


def _acted_upon(sections: _Sections) -> list[list[tuple[str, str]]]:
    """Of the sections about single entries, what decides what runs, with the name of the entry."""
    told = (
        [pair for pair in section if pair[0].lower() in _ACTED_UPON or pair[0].lower() == "name"]
        for section in sections[1:]
    )
    return sorted(sorted(section) for section in told if len(section) > 1)


def _compare_sections(path: str, theirs: dict[str, str], ours: dict[str, str]) -> Iterable[Difference]:
    for name in dict.fromkeys([*theirs, *ours]):
        before, after = theirs.get(name), ours.get(name)
        if before != after:
            values = f"{_shown(before)} != {_shown(after)}"
            yield Difference(path, _attribute_cause(name, before, after), f"{name} {values}")


def _attribute_cause(name: str, before: str | None, after: str | None) -> str:
    if name.lower() in _JDK_ATTRIBUTES:
        return _jdk_cause(name, before, after)
    if name.lower() == "created-by" and all(
        value is not None and _JDK_CREATED_BY.fullmatch(value) for value in (before, after)
    ):
        return _jdk_cause(name, before, after)
    if name.lower() in _ACTED_UPON:
        return "content"
    if name.lower() in _TIME_ATTRIBUTES:
        return "timestamps"
    if before and after and _PROSE_ATTRIBUTES.fullmatch(name.lower()):
        values = before.encode(), after.encode()
        return "locale" if name_locale(*values) and is_for_people(_PROSE, *values) else "manifest"
    return "manifest"


def _jdk_cause(name: str, before: str | None, after: str | None) -> str:
    majors = {parse_jdk_major(value or "") for value in (before, after)}
    if len(majors) > 1 or None in majors:
        return "jdk-major"
    # A major version alone, `1.8` or `8`, is written so or so by the plugin.
    return "manifest" if name.lower() == _JDK_SPEC else "jdk-patch"


def _shown(value: str | None) -> str:
    if value is None:
        return "(absent)"
    return value if len(value) <= _MAX_VALUE else value[: _MAX_VALUE - 1] + "…"


def _may_be_text(data: bytes) -> bool:
    return len(data) <= _MAX_TEXT_BYTES and b"\0" not in data


def _is_text(data: bytes) -> bool:
    if not _may_be_text(data):
        return False
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _compare_texts(path: str, published: bytes, rebuilt: bytes, *, may_run: bool) -> Difference:
    theirs, ours = _lines(published), _lines(rebuilt)
    changed = _changed(theirs, ours)
    if not changed:  # the last line ends in one of them, or a line ends with CR
        return Difference(path, "content", _first_byte(published, rebuilt))
    before, after = changed[0]
    detail = f"{_shown(before[0] if before else None)} != {_shown(after[0] if after else None)}"
    # java.util.Properties writes the date as a comment; nothing else of such a file changes by itself.
    only_comments = all(line.startswith("#") for pair in changed for lines in pair for line in lines)
    only_comments = only_comments and not _continues(theirs) and not _continues(ours)
    dated = path.endswith(".properties") and only_comments and not may_run
    return Difference(path, "timestamps" if dated else "content", detail)


def _lines(data: bytes) -> list[str]:
    """As Java splits them: `str.splitlines` also does at form feeds and the like."""
    return re.split(r"\r\n|\n|\r", data.decode("utf-8"))


def _continues(lines: Sequence[str]) -> bool:
    """Whether a value of a properties file goes on in a line that looks like a comment."""
    return any(line.endswith("\\") and after.startswith("#") for line, after in pairwise(lines))


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
