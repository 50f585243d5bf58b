"""The paths of a Conan 2 remote: a request path is parsed into what it names, or refused.

    v1/ping                                                             what the remote can do
    v2/users/authenticate, v2/users/check_credentials
    v2/conans/search?q=
    v2/conans/NAME/VERSION/USER/CHANNEL/…                               a recipe; `_` for no user, no channel
        latest, revisions, revisions/RREV/search, revisions/RREV/files[/FILE]
        revisions/RREV/packages/PID/latest, …/PID/revisions, …/PID/revisions/PREV/files[/FILE]

The unit of decision is one revision: of a recipe, or of a package (recipe revision, package id, package
revision). Revisions and package ids are labels that publishers choose; sha256 identifies the files.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from touchplate.api.errors import BadNameError, NotFoundError
from touchplate.verify.purl import DEFAULT_UPSTREAMS, PackageURL, parse_purl

ECOSYSTEM = "conan"

MAX_PATH = 1024
"""Characters of a request path; a reference has 200 at most, its three revisions 64 each."""

MANIFEST = "conanmanifest.txt"
CONANFILE = "conanfile.py"
CONANINFO = "conaninfo.txt"
COMPRESSIONS = ("tgz", "txz", "tzst")

RECIPE_FILES = (
    CONANFILE, *(f"{stem}.{suffix}" for stem in ("conan_export", "conan_sources") for suffix in COMPRESSIONS),
    MANIFEST,
)  # fmt: skip
PACKAGE_FILES = (*(f"conan_package.{suffix}" for suffix in COMPRESSIONS), CONANINFO, MANIFEST)

SIGN_FOLDER = "metadata/sign"
"""Where clients fetch everything by themselves, and look for what their verifying plugin needs."""

FILE_LIST = "pkgsign-manifest.json"
"""The list of files and sha256 that stock clients with a verifying plugin compare first."""

_NAME = re.compile(r"[a-z0-9_][a-z0-9_+.-]{0,100}\Z")
_REVISION = re.compile(r"[A-Za-z0-9]{1,64}\Z")

Aspect = Literal["bundle", "intoto"]
_SIBLINGS: dict[str, Aspect] = {".touchplate.json": "bundle", ".intoto.jsonl": "intoto"}


@dataclass(frozen=True)
class Reference:
    """A recipe in all its revisions: `name/version@user/channel`."""

    name: str
    version: str
    user: str | None = None
    channel: str | None = None

    @property
    def path(self) -> str:
        """Its path below the remote."""
        return f"v2/conans/{self.name}/{self.version}/{self.user or '_'}/{self.channel or '_'}"

    @property
    def package(self) -> PackageURL:
        """The package version in package URLs, of the default upstream."""
        return self.purl({})

    def purl(self, more: dict[str, str | None]) -> PackageURL:
        """Its package URL with more qualifiers, absent ones left out."""
        given = {"user": self.user, "channel": self.channel, **more}
        pairs = tuple(sorted((key, value) for key, value in given.items() if value is not None))
        return parse_purl(str(PackageURL("conan", None, self.name, self.version, pairs)))

    def __str__(self) -> str:
        owner = f"@{self.user}/{self.channel}" if self.channel else f"@{self.user}" if self.user else ""
        return f"{self.name}/{self.version}{owner}"


@dataclass(frozen=True)
class Revision:
    """The unit of decision: a recipe revision, or with `package_id` and `prev` a package revision."""

    reference: Reference
    rrev: str
    package_id: str | None = None
    prev: str | None = None

    @property
    def is_package(self) -> bool:
        """Whether it is a package revision."""
        return self.prev is not None

    @property
    def recipe(self) -> Revision:
        """The recipe revision that it belongs to."""
        return Revision(self.reference, self.rrev)

    @property
    def path(self) -> str:
        """Its path below the remote."""
        package = f"/packages/{self.package_id}/revisions/{self.prev}" if self.is_package else ""
        return f"{self.reference.path}/revisions/{self.rrev}{package}"

    @property
    def file_names(self) -> tuple[str, ...]:
        """Every name that a file of it can have."""
        return PACKAGE_FILES if self.is_package else RECIPE_FILES

    def file_path(self, name: str) -> str:
        """The path of one of its files."""
        return f"{self.path}/files/{name}"

    def package_url(self, name: str, repository_url: str | None) -> PackageURL:
        """The package URL of one of its files (format 1)."""
        return self.reference.purl(
            {
                "file": name,
                "package_id": self.package_id,
                "prev": self.prev,
                "repository_url": repository_url,
                "rrev": self.rrev,
            }
        )

    def __str__(self) -> str:
        package = f":{self.package_id}#{self.prev}" if self.is_package else ""
        return f"{self.reference}#{self.rrev}{package}"


@dataclass(frozen=True)
class PingRequest:
    """What can the remote do?"""


@dataclass(frozen=True)
class UserRequest:
    """`authenticate` or `check_credentials`."""

    call: str


@dataclass(frozen=True)
class SearchRequest:
    """Recipes by a pattern, which stands in the query."""


@dataclass(frozen=True)
class RevisionsRequest:
    """The revisions of a recipe, or with `package_id` those of a package; the newest one when `latest`."""

    reference: Reference
    latest: bool
    rrev: str | None = None
    package_id: str | None = None

    @property
    def path(self) -> str:
        """Its path below the remote."""
        middle = f"/revisions/{self.rrev}/packages/{self.package_id}" if self.package_id else ""
        return f"{self.reference.path}{middle}/{'latest' if self.latest else 'revisions'}"


@dataclass(frozen=True)
class PackagesRequest:
    """The packages of a recipe revision (of the latest one when `rrev` is None)."""

    reference: Reference
    rrev: str | None

    @property
    def path(self) -> str:
        """Its path below the remote."""
        middle = f"/revisions/{self.rrev}" if self.rrev else ""
        return f"{self.reference.path}{middle}/search"


@dataclass(frozen=True)
class FilesRequest:
    """The list of the files of one revision."""

    revision: Revision


@dataclass(frozen=True)
class FileRequest:
    """One file as it was published."""

    revision: Revision
    name: str


@dataclass(frozen=True)
class ProofRequest:
    """What we put beside a file, or with `name` None the list of all files with their digests."""

    revision: Revision
    name: str | None
    aspect: Aspect = "bundle"


ConanRequest = (
    PingRequest | UserRequest | SearchRequest | RevisionsRequest | PackagesRequest
    | FilesRequest | FileRequest | ProofRequest
)  # fmt: skip


def parse_conan_path(path: str) -> ConanRequest:
    """What the decoded path below `/conan/<upstream>/` asks for.

    Raises BadNameError for names that no recipe can have, NotFoundError for what is no call of a remote.
    """
    if len(path) > MAX_PATH:
        raise BadNameError(f"path of {len(path)} characters: at most {MAX_PATH} are taken")
    match path.split("/"):
        case ["v1", "ping"]:
            return PingRequest()
        case ["v2", "users", ("authenticate" | "check_credentials") as call]:
            return UserRequest(call)
        case ["v2", "conans", "search"]:
            return SearchRequest()
        case ["v2", "conans", name, version, user, channel, *rest]:
            return _parse_rest(make_reference(name, version, user, channel), rest, path)
    raise NotFoundError(f"{path[:200]!r} is no call of a conan remote", reason="no-endpoint")


def make_reference(name: str, version: str, user: str, channel: str) -> Reference:
    """The recipe of these segments; `_` stands for no user and no channel. Raises BadNameError."""
    if user == "_" and channel != "_":
        raise BadNameError(f"channel {channel[:80]!r} without a user: no recipe has that")
    for what, text in (("name", name), ("version", version), ("user", user), ("channel", channel)):
        absent = text == "_" and what in ("user", "channel")
        if not absent and not _NAME.match(text):
            raise BadNameError(
                f"{what} {text[:80]!r} is none of conan: lower case, digits and _ + . - (up to 101)"
            )
    return Reference(name, version, None if user == "_" else user, None if channel == "_" else channel)


def parse_reference(text: str) -> Reference:
    """The recipe in `name/version[@[user[/channel]]]`, as a search lists it. Raises BadNameError."""
    main, _, owner = text.partition("@")
    name, slash, version = main.partition("/")
    user, _, channel = owner.partition("/")
    if not slash:
        raise BadNameError(f"{text[:80]!r} is no recipe; write name/version")
    return make_reference(name, version, user or "_", channel or "_")


def check_revision(text: str) -> str:
    """Give back `text` when it can be a revision or a package id. Raises BadNameError."""
    if not _REVISION.match(text):
        raise BadNameError(f"{text[:80]!r} is no revision or package id: 1 to 64 letters and digits")
    return text


def repository_url(identity: str) -> str | None:
    """The qualifier of package URLs of an upstream; None for the default one."""
    return None if identity == DEFAULT_UPSTREAMS["conan"] else identity


def _parse_rest(reference: Reference, rest: list[str], path: str) -> ConanRequest:
    match rest:
        case [("latest" | "revisions") as call]:
            return RevisionsRequest(reference, call == "latest")
        case ["search"]:
            return PackagesRequest(reference, None)
        case ["revisions", rrev, "search"]:
            return PackagesRequest(reference, check_revision(rrev))
        case ["revisions", rrev, "packages", package_id, ("latest" | "revisions") as call]:
            return RevisionsRequest(
                reference, call == "latest", check_revision(rrev), check_revision(package_id)
            )
        case ["revisions", rrev, "files", *file]:
            return _parse_file(Revision(reference, check_revision(rrev)), file)
        case ["revisions", rrev, "packages", package_id, "revisions", prev, "files", *file]:
            checked = [check_revision(text) for text in (rrev, package_id, prev)]
            return _parse_file(Revision(reference, *checked), file)
    raise NotFoundError(f"{path[:200]!r} is no call of a conan remote", reason="no-endpoint")


def _parse_file(revision: Revision, file: list[str]) -> ConanRequest:
    if not file:
        return FilesRequest(revision)
    name = "/".join(file)
    if name in revision.file_names:
        return FileRequest(revision, name)
    folder, _, last = name.rpartition("/")
    if folder == SIGN_FOLDER:
        if last == FILE_LIST:
            return ProofRequest(revision, None)
        for suffix, aspect in _SIBLINGS.items():
            stem = last.removesuffix(suffix)
            if stem != last and stem in revision.file_names and stem != MANIFEST:
                return ProofRequest(revision, stem, aspect)
    # An upstream's own metadata can change at any time and proves nothing: it is not passed on.
    raise NotFoundError(f"{name[:120]!r} is no file of {'a package' if revision.is_package else 'a recipe'}")


def proof_names(name: str) -> tuple[str, str]:
    """Where the proofs of a file stand."""
    bundle, intoto = (f"{SIGN_FOLDER}/{name}{suffix}" for suffix in _SIBLINGS)
    return bundle, intoto
