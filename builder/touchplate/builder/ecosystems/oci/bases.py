"""Base images: read whole from their upstreams by digest, checked, locked, and laid out for the build."""

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from touchplate.base.durable import DigestFolder
from touchplate.builder.ecosystems.oci.definition import BaseImage
from touchplate.builder.ecosystems.oci.layers import Unpacker
from touchplate.builder.ecosystems.oci.manifests import Descriptor, parse_config, parse_manifest
from touchplate.builder.ecosystems.oci.names import RepositoryPath
from touchplate.builder.ecosystems.oci.plan import ImagePlan, PinnedImage
from touchplate.builder.ecosystems.oci.registry import RegistryReader
from touchplate.builder.errors import (
    UPSTREAM_FAILED,
    DefinitionError,
    HostLack,
    ImageError,
    PhaseFailed,
    needing_disk,
)
from touchplate.builder.inputs.lock import InputLock, LockedInput, make_lock
from touchplate.builder.plan import Progress
from touchplate.builder.sandbox.workspace import make_open, show_copy

FindReader = Callable[[str, DigestFolder], RegistryReader]
"""The upstream of an identity, reading into a store. Raises HostLack when this host has none."""

_LOCKABLE = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_VERSION = b"Directory Transport Version: 1.1\n"  # of the `dir:` transport; what it writes itself


def fetch_bases(
    plan: ImagePlan, find_reader: FindReader, store: DigestFolder, progress: Progress
) -> tuple[PinnedImage, ...]:
    """Every base image of the plan, all its blobs in `store`, each known to be what its digest says.

    Raises PhaseFailed (phase `fetch`) for one that may not be an input, HostLack when an upstream fails.
    """
    left = plan.limits.fetch_bytes
    unpacker = Unpacker()
    pinned = []
    for base in plan.details.bases:
        reader = find_reader(base.place.identity, store)
        try:
            one = _fetch(base, reader, progress, left, unpacker)
        except ImageError as error:
            raise PhaseFailed("fetch", "refused-input", f"base image {base.name}: {error}") from error
        except DefinitionError as error:  # another mirror may have it
            raise HostLack(f"base image {base.name}: {error}", reason=UPSTREAM_FAILED) from error
        left -= sum(blob.size for blob in one.manifest.blobs)
        _check_answer(plan, one)
        _check_platform(plan, one)
        pinned.append(one)
    return tuple(pinned)


def make_base_lock(bases: Sequence[PinnedImage]) -> InputLock:
    """The lock of these bases. An upstream is named by its identity: definitions have no other name for
    it."""
    inputs = {
        (place.identity, place.path): LockedInput(
            place.identity, place.path, descriptor.sha256, descriptor.size
        )
        for place, descriptor in _inputs(bases)
    }
    return make_lock(inputs.values())


def lay_out(bases: Sequence[PinnedImage], store: DigestFolder, folder: Path) -> None:
    """Write each base as a folder of the `dir:` transport: `0`, `1`, … Raises HostLack."""
    with needing_disk("cannot lay out the base images", folder):
        _lay_out(bases, store, folder)


def _lay_out(bases: Sequence[PinnedImage], store: DigestFolder, folder: Path) -> None:
    for number, one in enumerate(bases):
        target = folder / str(number)
        make_open(target)
        for name, data in (("manifest.json", one.data), ("version", _VERSION)):
            (target / name).write_bytes(data)
            (target / name).chmod(0o644)
        # A manifest may name one blob by two media types.
        for sha256 in dict.fromkeys(blob.sha256 for blob in one.manifest.blobs):
            show_copy(store.path(sha256), target / sha256)


def _fetch(
    base: BaseImage, reader: RegistryReader, progress: Progress, left: int, unpacker: Unpacker
) -> PinnedImage:
    identity = base.place.identity
    if not _LOCKABLE.fullmatch(identity):
        raise ImageError(f"identity {identity!r} cannot stand in an input lock; it takes a-z 0-9 . _ -")
    data = reader.read(base.place.path, base.sha256)
    if len(data) != base.size:
        raise ImageError(f"its manifest has {len(data)} bytes, and the definition says {base.size}")
    manifest = parse_manifest(data, "its manifest")
    if (total := sum(blob.size for blob in manifest.blobs)) > left:
        raise PhaseFailed(
            "fetch", "too-large", f"base image {base.name} has {total} bytes, more than allowed"
        )
    for blob in manifest.blobs:
        place = base.place.blob(blob.sha256)
        reader.fetch(place.path, blob.sha256, max_bytes=blob.size)
        if (size := reader.size(blob.sha256)) != blob.size:
            raise ImageError(f"blob {blob.sha256} has {size} bytes, and its manifest says {blob.size}")
        progress.fetched(identity, place.path, blob.size)
    config = parse_config(
        reader.read(base.place.blob(manifest.config.sha256).path, manifest.config.sha256), "its config"
    )
    if config.has_triggers:
        raise ImageError("brings instructions of its own (ONBUILD), which are not supported")
    unpacked = (unpacker.unpack(layer.sha256, _opener(reader, base, layer)) for layer in manifest.layers)
    if config.diff_ids != tuple(one.sha256 for one in unpacked):
        raise ImageError("its layers do not unpack to the diff_ids of its config")
    return PinnedImage(base, data, manifest, config)


def _opener(reader: RegistryReader, base: BaseImage, layer: Descriptor) -> Callable[[], BinaryIO]:
    place = base.place.blob(layer.sha256)
    return lambda: reader.open(place.path, layer.sha256, max_bytes=layer.size)


def _check_answer(plan: ImagePlan, one: PinnedImage) -> None:
    """A base may be no copy of what has to be made."""
    found = {one.base.sha256, one.manifest.config.sha256} & plan.forbidden.digests
    layers = {*(layer.sha256 for layer in one.manifest.layers), *one.config.diff_ids} & plan.forbidden_layers
    if found or layers:
        what = "is the published image" if found else "has the layer of the published image"
        detail = f"base image {one.base.name} {what} that the build has to make"
        raise PhaseFailed("fetch", "refused-input", detail)


def _check_platform(plan: ImagePlan, one: PinnedImage) -> None:
    if one.config.platform != plan.details.platform:
        detail = f"base image {one.base.name} is for {one.config.platform}, not {plan.details.platform}"
        raise PhaseFailed("fetch", "refused-input", detail)


def _inputs(bases: Sequence[PinnedImage]) -> Iterator[tuple[RepositoryPath, Descriptor]]:
    for one in bases:
        place = one.base.place
        yield place, Descriptor(one.manifest.media_type, place.sha256, len(one.data))
        for blob in one.manifest.blobs:
            yield place.blob(blob.sha256), blob


def check_lock(lock: InputLock, bases: Sequence[PinnedImage]) -> None:
    """Raise PhaseFailed unless `lock`, which may be somebody else's, is exactly the lock of these bases."""
    if lock != make_base_lock(bases):
        raise PhaseFailed(
            "fetch", "refused-input", "the lock does not name exactly the definition's base images"
        )


def check_architecture(platform: str, machine: str) -> None:
    """Raise HostLack unless this machine (as uname says) runs programs of `platform`."""
    known = {
        "x86_64": "amd64",
        "aarch64": "arm64",
        "riscv64": "riscv64",
        "ppc64le": "ppc64le",
        "s390x": "s390x",
    }
    own = f"linux/{known.get(machine, machine)}"
    if platform != own:
        raise HostLack(f"the image is for {platform}, and this machine is {own}", reason="no-tool")
