"""`--twice` through the real sandbox: what a build depends on is named, and nothing else is."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.builder.rebuildparts import CONTENT, Scene, scene, scripted
from tests.builder.sandboxes import require_sandbox

from touchplate.base.environment import read_environment
from touchplate.builder.attestation.attest import Operator
from touchplate.builder.cli.report import exit_code, rebuild_json
from touchplate.builder.comparison.compare import Comparison, compare
from touchplate.builder.errors import HostLack, ImageError, PhaseFailed
from touchplate.builder.plan import BuildPlan, BuildResult, CollectedFile
from touchplate.builder.rebuild import Rebuild, fetch_published, rebuild
from touchplate.builder.repeatability.report import repeatability_lines
from touchplate.builder.repeatability.twice import MOST_BUILDS, NOT_COMPARED, Repeatability, check_twice
from touchplate.builder.repeatability.vary import FACTORS, Variation, Variations, find_variations
from touchplate.builder.submit import sign_rebuild
from touchplate.verify.dsse import parse_envelope
from touchplate.verify.keys import generate_signer
from touchplate.verify.statements import Provenance, parse_predicate, parse_statement

CLEAN = f"jar({CONTENT!r})"

DEPENDS = {
    "timezone": "import time; jar(time.strftime('%H:%M', time.localtime(0)).encode())",
    "locale": "import os; jar(os.environ['LC_ALL'].encode())",
    "umask": """
open("made", "w").close()
jar(oct(pathlib.Path("made").stat().st_mode).encode())
""",
    "clock": "import time; jar(time.strftime('%Y').encode())",
    "source-times": "jar(str(int(pathlib.Path('pom.xml').stat().st_mtime)).encode())",
    "file-order": "import os; jar(' '.join(os.listdir('.')).encode())",
    "cpus": """
