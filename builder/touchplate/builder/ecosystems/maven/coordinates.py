"""Maven coordinates, and the one repository path that belongs to each: package URL ↔ path."""

import re
from dataclasses import dataclass, replace

from touchplate.builder.errors import DefinitionError
from touchplate.verify.purl import DEFAULT_UPSTREAMS, PackageURL, maven_purl

CENTRAL_IDENTITY = DEFAULT_UPSTREAMS["maven"]
"""Identity of the default upstream; a package URL without `repository_url` speaks of it."""

_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_VERSION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+~-]*")
_EXTENSION = re.compile(r"[A-Za-z0-9]+(\.[A-Za-z0-9]+)*")


@dataclass(frozen=True, order=True)
class Coordinates:
    """One file of one release in a Maven repository. Raises DefinitionError for what cannot be a path."""

    group: str
    artifact: str
    version: str
    extension: str = "jar"
    classifier: str | None = None

    def __post_init__(self) -> None:
        for what, value, form in (
            ("group", self.group, _ID),
            ("artifact", self.artifact, _ID),
            ("version", self.version, _VERSION),
            ("extension", self.extension, _EXTENSION),
            ("classifier", self.classifier or "none", _VERSION),
        ):
            if form.fullmatch(value) is None or ".." in value or value.endswith("."):
                raise DefinitionError(f"{what} {value[:80]!r} is not one of Maven's names")
        if self.version.endswith("-SNAPSHOT"):
            raise DefinitionError(f"version {self.version[:80]!r} is a snapshot; only releases are rebuilt")

    @property
    def folder(self) -> str:
        """Repository folder of the release, without slashes at the ends."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}"

    @property
    def file_name(self) -> str:
        """`artifact-version[-classifier].extension`."""
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.artifact}-{self.version}{classifier}.{self.extension}"

    @property
    def path(self) -> str:
        """Repository path of the file, without a leading slash."""
        return f"{self.folder}/{self.file_name}"

    def sibling(self, extension: str, classifier: str | None = None) -> "Coordinates":
        """Another file of the same release."""
        return replace(self, extension=extension, classifier=classifier)


def coordinates_of(package: PackageURL) -> Coordinates:
    """Coordinates of a Maven package URL; `type` absent means jar. Raises DefinitionError for other types."""
    if package.type != "maven" or not package.namespace:
        raise DefinitionError(f"{package} is not a Maven package: pkg:maven/GROUP/ARTIFACT@VERSION is needed")
    return Coordinates(
        group=package.namespace,
        artifact=package.name,
        version=package.version,
        extension=package.qualifier("type") or "jar",
        classifier=package.qualifier("classifier"),
    )


def identity_of(package: PackageURL) -> str:
    """Identity of the upstream that `package` belongs to."""
    return package.qualifier("repository_url") or CENTRAL_IDENTITY


def purl_of(coordinates: Coordinates, identity: str = CENTRAL_IDENTITY) -> PackageURL:
    """The package URL of one file, in its one spelling (formats: names)."""
    return maven_purl(
        coordinates.group,
        coordinates.artifact,
        coordinates.version,
        coordinates.extension,
        classifier=coordinates.classifier,
        repository_url=None if identity == CENTRAL_IDENTITY else identity,
    )


def parse_path(path: str) -> Coordinates:
    """Coordinates of a release file's repository path. Raises DefinitionError for other paths."""
    parts = path.split("/")
    if len(parts) < 4:
        raise DefinitionError(f"{path[:120]!r} is not a path of a release file")
    *group, artifact, version, name = parts
    rest = name.removeprefix(f"{artifact}-{version}")
    match = re.fullmatch(r"(?:-(?P<classifier>[^.]+))?\.(?P<extension>.+)", rest)
    if rest == name or match is None:
        raise DefinitionError(f"{path[:120]!r} is not a path of a release file")
    coordinates = Coordinates(".".join(group), artifact, version, match["extension"], match["classifier"])
    if coordinates.path != path:
        raise DefinitionError(f"{path[:120]!r} is not a path of a release file")
    return coordinates
