"""Where an image stands: package URL ↔ repository ↔ `upstream:` URI (name format 1). Pure."""

import re
from dataclasses import dataclass

from touchplate.builder.errors import DefinitionError
from touchplate.verify.errors import VerifyError
from touchplate.verify.names import parse_upstream_uri
from touchplate.verify.purl import PackageURL

_PLACE = re.compile(r"(?P<repository>.+)/(?P<kind>manifests|blobs)/sha256:(?P<sha256>[0-9a-f]{64})")


@dataclass(frozen=True)
class RepositoryPath:
    """One manifest or blob: identity of the upstream, repository there, `manifests` or `blobs`, sha256 in
    hex."""

    identity: str
    repository: str
    kind: str
    sha256: str

    @property
    def path(self) -> str:
        """Below `/v2/`."""
        return f"{self.repository}/{self.kind}/sha256:{self.sha256}"

    def blob(self, sha256: str) -> "RepositoryPath":
        """A blob of the same repository."""
        return RepositoryPath(self.identity, self.repository, "blobs", sha256)


def image_path(package: PackageURL) -> RepositoryPath:
    """Where the manifest of an image's package URL is. Raises DefinitionError."""
    identity, _, repository = (package.qualifier("repository_url") or "").partition("/")
    if package.ecosystem != "oci" or not repository:
        raise DefinitionError(f"{package} names no repository; write repository_url=IDENTITY/full/path")
    return RepositoryPath(identity, repository, "manifests", package.version.removeprefix("sha256:"))


def parse_place(uri: str, kind: str) -> RepositoryPath:
    """What an `upstream:` URI of `kind` (`manifests`, `blobs`) names. Raises DefinitionError."""
    try:
        identity, path = parse_upstream_uri(uri)
    except VerifyError as error:
        raise DefinitionError(str(error)) from error
    match = _PLACE.fullmatch(path)
    if match is None or match["kind"] != kind:
        raise DefinitionError(
            f"{uri[:200]!r} is not of the form upstream:<identity>/<repository>/{kind}/sha256:<digest>"
        )
    return RepositoryPath(identity, match["repository"], kind, match["sha256"])
