"""Maven behind the ecosystem port."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from touchplate.builder.backend import Backend, open_sandboxed
from touchplate.builder.comparison.compare import Comparison, compare
from touchplate.builder.definitions.definition import Definition, SourceFile
from touchplate.builder.definitions.schema import Reader
from touchplate.builder.ecosystem import DefinitionForm, Inference, Toolchain, refuse_hints
from touchplate.builder.ecosystems.maven.coordinates import coordinates_of, identity_of
from touchplate.builder.ecosystems.maven.definition import (
    FORM,
    MavenDetails,
    check_command,
    details_of,
    format_details,
    read_details,
)
from touchplate.builder.ecosystems.maven.failure import explain_failure
from touchplate.builder.ecosystems.maven.infer import infer
from touchplate.builder.ecosystems.maven.plan import MavenTools, make_plan
from touchplate.builder.ecosystems.maven.scm import ScmFinder
from touchplate.builder.ecosystems.maven.sources import prepare_tree
from touchplate.builder.ecosystems.maven.template import make_template
from touchplate.builder.ecosystems.maven.tools import need_jdk, need_jdk_of, need_maven
from touchplate.builder.ecosystems.maven.toolset import describe_tools
from touchplate.builder.errors import DefinitionError
from touchplate.builder.inputs.repository import RemoteFile, Repositories
from touchplate.builder.plan import BuildPlan, CollectedFile
from touchplate.builder.roots.use import find_root
from touchplate.builder.stabilize.registry import JAR_STABILIZERS
from touchplate.builder.workshop import Workshop
from touchplate.verify.jcs import JSONValue
from touchplate.verify.predicates.provenance import Dependency
from touchplate.verify.purl import PackageURL


def make_ecosystem() -> "Maven":
    """For the registry."""
    return Maven()


@dataclass(frozen=True)
class MavenToolchain:
    """The tools of one definition, and how they are used."""

    definition: Definition
    tools: MavenTools
    described: tuple[Dependency, ...]
    repositories: Repositories

    def make_plan(self, tree: Path, published: Sequence[RemoteFile]) -> BuildPlan:
        """See `plan.make_plan`."""
        return make_plan(self.definition, tree, self.tools, self.repositories, published)


@dataclass(frozen=True)
class Maven:
    """See `Ecosystem` for what the methods do."""

    name: str = "maven"
    form: DefinitionForm = FORM
    stabilizers: tuple[str, ...] = JAR_STABILIZERS

    def read_source_uri(self, reader: Reader, path: str) -> str:
        """Sources are files of a repository."""
        return reader.upstream_uri(path)

    def read_details(self, reader: Reader) -> MavenDetails:
        """JDK, Maven, and what comparing may leave aside."""
        return read_details(reader)

    def check_definition(self, reader: Reader, definition: Definition) -> None:
        """`mvn` needs its tools."""
        check_command(reader, definition)

    def can_infer(self, package: PackageURL) -> bool:
        """Main jars of the default upstream, see `infer`."""
        return package.qualifiers == (("type", "jar"),)

    def format_details(self, definition: Definition) -> dict[str, JSONValue]:
        """See `definition.format_details`."""
        return format_details(details_of(definition))

    def make_template(self, package: PackageURL) -> str:
        """See `template.py`."""
        return make_template(package)

    def infer(self, workshop: Workshop, package: PackageURL, hints: Mapping[str, str]) -> Inference:
        """From what was published with a main jar. The hint `jdk` overrides what its manifest says."""
        refuse_hints(hints, ("jdk",))
        jdk = hints.get("jdk")
        if jdk is not None and not jdk.isdecimal():
            raise DefinitionError(f"jdk {jdk[:40]!r} is not a major version, as 17")
        return infer(
            package,
            workshop.repositories.named("central"),
            jdk=None if jdk is None else int(jdk),
            find_commit=ScmFinder(workshop).find,
        )

    def fetch_published(self, workshop: Workshop, package: PackageURL, sha256: str | None) -> RemoteFile:
        """The file at the one repository path that belongs to a package URL."""
        repository = workshop.repositories.of_identity(identity_of(package), self.name)
        path = coordinates_of(package).path
        return repository.need(path) if sha256 is None else repository.need_exact(path, sha256)

    def fetch_source(self, workshop: Workshop, file: SourceFile) -> RemoteFile:
        """A file of a repository."""
        return workshop.repositories.exact(file.uri, file.sha256, self.name)

    def find_tools(self, workshop: Workshop, definition: Definition) -> Toolchain:
        """The JDK from this host or from the definition's root, Maven as an artifact."""
        wanted = details_of(definition)
        root = find_root(workshop, definition)
        jdk = None
        if wanted.jdk is not None:
            jdk = need_jdk(wanted.jdk) if root is None else need_jdk_of(root, wanted.jdk)
        maven = None
        if wanted.maven is not None:
            workshop.display.step(f"tools: Maven {wanted.maven.version}")
            maven = need_maven(wanted.maven, workshop.repositories.named("central"), workshop.tools)
        tools = MavenTools(jdk, maven, root)
        return MavenToolchain(definition, tools, describe_tools(definition, tools), workshop.repositories)

    def prepare_tree(self, definition: Definition, sources: Sequence[RemoteFile], folder: Path) -> None:
        """A release tree, or a sources jar laid out again."""
        prepare_tree(definition.source, sources, folder)

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
        """The files themselves, bit for bit; with stabilizers only where the definition names them."""
        allowed = details_of(definition).stabilizers
        return compare(published.data, rebuilt.path.read_bytes(), package.file_name, allowed)

    def compare_builds(
        self, workshop: Workshop, package: PackageURL, first: CollectedFile, other: CollectedFile
    ) -> Comparison:
        """As `compare`, with all stabilizers."""
        name = package.file_name
        return compare(first.path.read_bytes(), other.path.read_bytes(), name, self.stabilizers)

    def explain_failure(self, definition: Definition, log: bytes) -> str | None:
        """Maven's own errors."""
        return explain_failure(log)
