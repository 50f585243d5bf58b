"""The two phases of a rebuild, Fetch and Build, in one and the same sandbox.

Fetch runs the real command once, with the recording mirror as its only way out; what it writes is thrown
away, what the mirror recorded is the input lock. Build starts from the source again with no way out at all,
sees the locked files read-only, and its outputs are what is compared and attested.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from touchplate.builder.cache import Cache
from touchplate.builder.errors import (
    DISK_FULL,
    UPSTREAM_FAILED,
    DefinitionError,
    FailedPhase,
    HostLack,
    PhaseFailed,
    RefusedInputError,
    TooMuchError,
    storage_lack,
)
from touchplate.builder.inputs.answer import AnswerFinder
from touchplate.builder.inputs.lock import (
    NAME_BYTES,
    InputLock,
    LockedInput,
    is_metadata,
    is_sha256,
    make_lock,
    pinned_inputs,
)
from touchplate.builder.inputs.mirror import SOCKET_NAME, serve_mirror
from touchplate.builder.inputs.recording import SHOWN, Recorder, check_input, fetch_locked
from touchplate.builder.inputs.unlocked import find_unlocked
from touchplate.builder.plan import (
    MIB,
    MIRROR_PORT,
    REPOSITORY_FOLDER,
    RESERVED_FOLDER,
    BuildPlan,
    BuildResult,
    Forbidden,
    Limits,
    Phase,
    Progress,
    ShownRoot,
    check_inside,
)
from touchplate.builder.process import Outcome, printable
from touchplate.builder.sandbox.bubblewrap import BASE_ENVIRONMENT, Job, Sandbox
from touchplate.builder.sandbox.collect import collect
from touchplate.builder.sandbox.probe import PYTHON
from touchplate.builder.sandbox.workspace import (
    TOO_DEEP,
    TOO_LARGE,
    TOO_MANY,
    TREE_DEPTH,
    TREE_ENTRIES,
    Workspace,
    make_open,
    show_copy,
)

TAIL_LINES = 8
"""Last lines of the output that a failure's detail repeats."""

_BRIDGE = f"{RESERVED_FOLDER}/bridge.py"
_MIRROR = f"{RESERVED_FOLDER}/mirror"


def run_fetch(plan: BuildPlan, sandbox: Sandbox, cache: Cache, progress: Progress) -> InputLock:
    """Run the command with the recording mirror; the lock of everything that it was given.

    A command that fails although it was given everything it asked for does not fail Fetch: run Build next,
    which fails in the same way and is the phase to be named. Raises PhaseFailed (phase `fetch`), HostLack.
    """
    check_source(plan, cache)
    pinned = make_lock(pinned_inputs(plan.pinned))
    check_inputs(plan, pinned, cache)
    recorder = Recorder(plan, cache, progress)
    with sandbox.workspace(plan.source, plan.surroundings) as workspace:
        show_inputs(plan, pinned, cache, workspace.repo)
        shown = {REPOSITORY_FOLDER: workspace.repo} if plan.pinned else {}
        job = bridged(_job(plan, workspace, "fetch", shown, plan.command), workspace)
        progress.started("fetch")
        with serve_mirror(workspace.mirror, workspace.owner, recorder, cache):
            outcome = sandbox.run(workspace, job, watch=recorder.stop_word, on_line=progress.line)
    lock = recorder.finish(outcome)
    if outcome.stopped:
        raise phase_failure("fetch", outcome, plan.limits)
    return lock


