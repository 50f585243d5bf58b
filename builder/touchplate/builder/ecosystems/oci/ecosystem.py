"""Images behind the ecosystem port."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from touchplate.base.durable import DigestFolder
from touchplate.base.errors import StorageError
from touchplate.base.upstreams import Upstream
from touchplate.builder.backend import Backend, need_backend_of
from touchplate.builder.comparison.compare import Comparison
from touchplate.builder.definitions.definition import Definition, SourceFile
from touchplate.builder.definitions.schema import Reader
from touchplate.builder.ecosystem import DefinitionForm, Inference, Toolchain
from touchplate.builder.ecosystems.oci.backend import Runc
from touchplate.builder.ecosystems.oci.bases import check_architecture
from touchplate.builder.ecosystems.oci.comparison import LAYER_PACKING, Image, compare_images
from touchplate.builder.ecosystems.oci.containerfile import read_containerfile
from touchplate.builder.ecosystems.oci.context import unpack_context
from touchplate.builder.ecosystems.oci.definition import (
    FORM,
    OUTPUT,
    ImageDetails,
    check_definition,
    details_of,
    format_details,
    read_details,
    read_source_uri,
)
from touchplate.builder.ecosystems.oci.layers import EMPTY_LAYER
from touchplate.builder.ecosystems.oci.manifests import Config, Manifest, parse_config, parse_manifest
from touchplate.builder.ecosystems.oci.names import RepositoryPath, image_path, parse_place
from touchplate.builder.ecosystems.oci.plan import ImagePlan, build_command
from touchplate.builder.ecosystems.oci.registry import RegistryReader
from touchplate.builder.ecosystems.oci.template import make_template
from touchplate.builder.ecosystems.oci.tools import Found, find_tools
from touchplate.builder.errors import ContainerfileError, DefinitionError, HostLack, ImageError, PhaseFailed
from touchplate.builder.failure import join_first
from touchplate.builder.inputs.replay import NOT_GIVEN
from touchplate.builder.inputs.repository import MAX_FILE_BYTES, RemoteFile
from touchplate.builder.plan import BuildPlan, CollectedFile, Forbidden
from touchplate.builder.sandbox.bubblewrap import SandboxConfig
from touchplate.builder.sandbox.ranged import ID_RANGES
from touchplate.builder.sandbox.runc import open_runc_sandbox
from touchplate.builder.workshop import Workshop
from touchplate.verify.jcs import JSONValue
from touchplate.verify.predicates.provenance import Dependency
from touchplate.verify.purl import PackageURL


def make_ecosystem() -> "OCI":
    """For the registry."""
    return OCI()


@dataclass(frozen=True)
class ImageToolchain:
    """The tools of one definition, and how they are used."""

    definition: Definition
    found: Found
    workshop: Workshop

    @property
    def described(self) -> tuple[Dependency, ...]:
        """buildah, runc, skopeo."""
        return self.found.described

    def make_plan(self, tree: Path, published: Sequence[RemoteFile]) -> BuildPlan:
        """The plan, after the Containerfile was read. Raises PhaseFailed when it is not built here."""
        details = details_of(self.definition)
        check_architecture(details.platform, os.uname().machine)
        _check_containerfile(details, tree)
        manifest, config = _read_published(self.workshop, self.definition, published[0])
        registries = {base.place.identity for base in details.bases}
        archives = tuple(_archive(self.workshop, name) for name in sorted(set(details.apt.values())))
        return ImagePlan(
            source=tree,
            command=build_command(details, self.found.programs),
            umask=self.definition.umask,
            upstreams=(
                *(_reader(self.workshop, identity).upstream for identity in sorted(registries)),
                *archives,
            ),
            proxied=details.apt,
            outputs=(OUTPUT,),
            forbidden=Forbidden(_forbidden(published[0], manifest, config)),
            limits=self.definition.limits,
            details=details,
            programs=self.found.programs,
            forbidden_layers=_last_layer(manifest, config),
            archives=archives,
        )


@dataclass(frozen=True)
class OCI:
    """See `Ecosystem` for what the methods do."""

    name: str = "oci"
    form: DefinitionForm = FORM
    stabilizers: tuple[str, ...] = (LAYER_PACKING,)

    def read_source_uri(self, reader: Reader, path: str) -> str:
        """A blob of a repository."""
        return read_source_uri(reader, path)

    def read_details(self, reader: Reader) -> ImageDetails:
        """Containerfile, base images, buildah."""
        return read_details(reader)

    def check_definition(self, reader: Reader, definition: Definition) -> None:
        """One image, one archive."""
        check_definition(reader, definition)

    def can_infer(self, package: PackageURL) -> bool:
        """Never, see `infer`."""
        return False

    def format_details(self, definition: Definition) -> dict[str, JSONValue]:
        """See `definition.format_details`."""
        return format_details(details_of(definition))

    def make_template(self, package: PackageURL) -> str:
        """See `template.py`."""
        return make_template(package)

    def infer(self, workshop: Workshop, package: PackageURL, hints: Mapping[str, str]) -> Inference:
        """Never: an image does not say what it was made from."""
        raise DefinitionError(
            f"how {package} was built cannot be inferred: an image does not name its context; write a "
            "definition and give --definition FILE"
        )

    def fetch_published(self, workshop: Workshop, package: PackageURL, sha256: str | None) -> RemoteFile:
        """The manifest that the package URL names by its digest."""
        place = image_path(package)
        if sha256 not in (None, place.sha256):
            raise DefinitionError(f"{package} names one manifest, and {sha256} is asked for")
        reader = _reader(workshop, place.identity)
        data = reader.read_anew(place.path, place.sha256)
        try:
            parse_manifest(data, str(package))
        except ImageError as error:
            raise DefinitionError(str(error)) from error
        return RemoteFile(reader.uri(place.path), place.path, data)

    def fetch_source(self, workshop: Workshop, file: SourceFile) -> RemoteFile:
        """A blob."""
        place = parse_place(file.uri, "blobs")
        reader = _reader(workshop, place.identity)
        data = reader.read(place.path, file.sha256, max_bytes=MAX_FILE_BYTES)
        return RemoteFile(file.uri, place.path, data)

    def find_tools(self, workshop: Workshop, definition: Definition) -> Toolchain:
        """buildah of the definition's version, skopeo, runc."""
        details = details_of(definition)
        return ImageToolchain(definition, find_tools(details.buildah, details.names), workshop)

    def prepare_tree(self, definition: Definition, sources: Sequence[RemoteFile], folder: Path) -> None:
        """The context."""
        unpack_context(sources[0].data, folder)

    def open_backend(self, workshop: Workshop, demanded: str) -> Backend:
        """runc in a range of ids."""
        need_backend_of(demanded, ("", "runc"))
        workshop.tidy()
        sandbox = open_runc_sandbox(SandboxConfig(work=workshop.work, uids=ID_RANGES))
        return Runc(sandbox, lambda identity, store: _reader(workshop, identity, store))

    def compare(
        self,
        workshop: Workshop,
        definition: Definition,
        package: PackageURL,
        published: RemoteFile,
        rebuilt: CollectedFile,
    ) -> Comparison:
        """Manifests; configs and layers too, when those differ."""
        place = image_path(package)
        reader = _reader(workshop, place.identity)
        sizes = {blob.sha256: blob.size for blob in parse_manifest(published.data, str(package)).blobs}
        theirs = Image(
            published.data,
            lambda sha256: reader.open(place.blob(sha256).path, sha256, max_bytes=sizes[sha256]),
        )
        ours = Image(rebuilt.path.read_bytes(), workshop.cache.outputs.open)
        try:
            return compare_images(package.file_name, theirs, ours)
        except StorageError as error:
            raise HostLack(f"cannot read an image's blob: {error}") from error

    def compare_builds(
        self, workshop: Workshop, package: PackageURL, first: CollectedFile, other: CollectedFile
    ) -> Comparison:
        """As `compare`, with both images' blobs from here."""
        store = workshop.cache.outputs
        images = (Image(one.path.read_bytes(), store.open) for one in (first, other))
        return compare_images(package.file_name, *images)

    def explain_failure(self, definition: Definition, log: bytes) -> str | None:
        """buildah's last word, and what it was not given of what it had asked for."""
        lines = [line.decode(errors="replace") for line in log.splitlines()]
        said = [line.removeprefix("Error: ") for line in lines if line.startswith("Error: ")][-1:]
        return join_first([*said, *(line for line in lines if line.startswith(NOT_GIVEN))])


