"""Two images, compared by config, by what each layer unpacks to, by each layer as packed, by manifest.

The config names what every layer unpacks to, so equal configs (of true ones) mean the same files and settings
for whoever runs the image; only equal manifests mean the same bytes for whoever pulls it. `identical` is said
of manifests alone.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from touchplate.builder.comparison.compare import Comparison, conclude
from touchplate.builder.comparison.contents import Difference
from touchplate.builder.ecosystems.oci.layers import Unpacked, Unpacker, compare_layers
from touchplate.builder.ecosystems.oci.manifests import (
    Config,
    Descriptor,
    Manifest,
    parse_config,
    parse_manifest,
)
from touchplate.builder.errors import ImageError
from touchplate.builder.stabilize.registry import Stabilized
from touchplate.verify.jcs import JSON, JSONValue, format_json

LAYER_PACKING = "layer-packing@1"
"""The stabilizer that takes each layer for what it unpacks to: descriptors of layers in the manifest are
replaced by their diff_ids. The config, which names the same diff_ids, is not touched, nor is anything
else."""

_PACKED_AS = {
    "application/vnd.oci.image.layer.v1.tar": False,
    "application/vnd.oci.image.layer.v1.tar+gzip": True,
    "application/vnd.docker.image.rootfs.diff.tar": False,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": True,
}
"""Media types of a layer that say nothing but how it is packed: whether by gzip. By others readers decide
whether it is a layer at all."""

_DIFF_IDS = re.compile(r"rootfs\.diff_ids(\.[0-9]+)?")
_HISTORY = re.compile(r"history(\.[0-9]+(\..+)?)?")
_CREATED = re.compile(r"(history\.[0-9]+\.)?created|config\.Labels\.org\.opencontainers\.image\.created")
"""Paths in a config: what it says of layers, of its making, of the time of that."""

_IN_DESCRIPTOR = re.compile(r"(?:config|layers\.[0-9]+)\.(?!annotations(?:\.|\Z)).+")
"""Paths in a manifest: by what a descriptor says beside annotations, some readers find other bytes (`urls`,
`data`)."""

_DIFF_ID = "diff_id"
_REPLACED = ("digest", "mediaType", "size")  # of a layer's descriptor, by what it unpacks to

CONFIG, UNPACKED, PACKED, MANIFEST = LEVELS = ("config", "layers unpacked", "layers", "manifest")
"""What of two images may be the same, in the order in which it is looked at."""

Open = Callable[[str], BinaryIO]
"""Opens a blob by its sha256 (hex)."""

_ABSENT = "(absent)"
_MAX_VALUE = 80  # characters of a value that a line repeats


@dataclass(frozen=True)
class Image:
    """One side of a comparison: the manifest's bytes, and a way to its blobs."""

    data: bytes
    open: Open


def compare_images(name: str, published: Image, rebuilt: Image) -> Comparison:
    """Compare two images of the package `name`. Blobs are opened only when the manifests differ.

    Raises ImageError when one side is no image.
    """
    if published.data == rebuilt.data:
        return Comparison(result="identical", matched=LEVELS)
    theirs, ours = _Side(published, "the published manifest"), _Side(rebuilt, "the rebuilt manifest")
    differences = [*_differences(theirs, ours)]
    if not differences:
        differences = [Difference("manifest", "container", "the same members, written in another way")]
    found = conclude(name, (published.data, rebuilt.data), differences, _equal(theirs, ours))
    return replace(found, matched=_matched(theirs, ours))


class _Side:
    """One image, read as far as needed; what its layers unpack to is found out, not believed."""

    def __init__(self, image: Image, what: str) -> None:
        self.manifest: Manifest = parse_manifest(image.data, what)
        with image.open(self.manifest.config.sha256) as stream:
            self.config: Config = parse_config(stream.read(), f"the config of {what}")
        self._open = image.open
        self._unpacker = Unpacker()
        unpacked = [self._unpacked(layer) for layer in self.manifest.layers]
        self.diff_ids = tuple(one.sha256 for one in unpacked)
        self.is_plain = (
            all(
                one.is_plain and _PACKED_AS.get(layer.media_type) == one.is_gzip
                for layer, one in zip(self.manifest.layers, unpacked, strict=True)
            )
            and not self._names_diff_ids()
        )
        self.is_true = self.config.diff_ids == self.diff_ids
        """Whether its layers unpack to what its config says."""

    def layer(self, number: int) -> BinaryIO:
        return self._open(self.manifest.layers[number].sha256)

    def stabilized(self) -> dict[str, JSONValue]:
        """The manifest with each layer named by what it unpacks to."""
        listed = self.manifest.members["layers"]
        assert isinstance(listed, list)  # parse_manifest saw to it
        layers: list[JSONValue] = []
        for described, diff_id in zip(listed, self.diff_ids, strict=True):
            assert isinstance(described, dict)
            rest = {key: value for key, value in described.items() if key not in _REPLACED}
            layers.append({**rest, _DIFF_ID: f"sha256:{diff_id}"})
        return {**self.manifest.members, "layers": layers}

    def _names_diff_ids(self) -> bool:
        """Whether a layer has a field already where `stabilized` puts one."""
        listed = self.manifest.members["layers"]
        assert isinstance(listed, list)
        return any(isinstance(one, dict) and _DIFF_ID in one for one in listed)

    def _unpacked(self, layer: Descriptor) -> Unpacked:
        try:
            return self._unpacker.unpack(layer.sha256, lambda: self._open(layer.sha256))
        except ImageError:
            return Unpacked(f"unknown, packed {layer.sha256}", is_plain=False)


