"""Two texts that are the same but for the locale under which they were written. Pure.

A locale decides in which encoding Java and most other programs read and write what nobody gave an encoding
for, and by which rules letters change their case.
"""

import re

_ENCODINGS = ("utf-8", "windows-1252", "iso-8859-1")
_BEYOND_ASCII = re.compile(rb"[\x80-\xff]")
_CHARACTER = re.compile(r"[^\x00-\x7f]")
_LOST = ("?", "\ufffd")  # what programs write for a character that they cannot
_TURKISH = str.maketrans({"\u0130": "I", "\u0131": "i"})  # i with and without its dot


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
    theirs, ours = _decode(published, "utf-8"), _decode(rebuilt, "utf-8")
    if theirs and ours and theirs.translate(_TURKISH) == ours.translate(_TURKISH):
        return "letters i and I with and without a dot, as in Turkish"
    return None


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
