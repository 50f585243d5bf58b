"""The examples in the builder's README and its pages are true: definitions, provenance, commands."""

import argparse
import json
import re
import shlex
from pathlib import Path

import pytest
from tests.builder.requireparts import requirements_of

from touchplate.builder.cli.rebuild import register
from touchplate.builder.definitions.definition import parse_definition
from touchplate.builder.definitions.folder import save_definition
from touchplate.builder.ecosystems.conan.definition import details_of as conan_details_of
from touchplate.builder.ecosystems.conan.tools import default_conan
from touchplate.builder.ecosystems.maven.definition import details_of
from touchplate.builder.ecosystems.oci.definition import details_of as image_details_of
from touchplate.verify.cli import main
from touchplate.verify.commands import COMMANDS
from touchplate.verify.jcs import format_json
from touchplate.verify.purl import parse_purl
from touchplate.verify.statements import Provenance, parse_predicate, parse_statement

BUILDER = Path(__file__).resolve().parents[2] / "builder"
DEFINITIONS = BUILDER / "docs" / "definitions.md"


def blocks(language: str, *pages: Path) -> list[str]:
    text = "".join(page.read_text(encoding="utf-8") for page in pages)
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def test_definition_in_the_readme_is_one() -> None:
    example, commit, _, _, image, apt = blocks("yaml", DEFINITIONS)
    definition = parse_definition(example.encode())
    assert details_of(definition).maven is not None
    source, rest = example.index("source:"), example.index("tools:")
    from_commit = parse_definition((example[:source] + commit + example[rest:]).encode())
    assert from_commit.source.files[0].commit
    assert definition.limits.wall_seconds == 1800

    details = image_details_of(parse_definition(image.encode()))
    assert details.bases[0].place.repository == "team/base"
    with_apt = image.replace("tools:", f"{apt.removeprefix('image:' + chr(10))}tools:")
    assert set(image_details_of(parse_definition(with_apt.encode())).apt.values()) == {
        "debian",
        "debian-security",
    }


def test_conan_definition_in_the_readme_is_one() -> None:
    _, _, example, requirements, *_ = blocks("yaml", DEFINITIONS)
    definition = parse_definition(example.encode())
    assert definition.ecosystem.name == "conan"
    (required,) = requirements_of(parse_definition((example + requirements).encode()))
    assert required.recipe.reference == "zlib/1.2.13"
    assert definition.upstreams == ("sources",)
    assert conan_details_of(definition).conan == default_conan()


@pytest.mark.parametrize(
    ("ecosystem", "kind", "backend"),
    [
        ("maven", "sources-jar", "bubblewrap"),
        ("oci", "source-release", "runc"),
        ("conan", "source-release", "bubblewrap"),
    ],
)
def test_provenance_on_the_page_of_a_build_type_is_one(ecosystem: str, kind: str, backend: str) -> None:
    (example,) = blocks("json", BUILDER / "docs" / f"buildtype-{ecosystem}.md")
    document = json.loads(example)
    provenance = parse_predicate(parse_statement(format_json(document)))
    assert document["predicate"]["buildDefinition"]["buildType"].endswith(f"/{ecosystem}/v1")
    assert isinstance(provenance, Provenance)
    assert provenance.source_kinds == {kind}
    assert provenance.has_host_tools
    assert provenance.builder.endswith(f"/touchplate/{backend}/v1")


def test_commands_on_definitions_do_what_the_readme_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = (one for one in blocks("console", DEFINITIONS) if "definition check" in one)
    lines = block.replace("…", "0").splitlines()  # ids are cut short for people
    codes = {}
    for line in lines:
        words = shlex.split(line)
        if words[:3] == ["$", "touchplate", "definition"]:
            if words[3] == "infer":  # needs the upstream; what it would save is the first example
                save_definition(
                    Path(words[-1]),
                    parse_purl(f"{words[4]}?type=jar"),
                    blocks("yaml", DEFINITIONS)[0].encode(),
                )
            else:
                codes[words[3]] = main(words[2:])
    assert codes == {"new": 0, "check": 1, "show": 0, "schema": 0}
    printed = capsys.readouterr().out.splitlines()
    shown = [line for line in lines if line.startswith("definitions/") or " mistakes in " in line]
    assert len(shown) == 2
    assert [line for line in shown if line not in printed] == []


def test_commands_in_the_readme_are_understood() -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    register(parser)
    commands = []
    for block in blocks("console", BUILDER / "README.md", *sorted((BUILDER / "docs").glob("*.md"))):
        for line in block.replace("\\\n", "").splitlines():
            if line.startswith("$ touchplate "):
                commands.append(shlex.split(line)[2:])
    names = [command[0] for command in commands]
    # Those of the queue are looked at with all others, in tests/repo/test_docs.py.
    own = [name for name in names if name not in ("jobs", "builder", "definition")]
    assert own == ["rebuild", "rebuild", "keygen", *["rebuild"] * 7]
    for name, *arguments in commands:
        assert name in {known.partition(" ")[0] for known in COMMANDS}
        if name == "rebuild":
            parser.parse_args(arguments)
