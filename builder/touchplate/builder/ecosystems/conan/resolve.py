"""What a published package was built with, found out: Conan in a sandbox says what is required, the upstreams
give it, until nothing is missing.

Recipes are asked for their requirements inside only, offline. Versions and revisions are those that there
were when the package was built, as far as the remotes tell; in the end Conan has to give the package the
package id that it was published under.
"""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from touchplate.builder.cache import Cache
from touchplate.builder.definitions.definition import SourceFile
from touchplate.builder.ecosystems.conan.conaninfo import PackageInfo
from touchplate.builder.ecosystems.conan.graph import Graph, Node, Question, Run
from touchplate.builder.ecosystems.conan.reference import Revision
from touchplate.builder.ecosystems.conan.remote import (
    list_references,
    list_revisions,
    read_package,
    read_recipe,
)
from touchplate.builder.ecosystems.conan.required import ANY, Reference, find_required, parse_reference
from touchplate.builder.ecosystems.conan.requirements import (
    MAX_REQUIREMENTS,
    FetchedRequirement,
    Requirement,
    fetch_requirement,
    pin_files,
    pin_package,
)
from touchplate.builder.errors import DefinitionError
from touchplate.builder.inputs.repository import Repositories, Repository

MAX_ROUNDS = 40
"""Times that Conan is asked: once for each step away from the package, and for ranges and packages once more;
the deepest graphs of real packages have about ten."""

MAX_VERSIONS = 500
"""Versions that all ranges of a package may choose among, each looked up at a remote: the recipe with the
most has 60."""

MAX_COMPATIBLE = 40
"""Package ids that are tried for one requirement: Conan takes a package of another C++ standard, too."""


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
class _Pin:
    """What was chosen of one recipe so far."""

    recipe: Revision
    repository: Repository
    files: tuple[SourceFile, ...]
    package: Revision | None = None

    @property
    def requirement(self) -> Requirement:
        return Requirement(self.recipe, self.package, self.files)


