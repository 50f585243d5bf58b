"""What a published jar's manifest says about its build: the JDK's major version and the tool."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from touchplate.builder.archives.zips import SafeZip
from touchplate.builder.errors import ArchiveError

MANIFEST = "META-INF/MANIFEST.MF"

MAX_MANIFEST_BYTES = 1024 * 1024
"""OSGi manifests of large bundles reach 200 kB."""

_MAJOR = re.compile(r"(?:1\.)?([1-9][0-9]?)(?:[^0-9].*)?")
_CREATED_BY_JDK = re.compile(r"(?:1\.[4-9]|[1-9][0-9]?)(?:[._][0-9][^ ]*)? \(.+\)")


@dataclass(frozen=True)
class BuildTraces:
    """Traces of the build in a manifest's main section; None where it says nothing."""

    jdk_major: int | None
    created_by: str | None
    tool_jdk: str | None = None
    """What ran the build tool, where that was not the JDK that compiled: a toolchain."""


def parse_main_section(data: bytes) -> list[tuple[str, str]]:
    """(name, value) of the main section in order, continuation lines joined (JAR specification).

    Raises ArchiveError for more than `MAX_MANIFEST_BYTES`, text that is not UTF-8, and lines that are
    neither `Name: value` nor a continuation.
    """
    return [(name, value) for name, value in parse_sections(data)[0]]


def parse_sections(data: bytes) -> list[list[tuple[str, str]]]:
    """All sections of a manifest, the main one first. Raises ArchiveError as `parse_main_section`."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise ArchiveError(f"manifest of {len(data)} bytes is longer than {MAX_MANIFEST_BYTES}")
    # Continuations are joined as bytes: a line break may stand inside a multi-byte character.
    joined = re.sub(rb"(?:\r\n|\n|\r) ", b"", data)
    try:
        text = joined.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ArchiveError(f"manifest is not utf-8 at byte {error.start}") from error
    sections: list[list[tuple[str, str]]] = [[]]
    for line in re.split(r"\r\n|\n|\r", text):
        if not line:
            if sections[-1]:
                sections.append([])
            continue
        name, colon, value = line.partition(": ")
        if not colon:
            name, colon, value = line.removesuffix(":"), line[-1:], ""
        if colon not in (": ", ":") or not name:
            raise ArchiveError(f"manifest line {line[:80]!r} is not 'Name: value'")
        sections[-1].append((name, value))
    if len(sections) > 1 and not sections[-1]:
        sections.pop()
    return sections


def read_traces(jar: bytes) -> BuildTraces:
    """What the jar's manifest tells about its build. Raises ArchiveError when the jar does not parse, or its
    manifest is longer than `MAX_MANIFEST_BYTES`."""
    data = SafeZip(jar).read_named(MANIFEST, MAX_MANIFEST_BYTES)
    if data is None:
        return BuildTraces(jdk_major=None, created_by=None)
    values = {name.lower(): value for name, value in reversed(parse_main_section(data))}
    created_by, tool_jdk = values.get("created-by"), values.get("build-tool-jdk-spec")
    return BuildTraces(_jdk_major(values, created_by), created_by, tool_jdk)


def parse_jdk_major(release: str) -> int | None:
    """The major version in a JDK's release (`1.8.0_292`, `17.0.15+6`, `17`); None when there is none."""
    match = _MAJOR.fullmatch(release)
    return int(match[1]) if match else None


def _jdk_major(values: Mapping[str, str], created_by: str | None) -> int | None:
    for candidate in (values.get("build-jdk-spec"), values.get("build-jdk")):
        if candidate and (major := parse_jdk_major(candidate)) is not None:
            return major
    # `Created-By: 17.0.2 (Oracle Corporation)` is written by the jar tool itself; others name a plugin.
    return parse_jdk_major(created_by) if created_by and _CREATED_BY_JDK.fullmatch(created_by) else None
