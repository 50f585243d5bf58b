"""Manifests and indexes (OCI image specification 1.1; Docker image manifest version 2, schema 2): what they
name.

Read strictly, since what is read here decides what may be pulled: a key twice, or one that a reader which
ignores case would take for another, makes the document nonsense. It is stored and sent as it came.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from touchplate.api.errors import UpstreamError
from touchplate.api.values import most_values
from touchplate.verify.errors import VerifyError
from touchplate.verify.jcs import JSON, parse_json

MAX_MANIFEST_BYTES = 4 * 1024**2
"""Bytes of a manifest or an index: what the specification asks registries to take at least."""

MAX_VALUES = 100_000
"""Values of one document or page of a listing: 4,000 descriptors with all that can be said have 80,000."""

MAX_DESCRIPTORS = 4_000
"""Layers or children of one manifest: a container file may have 127 layers, artifacts more."""

MAX_BLOB_BYTES = 64 * 1024**3
"""Bytes of one layer. Larger ones exist nowhere; an endless one must not fill the disk."""

INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
EVIDENCE_LAYERS = frozenset(
    {
        "application/vnd.in-toto+json",
        "application/vnd.dsse.envelope.v1+json",
        "application/vnd.dev.sigstore.bundle.v0.3+json",
        "application/vnd.dev.cosign.simplesigning.v1+json",
        "application/vnd.cyclonedx+json",
        "application/spdx+json",
        "text/spdx+json",
        "application/sarif+json",
        "application/jose+json",
    }
)
"""Layers that speak about an image and are none: JSON, every one of them."""

ATTESTATION = ("vnd.docker.reference.type", "attestation-manifest")
"""The annotation by which an index marks a child that no machine runs."""

# How systems, architectures and variants are called; other text would be told to people as it stands.
_PLATFORM = re.compile(r"[A-Za-z0-9._-]{1,40}\Z")
_GENERIC = frozenset({"", "application/json", "application/octet-stream", "text/plain"})
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})\Z")
_KEYS = (
    "schemaVersion", "mediaType", "artifactType", "config", "layers", "manifests", "subject", "annotations",
    "digest", "size", "urls", "data", "platform", "architecture", "os", "variant", "os.version",
    "os.features", "features",
)  # fmt: skip
_FOLDED = {key.casefold(): key for key in _KEYS}

ManifestKind = Literal["image", "evidence", "index"]


@dataclass(frozen=True)
class Descriptor:
    """What a manifest names: its sha256 in hex (empty for other algorithms), bytes, and what else matters
    here. `platform`: `os/architecture[/variant]`, or empty."""

    media_type: str
    sha256: str
    size: int
    platform: str = ""
    is_attestation: bool = False

    @property
    def is_index(self) -> bool:
        """Whether a further list of manifests is meant."""
        return self.media_type in INDEX_TYPES


@dataclass(frozen=True)
class Manifest:
    """A manifest as far as it matters here. `blobs`: config and layers; `children`: of an index.

    `subject` is the digest (hex) that it refers to. `kind` is `evidence` for what only speaks about an
    image: only then it is served without being judged.
    """

    kind: ManifestKind
    media_type: str
    blobs: tuple[Descriptor, ...] = ()
    children: tuple[Descriptor, ...] = ()
    subject: str | None = None
    artifact_type: str = ""

    @property
    def images(self) -> tuple[Descriptor, ...]:
        """The children that count: no attestations."""
        return tuple(child for child in self.children if not child.is_attestation)


def parse_manifest(body: bytes, media_type: str) -> Manifest:
    """The manifest in `body`, which its registry calls `media_type`. Raises UpstreamError
    (`upstream-nonsense`)."""
    if most_values(body) > MAX_VALUES:
        raise _nonsense(f"it has more than {MAX_VALUES} members and items")
    try:
        value = parse_json(body, max_bytes=MAX_MANIFEST_BYTES)
    except VerifyError as error:
        raise _nonsense(str(error)) from error
    members = _object(value, "manifest")
    said = members.get("mediaType", media_type)
    if media_type in _GENERIC and isinstance(said, str):
        media_type = said  # some registries keep documents without their types
    if said != media_type:
        raise _nonsense(f"it calls itself {str(said)[:80]!r}, and its registry {media_type[:80]!r}")
    if members.get("schemaVersion") != 2:
        raise _nonsense("its schemaVersion is not 2; older images are not served")
    if media_type in INDEX_TYPES and "layers" not in members:
        children = tuple(_descriptor(one) for one in _list(members.get("manifests"), "manifests"))
        return Manifest("index", media_type, children=children, subject=_subject(members))
    if media_type not in MANIFEST_TYPES or "manifests" in members:
        raise _nonsense(f"{media_type[:80]!r} is no kind of manifest that is served here")
    config = _descriptor(members.get("config"))
    layers = tuple(_descriptor(one) for one in _list(members.get("layers"), "layers"))
    artifact = members.get("artifactType") or config.media_type
    is_evidence = bool(layers) and all(layer.media_type in EVIDENCE_LAYERS for layer in layers)
    return Manifest(
        "evidence" if is_evidence else "image",
        media_type,
        blobs=(config, *layers),
        subject=_subject(members),
        artifact_type=str(artifact),
    )


def own_media_type(body: bytes) -> str:
    """What a manifest calls itself, or must be by what it holds: for bytes that came without a type.

    Raises UpstreamError.
    """
    try:
        members = _object(parse_json(body, max_bytes=MAX_MANIFEST_BYTES), "manifest")
    except VerifyError as error:
        raise _nonsense(str(error)) from error
    return str(members.get("mediaType") or (INDEX_TYPES if "manifests" in members else MANIFEST_TYPES)[0])


def _subject(members: Mapping[str, JSON]) -> str | None:
    return _descriptor(members["subject"]).sha256 if members.get("subject") is not None else None


def _descriptor(value: JSON | None) -> Descriptor:
    members = _object(value, "descriptor")
    media_type, digest, size = members.get("mediaType"), members.get("digest"), members.get("size")
    if not isinstance(media_type, str) or not isinstance(digest, str) or not isinstance(size, int):
        raise _nonsense("a descriptor lacks mediaType, digest or size")
    if isinstance(size, bool) or not 0 <= size <= MAX_BLOB_BYTES:
        raise _nonsense(f"a descriptor has the size {size}")
    annotations = members.get("annotations")
    marked = isinstance(annotations, dict) and annotations.get(ATTESTATION[0]) == ATTESTATION[1]
    match = _DIGEST.match(digest)
    return Descriptor(media_type, match[1] if match else "", size, _platform(members.get("platform")), marked)


def _platform(value: JSON | None) -> str:
    if not isinstance(value, dict):
        return ""
    parts = [part for name in ("os", "architecture", "variant") if (part := value.get(name))]
    # It is shown to people, and its publisher may write anything there.
    are_words = all(isinstance(part, str) and _PLATFORM.match(part) for part in parts)
    return "/".join(str(part) for part in parts) if are_words else ""


def _object(value: JSON | None, what: str) -> dict[str, JSON]:
    if not isinstance(value, dict):
        raise _nonsense(f"a {what} is no JSON object")
    for key in value:
        # Go's reader takes "Layers" for "layers": then two readers would see two different images.
        if _FOLDED.get(key.casefold(), key) != key:
            raise _nonsense(f"the key {key[:40]!r} differs from {_FOLDED[key.casefold()]!r} in case only")
    return value


def _list(value: JSON | None, what: str) -> list[JSON]:
    if not isinstance(value, list) or len(value) > MAX_DESCRIPTORS:
        raise _nonsense(f"{what} is no list of at most {MAX_DESCRIPTORS}")
    return value


def _nonsense(what: str) -> UpstreamError:
    return UpstreamError(f"the manifest cannot be used: {what}", reason="upstream-nonsense")
