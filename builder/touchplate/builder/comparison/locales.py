"""Two texts that are the same but for the locale under which they were written. Pure.

A locale decides in which encoding Java and most other programs read and write what nobody gave an encoding
for, and by which rules letters change their case.
"""

import re
from collections.abc import Iterator
from itertools import pairwise

_ENCODINGS = ("utf-8", "windows-1252", "iso-8859-1")
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
_CHARACTER = re.compile(r"[^\x00-\x7f]")
_LOST = ("?", "\ufffd")  # what programs write for a character that they cannot
_TURKISH = str.maketrans({"\u0130": "I", "\u0131": "i"})  # i with and without its dot

_DOCUMENT = re.compile(
    r".*\.(?:md|adoc|asciidoc|rst)"
    r"|(?:[\w.]+-)?(?:licen[cs]es?|notices?|readme|changes|changelog|authors|contributors|copying|copyright"
    r"|credits|dependencies|news|thanks)(?:-[A-Z0-9]+)*(?:\.txt)?",
    re.IGNORECASE,
)
"""Not every `.txt`: Commons Codec, for one, has patterns in such files."""

_PAGE = re.compile(r".*\.x?html?", re.IGNORECASE)
_PROPERTIES = ".properties"
_MESSAGES = re.compile(
    r".*(?:messages?|labels?|strings?|texts?|resources?|translations?|i18n|_[a-z]{2}(?:_[a-z]{2})?)"
    r"\.properties",
    re.IGNORECASE,
)
"""Bundles of messages (java.util.ResourceBundle): their names end in a language, or say what they hold."""

_MARKUP = re.compile(rb"<script\b.*?(?:</script|\Z)|<style\b.*?(?:</style|\Z)|<[^>]*>?", re.DOTALL | re.I)
_LINE = re.compile(rb"\r\n|\n|\r")


def name_locale(published: bytes, rebuilt: bytes) -> str | None:
    """How the locales of two texts that differ show in them; None when that is not all that differs."""
    for encoding, other in ((one, two) for one in _ENCODINGS for two in _ENCODINGS if one != two):
        text = _decode(published, encoding)
        if text is not None and text == _decode(rebuilt, other):
            return f"characters in {encoding} != in {other}"
    if rebuilt in _lossy(published):
        return "characters beyond ASCII != lost"
    if published in _lossy(rebuilt):
        return "characters beyond ASCII lost != kept"
    if _differ_by_dots(published, rebuilt):
        return "letters i and I with and without a dot, as in Turkish"
    return None


def is_for_people(path: str, published: bytes, rebuilt: bytes) -> bool:
    """Whether all that differs in two texts is read by people alone: documents, what stands between the tags
    of pages, values of messages, comments of properties. Elsewhere a letter may belong to a name, or `?` to a
    pattern. So may an i without its dot wherever it stands: it is a letter of names as any other."""
    name = path.rpartition("/")[2]
    if _differ_by_dots(published, rebuilt):
        return False
    if _DOCUMENT.fullmatch(name):
        return True
    if _PAGE.fullmatch(name):
        return _MARKUP.findall(published) == _MARKUP.findall(rebuilt)
    if not name.lower().endswith(_PROPERTIES):
        return False
    with_values = _MESSAGES.fullmatch(name) is None
    return [*_read_by_programs(published, with_values)] == [*_read_by_programs(rebuilt, with_values)]


def _read_by_programs(data: bytes, with_values: bool) -> Iterator[bytes]:
    """Of each line of properties the key, or all of it `with_values`; of comments nothing."""
    for before, line in pairwise([b"", *_LINE.split(data)]):
        if before.endswith(b"\\"):  # it goes on: whatever this looks like, it is part of a value
            yield line if with_values else b""
        elif not line.lstrip().startswith((b"#", b"!")):
            key, equals, _ = line.partition(b"=")
            yield key if equals and not with_values else line
        else:
            yield b""


def _differ_by_dots(published: bytes, rebuilt: bytes) -> bool:
    theirs, ours = _decode(published, "utf-8"), _decode(rebuilt, "utf-8")
    return bool(theirs and ours and theirs.translate(_TURKISH) == ours.translate(_TURKISH))


def _decode(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None


def _lossy(data: bytes) -> set[bytes]:
    """What a program in the C locale makes of a text: it reads bytes that it does not know, or writes
    characters that it does not have."""
    found = {_BEYOND_ASCII.sub(lost.encode(), data) for lost in _LOST}
    text = _decode(data, "utf-8")
    if text is not None:
        found |= {_CHARACTER.sub(lost, text).encode() for lost in _LOST}
    return found