def _reader(workshop: Workshop, identity: str, store: DigestFolder | None = None) -> RegistryReader:
    asking = workshop.repositories.of_identity(identity, "oci").asking
    return RegistryReader(asking, store or workshop.cache.inputs)


def _archive(workshop: Workshop, name: str) -> Upstream:
    """The upstream of that name, with archives for apt. Raises HostLack when this host has none."""
    found = [one for one in workshop.repositories.upstreams if (one.name, one.ecosystem) == (name, "apt")]
    if not found:
        raise HostLack(
            f"no apt upstream {name!r} is configured here; give --upstream {name}=URL,ecosystem=apt",
            reason="no-upstream",
        )
    return found[0]


def _check_containerfile(details: ImageDetails, tree: Path) -> None:
    """Raise PhaseFailed (phase `definition`) unless the Containerfile can be built from what is pinned."""
    name = details.containerfile
    # Not Path.resolve: it raises RuntimeError for a link that leads to itself.
    path, root = (Path(os.path.realpath(one)) for one in (tree / name, tree))
    if not path.is_relative_to(root) or not path.is_file():
        raise PhaseFailed("definition", "refused-input", f"the source has no file {name!r}")
    try:
        images = read_containerfile(path.read_bytes(), name).images
        pinned = {base.name for base in details.bases}
        for image, line in images.items():
            if image not in pinned:
                raise ContainerfileError(
                    f"{name} line {line}: the image {image!r} is not pinned; add it to image.bases with the "
                    "uri of its manifest, by digest"
                )
    except ContainerfileError as error:
        raise PhaseFailed("definition", "refused-input", str(error)) from error