def run_build(
    plan: BuildPlan, lock: InputLock, sandbox: Sandbox, cache: Cache, progress: Progress
) -> BuildResult:
    """Run the command from the source again, offline, with the locked inputs only; collect its outputs.

    Inputs that are not in the cache (a lock of somebody else) are fetched first, by digest. Raises
    PhaseFailed (phases `fetch` for a refused input, `build`, `collect`), HostLack. A build that goes on
    without a file that the lock should have has failed, too.
    """
    check_source(plan, cache)
    check_lock(plan, lock)
    fetch_locked(lock, plan.upstreams, cache, progress)
    check_inputs(plan, lock, cache)
    with sandbox.workspace(plan.source, plan.surroundings) as workspace:
        show_inputs(plan, lock, cache, workspace.repo)
        job = _job(plan, workspace, "build", {REPOSITORY_FOLDER: workspace.repo}, plan.command)
        progress.started("build")
        outcome = sandbox.run(workspace, job, on_line=progress.line)
        if outcome.stopped or outcome.exit_code:
            raise phase_failure("build", outcome, plan.limits)
        if unlocked := find_unlocked(plan, outcome.log):
            detail = f"exit code 0; not in the input lock: {', '.join(unlocked[:SHOWN])}"
            raise PhaseFailed("build", "exit-status", detail, log=outcome.log)
        try:
            outputs = collect(workspace.build, plan.outputs, cache, max_bytes=plan.limits.output_bytes)
            labels = plan.examine(outputs)
        except PhaseFailed as failed:
            failed.log = outcome.log
            raise
    return BuildResult(outputs, outcome.log, make_report(sandbox, plan, outcome), labels)


def bridged(job: Job, workspace: Workspace) -> Job:
    """The job with the bridge in front of its command: it reaches what is served in `workspace.mirror`."""
    command = (PYTHON, "-I", "-S", _BRIDGE, str(MIRROR_PORT), f"{_MIRROR}/{SOCKET_NAME}", *job.command)
    shown = {_BRIDGE: workspace.place(0, _bridge_source()), _MIRROR: workspace.mirror}
    return replace(job, command=command, shown={**job.shown, **shown}, calls_out=True)


def make_report(sandbox: Sandbox, plan: BuildPlan, outcome: Outcome) -> dict[str, Any]:
    """The sandbox report: what held this build, as found out on this host. JSON, integers only."""
    limits = plan.limits
    return {
        "version": 1,
        "backend": sandbox.probe.backend or "none",
        "probe": sandbox.probe.describe(),
        "kernel": os.uname().release,
        "machine": os.uname().machine,
        "filter": {"sha256": sandbox.filter_sha256},
        "binds": sorted(["/usr", *(bind.inside for bind in plan.binds)]),
        "root": {"sha256": plan.root.sha256} if plan.root is not None else "host",
        # Beyond the definition's own: what the ecosystem adds to it.
        "command": list(plan.command),
        "environment": {**BASE_ENVIRONMENT, **plan.environment},
        "umask": f"{plan.umask:04o}",
        "limits": {
            "log_bytes": limits.log_bytes,
            "memory_bytes": limits.memory_bytes,
            "processes": limits.processes,
            "wall_seconds": int(limits.wall_seconds),
            "workspace_bytes": limits.workspace_bytes,
        },
        "log_bytes_cut": outcome.dropped_bytes,
    }


def _job(
    plan: BuildPlan, workspace: Workspace, phase: Phase, shown: Mapping[str, Path], command: tuple[str, ...]
) -> Job:
    files = dict(shown)
    for number, (inside, content) in enumerate(sorted(plan.files(phase).items()), start=1):
        check_inside(inside)
        files[inside] = workspace.place(number, content)
    return Job(
        command=command,
        binds=plan.binds,
        shown=files,
        environment=plan.environment,
        umask=plan.umask,
        surroundings=plan.surroundings,
        limits=plan.limits,
        root=plan.root.path if plan.root is not None else None,
    )


def check_source_file(forbidden: Forbidden, uri: str, data: bytes) -> None:
    """An archive that is unpacked is itself in no tree, and may be the published file all the same. Raises
    PhaseFailed."""
    try:
        found = AnswerFinder(forbidden.digests).find_in_source(data)
    except TooMuchError as error:
        detail = f"source {uri} cannot be looked through: {error}"
        raise PhaseFailed("fetch", "refused-input", detail) from error
    if found is not None:
        detail = f"source {uri} {found}: the published file that the build has to make"
        raise PhaseFailed("fetch", "refused-input", detail)


