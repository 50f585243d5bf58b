"""Modules: many artifacts of one release come from one source tree, published with their parent."""

from collections.abc import Mapping, Sequence

from touchplate.builder.ecosystems.maven.coordinates import Coordinates
from touchplate.builder.ecosystems.maven.pom import Pom, interpolate, parse_pom
from touchplate.builder.ecosystems.maven.sources import POM_NAME, FoundSource, find_release
from touchplate.builder.errors import DefinitionError
from touchplate.builder.inputs.repository import Repository


def find_parents_release(
    repository: Repository, coordinates: Coordinates, chain: Sequence[Pom]
) -> FoundSource | None:
    """The source release of the nearest parent whose tree holds the module `coordinates`; None without one.

    `chain`: the module's POM, then its parents. Modules are released together, under one version; a parent of
    another version is another release.
    """
    for pom in chain:
        parent = pom.parent
        if parent is None or parent.version != coordinates.version:
            return None
        found = find_release(repository, Coordinates(parent.group, parent.artifact, parent.version))
        if found is not None and module_folder(found, coordinates.group, coordinates.artifact) is not None:
            return found
    return None


def module_folder(source: FoundSource, group: str, artifact: str) -> str | None:
    """Folder of the module's POM in a release tree, with a final slash; empty for the top.

    None when no POM of the tree is the module's.
    """
    for name, data in source.poms():
        try:
            pom = parse_pom(data)
        except DefinitionError:  # a template, or a fixture that is broken on purpose
            continue
        if _is_of(pom, group, artifact):
            return name.removesuffix(POM_NAME)
    return None


def _is_of(pom: Pom, group: str, artifact: str) -> bool:
    own = pom.group or (pom.parent.group if pom.parent else "")
    properties: Mapping[str, str] = {**pom.properties, "project.groupId": own}
    return pom.artifact == artifact and _resolved(own, properties) == group


def _resolved(text: str, properties: Mapping[str, str]) -> str:
    try:
        return interpolate(text, properties)
    except DefinitionError:  # then it is not known whose it is
        return ""
