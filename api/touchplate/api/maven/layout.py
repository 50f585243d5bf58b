"""The Maven 2 repository layout: a request path is parsed into what it names, or refused.

A path is the only thing by which a Maven client says what it wants, so it is also the package that the gate
judges. One path therefore names one file of one package, or nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from touchplate.api.errors import BadNameError, NotFoundError
from touchplate.verify.purl import PackageURL, maven_purl

MAX_PATH = 1024
"""Characters of a request path. The longest ones of real repositories are below 300."""
MAX_SEGMENT = 255
"""Bytes of one segment: the limit of common file systems."""

CHECKSUMS = ("md5", "sha1", "sha256", "sha512")
"""Checksum files that are computed from our blob; an upstream's own are never fetched."""

METADATA = "maven-metadata.xml"

# A group's segments hold no dot: the dots of the group id became the slashes.
_GROUP_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*\Z")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+~-]*\Z")
_TYPE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*(\.[A-Za-z0-9_][A-Za-z0-9_-]*)*\Z")
_TIMESTAMP = re.compile(r"[0-9]{8}\.[0-9]{6}-[0-9]{1,9}")
_SIGNATURES = (".asc", ".sigstore.json", ".sigstore")
_COMPOUND = re.compile(r"tar\.[A-Za-z0-9]+\Z")
_SUPPORTING_CLASSIFIERS = frozenset({"sources", "javadoc", "test-sources", "test-javadoc"})

Aspect = Literal["file", "checksum", "bundle", "intoto"]


@dataclass(frozen=True)
class MavenFile:
    """One file of one package version: coordinates and the path that they were read from.

    `version` is the one in the file's name (of a snapshot: with its timestamp), `directory` the one in the
    path.
    """

    path: str
    group: str
    artifact: str
    directory: str
    version: str
    classifier: str | None
    type: str

    @property
    def name(self) -> str:
        """The last segment of the path."""
        return self.path.rpartition("/")[2]

    @property
    def is_snapshot(self) -> bool:
        """Snapshots are not releases: they never pass `reproduced`. Maven takes a bare `SNAPSHOT` for one."""
        return self.directory.endswith("SNAPSHOT")

    @property
    def is_mutable(self) -> bool:
        """A file named `…-SNAPSHOT` may change under the same name, so it is neither recorded nor kept."""
        return self.version.endswith("SNAPSHOT")

    @property
    def is_supporting(self) -> bool:
        """A POM, signature, sources or javadoc jar: needs `recorded` at most. By coordinates only, which
        decide what Maven does with a file; a war that calls itself `sources` is no sources jar."""
        return (
            self.type == "pom"
            or self.type.endswith(_SIGNATURES)
            or (self.type == "jar" and self.classifier in _SUPPORTING_CLASSIFIERS)
        )

    def package_url(self, repository_url: str | None) -> PackageURL:
        """The package URL of this file; `repository_url` is None for the default upstream (format 1)."""
        return maven_purl(
            self.group,
            self.artifact,
            self.version,
            self.type,
            classifier=self.classifier,
            repository_url=repository_url,
        )


@dataclass(frozen=True)
class FileRequest:
    """A file, or something that we derive from it: a checksum or a sibling with its proof."""

    file: MavenFile
    aspect: Aspect
    algorithm: str | None = None


@dataclass(frozen=True)
class MetadataRequest:
    """A `maven-metadata.xml`, or its checksum; `directory` is the path that it stands in."""

    directory: str
    algorithm: str | None = None

    @property
    def group_and_artifact(self) -> tuple[str, str]:
        """The coordinates, when this is the metadata of an artifact."""
        group, _, artifact = self.directory.rpartition("/")
        return group.replace("/", "."), artifact

    @property
    def is_snapshot(self) -> bool:
        """The metadata of one snapshot version, which says what its newest files are called."""
        return self.directory.endswith("SNAPSHOT")


MavenRequest = FileRequest | MetadataRequest