def check_source(plan: BuildPlan, cache: Cache) -> None:
    """Source and fetched tools are inputs, too: a tree with the published file in it proves nothing."""
    finder = AnswerFinder(plan.forbidden.digests, cache.contents)
    _check_tree(finder, plan.source, "source")
    compiled = AnswerFinder(plan.forbidden.compiled, cache.contents)
    _check_tree(compiled, plan.source, "source", "compiled code of the published file")
    for bind in plan.binds:
        seen = (str(bind.host), plan.forbidden.digests)
        if bind.fetched and seen not in cache.looked_through:
            _check_tree(finder, bind.host, f"tool {bind.inside}, use another version of it:")
            cache.looked_through.add(seen)
    if plan.root is not None:
        _check_root(finder, plan.root)


def _check_root(finder: AnswerFinder, root: ShownRoot) -> None:
    try:
        found = finder.find_in_tree(root.path, root.sha256)
    except TooMuchError as error:
        raise PhaseFailed(
            "fetch", "refused-input", f"the build root cannot be looked through: {error}"
        ) from error
    if found is not None:
        detail = f"build root file {found}: the published file that the build has to make"
        raise PhaseFailed("fetch", "refused-input", detail)


def _check_tree(finder: AnswerFinder, folder: Path, what: str, answer: str = "the published file") -> None:
    try:
        found = finder.find_below(folder)
    except TooMuchError as error:
        detail = f"{what} cannot be looked through: {error}"
        raise PhaseFailed("fetch", "refused-input", detail) from error
    if found is not None:
        detail = f"{what} file {found}: {answer} that the build has to make"
        raise PhaseFailed("fetch", "refused-input", detail)


def check_lock(plan: BuildPlan, lock: InputLock) -> None:
    """What Fetch would not have recorded: the lock may be somebody else's. Before anything is fetched."""
    limits = plan.limits
    if len(lock.inputs) > limits.fetch_files or lock.total_bytes > limits.fetch_bytes:
        detail = f"the lock has {len(lock.inputs)} inputs of {lock.total_bytes} bytes, more than allowed"
        raise PhaseFailed("fetch", "too-large", detail)
    pinned = frozenset(pinned_inputs(plan.pinned))
    if lacking := pinned.difference(lock.inputs):
        raise _lacks_pinned(min(lacking, key=lambda each: (each.upstream, each.path)), lock)
    for one in lock.inputs:
        if (one.upstream, one.path) in plan.forbidden.paths:
            detail = f"{one.upstream}/{one.path} is the published file that the build has to make"
            raise PhaseFailed("fetch", "refused-input", detail)
        if one in pinned:
            continue
        if plan.named_by_digest and not is_sha256(one.path):
            detail = f"{one.upstream}/{one.path}: inputs of this build are asked for by their sha256"
            raise PhaseFailed("fetch", "refused-input", detail)
        if plan.named_by_digest and one.path != one.sha256:
            detail = f"upstream {one.upstream!r} has other bytes under {one.path}, of sha256 {one.sha256}"
            raise HostLack(detail, reason=UPSTREAM_FAILED)
        if is_metadata(one.path) and not plan.allow_metadata:
            raise PhaseFailed("fetch", "refused-input", f"{one.upstream}/{one.path} changes from day to day")


def _lacks_pinned(one: LockedInput, lock: InputLock) -> HostLack:
    """A lock of somebody else names upstreams as they are called there."""
    named = sorted(
        {each.upstream for each in lock.inputs if (each.path, each.sha256) == (one.path, one.sha256)}
    )
    remedy = (
        f"it is called {named[0]!r} there: --upstream {named[0]}=URL,…" if named else "it is another build's"
    )
    return HostLack(
        f"the lock lacks {one.upstream}/{one.path} of sha256 {one.sha256}, which the definition names; "
        + remedy,
        reason=UPSTREAM_FAILED,
    )


