"""Several files of one package from one build: main jar, a jar with a classifier, a POM; each on its own."""

from collections.abc import Iterator

import pytest
from tests.builder.mavenparts import pom, publish
from tests.builder.rebuildparts import FOLDER, JAR, PACKAGE, PUBLISHED, Scene, scene, scripted
from tests.builder.sandboxes import require_sandbox

from touchplate.builder.attestation.attest import Operator
from touchplate.builder.definitions.definition import make_definition
from touchplate.builder.rebuild import Rebuild, fetch_published, rebuild
from touchplate.builder.submit import sign_rebuild
from touchplate.verify.dsse import parse_envelope
from touchplate.verify.jcs import JSONValue, parse_json
from touchplate.verify.keys import generate_signer
from touchplate.verify.statements import Comparison, Provenance, parse_predicate, parse_statement

TESTS = "pkg:maven/org.example/demo@1.0?classifier=tests&type=jar"
POM = "pkg:maven/org.example/demo@1.0?type=pom"

SCRIPT = """
import shutil
jar(b"made from source\\n")
shutil.copy("target/demo-1.0.jar", "target/demo-1.0-tests.jar")
pathlib.Path("target/flattened.xml").write_text("<project/>")
"""
"""The POM is written by the build, as flatten-maven-plugin writes one."""


@pytest.fixture
def here() -> Iterator[Scene]:
    require_sandbox()
    with scene() as one:
        publish(one.repository, f"{FOLDER}/demo-1.0-tests.jar", PUBLISHED)
        publish(one.repository, f"{FOLDER}/demo-1.0.pom", b"<project/>")
        yield one


def run(here: Scene, script: str = SCRIPT, built_pom: str = "target/flattened.xml") -> Rebuild:
    value = parse_json(scripted(here, script).data, max_bytes=1 << 20)
    assert isinstance(value, dict)
    outputs: list[JSONValue] = [
        {"path": "target/demo-1.0.jar", "package": PACKAGE},
        {"path": "target/demo-1.0-tests.jar", "package": TESTS},
        {"path": built_pom, "package": POM},
    ]
    definition = make_definition({**value, "outputs": outputs})
    return rebuild(here.workshop, definition, fetch_published(here.workshop, definition))


def test_a_jar_one_with_a_classifier_and_a_pom_are_attested_together_and_compared_apart(here: Scene) -> None:
    done = run(here)
    assert (done.result, done.failure) == ("identical", None)
    operator = Operator("https://rebuild.example.org", generate_signer())
    envelopes = sign_rebuild(here.workshop, done, operator).parcel.envelopes
    statements = [parse_statement(parse_envelope(one).payload) for one in envelopes]
    assert isinstance(parse_predicate(statements[0]), Provenance)
    assert {str(one.uri) for one in statements[0].subjects} == {PACKAGE, TESTS, POM}
    found = {}
    for statement in statements[1:]:
        comparison = parse_predicate(statement)
        assert isinstance(comparison, Comparison)
        found[str(comparison.package)] = (comparison.result, comparison.published.uri)
    assert found == {
        PACKAGE: ("identical", f"upstream:central/{JAR}"),
        TESTS: ("identical", f"upstream:central/{FOLDER}/demo-1.0-tests.jar"),
        POM: ("identical", f"upstream:central/{FOLDER}/demo-1.0.pom"),
    }


def test_one_file_that_differs_is_the_result_and_takes_nothing_from_the_others(here: Scene) -> None:
    done = run(here, SCRIPT.replace("<project/>", "<project />"))
    assert done.result == "different"
    assert done.built is not None
    assert [one.comparison.result for one in done.built.verdicts] == ["identical", "identical", "different"]


def test_one_file_that_is_missing_leaves_no_verdict_about_any(here: Scene) -> None:
    done = run(here, SCRIPT.replace("flattened", "other"))
    assert done.built is None
    assert done.failure is not None
    assert (done.failure.phase, done.failure.reason) == ("collect", "missing-output")
    assert "flattened.xml" in done.failure.detail


def test_a_pom_that_lies_in_the_source_as_published_is_no_output(here: Scene) -> None:
    """Maven deploys a project's POM as it is: copied, it would prove nothing."""
    publish(here.repository, f"{FOLDER}/demo-1.0.pom", pom("demo"))
    done = run(here, built_pom="pom.xml")
    assert done.failure is not None
    assert done.failure.reason == "refused-input"
    assert "pom.xml" in done.failure.detail
