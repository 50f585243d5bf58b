"""Building inside the sandbox and outside: the same command, source, inputs, tools, variables and umask.

What the sandbox runs in the Build phase is taken down (`Taken`) and run again outside, with the paths of
the inside replaced by those of the host, in turns with more Build phases. Two rows each: the command alone,
and the whole phase, which also hashes the inputs, lays them out, looks through the source and collects the
outputs.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.bench.builder.measuring import load_now, open_folder, opened, run_as_job, spent_by_all, wall_ratio
from tests.bench.builder.rebuild import PACKAGE, known_build, run_rebuild
from tests.bench.harness import Goal, Row, SkippedError, Spent, check, in_turns, median, ratio
from tests.e2e.conan_rebuilds import SHA256, TARBALL, VERSION
from tests.e2e.debian_source import fetch_source
from tests.e2e.worlds import MissingToolError

from touchplate.base.environment import read_environment
from touchplate.builder.cache import Cache
from touchplate.builder.inputs.lock import InputLock
from touchplate.builder.phases import run_build
from touchplate.builder.plan import BUILD_FOLDER, HOME_FOLDER, REPOSITORY_FOLDER, BuildPlan, Quiet
from touchplate.builder.process import Outcome
from touchplate.builder.sandbox.bubblewrap import BASE_ENVIRONMENT, Job, Sandbox
from touchplate.builder.sandbox.workspace import Workspace

GOAL = Goal("<=", 1.05, "x")
ROUNDS = 3


def maven_build(rounds: int = ROUNDS) -> list[Row]:
    """The demo's package: its locked inputs are in the cache, its local repository is empty."""
    said = run_rebuild(PACKAGE)
    with known_build(PACKAGE, said) as (plan, lock, cache), opened() as sandbox:
        return beside("Maven build of the demo's package", plan, lock, cache, sandbox, rounds)


def c_build(rounds: int = ROUNDS) -> list[Row]:
    """lz4's library, by make and the host's compiler."""
    if missing := [name for name in ("make", "gcc") if read_environment().find_program(name) is None]:
        raise SkippedError(f"{' and '.join(missing)} missing: install build-essential")
    try:
        tarball = fetch_source("lz4", TARBALL, SHA256)
    except MissingToolError as error:
        raise SkippedError(str(error)) from error
    with open_folder() as folder, opened() as sandbox:
        subprocess.run(["tar", "-xf", str(tarball), "--no-same-owner", "-C", str(folder)], check=True)
        plan = BuildPlan(
            folder / f"lz4-{VERSION}",
            ("/usr/bin/make", "-C", "lib", "CC=gcc", "liblz4.a"),  # `cc` is an alternative, below /etc
            outputs=("lib/liblz4.a",),
        )
        cache = Cache(folder / "cache")
        return beside(f"C build of lz4 {VERSION}", plan, InputLock(()), cache, sandbox, rounds)


@dataclass
class Taken:
    """A sandbox that takes down what it is told to run, and what running it cost."""

    sandbox: Sandbox
    folder: Path
    """Where copies of what a job is shown are kept."""
    job: Job | None = None
    spent: list[Spent] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sandbox, name)

    def run(self, workspace: Workspace, job: Job, **options: Any) -> Outcome:
        """As the sandbox's own."""
        if self.job is None:
            self.job = job
            for number, host in enumerate(job.shown.values()):
                copy = shutil.copytree if host.is_dir() else shutil.copyfile
                copy(host, self.folder / f"shown{number}")
        found: list[Outcome] = []
        self.spent.append(spent_by_all(lambda: found.append(self.sandbox.run(workspace, job, **options))))
        return found[0]

    def places(self, work: Path, home: Path) -> dict[str, str]:
        """Inside path → path on the host."""
        assert self.job is not None
        shown = {inside: f"{self.folder}/shown{number}" for number, inside in enumerate(self.job.shown)}
        binds = {bind.inside: str(bind.host) for bind in self.job.binds}
        return {BUILD_FOLDER: str(work), HOME_FOLDER: str(home), **shown, **binds}


