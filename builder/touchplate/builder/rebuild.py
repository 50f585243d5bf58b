"""One rebuild: published files and a definition in, a verdict for each output out.

The order of things: tools and source, by digest; Fetch, which gives the input lock; Build from the lock
alone; comparison. Nothing is signed here (see `submit`), so that anyone can rebuild without keys.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from touchplate.builder.attestation.attest import need_backend
from touchplate.builder.backend import Backend
from touchplate.builder.comparison.compare import Comparison
from touchplate.builder.comparison.detailed import MAX_LOOKS, open_detailer
from touchplate.builder.definitions.definition import Definition, SourceFile
from touchplate.builder.definitions.demands import check_demands
from touchplate.builder.display import PhaseDisplay
from touchplate.builder.errors import (
    DETAIL_CHARS,
    UPSTREAM_FAILED,
    ArchiveError,
    DefinitionError,
    HostLack,
    PhaseFailed,
    storage_lack,
)
from touchplate.builder.git.commits import CommitTree, fetch_commit, place_commit
from touchplate.builder.inputs.lock import InputLock, format_lock
from touchplate.builder.inputs.repository import RemoteFile
from touchplate.builder.known_locks import LockKey, check_unchanged
from touchplate.builder.phases import check_source_file
from touchplate.builder.plan import BuildPlan, BuildResult, CollectedFile
from touchplate.builder.repeatability.twice import Repeatability, check_twice
from touchplate.builder.repeatability.vary import find_variations
from touchplate.builder.sandbox.workspace import locked_folder
from touchplate.builder.workshop import TREE, Workshop
from touchplate.verify.jcs import format_json
from touchplate.verify.predicates.comparison import Failure, Result
from touchplate.verify.predicates.provenance import Dependency

GetLock = Callable[[BuildPlan, Backend, PhaseDisplay], InputLock]
"""How a rebuild comes by its input lock: from Fetch, or from the evidence of an earlier one."""

_WORST_FIRST: tuple[Result, ...] = ("different", "equivalent", "identical")


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
    repeatability: Repeatability | None = None
    """What building more than once has shown, when that was asked for."""

    @property
    def result(self) -> Result:
        """The worst of its outputs: `identical`, `equivalent` or `different`; `not-built` without any."""
        if self.built is None:
            return "not-built"
        found = {verdict.comparison.result for verdict in self.built.verdicts}
        return next(result for result in _WORST_FIRST if result in found)


def fetch_published(workshop: Workshop, definition: Definition) -> tuple[RemoteFile, ...]:
    """The published file of each output, in order. Raises DefinitionError when there is none."""
    return tuple(
        definition.ecosystem.fetch_published(workshop, output.package, None) for output in definition.outputs
    )


def rebuild(
    workshop: Workshop,
    definition: Definition,
    published: Sequence[RemoteFile],
    *,
    get_lock: GetLock | None = None,
    to_sign: bool = False,
    refetch: bool = False,
    twice: bool = False,
    twice_until: float | None = None,
) -> Rebuild:
    """Build `definition` and compare its outputs with `published`.

    Without `get_lock`, the lock that the same build succeeded from before is used, and Fetch runs when
    there is none, when it no longer builds, or for `refetch`. With `twice`, a build that succeeded is made
    again, in the same way and varied (`twice.py`); neither verdict nor statements depend on what that shows.
    `twice_until`: when the last of those builds has to be over, in seconds of the monotonic clock.

    What keeps the package from being built is in the result; what this host lacks raises HostLack: with
    `to_sign` also an isolation below what a signature claims, before anything is run.
    """
    clock = Clock()
    ecosystem = definition.ecosystem
    tools = ecosystem.find_tools(workshop, definition)
    sources: tuple[RemoteFile, ...] = ()
    backend = ecosystem.open_backend(workshop, definition.sandbox.backend)
    check_demands(definition.sandbox, backend.probe)
    if to_sign:
        need_backend(backend.name, backend.missing)
    display = PhaseDisplay(workshop.display, verbose=workshop.verbose)
    outcome = _Outcome()
    repeatability = None
    try:
        sources = tuple(_source(workshop, definition, file) for file in definition.source.files)
        with _tree(workshop, definition, sources) as tree:
            plan = tools.make_plan(tree, published)
            _check_sources(plan, sources)
            clock.lap("prepare")
            attempt = _Attempt(workshop, plan, backend, display, clock)
            if get_lock is not None:
                attempt.build(get_lock(plan, backend, display), outcome)
            else:
                key = LockKey(definition, tools.described, plan.upstreams)
                attempt.build_by(key, outcome, refetch=refetch)
            if twice:
                repeatability = attempt.repeat(definition, outcome, until=twice_until)
    except PhaseFailed as error:
        outcome.failure = _failure(definition, error)
        outcome.log = error.log
        clock.lap(error.phase)
    finally:
        display.finish()
    return Rebuild(
        definition=definition,
        published=tuple(published),
        sources=sources,
        tools=tools.described,
        backend=backend.name,
        missing=backend.missing,
        started=clock.started,
        finished=clock.now,
        seconds=clock.laps,
        built=outcome.judge(workshop, definition, published),
        failure=outcome.failure,
        log=outcome.log,
        repeatability=repeatability,
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
        verdicts: list[OutputVerdict] = []
        looks = MAX_LOOKS if workshop.detailed else 0
        for output, file in zip(definition.outputs, published, strict=True):
            rebuilt = self.result.outputs[output.path]
            comparison = definition.ecosystem.compare(workshop, definition, output.package, file, rebuilt)
            if comparison.report and looks:
                looks -= 1
                comparison = _detail(workshop, comparison, (file, rebuilt), output.package.file_name)
            verdicts.append(OutputVerdict(file, rebuilt, comparison))
        found = (verdict.comparison for verdict in verdicts)
        for data in (
            definition.data,
            format_lock(self.lock),
            self.result.log,
            format_json(self.result.report),
            *(data for one in found for data in (one.report, one.detailed) if data),
        ):
            workshop.keep_evidence(data)
        return Built(tuple(verdicts), self.lock, self.result)


@dataclass(frozen=True)
class _Attempt:
    """The phases of one rebuild."""

    workshop: Workshop
    plan: BuildPlan
    backend: Backend
    display: PhaseDisplay
    clock: "Clock"

    def fetch(self) -> InputLock:
        """Run Fetch. Raises PhaseFailed, HostLack."""
        lock = self.backend.fetch(self.plan, self.workshop.cache, self.display)
        self.clock.lap("fetch")
        return lock

    def build(self, lock: InputLock, outcome: _Outcome) -> None:
        """Run Build from `lock`. Raises PhaseFailed, HostLack."""
        outcome.lock = lock
        outcome.result = self.backend.build(self.plan, lock, self.workshop.cache, self.display)
        self.clock.lap("build")

    def build_by(self, key: LockKey, outcome: _Outcome, *, refetch: bool) -> None:
        """As `build`, from the lock that is kept under `key`, or from what Fetch finds when none is kept, it
        no longer builds, or for `refetch`. What was built from is kept. Raises PhaseFailed, HostLack."""
        locks = self.workshop.known_locks
        # Inputs that change from day to day are looked for every time.
        is_lasting = not key.definition.allow_metadata
        known = locks.find(key) if is_lasting and not refetch else None
        if known is None or not self.build_known(key.definition, known, outcome):
            lock = self.fetch()
            if known is not None:
                check_unchanged(known, lock, self.plan.upstreams)
            self.build(lock, outcome)
        if is_lasting:
            locks.keep(key, outcome.need_lock())

    def repeat(self, definition: Definition, outcome: _Outcome, *, until: float | None) -> Repeatability:
        """Build again what was built, and keep what that shows."""
        assert outcome.result is not None
        lock, workshop = outcome.need_lock(), self.workshop
        packages = {output.path: output.package for output in definition.outputs}
        found = check_twice(
            self.plan,
            outcome.result,
            find_variations(self.plan, workshop.work, self.backend.factors),
            build=lambda plan: self.backend.build(plan, lock, workshop.cache, self.display),
            compare=lambda path, first, other: definition.ecosystem.compare_builds(
                workshop, packages[path], first, other
            ),
            say=workshop.display.step,
            until=until,
        )
        workshop.keep_evidence(found.format())
        self.clock.lap("twice")
        return found

    def build_known(self, definition: Definition, lock: InputLock, outcome: _Outcome) -> bool:
        """As `build`, from the lock of an earlier rebuild; whether that worked. What does not build from it
        may build from what Fetch finds now."""
        self.workshop.display.step(f"inputs: known from an earlier rebuild, {len(lock.inputs)} files")
        try:
            self.build(lock, outcome)
        except (PhaseFailed, HostLack) as failed:
            # An input that is neither here nor upstream any more: another one may do.
            if isinstance(failed, HostLack) and failed.reason != UPSTREAM_FAILED:
                raise
            self.clock.lap("build")
            why = _said(definition, failed)
            self.workshop.display.step(f"they no longer build ({why}); fetching anew")
            return False
        return True


class Clock:
    """Wall clock seconds by phase, and when it all began. `wall` may jump meanwhile, `steady` does not."""

    def __init__(
        self, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
    ) -> None:
        self._steady = steady
        self._begun = self._last = steady()
        self.started = int(wall())
        self.laps: dict[str, float] = {}

    @property
    def now(self) -> int:
        """Unix seconds, by the clock as it was at the start: a rebuild never ends before it began."""
        return self.started + int(self._steady() - self._begun)

    def lap(self, name: str) -> None:
        """The phase `name` is over."""
        now = self._steady()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._last
        self._last = now


def _detail(
    workshop: Workshop, found: Comparison, files: tuple[RemoteFile, CollectedFile], name: str
) -> Comparison:
    """`found`, explained by diffoscope where this host has it: what it lacks for that is no HostLack."""
    published, rebuilt = files
    try:
        detailer = open_detailer(workshop.open_sandbox(), workshop.cache)
        if detailer is None:
            return found
        workshop.display.step(f"compare: diffoscope {detailer.version}")
        return detailer.detail(found, published.data, rebuilt.path, name)
    except HostLack as lack:
        workshop.display.line(f"    no report by diffoscope: {lack}")
        return found


def _source(workshop: Workshop, definition: Definition, file: SourceFile) -> RemoteFile:
    if file.commit:
        return fetch_commit(workshop, file)
    found = definition.ecosystem.fetch_source(workshop, file)
    if len(found.data) != file.size:
        raise DefinitionError(f"{file.uri} has {len(found.data)} bytes, and the definition says {file.size}")
    return found


def _check_sources(plan: BuildPlan, sources: Sequence[RemoteFile]) -> None:
    for file in sources:
        if not isinstance(file, CommitTree):  # whose files are the tree, which is looked through
            check_source_file(plan.forbidden, file.uri, file.data)


def _failure(definition: Definition, error: PhaseFailed) -> Failure:
    detail = error.detail
    explain = definition.ecosystem.explain_failure
    if error.failure == "exit-status" and (said := explain(definition, error.log)):
        detail = f"{detail.partition(';')[0]}; {said}"[:DETAIL_CHARS]
    return Failure(error.phase, error.failure, detail)


def _said(definition: Definition, error: PhaseFailed | HostLack) -> str:
    """Why a known lock no longer builds, with what was asked for and is not in it."""
    try:
        return str(error) if isinstance(error, HostLack) else _failure(definition, error).detail
    except HostLack as lack:  # what the output says is a lack of the definition
        return str(lack)


@contextmanager
def _tree(workshop: Workshop, definition: Definition, sources: Sequence[RemoteFile]) -> Iterator[Path]:
    """The prepared source tree, removed afterwards. Raises PhaseFailed for an archive that is refused."""
    with locked_folder(workshop.data, TREE) as folder:
        try:
            if isinstance(sources[0], CommitTree):
                place_commit(sources[0], folder)
            else:
                definition.ecosystem.prepare_tree(definition, sources, folder)
        except ArchiveError as error:
            raise PhaseFailed("definition", "refused-input", f"source: {error}") from error
        except OSError as error:
            raise storage_lack("cannot write the source", workshop.data, error) from error
        yield folder
