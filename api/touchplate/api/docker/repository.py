"""Upstream registries as this node serves them, and which one a request means.

A repository's name begins with the name of its upstream, or belongs to the default upstream, or the client
says by `ns=` whose name it is (distribution specification, "Registry proxying"; containerd does).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from touchplate.api.docker.layout import image_purl
from touchplate.api.docker.upstream import RegistryClient
from touchplate.api.errors import RefusedError, UnknownUpstreamError
from touchplate.api.links import Link
from touchplate.verify.purl import PackageURL

TagPolicy = Literal["follow", "pin"]


@dataclass(frozen=True)
class Registry:
    """One upstream. `name`: in request paths and rules; `identity`: in statements and `ns=`; `namespace`:
    what is put before a repository name of one segment, where the registry has such a habit."""

    name: str
    identity: str
    record: bool
    client: RegistryClient = field(repr=False)
    tags: TagPolicy = "follow"
    namespace: str | None = None


@dataclass(frozen=True)
class Place:
    """One repository of an upstream. `path`: its full path there; `asked`: its name in the request."""

    registry: Registry
    path: str
    asked: str

    @property
    def repository(self) -> str:
        """Its name in our rows: one for every way to ask for it."""
        return f"{self.registry.name}/{self.path}"

    @property
    def link_repository(self) -> str:
        """The upstream in the rows of `Links`; no Maven upstream can be called so."""
        return f"oci:{self.registry.name}"

    def link_path(self, sha256: str) -> str:
        """The path of a manifest in the rows of `Links`."""
        return f"{self.path}/manifests/sha256:{sha256}"

    def package(self, sha256: str) -> PackageURL:
        """The package URL of a manifest of this repository."""
        return image_purl(self.registry.identity, self.path, sha256)

    def why(self, reference: str) -> str:
        """The path of the page that explains the decision about a manifest."""
        return f"/why/v2/{self.repository}/manifests/{reference}"


class Registries:
    """The upstreams of one node."""

    def __init__(self, registries: Sequence[Registry], default: str | None = None) -> None:
        """`default`: name of the upstream of repositories that begin with no upstream's name."""
        self.by_name: Mapping[str, Registry] = {one.name: one for one in registries}
        self._by_identity = {one.identity: one for one in reversed(registries)}
        self._default = self.by_name[default] if default is not None else None

    def package_of(self, link: Link) -> PackageURL | None:
        """The package URL as which a link serves its bytes; None when it is of no registry that there is (any
        more)."""
        path, manifests, sha256 = link.path.rpartition("/manifests/sha256:")
        for registry in self.by_name.values():
            place = Place(registry, path, path)
            if manifests and place.link_repository == link.repository:
                return place.package(sha256)
        return None

    def place(self, name: str, namespace: str | None = None) -> Place:
        """The repository that a request means; `namespace` is its `ns=`.

        Raises UnknownUpstreamError, and RefusedError for a namespace without upstream: a 404 would send the
        client on to the registry itself.
        """
        if namespace is not None:
            registry = self._by_identity.get(namespace)
            if registry is None:
                known = ", ".join(sorted(self._by_identity)) or "none"
                raise RefusedError(
                    f"no upstream of this node is the registry {namespace[:80]!r}; there is: {known}",
                    reason="unknown-upstream",
                )
            return _place(registry, name, name)
        first, _, rest = name.partition("/")
        if first in self.by_name and rest:
            return _place(self.by_name[first], rest, name)
        if self._default is not None:
            return _place(self._default, name, name)
        known = ", ".join(sorted(self.by_name)) or "none"
        raise UnknownUpstreamError(
            f"no registry is named {first[:80]!r} here; begin the image's name with one of: {known}"
        )


def _place(registry: Registry, path: str, asked: str) -> Place:
    if registry.namespace is not None and "/" not in path:
        path = f"{registry.namespace}/{path}"
    return Place(registry, path, asked)
