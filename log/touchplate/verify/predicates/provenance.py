"""SLSA Provenance v1 as a rebuilder writes it: how the subjects were made from source."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Literal

from touchplate.verify.encoding import parse_time
from touchplate.verify.errors import MalformedError, shown
from touchplate.verify.fields import (
    take_choice,
    take_digests,
    take_list,
    take_map,
    take_object,
    take_text,
    take_texts,
)
from touchplate.verify.jcs import JSON, JSONValue
from touchplate.verify.names import parse_builder, parse_upstream_uri
from touchplate.verify.purl import ECOSYSTEMS, Ecosystem, PackageURL, parse_purl
from touchplate.verify.subjects import Subject
from touchplate.verify.values import value

PROVENANCE_TYPE = "https://slsa.dev/provenance/v1"

BUILD_TYPES: Mapping[str, Ecosystem] = {
    f"https://touchplate.dev/buildtypes/{ecosystem}/v1": ecosystem for ecosystem in ECOSYSTEMS
}
"""Known build types, each with the only ecosystem whose packages it builds."""

SOURCE_KINDS = ("vcs", "source-release", "sources-jar")
DEPENDENCY_KINDS = (*SOURCE_KINDS, "definition", "input-lock", "tool")
BYPRODUCTS = ("build-log", "sandbox-report")

_NONE: Mapping[str, str] = MappingProxyType({})


@value
class Dependency:
    """Something that the build used. `uri` (a purl or `upstream:`) may be absent for what no upstream serves.

    `digests`: sha256 always, a tree digest for `vcs` and installed tools; other names are labels.
    `annotations`: texts beside `kind`; `root` is `host` when a tool was bound from the host.
    """

    kind: str
    digests: Mapping[str, str]
    uri: str | None = None
    name: str | None = None
    annotations: Mapping[str, str] = _NONE

    @property
    def is_host_tool(self) -> bool:
        """Whether the tool came from the host, so that tools are not pinned."""
        return self.annotations.get("root") == "host"


@value
class Provenance:
    """A rebuilder's account of one build.

    `definition`: name of the build definition; `byproducts`: sha256 by name, of `BYPRODUCTS`.
    """

    build_type: str
    package: PackageURL
    definition: str
    dependencies: tuple[Dependency, ...]
    builder: str
    byproducts: Mapping[str, str]
    metadata: Mapping[str, str] = _NONE
    builder_version: Mapping[str, str] = _NONE

    @property
    def operator(self) -> str:
        """The operator whose builder it names; true only when the key is trusted for that builder."""
        return parse_builder(self.builder)[0]

    @property
    def source_kinds(self) -> frozenset[str]:
        """The kinds of source that went into the build: each must be accepted for it to count."""
        return frozenset(each.kind for each in self.dependencies if each.kind in SOURCE_KINDS)

    @property
    def has_host_tools(self) -> bool:
        """Whether a tool was bound from the host: reports then say "tools not pinned"."""
        return any(each.is_host_tool for each in self.dependencies)

    def one(self, kind: Literal["definition", "input-lock"]) -> Dependency:
        """The one dependency of this kind."""
        return next(each for each in self.dependencies if each.kind == kind)


def parse_provenance(subjects: Sequence[Subject], predicate: Mapping[str, JSON]) -> Provenance:
    """The provenance in a predicate, checked against its subjects (statement format 4).

    Raises MalformedError; an unknown build type has the reason `unknown-build-type`.
    """
    members = take_object(dict(predicate), "provenance", ("buildDefinition", "runDetails"))
    definition = take_object(
        members["buildDefinition"],
        "buildDefinition",
        ("buildType", "externalParameters", "resolvedDependencies"),
        ("internalParameters",),
    )
    build_type = take_text(definition["buildType"], "buildType")
    if build_type not in BUILD_TYPES:
        raise MalformedError(f"build type {shown(build_type)} is unknown", reason="unknown-build-type")
    take_map(definition.get("internalParameters", {}), "internalParameters")
    package, name = _parse_parameters(definition["externalParameters"])
    if package.ecosystem != BUILD_TYPES[build_type]:
        raise MalformedError(f"build type {shown(build_type)} does not build {shown(str(package))}")
    _check_subjects(subjects, package)
    dependencies = _parse_dependencies(definition["resolvedDependencies"])
    run = take_object(members["runDetails"], "runDetails", ("builder", "byproducts"), ("metadata",))
    builder, version = _parse_builder(run["builder"])
    return Provenance(
        build_type=build_type,
        package=package,
        definition=name,
        dependencies=dependencies,
        builder=builder,
        byproducts=_parse_byproducts(run["byproducts"]),
        metadata=_parse_metadata(run.get("metadata", {})),
        builder_version=version,
    )


def format_provenance(provenance: Provenance) -> dict[str, JSONValue]:
    """The predicate of `provenance`, dependencies sorted. `statements.make_statement` checks the result."""
    builder: dict[str, JSONValue] = {"id": provenance.builder}
    if provenance.builder_version:
        builder["version"] = dict(provenance.builder_version)
    run: dict[str, JSONValue] = {
        "builder": builder,
        "byproducts": [
            {"name": name, "digest": {"sha256": digest}} for name, digest in provenance.byproducts.items()
        ],
    }
    if provenance.metadata:
        run["metadata"] = dict(provenance.metadata)
    return {
        "buildDefinition": {
            "buildType": provenance.build_type,
            "externalParameters": {"package": str(provenance.package), "definition": provenance.definition},
            "resolvedDependencies": [
                _format_dependency(each) for each in sorted(provenance.dependencies, key=_order)
            ],
        },
        "runDetails": run,
    }


def _parse_parameters(value: JSON) -> tuple[PackageURL, str]:
    members = take_object(value, "externalParameters", ("package", "definition"))
    package = parse_purl(take_text(members["package"], "externalParameters package"))
    return package, take_text(members["definition"], "externalParameters definition")


def _check_subjects(subjects: Sequence[Subject], package: PackageURL) -> None:
    for subject in subjects:
        # One spelling is mostly one object (parse_purl remembers): then there is nothing to compare.
        if subject.uri is not package and _version_of(subject.uri) != _version_of(package):
            raise MalformedError(f"subject {shown(str(subject.uri))} is no file of {shown(str(package))}")


def _version_of(purl: PackageURL) -> tuple[str | None, ...]:
    return purl.type, purl.namespace, purl.name, purl.version, purl.qualifier("repository_url")


def _parse_dependencies(value: JSON) -> tuple[Dependency, ...]:
    items = take_list(value, "resolvedDependencies", least=1)
    parsed = tuple(_parse_dependency(item, f"dependency {number}") for number, item in enumerate(items))
    if list(parsed) != sorted(parsed, key=_order):
        raise MalformedError("resolvedDependencies are not sorted by kind and uri")
    kinds = [each.kind for each in parsed]
    if not any(kind in SOURCE_KINDS for kind in kinds):
        raise MalformedError(f"resolvedDependencies name no source: {', '.join(SOURCE_KINDS)}")
    for kind in ("definition", "input-lock"):
        if kinds.count(kind) != 1:
            raise MalformedError(f"resolvedDependencies have {kinds.count(kind)} of kind {kind}, not one")
    return parsed


def _parse_dependency(value: JSON, what: str) -> Dependency:
    members = take_object(value, what, ("digest", "annotations"), ("uri", "name", "mediaType"))
    annotations = take_texts(members["annotations"], f"{what} annotations", f"{what} annotation")
    kind = take_choice(annotations.pop("kind", None), f"{what} kind", DEPENDENCY_KINDS)
    if "root" in annotations:
        take_choice(annotations["root"], f"{what} root", ("host",))
        if kind != "tool":
            raise MalformedError(f"{what} of kind {kind} has a root, which only a tool has")
    uri = _parse_uri(members["uri"], f"{what} uri") if "uri" in members else None
    if uri is None and kind in SOURCE_KINDS:
        raise MalformedError(f"{what} is a source without uri")
    name = take_text(members["name"], f"{what} name") if "name" in members else None
    if "mediaType" in members:
        take_text(members["mediaType"], f"{what} mediaType")
    return Dependency(kind, take_digests(members["digest"], f"{what} digest"), uri, name, annotations)


def _parse_uri(value: JSON, what: str) -> str:
    text = take_text(value, what)
    if text.startswith("pkg:"):
        parse_purl(text)
    else:
        parse_upstream_uri(text)
    return text


def _order(dependency: Dependency) -> tuple[str, str]:
    return dependency.kind, dependency.uri or ""


def _format_dependency(dependency: Dependency) -> dict[str, JSONValue]:
    members: dict[str, JSONValue] = {
        "digest": dict(dependency.digests),
        "annotations": {**dependency.annotations, "kind": dependency.kind},
    }
    if dependency.uri is not None:
        members["uri"] = dependency.uri
    if dependency.name is not None:
        members["name"] = dependency.name
    return members


def _parse_builder(value: JSON) -> tuple[str, dict[str, str]]:
    members = take_object(value, "builder", ("id",), ("version", "builderDependencies"))
    builder = take_text(members["id"], "builder id")
    parse_builder(builder)
    take_list(members.get("builderDependencies", []), "builderDependencies")
    return builder, take_texts(members.get("version", {}), "builder version", "builder version")


def _parse_metadata(value: JSON) -> dict[str, str]:
    members = take_object(value, "metadata", (), ("invocationId", "startedOn", "finishedOn"))
    metadata = {key: take_text(text, key) for key, text in members.items()}
    for key in ("startedOn", "finishedOn"):
        if key in metadata:
            parse_time(metadata[key], key)
    return metadata


def _parse_byproducts(value: JSON) -> dict[str, str]:
    byproducts: dict[str, str] = {}
    for number, item in enumerate(take_list(value, "byproducts")):
        what = f"byproduct {number}"
        members = take_object(item, what, ("name", "digest"), ("mediaType", "annotations"))
        name = take_choice(members["name"], f"{what} name", BYPRODUCTS)
        if name in byproducts:
            raise MalformedError(f"byproducts name {name} twice")
        byproducts[name] = take_digests(members["digest"], f"{what} digest")["sha256"]
    missing = [name for name in BYPRODUCTS if name not in byproducts]
    if missing:
        raise MalformedError(f"byproducts lack {', '.join(missing)}")
    return byproducts