def _read_published(
    workshop: Workshop, definition: Definition, published: RemoteFile
) -> tuple[Manifest, Config]:
    place: RepositoryPath = image_path(definition.package)
    reader = _reader(workshop, place.identity)
    try:
        manifest = parse_manifest(published.data, str(definition.package))
        total, most = sum(blob.size for blob in manifest.blobs), definition.limits.output_bytes
        if total > most:  # comparing reads all of it, and no build may give as much
            raise PhaseFailed(
                "definition", "too-large", f"the published image has {total} bytes, more than {most}"
            )
        config_data = reader.read(place.blob(manifest.config.sha256).path, manifest.config.sha256)
        config = parse_config(config_data, f"the config of {definition.package}")
    except ImageError as error:
        raise DefinitionError(str(error)) from error
    wanted = details_of(definition).platform
    if config.platform != wanted:
        raise DefinitionError(
            f"{definition.package} is for {config.platform}, and the definition says {wanted}; "
            "change image.platform"
        )
    return manifest, config


def _forbidden(published: RemoteFile, manifest: Manifest, config: Config) -> frozenset[str]:
    """What no source may be or hold: the manifest, its config, and its layers, packed or not."""
    layers = {*(layer.sha256 for layer in manifest.layers), *config.diff_ids} - {EMPTY_LAYER}
    return frozenset({published.sha256, manifest.config.sha256} | layers)


def _last_layer(manifest: Manifest, config: Config) -> frozenset[str]:
    """What no base image may have: the layer that the build adds on top, packed and unpacked. Nothing when it
    is empty, as any image's may be."""
    if not manifest.layers or not config.diff_ids or config.diff_ids[-1] == EMPTY_LAYER:
        return frozenset()
    return frozenset({manifest.layers[-1].sha256, config.diff_ids[-1]})
