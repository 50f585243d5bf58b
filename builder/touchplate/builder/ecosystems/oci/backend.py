"""The two phases of an image: Fetch reads the pinned base images, Build runs buildah without any network.

What Build needs mostly follows from the definition alone, so there is nothing to record: Fetch is the
supervisor's reading of blobs by digest, and the lock lists them. Only where RUNs may use apt (`image.apt`)
Fetch builds the image, too, for what apt asks for; that image is thrown away.
"""

import os
from dataclasses import replace
from pathlib import Path

from touchplate.base.durable import DigestFolder
from touchplate.builder.backend import Probed
from touchplate.builder.cache import Cache
from touchplate.builder.ecosystems.oci.apt import (
    REPLAY,
    REPLAY_SETTINGS,
    RUNTIME,
    files_for_replay,
    files_for_runs,
    split_lock,
)
from touchplate.builder.ecosystems.oci.archives import check_archives
from touchplate.builder.ecosystems.oci.bases import (
    FindReader,
    check_lock,
    fetch_bases,
    lay_out,
    make_base_lock,
)
from touchplate.builder.ecosystems.oci.collecting import collect_image
from touchplate.builder.ecosystems.oci.definition import OUTPUT
from touchplate.builder.ecosystems.oci.inside import NOT_EXPORTED, NOT_PREPARED
from touchplate.builder.ecosystems.oci.plan import (
    ENVIRONMENT,
    ETC,
    NAMES,
    UNMARK,
    ImagePlan,
    PinnedImage,
    steps,
)
from touchplate.builder.errors import HostLack, PhaseFailed
from touchplate.builder.inputs.lock import InputLock, make_lock
from touchplate.builder.inputs.mirror import serve_mirror
from touchplate.builder.inputs.recording import Recorder, fetch_locked
from touchplate.builder.phases import (
    bridged,
    check_inputs,
    check_source,
    make_report,
    phase_failure,
    show_inputs,
)
from touchplate.builder.phases import check_lock as check_limits
from touchplate.builder.plan import (
    REPOSITORY_FOLDER,
    RESERVED_FOLDER,
    BuildPlan,
    BuildResult,
    Phase,
    Progress,
    Quiet,
)
from touchplate.builder.process import Outcome
from touchplate.builder.sandbox.bubblewrap import Job
from touchplate.builder.sandbox.nested import LACKING
from touchplate.builder.sandbox.probe import PYTHON
from touchplate.builder.sandbox.runc import PATH, RuncSandbox
from touchplate.builder.sandbox.workspace import Workspace, make_open

_INSIDE = f"{RESERVED_FOLDER}/inside.py"
_STEPS = f"{RESERVED_FOLDER}/steps.json"


FACTORS = frozenset({"timezone", "locale", "umask", "file-order", "cpus", "build-path", "hostname"})
"""What is varied around buildah, which runs outside of the image. A RUN has user, home and variables from the
image, and its programs could not load a library of the host. The times of a context are its archive's: they
are an input, and go into the history of the image."""


class Runc(Probed):
    """The sandbox of images as a backend (`sandbox/runc.py`)."""

    def __init__(self, sandbox: RuncSandbox, find_reader: FindReader) -> None:
        super().__init__(sandbox)
        self._find_reader = find_reader

    @property
    def factors(self) -> frozenset[str]:
        """See `FACTORS`."""
        return FACTORS

    def fetch(self, plan: BuildPlan, cache: Cache, progress: Progress) -> InputLock:
        """Read the base images. Raises PhaseFailed (phase `fetch`), HostLack."""
        assert isinstance(plan, ImagePlan)
        check_source(plan, cache)
        progress.started("fetch")
        bases = self._bases(plan, cache.inputs, progress)
        lock = make_base_lock(bases)
        if not plan.archives:
            return lock
        return make_lock((*lock.inputs, *self._record(plan, bases, cache, progress).inputs))

    def _record(
        self, plan: ImagePlan, bases: tuple[PinnedImage, ...], cache: Cache, progress: Progress
    ) -> InputLock:
        """Build the image with the recording mirror as its only way out; what apt was given."""
        recorder = Recorder(replace(plan, upstreams=plan.archives), cache, progress)
        with self._sandbox.workspace(plan.source, plan.surroundings) as workspace:
            lay_out(bases, cache.inputs, workspace.repo)
            _give(workspace, plan.details.owner)
            job = bridged(_job(plan, workspace, bases, "fetch"), workspace)
            with serve_mirror(workspace.mirror, workspace.owner, recorder, cache):
                outcome = self._sandbox.run(workspace, job, watch=recorder.stop_word, on_line=progress.line)
        lock = _finish(recorder, outcome, cache)
        _check_tools(outcome)
        if outcome.stopped:
            raise phase_failure("fetch", outcome, plan.limits)
        return lock

    def build(self, plan: BuildPlan, lock: InputLock, cache: Cache, progress: Progress) -> BuildResult:
        """Build from context and base images alone; collect manifest and blobs.

        Raises PhaseFailed (phases `fetch` for a refused input, `build`, `collect`), HostLack.
        """
        assert isinstance(plan, ImagePlan)
        check_source(plan, cache)
        check_limits(plan, lock)
        bases = self._bases(plan, cache.inputs, Quiet())  # told by Fetch, unless the lock was known
        base_lock, apt_lock = split_lock(lock, plan.details.apt)
        check_lock(base_lock, bases)
        fetch_locked(apt_lock, plan.archives, cache, progress)
        check_inputs(plan, apt_lock, cache)
        with self._sandbox.workspace(plan.source, plan.surroundings) as workspace:
            lay_out(bases, cache.inputs, workspace.repo)
            make_open(workspace.repo / "apt")
            show_inputs(plan, apt_lock, cache, workspace.repo / "apt")
            _give(workspace, plan.details.owner)
            progress.started("build")
            job = _replayed(plan, _job(plan, workspace, bases))
            outcome = self._sandbox.run(workspace, job, on_line=progress.line)
            _check_outcome(plan, outcome)
            try:
                manifest = collect_image(
                    workspace.home,
                    cache,
                    platform=plan.details.platform,
                    max_bytes=plan.limits.output_bytes,
                )
            except PhaseFailed as failed:
                failed.log = outcome.log
                raise
        return BuildResult({OUTPUT: manifest}, outcome.log, make_report(self._sandbox, plan, outcome))

    def _bases(self, plan: ImagePlan, store: DigestFolder, progress: Progress) -> tuple[PinnedImage, ...]:
        return fetch_bases(plan, self._find_reader, store, progress)


