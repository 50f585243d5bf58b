"""Paths below `/v2/` (OCI distribution specification 1.1, "Endpoints"): parsed into what they ask for, or
refused.

A name, tag or digest has one spelling here: what is not in it names nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from touchplate.api.errors import BadNameError, NotFoundError
from touchplate.verify.purl import PackageURL, parse_purl

MAX_NAME = 255
"""Characters of a repository name; many clients stop there for host and name together."""

_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*\Z")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\Z")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})\Z")
_ANY_DIGEST = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+\Z")

Kind = Literal["manifests", "blobs", "tags", "referrers"]
_KINDS: tuple[Kind, ...] = ("manifests", "blobs", "referrers")


@dataclass(frozen=True)
class RegistryRequest:
    """What a path asks for. `reference`: a tag or `sha256:…` for manifests, `sha256:…` for blobs and
    referrers, empty for tags."""

    kind: Kind
    name: str
    reference: str = ""

    @property
    def sha256(self) -> str | None:
        """The digest in hex; None when the reference is a tag."""
        match = _DIGEST.match(self.reference)
        return match[1] if match else None


def parse_registry_path(path: str) -> RegistryRequest:
    """What the decoded path below `/v2/` asks for.

    Raises BadNameError (`bad-name`, `bad-digest`, `bad-tag`), NotFoundError for what is no endpoint.
    """
    head, _, last = path.rpartition("/")
    name, _, kind = head.rpartition("/")
    if kind == "tags" and last == "list":
        return RegistryRequest("tags", check_name(name))
    if kind not in _KINDS:
        raise NotFoundError(f"/v2/{path[:200]} is no endpoint of a registry", reason="no-endpoint")
    check_name(name)
    if kind == "manifests" and ":" not in last:
        if not is_tag(last):
            raise BadNameError(
                f"{last[:80]!r} is no tag: 128 characters of a-z A-Z 0-9 . _ -", reason="bad-tag"
            )
        return RegistryRequest("manifests", name, last)
    if not _DIGEST.match(last):
        what = "an algorithm that is not served here" if is_digest(last) else "no digest"
        raise BadNameError(f"{last[:90]!r} is {what}; write sha256: and 64 hex digits", reason="bad-digest")
    found: Kind = next(one for one in _KINDS if one == kind)
    return RegistryRequest(found, name, last)


def check_name(name: str) -> str:
    """Give back `name` when it can be that of a repository. Raises BadNameError."""
    if len(name) > MAX_NAME or not _NAME.match(name):
        raise BadNameError(f"{name[:80]!r} is no repository: lower case, digits and . _ - between slashes")
    return name


def is_tag(text: str) -> bool:
    """Whether a manifest can be tagged so."""
    return _TAG.match(text) is not None


def is_digest(text: str) -> bool:
    """Whether it is a digest in whatever algorithm."""
    return _ANY_DIGEST.match(text) is not None


def image_purl(identity: str, path: str, sha256: str) -> PackageURL:
    """The package URL of a manifest (format 1): `identity` of the upstream, full path of the repository
    there."""
    last = path.rpartition("/")[2]
    url = PackageURL("oci", None, last, f"sha256:{sha256}", (("repository_url", f"{identity}/{path}"),))
    return parse_purl(str(url))
