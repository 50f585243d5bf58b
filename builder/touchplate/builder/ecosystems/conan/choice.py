"""What was chosen of each recipe that a package requires, and whether Conan agrees in the end."""

from collections.abc import Callable
from dataclasses import dataclass

from touchplate.builder.definitions.definition import SourceFile
from touchplate.builder.ecosystems.conan.conaninfo import PackageInfo
from touchplate.builder.ecosystems.conan.deadline import SHOWN
from touchplate.builder.ecosystems.conan.graph import Graph, Node
from touchplate.builder.ecosystems.conan.misfit import differences
from touchplate.builder.ecosystems.conan.reference import CONANINFO, Revision
from touchplate.builder.ecosystems.conan.required import find_required
from touchplate.builder.ecosystems.conan.requirements import Requirement
from touchplate.builder.errors import DefinitionError
from touchplate.builder.inputs.repository import Repository


@dataclass(frozen=True)
class Target:
    """The package whose requirements are looked for."""

    revision: Revision
    info: PackageInfo
    """Its conaninfo.txt, read; and as published:"""
    conaninfo: bytes
    time: int
    """When it was built, as its manifest says, in Unix seconds."""


@dataclass
class Pin:
    """What was chosen of one recipe so far."""

    recipe: Revision
    repository: Repository
    files: tuple[SourceFile, ...]
    package: Revision | None = None
    conaninfo: bytes = b""
    """Of the package, as published."""

    @property
    def requirement(self) -> Requirement:
        return Requirement(self.recipe, self.package, self.files)


def check_graph(graph: Graph, target: Target, pin_of: Callable[[Node], Pin]) -> None:
    """Raise DefinitionError unless Conan takes the packages that were chosen, and gives the package that is
    rebuilt the package id that it was published under. `pin_of`: what was chosen of the recipe of a node."""
    for node in graph.nodes:
        pin = None if node.is_built else pin_of(node)
        if pin is not None and node.is_used and pin.package is not None:
            _check_package(node, pin.package, pin, graph, target)
    built = next((node for node in graph.nodes if node.is_built), None)
    if built is None:
        raise DefinitionError(f"{target.revision.reference} cannot be built: Conan builds nothing")
    if built.package_id != target.revision.package_id:
        raise DefinitionError(
            f"the recipe makes the package id {built.package_id} here, and "
            f"{target.revision.package_id} is asked for: {differences(target.conaninfo, built.conaninfo)}"
        )


def _check_package(node: Node, package: Revision, pin: Pin, graph: Graph, target: Target) -> None:
    if node.package_id == package.package_id:
        return
    ids = sorted({one.package_id for one in graph.nodes if one.recipe == node.recipe and one.is_used})
    if len(ids) > 1:
        raise DefinitionError(
            f"it requires {node.recipe} in {len(ids)} forms, to run with and to build with: the package ids "
            f"{' and '.join(ids[:SHOWN])}; packages that need both cannot be rebuilt yet"
        )
    said = find_required(target.info.requires, pin.recipe.name)
    is_named = said is not None and said.package_id is not None
    remedy = "it cannot be rebuilt yet" if is_named else f"upload the package {node.package_id} of it, too"
    raise DefinitionError(
        f"Conan wants {node.recipe} with the package id {node.package_id} here, and the package was built "
        f"with {package.package_id}, to which settings and options alone do not lead ({CONANINFO}: "
        f"{differences(pin.conaninfo, node.conaninfo)}); {remedy}"
    )
