"""Recipe and package revisions, and the one path at a remote that belongs to each: package URL ↔ path.

A package is named by its recipe's name and version, the recipe revision, the package id (its settings and
options) and the package revision. All three are labels that whoever uploads chooses; sha256 identifies files.
"""

import re
from dataclasses import dataclass, replace

from touchplate.builder.errors import DefinitionError
from touchplate.verify.purl import DEFAULT_UPSTREAMS, PackageURL, parse_purl

DEFAULT_IDENTITY = DEFAULT_UPSTREAMS["conan"]
"""Identity of the default upstream; a package URL without `repository_url` speaks of it."""

PACKAGE = "conan_package.tgz"
CONANINFO = "conaninfo.txt"
CONANFILE = "conanfile.py"
MANIFEST = "conanmanifest.txt"
EXPORTED = "conan_export.tgz"
EXPORTED_SOURCES = "conan_sources.tgz"

# Conan's own rule (conan.api.model.refs: validate_ref), without the warnings.
_NAME = re.compile(r"[a-z0-9_][a-z0-9_+.-]{1,100}")
_REVISION = re.compile(r"[A-Za-z0-9]{1,64}")


@dataclass(frozen=True)
class Revision:
    """A recipe revision, or with `package_id` and `prev` a package revision, at the upstream `identity`.

    Raises DefinitionError for what cannot be a path.
    """

    name: str
    version: str
    rrev: str
    package_id: str | None = None
    prev: str | None = None
    user: str | None = None
    channel: str | None = None
    identity: str = DEFAULT_IDENTITY

    def __post_init__(self) -> None:
        for what, text in (
            ("name", self.name), ("version", self.version), ("user", self.user), ("channel", self.channel),
        ):  # fmt: skip
            if text is not None and (_NAME.fullmatch(text) is None or ".." in text):
                raise DefinitionError(f"{what} {text[:80]!r} is none of Conan's names")
        if self.channel is not None and self.user is None:
            raise DefinitionError(f"channel {self.channel[:80]!r} without a user: no recipe has that")
        for text in (self.rrev, self.package_id, self.prev):
            if text is not None and _REVISION.fullmatch(text) is None:
                raise DefinitionError(f"{text[:80]!r} is no revision or package id of Conan")

    @property
    def reference(self) -> str:
        """`name/version[@user[/channel]]`, as Conan writes it."""
        channel = f"/{self.channel}" if self.channel else ""
        return f"{self.name}/{self.version}" + (f"@{self.user}{channel}" if self.user else "")

    @property
    def recipe(self) -> "Revision":
        """The recipe revision that it belongs to."""
        return replace(self, package_id=None, prev=None)

    def package_of(self, package_id: str, prev: str) -> "Revision":
        """A package revision of this recipe revision."""
        return replace(self, package_id=package_id, prev=prev)

    @property
    def recipe_path(self) -> str:
        """Path at a remote below which all revisions of the recipe lie, without a leading slash."""
        return f"v2/conans/{self.name}/{self.version}/{self.user or '_'}/{self.channel or '_'}"

    @property
    def files_path(self) -> str:
        """Path of the list of its files at a remote, without a leading slash."""
        package = f"/packages/{self.package_id}/revisions/{self.prev}" if self.prev is not None else ""
        return f"{self.recipe_path}/revisions/{self.rrev}{package}/files"

    def path(self, file: str) -> str:
        """Path of one of its files at a remote, without a leading slash."""
        return f"{self.files_path}/{file}"

    def purl(self, file: str) -> PackageURL:
        """The package URL of one of its files, in its one spelling (formats: names)."""
        given = {
            "channel": self.channel,
            "file": file,
            "package_id": self.package_id,
            "prev": self.prev,
            "repository_url": None if self.identity == DEFAULT_IDENTITY else self.identity,
            "rrev": self.rrev,
            "user": self.user,
        }
        pairs = tuple((key, value) for key, value in sorted(given.items()) if value is not None)
        return parse_purl(str(PackageURL("conan", None, self.name, self.version, pairs)))

    def __str__(self) -> str:
        package = f":{self.package_id}#{self.prev}" if self.prev is not None else ""
        return f"{self.reference}#{self.rrev}{package}"


def revision_of(package: PackageURL) -> Revision:
    """The revision that a file belongs to. Raises DefinitionError for what names no file of one."""
    wanted = "pkg:conan/NAME@VERSION?file=conan_package.tgz&package_id=…&prev=…&rrev=…"
    rrev = package.qualifier("rrev")
    if package.type != "conan" or rrev is None or package.qualifier("file") is None:
        raise DefinitionError(f"{package} names no file of a revision; write {wanted}")
    package_id, prev = package.qualifier("package_id"), package.qualifier("prev")
    if (package_id is None) != (prev is None):
        raise DefinitionError(f"{package}: package_id and prev belong together; write {wanted}")
    return Revision(
        name=package.name,
        version=package.version,
        rrev=rrev,
        package_id=package_id,
        prev=prev,
        user=package.qualifier("user"),
        channel=package.qualifier("channel"),
        identity=package.qualifier("repository_url") or DEFAULT_IDENTITY,
    )


def package_revision_of(package: PackageURL) -> Revision:
    """The package revision that a package URL is of. Raises DefinitionError for a recipe's."""
    revision = revision_of(package)
    if revision.package_id is None:
        raise DefinitionError(
            f"{package} is a file of a recipe; packages are rebuilt: add package_id and prev"
        )
    return revision