def check_inputs(plan: BuildPlan, lock: InputLock, cache: Cache) -> None:
    """Again before Build: the lock may be somebody else's. What is asked for by its digest is source, too."""
    finder = AnswerFinder(plan.forbidden.digests, cache.contents)
    compiled = AnswerFinder(plan.forbidden.compiled, cache.contents)
    pinned = frozenset(pinned_inputs(plan.pinned))
    for one in lock.inputs:
        try:
            check_input(finder, cache, one.sha256, plan.forbidden.digests)
            if plan.named_by_digest and one not in pinned:
                check_input(compiled, cache, one.sha256, plan.forbidden.compiled)
        except RefusedInputError as error:
            raise PhaseFailed("fetch", "refused-input", f"{one.upstream}/{one.path} {error}") from error


def show_inputs(plan: BuildPlan, lock: InputLock, cache: Cache, repo: Path) -> None:
    """Lay the locked files out as `<repo>/<upstream>/<path>`, each hashed again where it now lies.

    Raises HostLack when there is no room, or the cache has other bytes; DefinitionError for a wrong size.
    """
    try:
        _lay_out(plan, lock, cache, repo)
    except OSError as error:
        raise storage_lack("cannot lay out the locked files", repo, error) from error


def _lay_out(plan: BuildPlan, lock: InputLock, cache: Cache, repo: Path) -> None:
    maven = {one.name for one in plan.upstreams if one.ecosystem == "maven"}
    for one in lock.inputs:
        target = repo / one.upstream / one.path
        _make_parents(target.parent, repo)
        show_copy(cache.inputs.path(one.sha256), target)
        sha1 = _check_bytes(one, target)
        if one.upstream in maven and len(target.name.encode()) <= NAME_BYTES - len(".sha1"):
            # Checksum files are not inputs: they follow from the locked bytes. Without them Maven complains.
            checksum = target.with_name(f"{target.name}.sha1")
            checksum.write_text(sha1)
            checksum.chmod(0o644)


def _make_parents(folder: Path, top: Path) -> None:
    if folder != top and not folder.exists():
        _make_parents(folder.parent, top)
        make_open(folder)


def _check_bytes(one: LockedInput, path: Path) -> str:
    sha256, sha1 = hashlib.sha256(), hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as file:
        while data := file.read(MIB):
            sha256.update(data)
            sha1.update(data)
    if sha256.hexdigest() != one.sha256:
        raise HostLack(
            f"the cached file of {one.upstream}/{one.path} has sha256 {sha256.hexdigest()}, not the locked "
            f"{one.sha256}; remove it from the cache",
            reason="cache-damaged",
        )
    if (size := path.stat().st_size) != one.size:
        raise DefinitionError(f"the lock gives {one.upstream}/{one.path} {one.size} bytes, and it has {size}")
    return sha1.hexdigest()


def phase_failure(phase: FailedPhase, outcome: Outcome, limits: Limits) -> PhaseFailed | HostLack:
    """What it means that a command failed or was stopped, as the error to raise."""
    log = outcome.log
    match outcome.stopped:
        case "disk-full":
            detail = f"the disk of {outcome.full} is nearly full: make room there, or use another folder"
            return HostLack(detail, reason=DISK_FULL, log=log)
        case "timeout":
            return PhaseFailed(phase, "timeout", f"not done after {limits.wall_seconds:g} seconds", log=log)
    if outcome.stopped in (beyond := _beyond(limits)):
        return PhaseFailed(phase, "too-large", beyond[outcome.stopped], log=log)
    why = f"exit code {outcome.exit_code}"
    if outcome.out_of_memory:
        why += f", killed for using more than {limits.memory_bytes} bytes of memory"
    lines = [printable(line) for line in outcome.tail.splitlines() if line.strip()]
    return PhaseFailed(phase, "exit-status", "; ".join([why, *lines[-TAIL_LINES:]]), log=log)


def _beyond(limits: Limits) -> dict[str, str]:
    """What is said of a build that was stopped for what it wrote."""
    return {
        TOO_LARGE: f"the build wrote more than {limits.workspace_bytes} bytes",
        TOO_MANY: f"the build made more than {TREE_ENTRIES} files and folders",
        TOO_DEEP: f"the build made more than {TREE_DEPTH} folders inside each other",
    }


def _bridge_source() -> bytes:
    return Path(__file__).parent.joinpath("sandbox", "bridge.py").read_bytes()
