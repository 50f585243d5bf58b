"""Rebuilds through the real sandbox: verdicts, failures, signing, and repeating what was logged."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.builder.mavenparts import publish
from tests.builder.rebuildparts import CONTENT, PACKAGE, PUBLISHED, Scene, scene, scripted
from tests.builder.sandboxes import require_sandbox

from touchplate.builder.attestation.attest import Operator
from touchplate.builder.backend import Backend
from touchplate.builder.cli.report import exit_code, rebuild_json
from touchplate.builder.definitions.definition import make_definition
from touchplate.builder.definitions.yamlcore import MAX_BYTES
from touchplate.builder.errors import DefinitionError, HostLack, RepeatError
from touchplate.builder.inputs.lock import InputLock
from touchplate.builder.plan import BuildPlan
from touchplate.builder.rebuild import Clock, Rebuild, fetch_published, rebuild
from touchplate.builder.repeat import Logged, repeat
from touchplate.builder.sandbox.bubblewrap import Sandbox, SandboxConfig, open_sandbox
from touchplate.builder.submit import sign_rebuild
from touchplate.verify.dsse import parse_envelope
from touchplate.verify.jcs import JSONValue, parse_json
from touchplate.verify.keys import generate_signer
from touchplate.verify.statements import Comparison, Provenance, parse_predicate, parse_statement


@pytest.fixture
def here() -> Iterator[Scene]:
    require_sandbox()
    with scene() as one:
        yield one


def run(one: Scene, script: str) -> Rebuild:
    definition = scripted(one, script)
    return rebuild(one.workshop, definition, fetch_published(one.workshop, definition))


def statements(one: Scene, done: Rebuild) -> list[object]:
    submission = sign_rebuild(one.workshop, done, Operator("https://rebuild.example.org", generate_signer()))
    payloads = [parse_envelope(envelope).payload for envelope in submission.parcel.envelopes]
    assert all(one.workshop.evidence.has(sha256) for sha256 in submission.parcel.evidence)
    return [parse_predicate(parse_statement(payload)) for payload in payloads]


@pytest.mark.parametrize("jump", [-3600, 40_000_000])
def test_a_clock_that_jumps_meanwhile_changes_neither_the_order_nor_the_length(jump: int) -> None:
    wall, steady = [1_000.9], [50.0]
    clock = Clock(lambda: wall[0], lambda: steady[0])
    wall[0] += jump
    steady[0] += 12.2
    clock.lap("build")
    assert (clock.started, clock.now) == (1_000, 1_012)
    assert clock.laps == {"build": pytest.approx(12.2)}


def test_same_bytes_are_identical_and_signed_as_such(here: Scene) -> None:
    publish(here.repository, "org/example/lib/1/lib-1.txt", CONTENT)
    done = run(here, "jar(get('org/example/lib/1/lib-1.txt'))")
    assert done.result == "identical"
    assert exit_code(done) == 0
    assert done.built is not None
    assert [one.path for one in done.built.lock.inputs] == ["org/example/lib/1/lib-1.txt"]
    provenance, comparison = statements(here, done)
    assert isinstance(provenance, Provenance)
    assert isinstance(comparison, Comparison)
    assert comparison.result == "identical"
    assert provenance.source_kinds == {"source-release"}
    assert provenance.has_host_tools
    assert provenance.one("input-lock").digests["sha256"] == done.built.lock.sha256
    assert provenance.builder == "https://rebuild.example.org/touchplate/bubblewrap/v1"


def test_other_bytes_are_different_with_the_cause(here: Scene) -> None:
    done = run(here, "jar(b'made from source\\r\\n')")
    assert done.result == "different"
    assert exit_code(done) == 1
    assert done.built is not None
    assert done.built.verdicts[0].comparison.causes == ("line-ends",)
    _, comparison = statements(here, done)
    assert isinstance(comparison, Comparison)
    assert comparison.differences is not None
    assert comparison.differences.summary == ("content.txt: line ends LF != CRLF",)
    report = comparison.differences.report
    assert report is not None
    assert here.workshop.evidence.has(report.sha256)


LATER = "jar(b'made from source\\n', time=(2024, 5, 6, 7, 8, 10))"


def test_another_time_is_different_with_that_cause(here: Scene) -> None:
    done = run(here, LATER)
    assert done.result == "different"
    assert done.built is not None
    assert done.built.verdicts[0].comparison.causes == ("timestamps",)


def test_another_time_is_equivalent_only_by_the_stabilizer_that_the_definition_names(here: Scene) -> None:
    results = []
    for name in ("zip-entry-times@1", "zip-entry-modes@1"):
        definition = scripted(here, LATER, stabilizers=[name])
        done = rebuild(here.workshop, definition, fetch_published(here.workshop, definition))
        results.append(done.result)
        _, comparison = statements(here, done)
        assert isinstance(comparison, Comparison)
        assert comparison.stabilizers == (() if done.result == "different" else (name,))
        assert exit_code(done) == 1
    assert results == ["equivalent", "different"]


def test_a_failing_command_is_not_built_in_phase_build(here: Scene) -> None:
    done = run(here, "print('no such symbol: X'); sys.exit(3)")
    assert done.result == "not-built"
    assert exit_code(done) == 1
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("build", "exit-status")
    assert "no such symbol: X" in done.failure.detail
    (comparison,) = statements(here, done)
    assert isinstance(comparison, Comparison)
    assert comparison.result == "not-built"
    assert comparison.failure == done.failure


def test_a_build_that_copies_the_published_jar_is_refused(here: Scene) -> None:
    done = run(here, "path = 'org/example/demo/1.0/demo-1.0.jar'\nget(path)\njar(b'')")
    assert done.result == "not-built"
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("fetch", "refused-input")


def test_the_answer_under_another_name_is_refused(here: Scene) -> None:
    publish(here.repository, "org/example/innocent/1/innocent-1.jar", PUBLISHED)
    done = run(here, "get('org/example/innocent/1/innocent-1.jar'); jar(b'')")
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("fetch", "refused-input")


REPACKS = """
pathlib.Path("target").mkdir()
with zipfile.ZipFile("target/again.zip", "w") as archive:
    for name in ("build.py", "pom.xml"):
        info = zipfile.ZipInfo(f"demo-1.0/{name}", WHEN)
        info.external_attr = 0o100644 << 16
        info.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(info, pathlib.Path(name).read_bytes())