import subprocess
jar(subprocess.check_output(["nproc"]))
""",
    "build-path": "import os; jar(os.getcwd().encode())",
    "home": "jar(str(pathlib.Path.home()).encode())",
    "user": "import os; jar(str(os.getuid()).encode())",
    "hostname": "import socket; jar(socket.gethostname().encode())",
}
"""For each factor: a build that depends on it and on nothing else."""


@pytest.fixture
def here() -> Iterator[Scene]:
    require_sandbox()
    with scene() as one:
        yield one


def run(one: Scene, script: str) -> Rebuild:
    definition = scripted(one, script)
    return rebuild(one.workshop, definition, fetch_published(one.workshop, definition), twice=True)


def shown(done: Rebuild) -> Repeatability:
    found = done.repeatability
    assert found is not None
    assert found.unfinished == ""
    if found.impossible and read_environment().is_ci:
        assert set(found.impossible) <= {"cpus"}, found.impossible
    return found


def said(found: Repeatability) -> str:
    return "\n".join(f"{name}: {value}" for name, value in repeatability_lines(found))


def test_a_clean_build_depends_on_nothing_that_was_varied(here: Scene) -> None:
    done = run(here, CLEAN)
    found = shown(done)
    assert done.result == "identical"
    assert (found.same, found.builds, found.changed_by) == (True, 3, ())
    assert {one.factor for one in found.varied} | set(found.impossible) == set(FACTORS)
    assert "depends on: nothing that was varied" in said(found)


@pytest.mark.parametrize("factor", FACTORS)
def test_the_one_factor_that_changes_the_bytes_is_named(here: Scene, factor: str) -> None:
    done = run(here, DEPENDS[factor])
    found = shown(done)
    if factor in found.impossible:
        pytest.skip(f"{factor.upper()} NOT VARIED: {found.impossible[factor]}")
    assert found.same
    assert found.changed_by == (factor,)
    assert found.together is None
    assert found.untested == ()
    (effect,) = found.effects
    (output,) = effect.outputs
    assert output.path == "target/demo-1.0.jar"
    assert output.causes == ("content",)
    assert "content.txt" in output.summary[0]
    assert f"depends on: {factor}\n" in said(found)


def test_two_factors_are_both_named(here: Scene) -> None:
    found = shown(run(here, "import os, socket; jar(f'{os.getuid()} {socket.gethostname()}'.encode())"))
    assert found.changed_by == ("user", "hostname")
    assert all(one.outputs for one in found.effects)


def test_two_factors_that_only_work_together_are_not_blamed_alone(here: Scene) -> None:
    found = shown(
        run(here, "import os, socket; jar(b'xy'[os.getuid() != 1000 and socket.gethostname() != 'build':])")
    )
    assert found.changed_by == ()
    assert found.together is not None
    assert {"user", "hostname"} <= set(found.together.factors)
    assert "several together, none of them alone" in said(found)


def test_a_build_that_depends_on_chance_is_not_stable_by_itself(here: Scene) -> None:
    done = run(here, "import os; jar(os.urandom(8).hex().encode())")
    found = shown(done)
    assert (found.same, found.builds, found.varied, found.changed_by) == (False, 2, (), ())
    assert found.again is not None
    assert found.again.outputs[0].causes == ("content",)
    assert "NOT STABLE BY ITSELF" in said(found)


def test_a_build_that_fails_when_varied_depends_on_that(here: Scene) -> None:
    found = shown(run(here, f"import socket\nif socket.gethostname() != 'build': sys.exit(3)\n{CLEAN}"))
    assert found.changed_by == ("hostname",)
    assert found.effects[0].failure == "phase build, exit-status: exit code 3"
    assert found.effects[0].outputs == ()


def test_verdict_exit_code_and_statements_are_those_of_the_first_build(here: Scene) -> None:
    script = f"import socket\njar({CONTENT!r} if socket.gethostname() == 'build' else b'other')"
    done = run(here, script)
    assert shown(done).changed_by == ("hostname",)
    assert done.result == "identical"
    assert exit_code(done) == 0
    submission = sign_rebuild(here.workshop, done, Operator("https://rebuild.example.org", generate_signer()))
    first = parse_envelope(submission.parcel.envelopes[0]).payload
    predicate = parse_predicate(parse_statement(first))
    assert isinstance(predicate, Provenance)
    assert set(predicate.byproducts) == {"build-log", "sandbox-report"}


def test_the_report_is_evidence_and_is_sent_with_it(here: Scene) -> None:
    done = run(here, DEPENDS["hostname"])
    value = rebuild_json(done)["repeatability"]
    assert isinstance(value, dict)
    assert value["changed_by"] == ["hostname"]
    report = value.pop("report")
    assert isinstance(report, dict)
    sha256 = str(report["sha256"])
    with here.workshop.evidence.open(sha256) as stream:
        data = stream.read()
    assert hashlib.sha256(data).hexdigest() == sha256
    assert json.loads(data) == json.loads(json.dumps(value))
    submission = sign_rebuild(here.workshop, done, Operator("https://rebuild.example.org", generate_signer()))
    assert sha256 in submission.parcel.evidence


def test_nothing_about_this_host_s_folders_is_in_the_report(here: Scene) -> None:
    done = run(here, DEPENDS["home"])
    assert str(here.workshop.data) not in shown(done).format().decode()


def test_without_twice_nothing_is_built_again(here: Scene) -> None:
    definition = scripted(here, CLEAN)
    done = rebuild(here.workshop, definition, fetch_published(here.workshop, definition))
    assert done.repeatability is None
    assert "repeatability" not in rebuild_json(done)


def test_what_was_not_built_is_not_built_again(here: Scene) -> None:
    done = run(here, "sys.exit(1)")
    assert done.result == "not-built"
    assert done.repeatability is None


class Bench:
    """Builds in memory: what a plan gives follows from a function of it."""

    def __init__(self, folder: Path, make: Callable[[BuildPlan], bytes]) -> None:
        self.folder = folder
        self.make = make
        self.builds = 0

    def build(self, plan: BuildPlan) -> BuildResult:
        self.builds += 1
        data = self.make(plan)
        sha256 = hashlib.sha256(data).hexdigest()
        path = self.folder / sha256
        path.write_bytes(data)
        file = CollectedFile(path, sha256, hashlib.sha512(data).hexdigest(), len(data))
        return BuildResult({"out": file}, b"", {})


def compare_files(path: str, first: CollectedFile, other: CollectedFile) -> Comparison:
    return compare(first.path.read_bytes(), other.path.read_bytes(), path)


def say(line: str) -> None:
    """Nobody listens."""


def plan_of(folder: Path) -> BuildPlan:
    return BuildPlan(source=folder, command=("true",), outputs=("out",))


def switches() -> Variations:
    """One variation for each factor, which sets a variable of its name."""

    def switch(name: str) -> Callable[[BuildPlan], BuildPlan]:
        return lambda plan: replace(plan, environment={**plan.environment, name: "on"})

    return Variations(tuple(Variation(name, "off", "on", switch(name)) for name in FACTORS), {})


def search(folder: Path, make: Callable[[BuildPlan], bytes]) -> tuple[Repeatability, Bench]:
    bench = Bench(folder, make)
    plan = plan_of(folder)
    found = check_twice(
        plan, bench.build(plan), switches(), build=bench.build, compare=compare_files, say=say
    )
    return found, bench


@pytest.mark.parametrize("guilty", [FACTORS[:1], FACTORS[3:5], FACTORS[-1:], FACTORS[::3], FACTORS])
def test_exactly_the_guilty_are_found_within_the_number_of_builds(
    tmp_path: Path, guilty: tuple[str, ...]
) -> None:
    found, bench = search(
        tmp_path, lambda plan: " ".join(one for one in guilty if one in plan.environment).encode()
    )
    known = set(found.changed_by) | set(found.untested)
    assert set(found.changed_by) <= set(guilty) <= known
    assert found.builds == bench.builds <= MOST_BUILDS
    if len(guilty) < 5:
        assert found.changed_by == guilty
        assert found.untested == ()


def test_a_guilty_first_factor_spares_the_builds_of_all_others(tmp_path: Path) -> None:
    found, bench = search(tmp_path, lambda plan: str(FACTORS[0] in plan.environment).encode())
    assert found.changed_by == FACTORS[:1]
    assert bench.builds == 5


def test_a_lack_of_the_host_ends_it_and_keeps_what_was_found(tmp_path: Path) -> None:
    left = iter(range(4))

    def make(plan: BuildPlan) -> bytes:
        if next(left, None) is None:
            raise HostLack("the disk is full", reason="disk-full")
        return str(FACTORS[0] in plan.environment).encode()

    found, _ = search(tmp_path, make)
    assert found.same
    assert found.changed_by == FACTORS[:1]
    assert found.unfinished == "disk-full"
    assert found.untested == FACTORS[1:]
    assert "not known: whether also" in said(found)


def test_a_lack_of_the_host_at_once_claims_nothing(tmp_path: Path) -> None:
    left = iter(range(1))

    def make(plan: BuildPlan) -> bytes:
        if next(left, None) is None:
            raise HostLack("the disk is full", reason="disk-full")
        return b"made"

    found, _ = search(tmp_path, make)
    assert not found.same
    assert found.again is None
    assert "same bytes" not in said(found)
    assert "unfinished" in said(found)


def timed(folder: Path, until: float) -> tuple[Repeatability, list[float]]:
    """Builds of a clock's hour each, of a plan that allows as much; when each of them ended."""
    ended: list[float] = []

    def make(plan: BuildPlan) -> bytes:
        ended.append(len(ended) * plan.limits.wall_seconds)
        return " ".join(one for one in FACTORS if one in plan.environment).encode()

    bench, plan = Bench(folder, make), plan_of(folder)
    found = check_twice(
        plan,
        bench.build(plan),
        switches(),
        build=bench.build,
        compare=compare_files,
        say=say,
        until=until,
        clock=lambda: ended[-1],
    )
    return found, ended


