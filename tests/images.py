"""Container images made by a few lines of code: the same bytes in every run, no root, no tool."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
IN_TOTO = "application/vnd.in-toto+json"


def sha256(data: bytes) -> str:
    """Lower-case hex."""
    return hashlib.sha256(data).hexdigest()


@dataclass(frozen=True)
class Image:
    """A manifest or index with its blobs; `children` of an index."""

    media_type: str
    manifest: bytes
    blobs: Mapping[str, bytes] = field(default_factory=dict)
    children: tuple[Image, ...] = ()

    @property
    def hex(self) -> str:
        """Its sha256."""
        return sha256(self.manifest)

    @property
    def digest(self) -> str:
        """As references have it."""
        return f"sha256:{self.hex}"

    @property
    def layer(self) -> str:
        """The sha256 of its last layer, in hex."""
        last: str = json.loads(self.manifest)["layers"][-1]["digest"]
        return last.removeprefix("sha256:")

    @property
    def config(self) -> str:
        """The sha256 of its config, in hex."""
        digest: str = json.loads(self.manifest)["config"]["digest"]
        return digest.removeprefix("sha256:")


def tar_layer(files: Mapping[str, bytes]) -> tuple[bytes, str]:
    """A gzipped layer with these files, and the sha256 of what it unpacks to."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o755
            tar.addfile(member, io.BytesIO(data))
    packed = io.BytesIO()
    with gzip.GzipFile("", "wb", 1, packed, 0) as compressed:
        compressed.write(plain.getvalue())
    return packed.getvalue(), sha256(plain.getvalue())


def make_image(
    text: str = "hello",
    *,
    architecture: str = "amd64",
    docker: bool = False,
    layers: Sequence[Mapping[str, bytes]] = (),
    extra: Mapping[str, Any] | None = None,
) -> Image:
    """An image whose files depend on `text`. `docker`: schema 2 instead of OCI; `layers`: files of each."""
    packed = [tar_layer(files) for files in (layers or [{"etc/text": text.encode()}])]
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": ["/bin/true"], "Labels": {"text": text}},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{plain}" for _, plain in packed]},
    }
    body = json.dumps(config).encode()
    blobs = {sha256(body): body} | {sha256(layer): layer for layer, _ in packed}
    media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
    manifest = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": describe(DOCKER_CONFIG if docker else OCI_CONFIG, body),
        "layers": [describe(DOCKER_LAYER if docker else OCI_LAYER, layer) for layer, _ in packed],
        **(extra or {}),
    }
    return Image(media_type, json.dumps(manifest, indent=2).encode(), blobs)


def make_attestation(subject: Image, layer: bytes, media_type: str = IN_TOTO) -> Image:
    """What BuildKit puts beside an image: a manifest for no machine, with statements as layers."""
    config = json.dumps(
        {
            "architecture": "unknown",
            "os": "unknown",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{sha256(layer)}"]},
        }
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": describe(OCI_CONFIG, config),
        "layers": [describe(media_type, layer)],
        "subject": {"mediaType": subject.media_type, "digest": subject.digest, "size": len(subject.manifest)},
    }
    return Image(OCI_MANIFEST, json.dumps(manifest).encode(), {sha256(config): config, sha256(layer): layer})


def make_index(
    images: Mapping[str, Image], attestations: Sequence[Image] = (), *, docker: bool = False
) -> Image:
    """An index of images by architecture, and attestations beside them."""
    children = [
        {
            **describe(image.media_type, image.manifest),
            "platform": {"os": "linux", "architecture": architecture},
        }
        for architecture, image in images.items()
    ]
    children += [
        {
            **describe(one.media_type, one.manifest),
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {"vnd.docker.reference.type": "attestation-manifest"},
        }
        for one in attestations
    ]
    media_type = DOCKER_LIST if docker else OCI_INDEX
    body = {"schemaVersion": 2, "mediaType": media_type, "manifests": children}
    return Image(media_type, json.dumps(body, indent=1).encode(), {}, (*images.values(), *attestations))


def describe(media_type: str, data: bytes) -> dict[str, Any]:
    """A descriptor."""
    return {"mediaType": media_type, "digest": f"sha256:{sha256(data)}", "size": len(data)}