"""


def test_a_source_that_is_the_published_file_is_refused(here: Scene) -> None:
    """Unpacked it is in no tree, and packing it again gives its own bytes."""
    value = parse_json(scripted(here, REPACKS).data, max_bytes=MAX_BYTES)
    assert isinstance(value, dict)
    archive = "pkg:maven/org.example/demo@1.0?classifier=source-release&type=zip"
    outputs: list[JSONValue] = [{"path": "target/again.zip", "package": archive}]
    definition = make_definition({**value, "package": archive, "outputs": outputs})
    done = rebuild(here.workshop, definition, fetch_published(here.workshop, definition))
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("fetch", "refused-input")
    assert done.failure.detail == (
        "source upstream:central/org/example/demo/1.0/demo-1.0-source-release.zip is it: the published file "
        "that the build has to make"
    )


def test_a_missing_output_is_not_built_in_phase_collect(here: Scene) -> None:
    done = run(here, "pass")
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("collect", "missing-output")


def test_what_fetch_wrote_is_gone_in_build(here: Scene) -> None:
    done = run(
        here, "assert not pathlib.Path('marker').exists()\nopen('marker', 'w')\njar(b'made from source\\n')"
    )
    assert done.result == "identical"


def test_a_source_that_lies_about_its_digest_says_nothing_about_the_package(here: Scene) -> None:
    definition = scripted(here, "jar(b'')")
    published = fetch_published(here.workshop, definition)
    publish(here.repository, "org/example/demo/1.0/demo-1.0-source-release.zip", b"other")
    with pytest.raises(DefinitionError, match="is asked for"):
        rebuild(here.workshop, definition, published)


def test_refuses_to_sign_under_less_isolation_than_a_signature_claims(here: Scene) -> None:
    done = run(here, "jar(b'')")
    weaker = Rebuild(**{**vars(done), "backend": None, "missing": ("an empty network namespace",)})
    with pytest.raises(HostLack, match="lacks an empty network namespace"):
        sign_rebuild(here.workshop, weaker, Operator("https://rebuild.example.org", generate_signer()))


def test_nothing_is_run_when_its_result_could_not_be_signed(here: Scene) -> None:
    def weaker(config: SandboxConfig) -> Sandbox:
        sandbox = open_sandbox(config)
        sandbox.probe = replace(sandbox.probe, seccomp=False)
        return sandbox

    workshop = replace(here.workshop, make_sandbox=weaker)
    definition = scripted(here, "jar(b'')")
    published = fetch_published(workshop, definition)
    with pytest.raises(HostLack, match="lacks the system call filter"):
        rebuild(workshop, definition, published, get_lock=never, to_sign=True)
    assert rebuild(workshop, definition, published).backend is None  # without signing it may be run


def never(plan: BuildPlan, backend: Backend, progress: object) -> InputLock:
    raise AssertionError("the command was about to be run")


def test_a_logged_rebuild_is_repeated_from_its_lock_without_fetch(here: Scene) -> None:
    publish(here.repository, "org/example/lib/1/lib-1.txt", CONTENT)
    done = run(here, "print(phase)\njar(get('org/example/lib/1/lib-1.txt'))")
    assert done.built is not None
    rebuilt = {PACKAGE: done.built.verdicts[0].rebuilt.sha256}
    published = {PACKAGE: done.published[0].sha256}
    logged = Logged(7, done.definition, done.built.lock, rebuilt, published, "identical")
    again = repeat(here.workshop, logged)
    assert again.is_same
    assert "fetch" not in again.here.log.decode()
    other = Logged(7, done.definition, done.built.lock, {PACKAGE: "00" * 32}, published, "different")
    assert not repeat(here.workshop, other).is_same


def test_repeating_needs_the_published_file_that_the_log_compared_with(here: Scene) -> None:
    definition = scripted(here, "jar(b'')")
    logged = Logged(7, definition, InputLock(()), {}, {PACKAGE: "00" * 32}, "different")
    with pytest.raises(RepeatError, match="cannot be compared again"):
        repeat(here.workshop, logged)


def test_json_form_says_what_was_found(here: Scene) -> None:
    value = rebuild_json(run(here, "jar(b'made from source\\n')"), ("a note",))
    assert value["result"] == "identical"
    assert value["notes"] == ["a note"]
    assert value["backend"] in ("bubblewrap", "none")