def test_no_build_is_begun_that_might_not_be_over_in_time(tmp_path: Path) -> None:
    hour = plan_of(tmp_path).limits.wall_seconds
    found, ended = timed(tmp_path, 3.5 * hour)
    assert ended[-1] == 3 * hour
    assert (found.same, found.builds, found.unfinished) == (True, 4, "no-time")
    assert found.changed_by == FACTORS[:1]
    assert found.untested == FACTORS[1:]
    found, ended = timed(tmp_path, 0.5 * hour)
    assert ended == [0.0]
    assert (found.same, found.again, found.unfinished) == (False, None, "no-time")


@pytest.mark.parametrize(
    "error",
    [PhaseFailed("collect", "refused-input", "x"), ImageError("no manifest"), OSError("no such blob")],
)
def test_files_that_cannot_be_compared_differ_and_end_nothing(tmp_path: Path, error: Exception) -> None:
    def fail(path: str, first: CollectedFile, other: CollectedFile) -> Comparison:
        raise error

    numbers = iter(range(2))
    bench, plan = Bench(tmp_path, lambda plan: str(next(numbers)).encode()), plan_of(tmp_path)
    found = check_twice(plan, bench.build(plan), switches(), build=bench.build, compare=fail, say=say)
    assert not found.same
    assert found.again is not None
    assert [one.causes for one in found.again.outputs] == [(NOT_COMPARED,)]
    assert "NOT STABLE BY ITSELF" in said(found)


def test_a_disk_that_fails_ends_it_and_not_the_rebuild(tmp_path: Path) -> None:
    numbers = iter(range(2))

    def make(plan: BuildPlan) -> bytes:
        if next(numbers):
            raise OSError("the disk is gone")
        return b"made"

    found, _ = search(tmp_path, make)
    assert (found.same, found.unfinished) == (False, "os-error")


def test_a_build_that_fails_the_second_time_is_not_stable(tmp_path: Path) -> None:
    left = iter(range(1))

    def make(plan: BuildPlan) -> bytes:
        if next(left, None) is None:
            raise PhaseFailed("build", "exit-status", "exit code 1")
        return b"made"

    found, _ = search(tmp_path, make)
    assert not found.same
    assert found.again is not None
    assert found.again.failure == "phase build, exit-status: exit code 1"
    assert "NOT STABLE BY ITSELF" in said(found)


def test_what_cannot_be_varied_is_said_with_the_reason(tmp_path: Path) -> None:
    bench = Bench(tmp_path, lambda plan: b"made")
    plan = plan_of(tmp_path)
    variations = find_variations(plan, tmp_path, {"umask"})
    found = check_twice(
        plan, bench.build(plan), variations, build=bench.build, compare=compare_files, say=say
    )
    assert found.builds == 3
    assert "varied: umask" in said(found)
    assert "clock: not for packages of this kind" in said(found)
