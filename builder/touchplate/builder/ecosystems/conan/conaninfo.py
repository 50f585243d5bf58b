"""`conaninfo.txt`: the settings and options of a package. Its SHA-1 is the package id.

Sections of `key=value` lines, and of bare lines where they list what the package requires (Conan's
`internal/model/info.py`).
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from touchplate.builder.errors import DefinitionError

MAX_BYTES = 64 * 1024
"""Of a conaninfo.txt: with fifty options it has 2 kB."""

SETTING = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*")
"""Name of a setting, as `compiler.version`."""

OPTION = re.compile(r"[A-Za-z_][A-Za-z0-9_.+-]*")
"""Name of an option of the recipe's own."""

VALUE = re.compile(r"[A-Za-z0-9_.,:+/= -]{0,256}")
"""Value of either. Profiles are templates in which braces are code."""

_SECTION = re.compile(r"\[([a-z_]+)\]")


@dataclass(frozen=True)
class PackageInfo:
    """What a package was built for. `others`: names of the sections that are not known here."""

    settings: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    """What `[requires]` lists: references, as far as the package id depends on them (`required.py`)."""


def package_id_of(data: bytes) -> str:
    """The package id that belongs to the bytes of a conaninfo.txt."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def parse_conaninfo(data: bytes) -> PackageInfo:
    """Read a conaninfo.txt. Raises DefinitionError for one that is not in its form."""
    if len(data) > MAX_BYTES:
        raise DefinitionError(f"conaninfo.txt of {len(data)} bytes: more than {MAX_BYTES}")
    try:
        lines = data.decode().splitlines()
    except UnicodeDecodeError as error:
        raise DefinitionError("conaninfo.txt is no UTF-8 text") from error
    sections: dict[str, list[str]] = {}
    section: list[str] | None = None
    for line in lines:
        if header := _SECTION.fullmatch(line.strip()):
            section = sections.setdefault(header[1], [])
        elif line.strip():
            if section is None:
                raise DefinitionError(f"conaninfo.txt: {line[:80]!r} stands before every section")
            section.append(line.strip())
    return PackageInfo(
        settings=_pairs("setting", sections.pop("settings", []), SETTING),
        options=_pairs("option", sections.pop("options", []), OPTION),
        requires=tuple(sections.pop("requires", [])),
        others=tuple(sorted(name for name in sections if sections[name] and not name.endswith("_requires"))),
    )


def _pairs(what: str, lines: list[str], form: re.Pattern[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        key, equals, value = line.partition("=")
        if not equals or form.fullmatch(key) is None or VALUE.fullmatch(value) is None or key in found:
            raise DefinitionError(f"conaninfo.txt: {line[:80]!r} is no {what}, or a second one of its name")
        found[key] = value
    return MappingProxyType(found)
