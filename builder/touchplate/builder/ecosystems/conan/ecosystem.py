"""Conan behind the ecosystem port."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from touchplate.builder.backend import Backend, open_sandboxed
from touchplate.builder.comparison.compare import Comparison, compare
from touchplate.builder.definitions.definition import Definition, SourceFile
from touchplate.builder.definitions.schema import Reader
from touchplate.builder.ecosystem import DefinitionForm, Inference, Toolchain, refuse_hints
from touchplate.builder.ecosystems.conan.definition import (
    FORM,
    ConanDetails,
    check_definition,
    details_of,
    format_details,
    read_details,
    read_source_uri,
)
from touchplate.builder.ecosystems.conan.failure import Pinned, explain_failure
from touchplate.builder.ecosystems.conan.graph_plan import find_requirements
from touchplate.builder.ecosystems.conan.infer import infer
from touchplate.builder.ecosystems.conan.plan import ConanTools, describe_tools, make_plan, place_files
from touchplate.builder.ecosystems.conan.reference import CONANINFO, PACKAGE, package_revision_of, revision_of
from touchplate.builder.ecosystems.conan.remote import check_package_id, check_recipe, read_file
from touchplate.builder.ecosystems.conan.requirements import fetch_requirement, group_requirements
from touchplate.builder.ecosystems.conan.template import make_template
from touchplate.builder.ecosystems.conan.tools import (
    need_conan,
    need_gcc,
    need_gcc_of,
    need_program,
    need_program_of,
)
from touchplate.builder.inputs.repository import RemoteFile
from touchplate.builder.plan import BuildPlan, CollectedFile
from touchplate.builder.roots.use import find_root
from touchplate.builder.workshop import Workshop
from touchplate.verify.jcs import JSONValue
from touchplate.verify.predicates.provenance import Dependency
from touchplate.verify.purl import PackageURL, parse_purl


def make_ecosystem() -> "ConanEcosystem":
    """For the registry."""
    return ConanEcosystem()


@dataclass(frozen=True)
class ConanToolchain:
    """The tools of one definition, and how they are used."""

    definition: Definition
    tools: ConanTools
    described: tuple[Dependency, ...]
    workshop: Workshop

    def make_plan(self, tree: Path, published: Sequence[RemoteFile]) -> BuildPlan:
        """See `plan.make_plan`. What the definition pins of others is fetched first."""
        workshop, revision = self.workshop, package_revision_of(self.definition.package)
        pinned = group_requirements(revision, details_of(self.definition).requirements)
        if pinned:
            workshop.display.step(f"requirements: {len(pinned)}, as published")
        requirements = [fetch_requirement(one, workshop.repositories, workshop.cache) for one in pinned]
        return make_plan(
            self.definition, tree, self.tools, workshop.repositories, published, requirements=requirements
        )


@dataclass(frozen=True)
class ConanEcosystem:
    """See `Ecosystem` for what the methods do."""

    name: str = "conan"
    form: DefinitionForm = FORM
    # A stock client packs when it likes, as whoever it runs; names, modes and contents have to be the same.
    stabilizers: tuple[str, ...] = ("gzip-header@1", "tar-times@1", "tar-owners@1")

    def read_source_uri(self, reader: Reader, path: str) -> str:
        """Sources are the files of a recipe revision."""
        return read_source_uri(reader, path)

    def read_details(self, reader: Reader) -> ConanDetails:
        """Tools and profile."""
        return read_details(reader)

    def check_definition(self, reader: Reader, definition: Definition) -> None:
        """Recipe, package and outputs are of one revision."""
        check_definition(reader, definition)

    def can_infer(self, package: PackageURL) -> bool:
        """Archives of package revisions, see `infer`."""
        return package.qualifier("file") == PACKAGE and package.qualifier("prev") is not None

    def format_details(self, definition: Definition) -> dict[str, JSONValue]:
        """See `definition.format_details`."""
        return format_details(details_of(definition))

    def make_template(self, package: PackageURL) -> str:
        """See `template.py`."""
        return make_template(package)

    def infer(self, workshop: Workshop, package: PackageURL, hints: Mapping[str, str]) -> Inference:
        """From the recipe revision and the settings and options of the published package."""
        refuse_hints(hints)
        return infer(package, workshop.repositories, partial(find_requirements, workshop))

    def fetch_published(self, workshop: Workshop, package: PackageURL, sha256: str | None) -> RemoteFile:
        """A file of a package revision."""
        revision = package_revision_of(package)
        repository = workshop.repositories.of_identity(revision.identity, self.name)
        path = revision.path(package.file_name)
        found = repository.need(path) if sha256 is None else repository.need_exact(path, sha256)
        if package.file_name == CONANINFO:
            check_package_id(revision, found.data)
        return found

    def fetch_source(self, workshop: Workshop, file: SourceFile) -> RemoteFile:
        """A file of a recipe revision."""
        package = parse_purl(file.uri)
        revision = revision_of(package)
        repository = workshop.repositories.of_identity(revision.identity, self.name)
        return read_file(repository, revision, package.file_name, file.sha256)

    def find_tools(self, workshop: Workshop, definition: Definition) -> Toolchain:
        """Conan from its pinned hashes, the others from this host or from the definition's root."""
        wanted = details_of(definition)
        workshop.display.step(f"tools: Conan {wanted.conan.version}, gcc {wanted.gcc}")
        conan, root = need_conan(wanted.conan, workshop.tools), find_root(workshop, definition)
        need = need_program if root is None else partial(need_program_of, root)
        tools = ConanTools(
            conan=conan,
            python=need("python3"),
            gcc=need_gcc(wanted.gcc) if root is None else need_gcc_of(root, wanted.gcc),
            programs=tuple(need(name) for name in wanted.programs),
            root=root,
        )
        return ConanToolchain(definition, tools, describe_tools(tools), workshop)

    def prepare_tree(self, definition: Definition, sources: Sequence[RemoteFile], folder: Path) -> None:
        """The files of the recipe revision as they are served, once it is sure that they are it."""
        check_recipe(package_revision_of(definition.package).recipe, sources)
        place_files(sources, folder)

    def open_backend(self, workshop: Workshop, demanded: str) -> Backend:
        """Bubblewrap, or gVisor."""
        return open_sandboxed(workshop, demanded)

    def compare(
        self,
        workshop: Workshop,
        definition: Definition,
        package: PackageURL,
        published: RemoteFile,
        rebuilt: CollectedFile,
    ) -> Comparison:
        """The archive and `conaninfo.txt`, each by itself."""
        return compare(published.data, rebuilt.path.read_bytes(), package.file_name, self.stabilizers)

    def compare_builds(
        self, workshop: Workshop, package: PackageURL, first: CollectedFile, other: CollectedFile
    ) -> Comparison:
        """As `compare`."""
        name = package.file_name
        return compare(first.path.read_bytes(), other.path.read_bytes(), name, self.stabilizers)

    def explain_failure(self, definition: Definition, log: bytes) -> str | None:
        """Errors of Conan and of compilers."""
        details = details_of(definition)
        packages = (one.package for one in group_requirements(None, details.requirements))
        pins = tuple(f"{one.reference}:{one.package_id}" for one in packages if one is not None)
        return explain_failure(log, Pinned({**details.settings, **details.options}, pins))
