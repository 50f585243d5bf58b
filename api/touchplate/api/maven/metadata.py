"""`maven-metadata.xml`: read from an upstream, filtered, and written by us. It is never evidence.

Three kinds share the name: of a group (plugin prefixes), of an artifact (its versions), of a snapshot version
(what its newest files are called). Only known elements are read, and only they are written again.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from touchplate.api.errors import UpstreamError
from touchplate.api.maven.layout import is_name
from touchplate.base.xml import parse_xml

MAX_METADATA_BYTES = 4 * 1024**2
"""Bytes of one file. The largest of real repositories (nightly builds of many years) are below 1 MiB."""

MAX_VERSIONS = 20_000
"""Versions in one file, ten times those of the longest known; each is judged before it is listed."""

_TEXT = re.compile(r"[!-~ ]{1,255}\Z")
_UPDATED = re.compile(r"[0-9]{14}\Z")
_SNAPSHOT_FIELDS = ("classifier", "extension", "value", "updated")


@dataclass(frozen=True)
class Plugin:
    """A plugin of a group and the prefix by which users call it."""

    name: str
    prefix: str
    artifact: str


@dataclass(frozen=True)
class SnapshotVersion:
    """The newest file of one classifier and extension; the fields are those of the format."""

    fields: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Metadata:
    """What we take over of a metadata file. `updated`: yyyyMMddHHmmss in UTC.

    `latest`, `release`: what the upstream calls so, since versions need not stand in the order of their age;
    both are among `versions`, or None.
    """

    group: str | None = None
    artifact: str | None = None
    version: str | None = None
    versions: tuple[str, ...] = ()
    latest: str | None = None
    release: str | None = None
    updated: str | None = None
    plugins: tuple[Plugin, ...] = ()
    timestamp: str | None = None
    build_number: str | None = None
    snapshots: tuple[SnapshotVersion, ...] = ()

    def only(self, keep: Callable[[str], bool]) -> Metadata:
        """The same with those versions for which `keep` says yes."""
        kept = tuple(version for version in self.versions if keep(version))
        latest, release = (one if one in kept else None for one in (self.latest, self.release))
        return replace(self, versions=kept, latest=latest, release=release)


def parse_metadata(data: bytes) -> Metadata:
    """Read an upstream's metadata file. Raises UpstreamError for anything that is no such file."""
    try:
        root = parse_xml(data)
    except ValueError as error:
        raise _nonsense(f"no XML that is read here: {error}") from error
    if root.tag != "metadata":
        raise _nonsense(f"root element {root.tag[:40]!r}")
    versioning = _child(root, "versioning")
    snapshot = _child(versioning, "snapshot")
    updated, versions = _text(versioning, "lastUpdated"), _versions(versioning)
    latest, release = (_text(versioning, name) for name in ("latest", "release"))
    return Metadata(
        group=_text(root, "groupId"),
        artifact=_text(root, "artifactId"),
        version=_text(root, "version"),
        versions=versions,
        latest=latest if latest in versions else None,
        release=release if release in versions else None,
        updated=updated if updated and _UPDATED.match(updated) else None,
        plugins=tuple(_plugins(root)),
        timestamp=_text(snapshot, "timestamp"),
        build_number=_text(snapshot, "buildNumber"),
        snapshots=tuple(_snapshots(versioning)),
    )


def format_metadata(metadata: Metadata) -> bytes:
    """The file as clients read it. Where the upstream's `latest` or `release` is not listed, the last one
    that is listed takes its place."""
    root = Element("metadata")
    _add(root, "groupId", metadata.group)
    _add(root, "artifactId", metadata.artifact)
    _add(root, "version", metadata.version)
    if metadata.versions or metadata.snapshots or metadata.timestamp:
        _add_versioning(SubElement(root, "versioning"), metadata)
    if metadata.plugins:
        plugins = SubElement(root, "plugins")
        for plugin in metadata.plugins:
            one = SubElement(plugins, "plugin")
            _add(one, "name", plugin.name)
            _add(one, "prefix", plugin.prefix)
            _add(one, "artifactId", plugin.artifact)
    indent(root)
    body: bytes = tostring(root, encoding="utf-8")
    return b'<?xml version="1.0" encoding="UTF-8"?>\n' + body + b"\n"


def _add_versioning(versioning: Element, metadata: Metadata) -> None:
    releases = [version for version in metadata.versions if not version.endswith("-SNAPSHOT")]
    _add(versioning, "latest", metadata.latest or (metadata.versions[-1] if metadata.versions else None))
    _add(versioning, "release", metadata.release or (releases[-1] if releases else None))
    if metadata.timestamp and metadata.build_number:
        snapshot = SubElement(versioning, "snapshot")
        _add(snapshot, "timestamp", metadata.timestamp)
        _add(snapshot, "buildNumber", metadata.build_number)
    if metadata.versions:
        versions = SubElement(versioning, "versions")
        for version in metadata.versions:
            _add(versions, "version", version)
    _add(versioning, "lastUpdated", metadata.updated)
    if metadata.snapshots:
        snapshots = SubElement(versioning, "snapshotVersions")
        for one in metadata.snapshots:
            element = SubElement(snapshots, "snapshotVersion")
            for name, value in one.fields:
                _add(element, name, value)


def _add(parent: Element, name: str, value: str | None) -> None:
    if value is not None:
        SubElement(parent, name).text = value


def _versions(versioning: Element | None) -> tuple[str, ...]:
    """Those that can be asked for here: a range that somebody published as a version is left out."""
    texts = (_clean(item) for item in _list(versioning, "versions", "version"))
    found = tuple(dict.fromkeys(text for text in texts if is_name(text)))
    if len(found) > MAX_VERSIONS:
        raise _nonsense(f"{len(found)} versions, at most {MAX_VERSIONS} are read")
    return found


def _plugins(root: Element) -> list[Plugin]:
    found = []
    for element in _list(root, "plugins", "plugin"):
        prefix, artifact = _text(element, "prefix"), _text(element, "artifactId")
        if prefix and artifact:
            # The name is for people and in any script; nothing depends on it, so it is not taken over.
            found.append(Plugin(artifact, prefix, artifact))
    return found


def _snapshots(versioning: Element | None) -> list[SnapshotVersion]:
    found = []
    for element in _list(versioning, "snapshotVersions", "snapshotVersion"):
        pairs = [(name, _text(element, name)) for name in _SNAPSHOT_FIELDS]
        found.append(SnapshotVersion(tuple((name, value) for name, value in pairs if value)))
    return found


def _list(parent: Element | None, outer: str, inner: str) -> list[Element]:
    holder = _child(parent, outer)
    return [] if holder is None else [element for element in holder if element.tag == inner]


def _child(parent: Element | None, name: str) -> Element | None:
    if parent is None:
        return None
    return next((element for element in parent if element.tag == name), None)


def _text(parent: Element | None, name: str) -> str | None:
    element = _child(parent, name)
    return None if element is None or not (element.text or "").strip() else _clean(element)


def _clean(element: Element) -> str:
    text = (element.text or "").strip()
    if not _TEXT.match(text):
        raise _nonsense(f"{element.tag[:40]!r} holds {text[:80]!r}")
    return text


def _nonsense(what: str) -> UpstreamError:
    return UpstreamError(
        f"the upstream's maven-metadata.xml cannot be used: {what}", reason="upstream-nonsense"
    )