def _finish(recorder: Recorder, outcome: Outcome, cache: Cache) -> InputLock:
    """As the recorder's, but a RUN that failed because its archive does not fit together is no failure."""
    try:
        lock = recorder.finish(outcome)
    except PhaseFailed as failed:
        if failed.failure == "exit-status":
            _check_archives(recorder, outcome, cache)
        raise
    if outcome.exit_code and not outcome.stopped:
        _check_archives(recorder, outcome, cache)
    return lock


def _check_archives(recorder: Recorder, outcome: Outcome, cache: Cache) -> None:
    given = recorder.inputs
    try:
        check_archives(given, {one.sha256: cache.inputs.path(one.sha256) for one in given})
    except HostLack as lack:
        lack.log = outcome.log
        raise


def _give(workspace: Workspace, owner: tuple[int, int]) -> None:
    """Give the context to an id of the job's range."""
    uid, gid = (workspace.uid + one for one in owner)
    for path in (workspace.build, *workspace.build.rglob("*")):
        os.lchown(path, uid, gid)


def _job(
    plan: ImagePlan, workspace: Workspace, bases: tuple[PinnedImage, ...], phase: Phase = "build"
) -> Job:
    files = {
        _INSIDE: Path(__file__).with_name("inside.py").read_bytes(),
        UNMARK: Path(__file__).with_name("unmark.py").read_bytes(),
        _STEPS: steps(plan, bases, phase),
    }
    files |= {path: text.encode() for path, text in ETC.items()}
    files["/etc/nsswitch.conf"] = NAMES[plan.details.names].encode()
    if plan.details.apt:
        files |= files_for_runs(plan.programs.runc)
        files |= files_for_replay(plan.details.apt) if phase == "build" else {}
    numbered = enumerate(files.items(), start=1)  # 0 is the bridge
    shown = {path: workspace.place(number, data) for number, (path, data) in numbered}
    if plan.details.apt:
        shown[RUNTIME].chmod(0o755)
    return Job(
        command=(PYTHON, "-I", "-S", _INSIDE, _STEPS),
        shown={**shown, REPOSITORY_FOLDER: workspace.repo},
        environment={**plan.environment, **ENVIRONMENT, "PATH": PATH},
        umask=plan.umask,
        surroundings=plan.surroundings,
        limits=plan.limits,
    )


def _replayed(plan: ImagePlan, job: Job) -> Job:
    """The job with a server of the locked files in front of its command, where RUNs use apt."""
    if not plan.details.apt:
        return job
    return replace(job, command=(PYTHON, "-I", "-S", REPLAY, REPLAY_SETTINGS, *job.command))


def _check_outcome(plan: ImagePlan, outcome: Outcome) -> None:
    if outcome.stopped:
        raise phase_failure("build", outcome, plan.limits)
    _check_tools(outcome)
    if outcome.exit_code:
        raise phase_failure("build", outcome, plan.limits)


def _check_tools(outcome: Outcome) -> None:
    """Raise HostLack when it was not the package that failed."""
    if outcome.exit_code in (LACKING, NOT_PREPARED, NOT_EXPORTED) and not outcome.out_of_memory:
        said = outcome.tail.decode(errors="replace").strip()[-500:]
        raise HostLack(
            f"the tools of images fail on this host: {said!r}", reason="no-sandbox", log=outcome.log
        )
