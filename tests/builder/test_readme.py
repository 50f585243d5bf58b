"""The examples in the builder's README are true: definition, provenance, commands, table of options."""

import argparse
import json
import re
import shlex
from pathlib import Path

import pytest

from touchplate.builder.cli import register
from touchplate.builder.definitions import parse_definition
from touchplate.builder.ecosystems.conan.definition import details_of as conan_details_of
from touchplate.builder.ecosystems.conan.tools import default_conan
from touchplate.builder.ecosystems.maven.definition import details_of
from touchplate.builder.ecosystems.oci.definition import details_of as image_details_of
from touchplate.verify.cli import COMMANDS
from touchplate.verify.jcs import format_json
from touchplate.verify.statements import Provenance, parse_predicate, parse_statement

README = Path(__file__).resolve().parents[2] / "builder" / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_definition_in_the_readme_is_one() -> None:
    example, _, image = blocks("yaml")
    definition = parse_definition(example.encode())
    assert details_of(definition).maven is not None
    assert definition.limits.wall_seconds == 1800

    details = image_details_of(parse_definition(image.encode()))
    assert details.bases[0].place.repository == "team/base"


def test_conan_definition_in_the_readme_is_one() -> None:
    _, example, _ = blocks("yaml")
    definition = parse_definition(example.encode())
    assert definition.ecosystem.name == "conan"
    assert definition.upstreams == ("sources",)
    assert conan_details_of(definition).conan == default_conan()


@pytest.mark.parametrize(
    ("number", "kind", "backend"),
    [(0, "sources-jar", "bubblewrap"), (1, "source-release", "runc"), (2, "source-release", "bubblewrap")],
)
def test_provenance_in_the_readme_is_one(number: int, kind: str, backend: str) -> None:
    examples = blocks("json")
    assert len(examples) == 3
    provenance = parse_predicate(parse_statement(format_json(json.loads(examples[number]))))
    assert isinstance(provenance, Provenance)
    assert provenance.source_kinds == {kind}
    assert provenance.has_host_tools
    assert provenance.builder.endswith(f"/touchplate/{backend}/v1")


def test_commands_in_the_readme_are_understood() -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    register(parser)
    commands = []
    for block in blocks("console"):
        for line in block.replace("\\\n", "").splitlines():
            if line.startswith("$ touchplate "):
                commands.append(shlex.split(line)[2:])
    names = [command[0] for command in commands]
    # Those of the queue are looked at with all others, in tests/repo/test_docs.py.
    own = [name for name in names if name not in ("jobs", "builder")]
    assert own == ["rebuild", "rebuild", "keygen", "rebuild", "rebuild", "rebuild"]
    for name, *arguments in commands:
        assert name in {known.partition(" ")[0] for known in COMMANDS}
        if name == "rebuild":
            parser.parse_args(arguments)