def relocate(text: str, places: Mapping[str, str]) -> str:
    """`text` with each path of `places`, and what stands below one, replaced; the longest that fits wins."""
    known = "|".join(re.escape(path) for path in sorted(places, key=len, reverse=True))
    # A path starts where no longer one does, and ends at a separator or with the word.
    return re.sub(rf"(?<![\w./-])(?:{known})(?![\w.-])", lambda found: places[found[0]], text)


def beside(
    name: str, plan: BuildPlan, lock: InputLock, cache: Cache, sandbox: Sandbox, rounds: int
) -> list[Row]:
    """The rows of one build. The first one inside counts for nothing: it fills caches and is taken down."""
    with open_folder() as folder:
        taken = Taken(sandbox, folder)
        outputs = run_build(plan, lock, taken, cache, Quiet()).outputs  # type: ignore[arg-type]
        expected = {path: one.sha256 for path, one in outputs.items()}
        outside = Outside(plan, taken, folder, expected)
        outside.run()
        taken.spent.clear()

        def inside() -> Spent:
            return spent_by_all(lambda: _build_again(plan, lock, taken, cache, expected))

        phases, commands = in_turns(rounds, inside, outside.run)
        return [
            _row(f"{name}, command inside", taken.spent, commands),
            _row(f"{name}, whole Build phase", phases, commands),
        ]


def _build_again(
    plan: BuildPlan, lock: InputLock, taken: Taken, cache: Cache, expected: Mapping[str, str]
) -> None:
    outputs = run_build(plan, lock, taken, cache, Quiet()).outputs  # type: ignore[arg-type]
    check({path: one.sha256 for path, one in outputs.items()} == expected, "inside, other bytes came out")


@dataclass(frozen=True)
class Outside:
    """The command of a Build phase, on the host itself."""

    plan: BuildPlan
    taken: Taken
    folder: Path
    expected: Mapping[str, str]

    def run(self) -> Spent:
        """Over a fresh copy of the source, with an empty home; what the command alone cost."""
        job = self.taken.job
        assert job is not None
        with self._folders() as (work, home):
            places = self.taken.places(work, home)
            self._move_files(places)
            command = [relocate(word, places) for word in job.command]
            variables = {**BASE_ENVIRONMENT, **job.environment}
            environment = {one: relocate(value, places) for one, value in variables.items()}
            spent = spent_by_all(lambda: _run(command, work, environment, job.umask))
            for path, sha256 in self.expected.items():
                found = hashlib.sha256((work / path).read_bytes()).hexdigest()
                check(found == sha256, f"outside, {path} came out as {found}, not {sha256}")
        return spent

    @contextmanager
    def _folders(self) -> Iterator[tuple[Path, Path]]:
        work, home = self.folder / "work", self.folder / "home"
        shutil.copytree(self.plan.source, work, symlinks=True)
        home.mkdir()
        try:
            yield work, home
        finally:
            shutil.rmtree(work)
            shutil.rmtree(home)

    def _move_files(self, places: Mapping[str, str]) -> None:
        """Files that the job is shown may name inside paths themselves (settings.xml names /repo)."""
        assert self.taken.job is not None
        for number, host in enumerate(self.taken.job.shown.values()):
            copy = self.folder / f"shown{number}"
            if copy.is_file() and host.name != REPOSITORY_FOLDER:
                text = copy.read_text()
                copy.write_text(
                    re.sub(r"file://(/[^<]*)", lambda m: f"file://{relocate(m[1], places)}", text)
                )


def _run(command: Sequence[str], work: Path, environment: Mapping[str, str], umask: int) -> None:
    done = run_as_job(command, work, environment, umask)
    check(done.returncode == 0, f"{command[0]} ended with {done.returncode}: {done.stdout.decode()[-500:]}")


def _row(name: str, inside: Sequence[Spent], outside: Sequence[Spent]) -> Row:
    cpu = [median(one.cpu for one in side) for side in (inside, outside)]
    wall = [median(one.wall for one in side) for side in (inside, outside)]
    value = ratio(list(inside), list(outside))
    note = (
        f"CPU, ratio {value:.3f}; wall {wall[0]:.2f} and {wall[1]:.2f} s, ratio "
        f"{wall_ratio(inside, outside):.2f}; {load_now()}"
    )
    return Row(name, f"{cpu[0]:.2f} s", f"{cpu[1]:.2f} s", value, GOAL, note)
