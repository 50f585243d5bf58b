"""Attestations: exact statements, read by in-toto's own bindings, nothing signed that others cannot read."""

from pathlib import Path

import pytest
from tests.builder.mavenparts import manifest, zip_bytes

from touchplate.builder.attestation.attest import (
    BuildFacts,
    Compared,
    Operator,
    comparison_payload,
    need_backend,
    provenance_payload,
)
from touchplate.builder.attestation.foreign import check_foreign
from touchplate.builder.comparison.compare import compare
from touchplate.builder.definitions.definition import Definition, parse_definition
from touchplate.builder.errors import AttestError, HostLack
from touchplate.builder.inputs.repository import RemoteFile
from touchplate.builder.plan import CollectedFile
from touchplate.verify.dsse import parse_envelope
from touchplate.verify.entry import make_entry, verify_entry
from touchplate.verify.jcs import JSON, format_json, parse_json
from touchplate.verify.keys import generate_signer
from touchplate.verify.predicates.comparison import Failure
from touchplate.verify.predicates.provenance import Dependency

OPERATOR = "https://rebuild.example.org"
SHA = {
    name: f"{number:02x}" * 32 for number, name in enumerate(("lock", "log", "report", "jdk", "maven"), 16)
}
PUBLISHED = zip_bytes({"META-INF/MANIFEST.MF": manifest("Build-Jdk-Spec: 17")})
REBUILT = zip_bytes({"META-INF/MANIFEST.MF": manifest("Build-Jdk-Spec: 11")})

DEFINITION = f"""\
version: 1
name: demo-1.0
package: "pkg:maven/org.example/demo@1.0?type=jar"
source:
  kind: sources-jar
  files:
    - {{uri: "upstream:central/org/example/demo/1.0/demo-1.0-sources.jar", sha256: {"ab" * 32}, size: 7}}
command: [/usr/bin/make]
outputs:
  - {{path: demo.jar, package: "pkg:maven/org.example/demo@1.0?type=jar"}}
"""


def definition() -> Definition:
    return parse_definition(DEFINITION.encode())


def remote(path: str, data: bytes) -> RemoteFile:
    return RemoteFile(f"upstream:central/{path}", path, data)


def collected(data: bytes) -> CollectedFile:
    file = remote("x", data)
    return CollectedFile(Path("/nowhere"), file.sha256, file.sha512, len(data))


def provenance() -> bytes:
    facts = BuildFacts(
        build_type="https://touchplate.dev/buildtypes/maven/v1",
        definition=definition(),
        sources=(remote("org/example/demo/1.0/demo-1.0-sources.jar", b"sources"),),
        lock=SHA["lock"],
        tools=(
            Dependency("tool", {"sha256": SHA["maven"]}, "upstream:central/maven.zip", "maven"),
            Dependency("tool", {"sha256": SHA["jdk"]}, name="jdk-17", annotations={"root": "host"}),
        ),
        outputs={"demo.jar": collected(REBUILT)},
        log=SHA["log"],
        report=SHA["report"],
        metadata={"startedOn": "2026-01-02T03:04:05Z", "finishedOn": "2026-01-02T03:04:06Z"},
    )
    return provenance_payload(facts, OPERATOR, "bubblewrap", "0.1.0")


def parsed(payload: bytes) -> dict[str, JSON]:
    value = parse_json(payload, max_bytes=1 << 16)
    assert isinstance(value, dict)
    return value


