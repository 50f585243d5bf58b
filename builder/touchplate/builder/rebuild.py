"""One rebuild: published files and a definition in, a verdict for each output out.

The order of things: tools and source, by digest; Fetch, which gives the input lock; Build from the lock
alone; comparison. Nothing is signed here (see `submit`), so that anyone can rebuild without keys.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from touchplate.builder.attest import need_backend
from touchplate.builder.compare import Comparison, compare
from touchplate.builder.definitions import Definition, SourceFile
from touchplate.builder.display import PhaseDisplay
from touchplate.builder.ecosystems.maven.coordinates import coordinates_of, identity_of
from touchplate.builder.ecosystems.maven.failure import explain_failure
from touchplate.builder.ecosystems.maven.plan import MavenTools, make_plan
from touchplate.builder.ecosystems.maven.sources import prepare_tree
from touchplate.builder.ecosystems.maven.tools import need_jdk, need_maven
from touchplate.builder.errors import DETAIL_CHARS, ArchiveError, DefinitionError, HostLack, PhaseFailed
from touchplate.builder.lock import InputLock, format_lock
from touchplate.builder.phases import run_build, run_fetch
from touchplate.builder.plan import BuildPlan, BuildResult, CollectedFile
from touchplate.builder.repository import RemoteFile
from touchplate.builder.sandbox import Sandbox
from touchplate.builder.toolset import describe_tools
from touchplate.builder.workshop import TREE, Workshop
from touchplate.builder.workspace import locked_folder
from touchplate.verify.jcs import format_json
from touchplate.verify.predicates.comparison import Failure
from touchplate.verify.predicates.provenance import Dependency

GetLock = Callable[[BuildPlan, Sandbox, PhaseDisplay], InputLock]
"""How a rebuild comes by its input lock: from Fetch, or from the evidence of an earlier one."""


@dataclass(frozen=True)
class OutputVerdict:
    """One output beside its published file."""

    published: RemoteFile
    rebuilt: CollectedFile
    comparison: Comparison


@dataclass(frozen=True)
class Built:
    """A build that gave its outputs."""

    verdicts: tuple[OutputVerdict, ...]
    lock: InputLock
    result: BuildResult


@dataclass(frozen=True)
class Rebuild:
    """What became of one rebuild. Exactly one of `built` and `failure` is there."""

    definition: Definition
    published: tuple[RemoteFile, ...]
    sources: tuple[RemoteFile, ...]
    tools: tuple[Dependency, ...]
    backend: str | None
    missing: tuple[str, ...]
    """What the sandbox lacks for a signature."""
    started: int
    finished: int
    """Unix seconds."""
    seconds: dict[str, float]
    """Wall clock of each phase, for people."""
    built: Built | None = None
    failure: Failure | None = None
    log: bytes = field(default=b"", repr=False)

    @property
    def result(self) -> str:
        """`identical` when every output is; else `different` or `not-built`."""
        if self.built is None:
            return "not-built"
        same = all(verdict.comparison.result == "identical" for verdict in self.built.verdicts)
        return "identical" if same else "different"


def fetch_published(workshop: Workshop, definition: Definition) -> tuple[RemoteFile, ...]:
    """The published file of each output, in order. Raises DefinitionError when there is none."""
    return tuple(
        workshop.repositories.of_identity(identity_of(output.package)).need(
            coordinates_of(output.package).path
        )
        for output in definition.outputs
    )


def rebuild(
    workshop: Workshop,
    definition: Definition,
    published: Sequence[RemoteFile],
    *,
    get_lock: GetLock | None = None,
    to_sign: bool = False,
    refetch: bool = False,
) -> Rebuild:
    """Build `definition` and compare its outputs with `published`.

    Without `get_lock`, the lock that the same build succeeded from before is used, and Fetch runs when
    there is none, when it no longer builds, or for `refetch`.

    What keeps the package from being built is in the result; what this host lacks raises HostLack: with
    `to_sign` also an isolation below what a signature claims, before anything is run.
    """
    clock = _Clock()
    found = _find_tools(workshop, definition)
    tools = describe_tools(definition, found)
    sources = tuple(_source(workshop, file) for file in definition.source.files)
    sandbox = workshop.open_sandbox()
    if to_sign:
        need_backend(sandbox.probe.backend, sandbox.probe.missing)
    display = PhaseDisplay(workshop.display, verbose=workshop.verbose)
    outcome = _Outcome()
    try:
        with _tree(workshop, definition, sources) as tree:
            plan = make_plan(definition, tree, found, workshop.repositories, published)
            clock.lap("prepare")
            attempt = _Attempt(workshop, plan, sandbox, display, clock)
            if get_lock is not None:
                attempt.build(get_lock(plan, sandbox, display), outcome)
            else:
                # Inputs that change from day to day are looked for every time.
                anew = refetch or definition.allow_metadata
                known = None if anew else workshop.known_locks.find(definition, tools)
                if known is None or not attempt.build_known(known, outcome):
                    attempt.build(attempt.fetch(), outcome)
                if not definition.allow_metadata:
                    workshop.known_locks.keep(definition, tools, outcome.need_lock())
    except PhaseFailed as error:
        outcome.failure = _failure(error)
        outcome.log = error.log
        clock.lap(error.phase)
    finally:
        display.finish()
    return Rebuild(
        definition=definition,
        published=tuple(published),
        sources=sources,
        tools=tools,
        backend=sandbox.probe.backend,
        missing=sandbox.probe.missing,
        started=clock.started,
        finished=int(time.time()),
        seconds=clock.laps,
        built=outcome.judge(workshop, definition, published),
        failure=outcome.failure,
        log=outcome.log,
    )


class _Outcome:
    """What a rebuild has come to so far."""

    def __init__(self) -> None:
        self.lock: InputLock | None = None
        self.result: BuildResult | None = None
        self.failure: Failure | None = None
        self.log = b""

    def need_lock(self) -> InputLock:
        """The lock of a build that succeeded."""
        assert self.lock is not None  # `build` set it
        return self.lock

    def judge(
        self, workshop: Workshop, definition: Definition, published: Sequence[RemoteFile]
    ) -> Built | None:
        """Compare what was built, and keep the evidence."""
        if self.result is None or self.lock is None:
            return None
        workshop.display.step("compare")
        verdicts = []
        for output, file in zip(definition.outputs, published, strict=True):
            rebuilt = self.result.outputs[output.path]
            comparison = compare(file.data, rebuilt.path.read_bytes(), output.package.file_name)
            verdicts.append(OutputVerdict(file, rebuilt, comparison))
        for data in (
            definition.data,
            format_lock(self.lock),
            self.result.log,
            format_json(self.result.report),
            *(verdict.comparison.report for verdict in verdicts if verdict.comparison.report),
        ):
            workshop.evidence.put(data)
        return Built(tuple(verdicts), self.lock, self.result)


@dataclass(frozen=True)
class _Attempt:
    """The phases of one rebuild."""

    workshop: Workshop
    plan: BuildPlan
    sandbox: Sandbox
    display: PhaseDisplay
    clock: "_Clock"

    def fetch(self) -> InputLock:
        """Run Fetch. Raises PhaseFailed, HostLack."""
        lock = run_fetch(self.plan, self.sandbox, self.workshop.cache, self.display)
        self.clock.lap("fetch")
        return lock

    def build(self, lock: InputLock, outcome: _Outcome) -> None:
        """Run Build from `lock`. Raises PhaseFailed, HostLack."""
        outcome.lock = lock
        outcome.result = run_build(self.plan, lock, self.sandbox, self.workshop.cache, self.display)
        self.clock.lap("build")

    def build_known(self, lock: InputLock, outcome: _Outcome) -> bool:
        """As `build`, from the lock of an earlier rebuild; whether that worked. What does not build from it
        may build from what Fetch finds now."""
        self.workshop.display.step(f"inputs: known from an earlier rebuild, {len(lock.inputs)} files")
        try:
            self.build(lock, outcome)
        except PhaseFailed as failed:
            self.clock.lap("build")
            self.workshop.display.step(f"they no longer build ({failed.failure}); fetching anew")
            return False
        return True


class _Clock:
    """Wall clock seconds by phase, and when it all began."""

    def __init__(self) -> None:
        self.started = int(time.time())
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        """The phase `name` is over."""
        now = time.monotonic()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._last
        self._last = now


def _source(workshop: Workshop, file: SourceFile) -> RemoteFile:
    found = workshop.repositories.exact(file.uri, file.sha256)
    if len(found.data) != file.size:
        raise DefinitionError(f"{file.uri} has {len(found.data)} bytes, and the definition says {file.size}")
    return found


def _find_tools(workshop: Workshop, definition: Definition) -> MavenTools:
    tools = definition.tools
    jdk = need_jdk(tools.jdk, workshop.jdk_roots) if tools.jdk is not None else None
    maven = None
    if tools.maven is not None:
        workshop.display.step(f"tools: Maven {tools.maven.version}")
        maven = need_maven(tools.maven, workshop.repositories.named("central"), workshop.tools)
    return MavenTools(jdk, maven)


def _failure(error: PhaseFailed) -> Failure:
    detail = error.detail
    if error.failure == "exit-status" and (said := explain_failure(error.log)):
        detail = f"{detail.partition(';')[0]}; {said}"[:DETAIL_CHARS]
    return Failure(error.phase, error.failure, detail)


@contextmanager
def _tree(workshop: Workshop, definition: Definition, sources: Sequence[RemoteFile]) -> Iterator[Path]:
    """The prepared source tree, removed afterwards. Raises PhaseFailed for an archive that is refused."""
    with locked_folder(workshop.data, TREE) as folder:
        try:
            prepare_tree(definition.source, sources, folder)
        except ArchiveError as error:
            raise PhaseFailed("definition", "refused-input", f"source: {error}") from error
        except OSError as error:
            raise HostLack(f"cannot write the source: {error.strerror}", reason="disk-full") from error
        yield folder
