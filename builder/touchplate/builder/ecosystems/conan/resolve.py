"""What a published package was built with, found out: Conan in a sandbox says what is required, the upstreams
give it, until nothing is missing.

Recipes are asked for their requirements inside only, offline. Versions and revisions are those that there
were when the package was built, as far as the remotes tell; in the end Conan has to give the package the
package id that it was published under.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from touchplate.builder.cache import Cache
from touchplate.builder.ecosystems.conan.choice import Pin, Target, check_graph
from touchplate.builder.ecosystems.conan.deadline import Deadline, give_up
from touchplate.builder.ecosystems.conan.graph import Graph, Node, Question, Run
from touchplate.builder.ecosystems.conan.misfit import describe, find_culprits
from touchplate.builder.ecosystems.conan.reference import CONANINFO, Revision
from touchplate.builder.ecosystems.conan.remote import (
    NO_REMOTE,
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
from touchplate.builder.errors import DefinitionError, HostLack
from touchplate.builder.inputs.repository import REFUSED, Repositories, Repository
from touchplate.builder.plan import Limits

MAX_ROUNDS = 40
"""Times that Conan is asked: once for each step away from the package, and for ranges and packages once more;
the deepest graphs of real packages have about ten."""

MAX_VERSIONS = 500
"""Versions that all ranges of a package may choose among, each looked up at a remote: the recipe with the
most has 60."""

MAX_BYTES = Limits().fetch_bytes
"""Of all that is required: what the inputs of a build may have. Counted before more is fetched, since a
recipe can ask for whatever its remote has."""

MAX_COMPATIBLE = 40
"""Package ids that are tried for one requirement: Conan takes a package of another C++ standard, too."""


T = TypeVar("T")


@dataclass
class Resolver:
    """Finds the requirements of one package. `run`: asks Conan in a sandbox (`graph.py`)."""

    target: Target
    repositories: Repositories
    cache: Cache
    run: Run
    deadline: Deadline = field(default_factory=Deadline)
    """For all of it. The files of one recipe or package that are on their way are waited for."""
    _pins: dict[str, Pin] = field(default_factory=dict)
    """By reference without revision."""
    _versions: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Pattern of a range → references that it may choose among."""
    _fetched: dict[str, FetchedRequirement] = field(default_factory=dict)

    def resolve(self) -> tuple[Requirement, ...]:
        """All that is required, by reference; empty for a package that requires nothing.

        Raises DefinitionError when it cannot be told, or is not to be had; HostLack.
        """
        for _ in range(MAX_ROUNDS):
            graph = self.run(Question(self._fetch(), dict(self._versions)), self.deadline)
            if graph.error:
                raise DefinitionError(
                    f"its requirements cannot be told: {graph.error}" + self._whose(graph.error)
                )
            self._find_all(graph.missing)
            if not graph.missing and not self._choose_packages(graph):
                check_graph(graph, self.target, self._pin_of)
                pins = [pin for pin in self._pins.values() if str(pin.recipe) in graph.used]
                return tuple(sorted((pin.requirement for pin in pins), key=lambda one: one.recipe.reference))
        raise give_up(f"after {MAX_ROUNDS} rounds", self._known)

    @property
    def _known(self) -> tuple[str, ...]:
        return tuple(str(pin.requirement) for pin in self._pins.values())

    def _whose(self, said: str) -> str:
        """Which requirement an error about the profile is about."""
        return find_culprits(said, ((one.reference, one.info) for one in self._fetched.values()))

    def _need_time(self) -> None:
        """Before anything is asked of a remote."""
        self.deadline.left(self._known)

    def _fetch(self) -> tuple[FetchedRequirement, ...]:
        for pin in self._pins.values():
            self._need_time()
            key = str(pin.requirement)
            if key not in self._fetched:
                self._fetched[key] = fetch_requirement(pin.requirement, self.repositories, self.cache)
        return tuple(self._fetched[str(pin.requirement)] for pin in self._pins.values())

    def _find_all(self, missing: Sequence[str]) -> None:
        """Look for what is missing; what is asked for by its revision first, since that serves those who ask
        for any of this version, too."""
        before = (len(self._pins), len(self._versions))
        references = {each: parse_reference(each) for each in missing}
        for each in sorted(missing, key=lambda one: references[one].rrev is None):
            self._find(each, references[each])
        if missing and before == (len(self._pins), len(self._versions)):
            raise DefinitionError(f"its requirements cannot be told: {missing[0]} is asked for twice")

    def _find(self, missing: str, reference: Reference) -> None:
        """Look for a recipe, or for the versions that a range may choose among."""
        if reference.version == ANY:
            if missing in self._versions:
                raise DefinitionError(f"its requirements cannot be told: {missing} is asked for twice")
            self._versions[missing] = self._candidates(reference, missing)
            return
        key = reference.at("", "0").reference
        if key == self.target.revision.reference:
            raise DefinitionError(f"{key} requires itself")
        if key in self._pins:
            pinned = self._pins[key].recipe
            if reference.rrev not in (None, pinned.rrev):
                raise DefinitionError(
                    f"it requires {missing}, and {pinned} too; only one revision is possible"
                )
            return
        if len(self._pins) >= MAX_REQUIREMENTS:
            raise DefinitionError(f"it requires more than {MAX_REQUIREMENTS} recipes; {key} is one more")
        self._pins[key] = self._pin_recipe(reference)
        self._count_bytes()

    def _count_bytes(self) -> None:
        total = sum(file.size for pin in self._pins.values() for file in pin.files)
        if total > MAX_BYTES:
            raise DefinitionError(
                f"what it requires has {total} bytes so far, and {MAX_BYTES} are the most of all inputs"
            )

    def _remotes(self) -> list[Repository]:
        """The remote of the package, then the others that everybody may read: what a stranger's recipe names
        must not fetch what a team keeps for itself."""
        own = self._own
        others = [
            self.repositories.named(one.name)
            for one in self.repositories.upstreams
            if one.ecosystem == "conan" and one.credentials is None
        ]
        return [own, *(one for one in others if one is not own)]

    @property
    def _own(self) -> Repository:
        return self.repositories.of_identity(self.target.revision.identity, "conan")

    def _list(
        self, ask: Callable[[Repository, str], tuple[T, ...]], repository: Repository, what: str
    ) -> tuple[T, ...]:
        """What a remote lists; nothing for an upstream beside that of the package which is none: servers of
        sources are Conan upstreams, too, and know no protocol."""
        self._need_time()
        try:
            return ask(repository, what)
        except HostLack as lack:
            if repository is self._own or lack.reason not in (NO_REMOTE, REFUSED):
                raise
            return ()

    def _candidates(self, wanted: Reference, pattern: str) -> tuple[str, ...]:
        said = find_required(self.target.info.requires, wanted.name)
        who = (wanted.name, wanted.user, wanted.channel)
        found: dict[str, int] = {}
        before = sum(map(len, self._versions.values()))
        for repository in self._remotes():
            for recipe in _named(self._list(list_references, repository, pattern)):
                same = (recipe.name, recipe.user, recipe.channel) == who
                fits = same and (said is None or said.fits(recipe.version))
                if fits and recipe.reference not in found:
                    if before + len(found) >= MAX_VERSIONS:
                        raise DefinitionError(f"{pattern}: more than {MAX_VERSIONS} versions to choose among")
                    self._need_time()
                    times = [time for _, time in list_revisions(repository, recipe.recipe_path)]
                    found[recipe.reference] = min(times, default=self.target.time + 1)
        then = tuple(text for text, time in found.items() if time <= self.target.time)
        return then or tuple(found)

    def _pin_recipe(self, reference: Reference) -> Pin:
        said = find_required(self.target.info.requires, reference.name)
        known = said.rrev if said is not None and said.version == reference.version else None
        for repository in self._remotes():
            identity = repository.upstream.identity
            path = reference.at(identity, "0").recipe_path
            revisions = self._list(list_revisions, repository, path)
            rrev = reference.rrev or known or _as_of(revisions, self.target.time)
            if rrev in [one for one, _ in revisions]:
                recipe = reference.at(identity, rrev)
                return Pin(recipe, repository, pin_files(read_recipe(repository, recipe)))
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

    def _pin_of(self, node: Node) -> Pin:
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
            self._need_time()
            if revisions := list_revisions(pin.repository, path):
                pin.package = pin.recipe.package_of(package_id, _as_of(revisions, self.target.time) or "")
                files = read_package(pin.repository, pin.package)
                pin.files += pin_package(pin.package, files)
                pin.conaninfo = files[CONANINFO].data
                self._count_bytes()
                return
        of = f" ({about})" if ids[0] == node.package_id and (about := describe(node.conaninfo)) else ""
        raise DefinitionError(
            f"it requires {pin.recipe}, and upstream {pin.repository.upstream.name!r} has no package of it "
            f"with the package id {ids[0]}{of}; requirements are not built, upload that package"
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
