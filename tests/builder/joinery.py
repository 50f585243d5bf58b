"""A second, tiny ecosystem: packages of type conan whose one file is the source and an input, joined.

Its builds run in this process, under a backend of their own: what the port leaves to an ecosystem, at its
smallest.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.builder.tarparts import gzip_bytes

from touchplate.builder.backend import Backend
from touchplate.builder.cache import Cache
from touchplate.builder.comparison.compare import Comparison, compare
from touchplate.builder.definitions.definition import Definition, SourceFile
from touchplate.builder.definitions.schema import Reader
from touchplate.builder.ecosystem import DefinitionForm, Inference, refuse_hints
from touchplate.builder.errors import DefinitionError, PhaseFailed
from touchplate.builder.inputs.lock import InputLock, LockedInput, make_lock
from touchplate.builder.inputs.repository import RemoteFile, Repository
from touchplate.builder.plan import BuildPlan, BuildResult, CollectedFile, Forbidden, Progress
from touchplate.builder.sandbox.probe import Probe
from touchplate.builder.workshop import Workshop
from touchplate.verify.jcs import JSONValue
from touchplate.verify.predicates.provenance import Dependency
from touchplate.verify.purl import PackageURL, parse_purl


@dataclass(frozen=True)
class Glue:
    """Details of a definition: what is put between the parts."""

    text: str


@dataclass(frozen=True)
class Joiner:
    """The toolchain."""

    workshop: Workshop
    definition: Definition
    glue: Glue

    @property
    def described(self) -> tuple[Dependency, ...]:
        sha256 = hashlib.sha256(self.glue.text.encode()).hexdigest()
        return (Dependency("tool", {"sha256": sha256}, name="glue"),)

    def make_plan(self, tree: Path, published: Sequence[RemoteFile]) -> BuildPlan:
        names = self.definition.upstreams
        return BuildPlan(
            source=tree,
            command=("join", self.glue.text),
            upstreams=tuple(self.workshop.repositories.named(name).upstream for name in names),
            outputs=tuple(output.path for output in self.definition.outputs),
            forbidden=Forbidden(frozenset(file.sha256 for file in published)),
        )


@dataclass
class Bench:
    """The backend: both phases in this process. `name` and `missing` as a probe would say."""

    repository: Repository
    name: str | None = "runc"
    missing: tuple[str, ...] = ()
    factors: frozenset[str] = frozenset()
    phases: list[str] = field(default_factory=list)
    probe: Probe = field(default_factory=lambda: Probe(bubblewrap="none"))

    def fetch(self, plan: BuildPlan, cache: Cache, progress: Progress) -> InputLock:
        self.phases.append("fetch")
        path = (plan.source / "needs").read_text().strip()
        found = self.repository.need(path)
        if found.sha256 in plan.forbidden.digests:
            raise PhaseFailed("fetch", "refused-input", f"{path} is the answer")
        cache.inputs.put(found.data)
        upstream = self.repository.upstream.name
        return make_lock([LockedInput(upstream, path, found.sha256, len(found.data))])

    def build(self, plan: BuildPlan, lock: InputLock, cache: Cache, progress: Progress) -> BuildResult:
        self.phases.append("build")
        glue = plan.command[1].encode()
        with cache.inputs.open(lock.inputs[0].sha256) as stream:
            joined = (plan.source / "text").read_bytes() + glue + stream.read()
        if b"unglued" in joined:
            raise PhaseFailed("build", "exit-status", "exit code 1; noise", log=b"noise\nUNGLUED: too dry\n")
        (output,) = plan.outputs
        if output.endswith(".gz"):
            joined = gzip_bytes(joined, time=1_700_000_000)
        stored = cache.outputs.put(joined)
        file = CollectedFile(
            cache.outputs.path(stored.sha256),
            stored.sha256,
            hashlib.sha512(joined).hexdigest(),
            len(joined),
        )
        return BuildResult({output: file}, b"joined\n", {"version": 1, "backend": self.name})


class Joinery:
    """The ecosystem. `bench` is what the last rebuild ran on."""

    name = "conan"
    stabilizers = ("gzip-header@1", "tar-times@1", "tar-owners@1")
    form = DefinitionForm(
        required=("glue",), optional=(), source_kinds=("source-release",), upstreams=("conancenter",)
    )

    def __init__(self, backend: str | None = "runc", missing: tuple[str, ...] = ()) -> None:
        self._backend = backend
        self._missing = missing
        self.bench: Bench | None = None

    def read_source_uri(self, reader: Reader, path: str) -> str:
        return str(reader.purl(path))

    def read_details(self, reader: Reader) -> Glue:
        return Glue(reader.text("glue", r"[a-z\n ]+", "small letters"))

    def check_definition(self, reader: Reader, definition: Definition) -> None:
        if len(definition.outputs) > 1:
            reader.mistake("outputs", "one is enough")

    def can_infer(self, package: PackageURL) -> bool:
        """Never."""
        return False

    def format_details(self, definition: Definition) -> dict[str, JSONValue]:
        assert isinstance(definition.details, Glue)
        return {"glue": definition.details.text}

    def make_template(self, package: PackageURL) -> str:
        raise DefinitionError("nobody can guess the glue; write a definition")

    def infer(self, workshop: Workshop, package: PackageURL, hints: Mapping[str, str]) -> Inference:
        refuse_hints(hints)
        raise DefinitionError("nobody can guess the glue; write a definition")

    def fetch_published(self, workshop: Workshop, package: PackageURL, sha256: str | None) -> RemoteFile:
        repository = workshop.repositories.of_identity("conancenter", self.name)
        path = f"{package.name}/{package.version}/{package.file_name}"
        return repository.need(path) if sha256 is None else repository.need_exact(path, sha256)

    def fetch_source(self, workshop: Workshop, file: SourceFile) -> RemoteFile:
        name = parse_purl(file.uri).file_name
        found = workshop.repositories.named("conancenter").need_exact(f"recipes/{name}", file.sha256)
        return RemoteFile(file.uri, name, found.data)

    def find_tools(self, workshop: Workshop, definition: Definition) -> Joiner:
        assert isinstance(definition.details, Glue)
        return Joiner(workshop, definition, definition.details)

    def prepare_tree(self, definition: Definition, sources: Sequence[RemoteFile], folder: Path) -> None:
        for file in sources:
            (folder / file.path).write_bytes(file.data)

    def open_backend(self, workshop: Workshop, demanded: str) -> Backend:
        repository = workshop.repositories.named("conancenter")
        self.bench = Bench(repository, self._backend, self._missing)
        return self.bench

    def compare(
        self,
        workshop: Workshop,
        definition: Definition,
        package: PackageURL,
        published: RemoteFile,
        rebuilt: CollectedFile,
    ) -> Comparison:
        return compare(published.data, rebuilt.path.read_bytes(), package.file_name, self.stabilizers)

    def compare_builds(
        self, workshop: Workshop, package: PackageURL, first: CollectedFile, other: CollectedFile
    ) -> Comparison:
        name = package.file_name
        return compare(first.path.read_bytes(), other.path.read_bytes(), name, self.stabilizers)

    def explain_failure(self, definition: Definition, log: bytes) -> str | None:
        return next((line for line in log.decode().splitlines() if line.startswith("UNGLUED")), None)