def parse_path(path: str) -> MavenRequest:
    """What the decoded path below `/maven/<upstream>/` asks for.

    Raises BadNameError for a path that no repository can hold (traversal, control characters, empty
    segments),
    NotFoundError for one that is well formed and names no file of a package.
    """
    segments = _segments(path)
    last, algorithm = _split_checksum(segments[-1])
    if last == METADATA:
        if len(segments) < 2:
            raise NotFoundError(
                f"{path!r} is no path of the maven layout: metadata stands in a group or artifact"
            )
        return MetadataRequest("/".join(segments[:-1]), algorithm)
    last, sibling = _split_sibling(last)
    if _split_checksum(last)[1] or (algorithm and sibling != "file") or _split_sibling(last)[1] != "file":
        # Else an upstream's own file of this name would be fetched, recorded and taken for ours.
        raise NotFoundError(f"{path[-200:]!r}: checksums and proofs have no checksums and proofs themselves")
    aspect: Aspect = "checksum" if algorithm else sibling
    file = _parse_file([*segments[:-1], last])
    return FileRequest(file, aspect, algorithm)


def main_file(group: str, artifact: str, version: str) -> MavenFile:
    """The jar of a package version, where a release has it."""
    path = "/".join([*group.split("."), artifact, version, f"{artifact}-{version}.jar"])
    return MavenFile(path, group, artifact, version, version, None, "jar")


def is_name(text: str) -> bool:
    """Whether `text` can be a segment of a path that is served here."""
    return len(text) <= MAX_SEGMENT and _NAME.match(text) is not None


def _segments(path: str) -> list[str]:
    if not path or len(path) > MAX_PATH:
        raise BadNameError(f"path of {len(path)} characters: a maven path has 1 to {MAX_PATH}")
    segments = path.split("/")
    for segment in segments:
        if not is_name(segment):
            if segment.startswith(".") and set(segment) != {"."} and _NAME.match(segment.lstrip(".")):
                raise NotFoundError(f"{path[:200]!r} is not served: hidden files are no packages")
            raise BadNameError(
                f"segment {segment[:80]!r} of the path is no maven name: use letters, digits and _ . + ~ -"
            )
    return segments


def _split_checksum(name: str) -> tuple[str, str | None]:
    stem, dot, suffix = name.rpartition(".")
    return (stem, suffix) if dot and suffix in CHECKSUMS else (name, None)


def _split_sibling(name: str) -> tuple[str, Aspect]:
    if name.endswith(".touchplate.json"):
        return name.removesuffix(".touchplate.json"), "bundle"
    if name.endswith(".intoto.jsonl"):
        return name.removesuffix(".intoto.jsonl"), "intoto"
    return name, "file"


def _parse_file(segments: list[str]) -> MavenFile:
    path = "/".join(segments)
    if len(segments) < 4:
        raise NotFoundError(
            f"{path!r} is no path of the maven layout: group/artifact/version/file is expected"
        )
    *group, artifact, directory, name = segments
    for segment in group:
        if not _GROUP_SEGMENT.match(segment):
            raise BadNameError(
                f"segment {segment[:80]!r} of the group is no maven name: a group's dots are slashes"
            )
    version, rest = _split_version(name, artifact, directory)
    classifier, file_type = _split_rest(rest)
    if not _TYPE.match(file_type) or (classifier is not None and not _NAME.match(classifier)):
        raise NotFoundError(f"{name!r} is no file of {artifact} {directory}: it has no extension")
    return MavenFile(path, ".".join(group), artifact, directory, version, classifier, file_type)


def _split_version(name: str, artifact: str, directory: str) -> tuple[str, str]:
    """The version in the file's name, and what follows it."""
    plain = f"{artifact}-{directory}"
    if name.startswith(plain):
        return directory, name[len(plain) :]
    if directory.endswith("SNAPSHOT"):
        prefix = f"{artifact}-{directory.removesuffix('SNAPSHOT')}"
        stamp = _TIMESTAMP.match(name, len(prefix)) if name.startswith(prefix) else None
        if stamp:
            return directory.removesuffix("SNAPSHOT") + stamp.group(), name[stamp.end() :]
    raise NotFoundError(f"{name!r} is no file of {artifact} {directory}: its name must begin with {plain!r}")


def _split_rest(rest: str) -> tuple[str | None, str]:
    """Classifier and type. A classifier may hold dots; a type is one extension, or one of the known
    compounds."""
    if rest.startswith("."):
        return None, rest[1:]
    if not rest.startswith("-"):
        return None, ""
    stem, suffix = rest[1:], ""
    for signature in _SIGNATURES:
        if stem.endswith(signature):
            stem, suffix = stem.removesuffix(signature), signature
            break
    compound = _COMPOUND.search(stem)
    head, _, extension = stem.rpartition(".")
    if compound and compound.start() > 1 and stem[compound.start() - 1] == ".":
        head, extension = stem[: compound.start() - 1], compound.group()
    return head, extension + suffix if extension and head else ""
