"""`touchplate rebuild` as a person runs it: exit codes, the log's entries, repeating them, and crashes."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.builder.loghost import OPERATOR, LogHost, log_host
from tests.builder.mavenparts import manifest, pom, publish, zip_bytes
from tests.builder.rebuildparts import CONTENT, FOLDER, JAR, PACKAGE, Scene, scene, scripted
from tests.builder.sandboxes import require_sandbox
from tests.simkeys import ORIGIN

from touchplate.builder.definitions.folder import save_definition
from touchplate.builder.submit import add_envelopes
from touchplate.verify.cli import main
from touchplate.verify.dsse import sign_envelope
from touchplate.verify.entry import parse_packed
from touchplate.verify.jcs import format_json
from touchplate.verify.keys import format_private_pem, generate_signer, load_signer
from touchplate.verify.statements import Comparison, Provenance, parse_predicate, parse_statement

LIB = "org/example/lib/1/lib-1.txt"


@dataclass
class Person:
    """Runs the command in one data folder."""

    scene: Scene
    capture: pytest.CaptureFixture[str]

    def run(self, *arguments: str) -> int:
        data = str(self.scene.workshop.data)
        return main(["rebuild", "--data", data, "--upstream", self.scene.url, "--quiet", *arguments])

    def json(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        self.capture.readouterr()
        code = self.run(*arguments, "--json")
        return code, json.loads(self.capture.readouterr().out)

    def error(self) -> str:
        return self.capture.readouterr().err

    def definition(self, script: str) -> str:
        path = self.scene.repository.parent / "definition.json"
        path.write_bytes(scripted(self.scene, script).data)
        return str(path)


@pytest.fixture
def person(capsys: pytest.CaptureFixture[str]) -> Iterator[Person]:
    with scene() as one:
        publish(one.repository, LIB, CONTENT)
        yield Person(one, capsys)


@pytest.fixture
def host(tmp_path: Path) -> Iterator[LogHost]:
    with log_host(tmp_path / "host") as one:
        yield one


def predicates(host: LogHost) -> list[object]:
    entries = [parse_packed(packed) for _, packed in host.service.entries_after(0)]
    return [parse_predicate(parse_statement(entry.payload)) for entry in entries]


def test_signed_result_is_logged_with_its_evidence_and_can_be_repeated(person: Person, host: LogHost) -> None:
    require_sandbox()
    definition = person.definition(f"jar(get({LIB!r}))")
    code, result = person.json("--definition", definition, *host.signing)
    assert code == 0
    assert result["result"] == "identical"
    assert result["signed"]["indexes"] == ["0", "1"]
    provenance, comparison = predicates(host)
    assert isinstance(provenance, Provenance)
    assert isinstance(comparison, Comparison)
    assert comparison.provenance == result["signed"]["identities"][0]
    named = [provenance.one("definition").digests["sha256"], provenance.one("input-lock").digests["sha256"]]
    assert all(host.evidence.has(sha256) for sha256 in (*named, *provenance.byproducts.values()))
    for index in ("0", "1"):
        code, again = person.json("--from", index, *host.reading)
        assert (code, again["same"]) == (0, True)
        assert again["milliseconds"].keys() >= {"build"}


def test_a_comparison_that_names_the_provenance_of_another_build_is_not_repeated(
    person: Person, host: LogHost
) -> None:
    require_sandbox()
    for script in (f"jar(get({LIB!r}))", f"print('otherwise'); jar(get({LIB!r}))"):
        assert person.run("--definition", person.definition(script), *host.signing) == 0
    entries = [parse_packed(packed) for _, packed in host.service.entries_after(0)]
    comparison = json.loads(entries[1].payload)
    assert comparison["predicate"]["provenance"]["identity"] == entries[0].identity.hex()
    comparison["predicate"]["provenance"]["identity"] = entries[2].identity.hex()
    payload = format_json(comparison)
    add_envelopes(f"{host.url}/log", [sign_envelope(payload, load_signer(host.key.read_bytes(), None))])
    assert person.run("--from", "1", *host.reading) == 0
    assert person.run("--from", "4", *host.reading) == 2
    assert "names a provenance of another file or definition than its own" in person.error()


def test_twice_names_what_the_bytes_depend_on_and_changes_no_exit_code(person: Person, host: LogHost) -> None:
    require_sandbox()
    script = f"import os\njar({CONTENT!r} if os.umask(0) == 0o022 else b'other')"
    code, result = person.json("--definition", person.definition(script), "--twice", *host.signing)
    assert (code, result["result"]) == (0, "identical")
    found = result["repeatability"]
    assert (found["same"], found["changed_by"]) == (True, ["umask"])
    (detail,) = found["details"]
    assert detail["factors"] == ["umask"]
    assert detail["outputs"][0]["causes"] == ["content"]
    assert host.evidence.has(found["report"]["sha256"])
    # The table, too; and the inputs, which were found before, are not looked for again.
    assert person.run("--definition", person.definition(script), "--twice") == 0
    shown = person.capture.readouterr().out
    assert "umask" in shown.partition("depends on")[2].splitlines()[0]
    assert "022 → 007" in shown


def test_a_result_that_is_not_stable_is_said_so_loudly(person: Person) -> None:
    require_sandbox()
    chance = person.definition("import os; jar(os.urandom(8).hex().encode())")
    code, result = person.json("--definition", chance, "--twice")
    assert (code, result["result"]) == (1, "different")
    assert result["repeatability"]["same"] is False
    assert person.run("--definition", chance, "--twice") == 1
    shown = person.capture.readouterr()
    assert "NOT STABLE BY ITSELF" in shown.out
    assert "NOT STABLE BY ITSELF" in shown.err


def test_twice_is_not_for_what_is_logged(person: Person) -> None:
    assert person.run("--from", "0", "--log", "x", "--trust", "x", "--evidence", "x", "--twice") == 64
    assert "--twice is for" in person.error()


def test_definition_of_the_operators_own_folder_is_used_in_place_of_an_inferred_one(
    person: Person, tmp_path: Path
) -> None:
    require_sandbox()
    definition = scripted(person.scene, "jar(b'made from source\\n')")
    save_definition(tmp_path, definition.package, definition.data)
    code, result = person.json(PACKAGE, "--folder", str(tmp_path))
    assert (code, result["result"]) == (0, "identical")
    assert result["definition"]["sha256"] == definition.sha256
    (file,) = tmp_path.rglob("*.yaml")
    file.write_bytes(definition.data.replace(b'"version":1', b'"version":yes'))
    assert person.run(PACKAGE, "--folder", str(tmp_path)) == 2
    assert f"{file}: line 1" in person.error()
    file.unlink()
    assert person.run(PACKAGE, "--folder", str(tmp_path)) == 2
    assert "has no definition of" in person.error()


def test_repeating_remembers_the_log_where_it_is_told_to(
    person: Person, host: LogHost, tmp_path: Path
) -> None:
    require_sandbox()
    definition = person.definition("jar(b'made from source\\n')")
    assert person.run("--definition", definition, *host.signing) == 0
    state = tmp_path / "state"
    assert person.run("--from", "0", *host.reading, "--state", str(state)) == 0
    assert [path.name for path in state.iterdir() if path.name.startswith("head-")] == [f"head-{ORIGIN}"]
    # Another log under the same origin and key: a fork for whoever remembers the first, news for others.
    with log_host(tmp_path / "other") as other:
        assert person.run("--definition", definition, *other.signing) == 0
        assert person.run("--from", "0", *other.reading, "--state", str(state)) == 2
        assert "two trees of size 2" in person.error()
        assert person.run("--from", "0", *other.reading, "--state", str(tmp_path / "fresh")) == 0


def test_not_built_is_logged_as_such(person: Person, host: LogHost) -> None:
    require_sandbox()
    code, result = person.json("--definition", person.definition("sys.exit(1)"), *host.signing)
    assert code == 1
    assert result["failure"]["phase"] == "build"
    (comparison,) = predicates(host)
    assert isinstance(comparison, Comparison)
    assert comparison.result == "not-built"
    code, again = person.json("--from", "0", *host.reading)
    assert (code, again["same"]) == (0, True)


def test_a_package_that_is_not_built_for_another_reason_is_not_the_same(
    person: Person, host: LogHost
) -> None:
    require_sandbox()
    later = "org/example/lib/2/lib-2.txt"
    definition = person.definition(f"get({later!r})\nsys.exit(1)")
    code, result = person.json("--definition", definition, *host.signing)
    assert (code, result["failure"]["phase"]) == (1, "fetch")
    publish(person.scene.repository, later, CONTENT)
    code, again = person.json("--from", "0", *host.reading)
    assert (again["result"], again["failure"]["phase"]) == ("not-built", "build")
    assert (code, again["same"]) == (1, False)


def test_envelopes_of_an_interrupted_run_are_sent_later_byte_for_byte(person: Person, host: LogHost) -> None:
    require_sandbox()
    definition = person.definition("jar(b'made from source\\n')")
    # The log is unreachable at the moment of sending, as after a crash between signing and sending.
    signing = [option.replace(f"{host.url}/log", f"{host.url}/nowhere") for option in host.signing]
    assert person.run("--definition", definition, *signing) == 2
    (parcel,) = person.scene.workshop.outbox.waiting()
    waiting = person.scene.workshop.outbox.path(parcel)
    text = waiting.read_text().replace("/nowhere", "/log")
    waiting.write_text(text)
    code, result = person.json("--definition", definition, *host.signing)
    assert code == 0
    assert result["signed"]["indexes"] == ["2", "3"]
    logged = [parse_packed(packed).envelope for _, packed in host.service.entries_after(0)]
    assert tuple(logged[:2]) == parcel.envelopes
    assert person.scene.workshop.outbox.waiting() == []


def test_what_the_log_refuses_does_not_hold_up_the_rest(
    person: Person, host: LogHost, tmp_path: Path
) -> None:
    require_sandbox()
    definition = person.definition("jar(b'made from source\\n')")
    stranger = tmp_path / "stranger.key"
    stranger.write_bytes(format_private_pem(generate_signer()))
    stranger.chmod(0o600)
    # Signed for no log yet, as by a key that is revoked before it is sent.
    assert person.run("--definition", definition, "--key", str(stranger), "--operator", OPERATOR) == 0
    assert len(person.scene.workshop.outbox.waiting()) == 1
    assert person.run("--definition", definition, *host.signing) == 2
    assert "admission list made this signature" in person.error()
    assert person.scene.workshop.outbox.waiting() == []
    code, result = person.json("--definition", definition, *host.signing)
    assert (code, result["signed"]["indexes"]) == (0, ["2", "3"])


def test_nothing_is_built_for_a_log_that_does_not_know_the_key(
    person: Person, host: LogHost, tmp_path: Path
) -> None:
    stranger = tmp_path / "stranger.key"
    stranger.write_bytes(format_private_pem(generate_signer()))
    stranger.chmod(0o600)
    unknown = [str(stranger) if option == str(host.key) else option for option in host.signing]
    assert person.run("--definition", person.definition("raise SystemExit(3)"), *unknown) == 2
    said = person.error()
    assert "does not take this key" in said
    assert "have it put on the admission list" in said
    assert person.scene.workshop.outbox.waiting() == []
    assert predicates(host) == []


def test_refuses_a_key_that_others_can_read(person: Person, host: LogHost) -> None:
    host.key.chmod(0o644)
    assert person.run(PACKAGE, *host.signing) == 2
    assert "rebuilder.key" in person.error()


def test_missing_jdk_is_exit_2_and_nothing_is_logged(person: Person, host: LogHost) -> None:
    publish(person.scene.repository, JAR, zip_bytes({"META-INF/MANIFEST.MF": manifest("Build-Jdk-Spec: 99")}))
    publish(person.scene.repository, f"{FOLDER}/demo-1.0.pom", pom("demo"))
    publish(person.scene.repository, f"{FOLDER}/demo-1.0-sources.jar", zip_bytes({"A.java": b"class A {}"}))
    assert person.run(PACKAGE, *host.signing) == 2
    assert "needs JDK 99" in person.error()
    assert predicates(host) == []
    assert person.scene.workshop.outbox.waiting() == []


def test_unreachable_upstream_is_exit_2(person: Person) -> None:
    assert person.run(PACKAGE, "--upstream", "http://127.0.0.1:9") == 2
    assert "cannot be read" in person.error()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a PURL"),
        ([PACKAGE, "--from", "1"], "one of them"),
        ([PACKAGE, "--key", "k"], "belong together"),
        ([PACKAGE, "--log", "http://127.0.0.1:9"], "needs --key"),
        (["--from", "1"], "needs an index"),
        (["--definition", "f", "--jdk", "17"], "--jdk is for inferring"),
        ([PACKAGE, "--state", "s"], "--state is for --from"),
        (["--definition", "f", "--folder", "d"], "--folder is for a PURL"),
        ([PACKAGE, "--folder", "d", "--jdk", "17"], "--jdk is for inferring"),
    ],
)
def test_mistakes_of_usage_are_exit_64(person: Person, arguments: list[str], message: str) -> None:
    assert person.run(*arguments) == 64
    assert message in person.error()


def test_a_package_that_is_none_is_refused(person: Person) -> None:
    assert person.run("pkg:npm/left-pad@1") == 2
    assert "purl type" in person.error()
    for mistaken in ("commons-csv", "org.apache.commons:commons-csv:1.12.0", "pkg:maven/org.example/demo"):
        assert person.run(mistaken) == 2
        assert "write pkg:maven/GROUP/ARTIFACT@VERSION" in person.error()
    for mistaken, form in (
        ("pkg:oci/app@sha256:12", "write pkg:oci/NAME@sha256:DIGEST?repository_url=HOST/PATH"),
        ("pkg:conan/zlib", "write pkg:conan/NAME@VERSION?file=conan_package.tgz"),
    ):
        assert person.run(mistaken) == 2
        assert form in person.error()
    assert person.run("pkg:conan/zlib@1.3?rrev=1") == 2
    assert "names no file of a revision; write pkg:conan/NAME@VERSION" in person.error()


def test_table_for_people_names_result_digests_and_lock(person: Person) -> None:
    require_sandbox()
    person.capture.readouterr()
    assert person.run("--definition", person.definition("jar(b'other')")) == 1
    shown = person.capture.readouterr().out
    assert "result      different" in shown
    assert "causes      content" in shown
    assert "content.txt: made from source != other" in shown
    assert "not pinned (from the host)" in shown
