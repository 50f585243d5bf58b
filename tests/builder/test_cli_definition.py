"""`touchplate definition` as a person runs it: exit codes, what is printed, what is saved."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.builder.mavenparts import manifest, pom, publish, zip_bytes
from tests.builder.rebuildparts import FOLDER, JAR, PACKAGE, Scene, scene
from tests.builder.test_definitions import VALID

from touchplate.builder.definitions.definition import parse_definition
from touchplate.builder.definitions.yaml_writer import format_yaml
from touchplate.builder.definitions.yamlcore import parse_yaml
from touchplate.builder.ecosystems.maven.infer import infer
from touchplate.verify.cli import main
from touchplate.verify.purl import parse_purl

PLACE = "maven/org.example/demo/1.0.yaml"
CONAN = "pkg:conan/lib@1.0?file=conan_package.tgz&package_id=ab&prev=cd&rrev=ef"
IMAGE = f"pkg:oci/app@sha256:{'a' * 64}?repository_url=registry.example.org/team/app"
FILLED = {
    "sha256: FILL-IN": f"sha256: {'b' * 64}", "size: FILL-IN": "size: 17", "jdk: FILL-IN": "jdk: 17",
    "gcc: FILL-IN": "gcc: 12", "<FILL-IN>": "x86_64", "EPOCH: FILL-IN": 'EPOCH: "1700000000"',
    "timestamp: FILL-IN": "timestamp: 1700000000", "name: \"FILL-IN\"": "name: docker.io/library/debian",
    "BASE/manifests/sha256:FILL-IN": f"debian/manifests/sha256:{'c' * 64}",
    "blobs/sha256:FILL-IN": f"blobs/sha256:{'b' * 64}", "buildah: FILL-IN": 'buildah: "1.28.2"',
}  # fmt: skip


@pytest.fixture
def release() -> Iterator[Scene]:
    with scene() as one:
        lines = ("Created-By: a tool\\u2028 # not: a key", "Build-Jdk-Spec: 17")
        publish(one.repository, JAR, zip_bytes({"META-INF/MANIFEST.MF": manifest(*lines)}))
        publish(one.repository, f"{FOLDER}/demo-1.0.pom", pom("demo"))
        publish(one.repository, f"{FOLDER}/demo-1.0-sources.jar", zip_bytes({"A.java": b"class A {}"}))
        yield one


def options(release: Scene) -> list[str]:
    return ["--data", str(release.workshop.data), "--upstream", release.url, "--quiet"]


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = main(["definition", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_check_names_every_mistake_with_line_and_column(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = tmp_path / "good.yaml", tmp_path / "bad.yaml"
    good.write_text(VALID)
    bad.write_text(VALID.replace("size: 17", "size: yes").replace("  jdk: 17", "  jdk: &x 1"))
    assert main(["definition", "check", str(good)]) == 0
    assert capsys.readouterr().out == "1 definition, no mistakes\n"
    assert main(["definition", "check", str(good), str(bad)]) == 1
    assert capsys.readouterr().out.splitlines() == [
        f'{bad}:9:13: yes is true or false to some readers and not to others; write "yes"',
        f"{bad}:9:13: source.files.0.size: 'yes' is not a number from 1 to 1099511627776",
        f"{bad}:11:8: anchors and aliases are refused; write the value out",
        f"{bad}:11:8: tools.jdk: 1 is not a number from 5 to 99",
        "2 definitions, 4 mistakes in 1 of them",
    ]
    code, said = answer(capsys, "check", str(good), str(bad))
    assert (code, said["mistakes"]) == (1, 4)
    assert said["files"][0] == {
        "path": str(good),
        "package": PACKAGE,
        "sha256": parse_definition(VALID.encode()).sha256,
        "mistakes": [],
    }
    first = said["files"][1]["mistakes"][1]
    assert (first["line"], first["column"], first["path"]) == (9, 13, "source.files.0.size")


def test_check_of_what_cannot_be_read_is_exit_2(tmp_path: Path) -> None:
    assert main(["definition", "check", str(tmp_path / "nothing.yaml")]) == 2
    assert main(["definition", "check", str(tmp_path)]) == 2


def test_check_of_a_file_in_a_folder_looks_at_its_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "elsewhere.yaml"
    file.write_text(VALID)
    assert main(["definition", "check", str(file), "--folder", str(tmp_path)]) == 1
    assert f"{file}:3:10: package: belongs to {PLACE}" in capsys.readouterr().out
    assert main(["definition", "check", str(file), "--folder", str(tmp_path / "other")]) == 64


def test_inferred_definition_is_saved_with_reasons_and_means_what_a_rebuild_infers(
    release: Scene, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(tmp_path / "ours")
    assert main(["definition", "infer", PACKAGE, *options(release), "--save", folder]) == 0
    printed = capsys.readouterr().out
    data = (tmp_path / "ours" / PLACE).read_bytes()
    assert printed.encode() == data
    assert "# JDK 17 (Build-Jdk-Spec of the manifest), published by a tool" in printed
    assert "# no source release was published" in printed
    inferred = infer(parse_purl(PACKAGE), release.central).definition
    saved = parse_definition(data)
    assert replace(saved, data=b"") == replace(inferred, data=b"")
    assert main(["definition", "check", folder]) == 0
    code, shown = answer(capsys, "show", PACKAGE, "--folder", folder)
    assert (code, shown["sha256"]) == (0, saved.sha256)
    code, again = answer(capsys, "infer", PACKAGE, *options(release))
    assert (code, again["sha256"], again["saved"]) == (0, saved.sha256, None)


def test_show_of_a_package_is_what_a_rebuild_would_run(
    release: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    code, shown = answer(capsys, "show", PACKAGE, *options(release))
    inferred = infer(parse_purl(PACKAGE), release.central).definition
    assert (code, shown["sha256"]) == (0, inferred.sha256)
    assert shown["definition"]["command"] == list(inferred.command)


def test_show_writes_every_default_out_and_the_digest_that_is_attested(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "demo.yaml"
    file.write_text(VALID)
    assert main(["definition", "show", str(file)]) == 0
    shown = capsys.readouterr().out
    assert f"# sha256 {parse_definition(VALID.encode()).sha256}" in shown
    assert "  wall_seconds: 3600\n" in shown
    assert replace(parse_definition(shown.encode()), data=b"") == replace(
        parse_definition(VALID.encode()), data=b""
    )
    file.write_text("version: 2\n")
    assert main(["definition", "show", str(file)]) == 1
    assert f"{file}:1:1: definition: lacks name; add it" in capsys.readouterr().out
    assert main(["definition", "show", str(file), "--folder", "x"]) == 64
    assert main(["definition", "show", PACKAGE, "--folder", str(tmp_path)]) == 2


@pytest.mark.parametrize("package", [PACKAGE, CONAN, IMAGE])
def test_template_lacks_only_what_a_person_knows(
    package: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["definition", "new", package]) == 0
    template = capsys.readouterr().out
    assert main(["definition", "new", package, "--save", str(tmp_path)]) == 0
    (saved,) = tmp_path.rglob("*.yaml")
    assert saved.read_text() == template
    code, said = answer(capsys, "check", str(tmp_path))
    assert code == 1
    lines = template.splitlines()
    marked = {number for number, line in enumerate(lines, 1) if "FILL-IN" in line and number > 1}
    assert marked <= {mistake["line"] for mistake in said["files"][0]["mistakes"]}
    for placeholder, value in FILLED.items():
        template = template.replace(placeholder, value)
    saved.write_text(template)
    assert main(["definition", "check", str(tmp_path)]) == 0


def test_new_of_what_nobody_builds_says_what_to_write(capsys: pytest.CaptureFixture[str]) -> None:
    for mistaken in ("pkg:npm/a@1", "pkg:maven/a/b@1?type=pom", "pkg:conan/lib@1.0?file=conanfile.py&rrev=1"):
        assert main(["definition", "new", mistaken]) == 2
    said = capsys.readouterr().err
    assert "write type=jar" in said
    assert "add package_id and prev" in said


def test_schema_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["definition", "schema"]) == 0
    assert set(json.loads(capsys.readouterr().out)["$defs"]) == {"maven", "conan", "oci"}


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
LEAVES = (
    TEXTS
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.sampled_from(["yes", "012", "null", "2024-01-01", "- a", "#", ": ", "\u2028"])
)
DOCUMENTS = st.recursive(  # lists of mappings, as definitions have them; none holds lists of lists
    LEAVES,
    lambda inner: (
        st.dictionaries(TEXTS, inner, max_size=3)
        | st.lists(LEAVES | st.dictionaries(TEXTS, inner, max_size=3), max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(TEXTS, DOCUMENTS, min_size=1, max_size=3), TEXTS)
def test_whatever_is_written_is_read_alike_and_no_comment_can_add_to_it(
    document: dict[str, Any], reason: str
) -> None:
    reasons = dict.fromkeys([*document, *(f"{name}.0" for name in document)], f"{reason}\nversion: 2")
    data = format_yaml(document, reasons, [reason])
    assert parse_yaml(data).value == document
