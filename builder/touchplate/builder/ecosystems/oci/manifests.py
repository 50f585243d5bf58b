"""Image manifests and configs as far as a rebuild needs them (OCI image specification 1.1; Docker image
manifest version 2, schema 2). Pure.

Read strictly: what is compared and attested here is what every other reader would see, too.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from touchplate.builder.errors import ImageError
from touchplate.verify.errors import VerifyError
from touchplate.verify.jcs import JSON, parse_json

MAX_MANIFEST_BYTES = 4 * 1024 * 1024
"""Of a manifest or config: what the specification asks registries to take at least."""

MAX_LAYERS = 512
"""Layers of one image: a Containerfile may make 127, and a base another 127."""

MANIFEST_TYPES = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
INDEX_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)

_DIGEST = re.compile(r"sha256:([0-9a-f]{64})\Z")


@dataclass(frozen=True)
class Descriptor:
    """What a manifest names: media type, sha256 in hex, bytes."""

    media_type: str
    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """The manifest of one image. `members`: all of it, for comparing."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    members: Mapping[str, JSON]

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers, each once."""
        return tuple(dict.fromkeys((self.config, *self.layers)))


@dataclass(frozen=True)
class Config:
    """The config of one image. `diff_ids`: sha256 in hex of each unpacked layer, as it claims."""

    platform: str
    """`os/architecture`."""
    diff_ids: tuple[str, ...]
    has_triggers: bool
    """Whether it brings instructions of its own into a build (ONBUILD)."""
    members: Mapping[str, JSON]


def parse_manifest(data: bytes, what: str) -> Manifest:
    """The manifest in `data`; `what` names it in messages. Raises ImageError, for an index too."""
    members = _members(data, what)
    media_type = members.get("mediaType", "")
    if media_type in INDEX_TYPES or "manifests" in members:
        raise ImageError(
            f"{what} is an index of several platforms, and one image is rebuilt at a time: name the "
            f"manifest of one of them: {_children(members)}"
        )
    # Only OCI's may leave it out.
    if media_type not in (*MANIFEST_TYPES, "") or members.get("schemaVersion") != 2:
        raise ImageError(
            f"{what} is no image manifest that is known here: mediaType {str(media_type)[:80]!r}"
        )
    layers = members.get("layers")
    if not isinstance(layers, list) or len(layers) > MAX_LAYERS:
        raise ImageError(f"{what} has no list of up to {MAX_LAYERS} layers")
    return Manifest(
        media_type=str(media_type) or MANIFEST_TYPES[0],
        config=_descriptor(members.get("config"), f"the config of {what}"),
        layers=tuple(_descriptor(one, f"layer {number} of {what}") for number, one in enumerate(layers)),
        members=members,
    )


def parse_config(data: bytes, what: str) -> Config:
    """The config in `data`. Raises ImageError."""
    members = _members(data, what)
    root = members.get("rootfs")
    claimed = root.get("diff_ids") if isinstance(root, dict) else None
    if not isinstance(claimed, list):
        raise ImageError(f"{what} has no rootfs.diff_ids")
    diff_ids = [_hex(one) for one in claimed]
    os_, architecture = members.get("os"), members.get("architecture")
    if None in diff_ids or not isinstance(os_, str) or not isinstance(architecture, str):
        raise ImageError(f"{what} has no os, no architecture, or a diff_id that is no sha256")
    inner = members.get("config")
    triggers = inner.get("OnBuild") if isinstance(inner, dict) else None
    return Config(
        platform=f"{os_}/{architecture}",
        diff_ids=tuple(one for one in diff_ids if one is not None),
        has_triggers=bool(triggers),
        members=members,
    )


def _members(data: bytes, what: str) -> dict[str, JSON]:
    try:
        value = parse_json(data, max_bytes=MAX_MANIFEST_BYTES)
    except VerifyError as error:
        raise ImageError(f"{what}: {error}") from error
    if not isinstance(value, dict):
        raise ImageError(f"{what} is no JSON object")
    return value


def _descriptor(value: JSON, what: str) -> Descriptor:
    members = value if isinstance(value, dict) else {}
    media_type, size = members.get("mediaType"), members.get("size")
    sha256 = _hex(members.get("digest"))
    if sha256 is None or not isinstance(media_type, str):
        raise ImageError(f"{what} is not named by mediaType and a sha256 digest")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise ImageError(f"{what} has no size")
    return Descriptor(media_type, sha256, size)


def _hex(value: JSON) -> str | None:
    match = _DIGEST.match(value) if isinstance(value, str) else None
    return match[1] if match else None


def _children(members: Mapping[str, JSON]) -> str:
    listed = members.get("manifests")
    found = []
    for one in listed if isinstance(listed, list) else []:
        platform = one.get("platform") if isinstance(one, dict) else None
        if isinstance(one, dict) and isinstance(platform, dict) and platform.get("os") != "unknown":
            found.append(f"{platform.get('os')}/{platform.get('architecture')} {one.get('digest')}"[:120])
    return ", ".join(found[:16]) or "none"