def test_provenance_says_exactly_what_was_built_from_what() -> None:
    value = parsed(provenance())
    rebuilt = collected(REBUILT)
    assert value["subject"] == [
        {
            "name": "demo-1.0.jar",
            "uri": "pkg:maven/org.example/demo@1.0?type=jar",
            "digest": {"sha256": rebuilt.sha256, "sha512": rebuilt.sha512},
        }
    ]
    predicate = value["predicate"]
    assert isinstance(predicate, dict)
    build = predicate["buildDefinition"]
    assert isinstance(build, dict)
    assert build["externalParameters"] == {
        "package": "pkg:maven/org.example/demo@1.0?type=jar",
        "definition": "demo-1.0",
    }
    dependencies = build["resolvedDependencies"]
    assert isinstance(dependencies, list)
    kinds = [each["annotations"]["kind"] for each in dependencies]  # type: ignore[index, call-overload]
    assert kinds == ["definition", "input-lock", "sources-jar", "tool", "tool"]
    assert build["buildType"] == "https://touchplate.dev/buildtypes/maven/v1"
    run = predicate["runDetails"]
    assert isinstance(run, dict)
    builder = run["builder"]
    assert isinstance(builder, dict)
    assert builder["id"] == "https://rebuild.example.org/touchplate/bubblewrap/v1"
    assert format_json(value) == provenance()


def test_different_names_published_rebuilt_causes_and_report() -> None:
    found = compare(PUBLISHED, REBUILT, "demo-1.0.jar")
    compared = Compared(found, collected(REBUILT), "cd" * 32, "ef" * 32)
    value = parsed(comparison_payload(definition(), 0, remote("org/example/demo.jar", PUBLISHED), compared))
    predicate = value["predicate"]
    assert isinstance(predicate, dict)
    assert predicate["result"] == "different"
    assert predicate["provenance"] == {"identity": "cd" * 32}
    assert predicate["definition"] == {"digest": {"sha256": definition().sha256}}
    assert predicate["differences"] == {
        "count": 1,
        "causes": ["jdk-major"],
        "summary": ["META-INF/MANIFEST.MF: Build-Jdk-Spec 17 != 11"],
        "report": {"digest": {"sha256": "ef" * 32}, "size": len(found.report)},
    }


def test_identical_has_no_differences() -> None:
    found = compare(PUBLISHED, PUBLISHED, "demo-1.0.jar")
    compared = Compared(found, collected(PUBLISHED), "cd" * 32, "")
    predicate = parsed(comparison_payload(definition(), 0, remote("demo.jar", PUBLISHED), compared))[
        "predicate"
    ]
    assert isinstance(predicate, dict)
    assert predicate.keys() == {"result", "package", "published", "rebuilt", "provenance", "definition"}


def test_not_built_says_phase_and_reason_and_nothing_of_a_rebuild() -> None:
    failure = Failure("build", "exit-status", "exit code 1")
    predicate = parsed(comparison_payload(definition(), 0, remote("demo.jar", PUBLISHED), failure))[
        "predicate"
    ]
    assert isinstance(predicate, dict)
    assert predicate["failure"] == {"phase": "build", "reason": "exit-status", "detail": "exit code 1"}
    assert "provenance" not in predicate


@pytest.mark.parametrize("algorithm", ["p256", "ed25519"])
def test_signed_envelopes_verify_and_have_the_identity_that_comparisons_name(algorithm: str) -> None:
    signer = generate_signer("p256" if algorithm == "p256" else "ed25519")
    signed = Operator(OPERATOR, signer).sign(provenance())
    entry = make_entry(signed.envelope, signer.key.spki)
    verify_entry(entry)
    assert parse_envelope(signed.envelope).payload == provenance()
    assert entry.identity.hex() == signed.identity


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"https://in-toto.io/Statement/v1"', b'"https://in-toto.io/Statement/v9"'),
        (b'"predicateType"', b'"predicateKind"'),
        (b'"startedOn":"2026-01-02T03:04:05Z"', b'"startedOn":"yesterday"'),
        (b'"buildType"', b'"buildKind"'),
        (b'"subject":[', b'"subject":7,"x":['),
    ],
)
def test_refuses_to_sign_what_in_totos_bindings_refuse(old: bytes, new: bytes) -> None:
    payload = provenance()
    assert old in payload
    with pytest.raises(AttestError, match="in-toto"):
        check_foreign(payload.replace(old, new))


def test_refuses_a_backend_that_the_probe_did_not_see() -> None:
    assert need_backend("bubblewrap", ()) == "bubblewrap"
    with pytest.raises(HostLack, match="lacks the system call filter"):
        need_backend(None, ("the system call filter",))