def _equal(theirs: _Side, ours: _Side) -> Stabilized | None:
    if not all(side.is_true and side.is_plain for side in (theirs, ours)):
        return None
    # As text: for Python, 1 and true are equal.
    stabilized = format_json(theirs.stabilized())
    if stabilized != format_json(ours.stabilized()):
        return None
    return Stabilized((LAYER_PACKING,), hashlib.sha256(stabilized).hexdigest())


def _matched(theirs: _Side, ours: _Side) -> tuple[str, ...]:
    packed = [[layer.sha256 for layer in side.manifest.layers] for side in (theirs, ours)]
    same = {
        CONFIG: theirs.manifest.config.sha256 == ours.manifest.config.sha256,
        UNPACKED: theirs.diff_ids == ours.diff_ids,
        PACKED: packed[0] == packed[1],
        MANIFEST: False,
    }
    return tuple(level for level in LEVELS if same[level])


def _differences(theirs: _Side, ours: _Side) -> Iterator[Difference]:
    for side, what in ((theirs, "the published"), (ours, "the rebuilt")):
        if not side.is_true:
            yield Difference(
                "layers", "content", f"{what} layers do not unpack to the diff_ids of their config"
            )
    yield from _compare_configs(theirs.config.members, ours.config.members)
    for number, (left, right) in enumerate(zip(theirs.diff_ids, ours.diff_ids, strict=False)):
        name = f"layer {number + 1}"
        if left != right:
            with theirs.layer(number) as published, ours.layer(number) as rebuilt:
                yield from compare_layers(name, published, rebuilt)
        elif theirs.manifest.layers[number].sha256 != ours.manifest.layers[number].sha256:
            yield Difference(name, "compression", "the same layer, packed in another way")
    if (left_count := len(theirs.diff_ids)) != (right_count := len(ours.diff_ids)):
        cause = "missing-entries" if left_count > right_count else "extra-entries"
        yield Difference("layers", cause, f"{left_count} layers != {right_count}")
    yield from _compare_manifests(theirs.manifest, ours.manifest)


def _compare_configs(theirs: Mapping[str, JSON], ours: Mapping[str, JSON]) -> Iterator[Difference]:
    for path, before, after in _changed("", dict(theirs), dict(ours)):
        if _DIFF_IDS.fullmatch(path):
            continue  # follows from the layers, which are compared themselves
        where = "history" if _HISTORY.fullmatch(path) else "config"
        cause = "timestamps" if _CREATED.fullmatch(path) else where
        yield Difference(f"config: {path}", cause, f"{before} != {after}")


def _compare_manifests(theirs: Manifest, ours: Manifest) -> Iterator[Difference]:
    kinds = [(one.config.media_type, *(layer.media_type for layer in one.layers)) for one in (theirs, ours)]
    if theirs.media_type != ours.media_type or kinds[0] != kinds[1]:
        yield Difference(
            "manifest", "media-types", f"{theirs.media_type} != {ours.media_type}, or of its blobs"
        )
    for path, before, after in _changed("", _beside_blobs(theirs), _beside_blobs(ours)):
        cause = "content" if _IN_DESCRIPTOR.fullmatch(path) else "annotations"
        yield Difference(f"manifest: {path}", cause, f"{before} != {after}")


def _beside_blobs(manifest: Manifest) -> JSON:
    """All that a manifest says but which blobs it names, and by which media types."""
    config, layers = manifest.members["config"], manifest.members["layers"]
    assert isinstance(config, dict)  # parse_manifest saw to it
    assert isinstance(layers, list)
    rests = [_rest(one) for one in layers if isinstance(one, dict)]
    return {
        **{key: value for key, value in manifest.members.items() if key != "mediaType"},
        "config": _rest(config),
        "layers": {str(number): rest for number, rest in enumerate(rests) if rest},
    }


def _rest(descriptor: Mapping[str, JSON]) -> dict[str, JSON]:
    return {key: value for key, value in descriptor.items() if key not in _REPLACED}


def _changed(path: str, theirs: JSON, ours: JSON) -> Iterator[tuple[str, str, str]]:
    """(path, value there, value here) of everything that differs in two JSON values."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in dict.fromkeys([*theirs, *ours]):
            inner = f"{path}.{key}" if path else key
            if key in theirs and key in ours:
                yield from _changed(inner, theirs[key], ours[key])
            else:
                before, after = (_shown(each[key]) if key in each else _ABSENT for each in (theirs, ours))
                yield inner, before, after
    elif isinstance(theirs, list) and isinstance(ours, list) and _are_alike(theirs, ours):
        for number, pair in enumerate(zip(theirs, ours, strict=True)):
            yield from _changed(f"{path}.{number}", *pair)
    elif format_json(theirs) != format_json(ours):  # for Python, 1 and true are equal
        yield path, _shown(theirs), _shown(ours)


def _are_alike(theirs: Sequence[JSON], ours: Sequence[JSON]) -> bool:
    return len(theirs) == len(ours)


def _shown(value: JSON) -> str:
    text = value if isinstance(value, str) else format_json(value).decode()
    return text if len(text) <= _MAX_VALUE else text[: _MAX_VALUE - 1] + "…"