@dataclass
class Resolver:
    """Finds the requirements of one package. `run`: asks Conan in a sandbox (`graph.py`)."""

    target: Target
    repositories: Repositories
    cache: Cache
    run: Run
    _pins: dict[str, _Pin] = field(default_factory=dict)
    """By reference without revision."""
    _versions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Pattern of a range → references that it may choose among."""
    _fetched: dict[str, FetchedRequirement] = field(default_factory=dict)

    def resolve(self) -> tuple[Requirement, ...]:
        """All that is required, by reference; empty for a package that requires nothing.

        Raises DefinitionError when it cannot be told, or is not to be had; HostLack.
        """
        for _ in range(MAX_ROUNDS):
            graph = self.run(Question(self._fetch(), dict(self._versions)))
            if graph.error:
                raise DefinitionError(f"its requirements cannot be told: {graph.error}")
            for missing in graph.missing:
                self._find(missing)
            if not graph.missing and not self._choose_packages(graph):
                self._check(graph)
                pins = [pin for pin in self._pins.values() if str(pin.recipe) in graph.used]
                return tuple(sorted((pin.requirement for pin in pins), key=lambda one: one.recipe.reference))
        raise DefinitionError(f"its requirements are not all known after {MAX_ROUNDS} rounds")

    def _fetch(self) -> tuple[FetchedRequirement, ...]:
        for pin in self._pins.values():
            key = str(pin.requirement)
            if key not in self._fetched:
                self._fetched[key] = fetch_requirement(pin.requirement, self.repositories, self.cache)
        return tuple(self._fetched[str(pin.requirement)] for pin in self._pins.values())

    def _find(self, missing: str) -> None:
        """Look for a recipe, or for the versions that a range may choose among."""
        reference = parse_reference(missing)
        if reference.version == ANY:
            if missing in self._versions:
                raise DefinitionError(f"its requirements cannot be told: {missing} is asked for twice")
            self._versions[missing] = self._candidates(reference, missing)
            return
        key = reference.at("", "0").reference
        if key == self.target.revision.reference:
            raise DefinitionError(f"{key} requires itself")
        if key in self._pins:
            raise DefinitionError(
                f"it requires {missing}, and {self._pins[key].recipe} too; only one revision is possible"
            )
        if len(self._pins) >= MAX_REQUIREMENTS:
            raise DefinitionError(f"it requires more than {MAX_REQUIREMENTS} recipes; {key} is one more")
        self._pins[key] = self._pin_recipe(reference)

    def _remotes(self) -> list[Repository]:
        """The remote of the package, then the others that everybody may read: what a stranger's recipe names
        must not fetch what a team keeps for itself."""
        own = self.repositories.of_identity(self.target.revision.identity, "conan")
        others = [
            self.repositories.named(one.name)
            for one in self.repositories.upstreams
            if one.ecosystem == "conan" and one.credentials is None
        ]
        return [own, *(one for one in others if one is not own)]

    def _candidates(self, wanted: Reference, pattern: str) -> tuple[str, ...]:
        said = find_required(self.target.info.requires, wanted.name)
        who = (wanted.name, wanted.user, wanted.channel)
        found: dict[str, int] = {}
        before = sum(map(len, self._versions.values()))
        for repository in self._remotes():
            for recipe in _named(list_references(repository, pattern)):
                same = (recipe.name, recipe.user, recipe.channel) == who
                fits = same and (said is None or said.fits(recipe.version))
                if fits and recipe.reference not in found:
                    if before + len(found) >= MAX_VERSIONS:
                        raise DefinitionError(f"{pattern}: more than {MAX_VERSIONS} versions to choose among")
                    times = [time for _, time in list_revisions(repository, recipe.recipe_path)]
                    found[recipe.reference] = min(times, default=self.target.time + 1)
        then = tuple(text for text, time in found.items() if time <= self.target.time)
        return then or tuple(found)

    def _pin_recipe(self, reference: Reference) -> _Pin:
        said = find_required(self.target.info.requires, reference.name)
        known = said.rrev if said is not None and said.version == reference.version else None
        for repository in self._remotes():
            identity = repository.upstream.identity
            revisions = list_revisions(repository, reference.at(identity, "0").recipe_path)
            rrev = reference.rrev or known or _as_of(revisions, self.target.time)
            if rrev in [one for one, _ in revisions]:
                recipe = reference.at(identity, rrev)
                return _Pin(recipe, repository, pin_files(read_recipe(repository, recipe)))
        exact = reference.rrev or known
        wanted = reference.at("", "0").reference + (f"#{exact}" if exact else "")
        raise DefinitionError(
            f"it requires {wanted}, which no upstream has; give its remote: --upstream "
            "NAME=URL,ecosystem=conan"
        )

    def _choose_packages(self, graph: Graph) -> bool:
        """Pin the package of each requirement that is used and has none yet; whether there was one."""
        lacking = [node for node in graph.nodes if node.is_used and self._pin_of(node).package is None]
        for node in lacking:
            self._pin_package(node)
        return bool(lacking)

    def _pin_of(self, node: Node) -> _Pin:
        for pin in self._pins.values():
            if str(pin.recipe) == node.recipe:
                return pin
        raise DefinitionError(f"it requires {node.recipe[:200]}, which was not asked for")

    def _pin_package(self, node: Node) -> None:
        pin = self._pin_of(node)
        if pin.package is not None:  # another node of this recipe
            return
        said = find_required(self.target.info.requires, pin.recipe.name)
        ids = [node.package_id, *node.compatible[:MAX_COMPATIBLE]]
        if said is not None and said.package_id and said.version == pin.recipe.version:
            ids = [said.package_id]
        for package_id in ids:
            pin.recipe.package_of(package_id, "0")  # it has to be one: what comes from inside may be anything
            path = f"{pin.recipe.recipe_path}/revisions/{pin.recipe.rrev}/packages/{package_id}"
            if revisions := list_revisions(pin.repository, path):
                pin.package = pin.recipe.package_of(package_id, _as_of(revisions, self.target.time) or "")
                pin.files += pin_package(pin.package, read_package(pin.repository, pin.package))
                return
        raise DefinitionError(
            f"it requires {pin.recipe}, and upstream {pin.repository.upstream.name!r} has no package of it "
            f"with the package id {ids[0]}; requirements are not built, upload that package"
        )

    def _check(self, graph: Graph) -> None:
        for node in graph.nodes:
            package = None if node.is_built else self._pin_of(node).package
            if node.is_used and package is not None and node.package_id != package.package_id:
                raise DefinitionError(
                    f"Conan wants {node.recipe} with the package id {node.package_id} here, and the package "
                    f"was built with {package.package_id}"
                )
        built = next((node for node in graph.nodes if node.is_built), None)
        if built is None:
            raise DefinitionError(f"{self.target.revision.reference} cannot be built: Conan builds nothing")
        if built.package_id != self.target.revision.package_id:
            raise DefinitionError(
                f"the recipe makes the package id {built.package_id} here, and "
                f"{self.target.revision.package_id} is asked for: "
                + _differences(self.target.conaninfo.decode("utf-8", "replace"), built.conaninfo)
            )


def _named(references: Iterable[str]) -> Iterator[Revision]:
    """Recipes that a remote lists, as `zlib/1.3`, `zlib/1.3@` or `zlib/1.3@_/_`; what Conan 2 could not name
    is left out."""
    for text in references:
        with contextlib.suppress(DefinitionError):
            yield parse_reference(text.removesuffix("@_/_").removesuffix("@")).at("", "0")


def _as_of(revisions: Sequence[tuple[str, int]], time: int) -> str | None:
    """The newest revision of that time; the oldest when all are newer (uploaded after they were used)."""
    then = [revision for revision, uploaded in revisions if uploaded <= time]
    return then[0] if then else revisions[-1][0] if revisions else None


def _differences(published: str, here: str) -> str:
    """What two conaninfo.txt say otherwise, line by line."""
    theirs, ours = published.splitlines(), here.splitlines()
    lines = [f"published {line!r}" for line in theirs if line not in ours]
    lines += [f"here {line!r}" for line in ours if line not in theirs]
    return "; ".join(lines[:6]) or "the same lines in another order"
