"""The two phases of an image: Fetch reads the pinned base images, Build runs buildah without any network.

What Build needs follows from the definition alone, so there is nothing to record: Fetch is the supervisor's
reading of blobs by digest, and the lock lists them.
"""

import os
from pathlib import Path

from touchplate.base.durable import DigestFolder
from touchplate.builder.cache import Cache
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
from touchplate.builder.lock import InputLock
from touchplate.builder.nested import LACKING
from touchplate.builder.phases import check_lock as check_limits
from touchplate.builder.phases import check_source, make_report, phase_failure
from touchplate.builder.plan import (
    REPOSITORY_FOLDER,
    RESERVED_FOLDER,
    BuildPlan,
    BuildResult,
    Progress,
    Quiet,
)
from touchplate.builder.probe import PYTHON, Probe
from touchplate.builder.process import Outcome
from touchplate.builder.runc import PATH, RuncSandbox
from touchplate.builder.sandbox import Job
from touchplate.builder.workspace import Workspace

_INSIDE = f"{RESERVED_FOLDER}/inside.py"
_STEPS = f"{RESERVED_FOLDER}/steps.json"


FACTORS = frozenset({"timezone", "locale", "umask", "file-order", "cpus", "build-path", "hostname"})
"""What is varied around buildah, which runs outside of the image. A RUN has user, home and variables from the
image, and its programs could not load a library of the host. The times of a context are its archive's: they
are an input, and go into the history of the image."""


class Runc:
    """The sandbox of images as a backend (`builder/runc.py`)."""

    def __init__(self, sandbox: RuncSandbox, find_reader: FindReader) -> None:
        self._sandbox = sandbox
        self._find_reader = find_reader

    @property
    def name(self) -> str | None:
        """As the probe grants it."""
        return self._sandbox.probe.backend

    @property
    def missing(self) -> tuple[str, ...]:
        """As the probe found it."""
        return self._sandbox.probe.missing

    @property
    def probe(self) -> Probe:
        """The sandbox's."""
        return self._sandbox.probe

    @property
    def factors(self) -> frozenset[str]:
        """See `FACTORS`."""
        return FACTORS

    def fetch(self, plan: BuildPlan, cache: Cache, progress: Progress) -> InputLock:
        """Read the base images. Raises PhaseFailed (phase `fetch`), HostLack."""
        assert isinstance(plan, ImagePlan)
        check_source(plan, cache)
        progress.started("fetch")
        return make_base_lock(self._bases(plan, cache.inputs, progress))

    def build(self, plan: BuildPlan, lock: InputLock, cache: Cache, progress: Progress) -> BuildResult:
        """Build from context and base images alone; collect manifest and blobs.

        Raises PhaseFailed (phases `fetch` for a refused input, `build`, `collect`), HostLack.
        """
        assert isinstance(plan, ImagePlan)
        check_source(plan, cache)
        check_limits(plan, lock)
        bases = self._bases(plan, cache.inputs, Quiet())  # told by Fetch, unless the lock was known
        check_lock(lock, bases)
        with self._sandbox.workspace(plan.source, plan.surroundings) as workspace:
            lay_out(bases, cache.inputs, workspace.repo)
            _give(workspace, plan.details.owner)
            progress.started("build")
            outcome = self._sandbox.run(workspace, _job(plan, workspace, bases), on_line=progress.line)
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


def _give(workspace: Workspace, owner: tuple[int, int]) -> None:
    """Give the context to an id of the job's range."""
    uid, gid = (workspace.uid + one for one in owner)
    for path in (workspace.build, *workspace.build.rglob("*")):
        os.lchown(path, uid, gid)


def _job(plan: ImagePlan, workspace: Workspace, bases: tuple[PinnedImage, ...]) -> Job:
    files = {
        _INSIDE: Path(__file__).with_name("inside.py").read_bytes(),
        UNMARK: Path(__file__).with_name("unmark.py").read_bytes(),
        _STEPS: steps(plan, bases),
    }
    files |= {path: text.encode() for path, text in ETC.items()}
    files["/etc/nsswitch.conf"] = NAMES[plan.details.names].encode()
    shown = {path: workspace.place(number, data) for number, (path, data) in enumerate(files.items())}
    return Job(
        command=(PYTHON, "-I", "-S", _INSIDE, _STEPS),
        shown={**shown, REPOSITORY_FOLDER: workspace.repo},
        environment={**plan.environment, **ENVIRONMENT, "PATH": PATH},
        umask=plan.umask,
        surroundings=plan.surroundings,
        limits=plan.limits,
    )


def _check_outcome(plan: ImagePlan, outcome: Outcome) -> None:
    if outcome.stopped:
        raise phase_failure("build", outcome, plan.limits)
    if outcome.exit_code in (LACKING, NOT_PREPARED, NOT_EXPORTED) and not outcome.out_of_memory:
        said = outcome.tail.decode(errors="replace").strip()[-500:]
        raise HostLack(
            f"the tools of images fail on this host: {said!r}", reason="no-sandbox", log=outcome.log
        )
    if outcome.exit_code:
        raise phase_failure("build", outcome, plan.limits)
