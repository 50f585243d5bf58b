"""The examples in the builder's README are true: definition, provenance, commands, table of options."""

import argparse
import json
import re
import shlex
from pathlib import Path

from touchplate.builder.cli import register
from touchplate.builder.definitions import parse_definition
from touchplate.builder.ecosystems.maven.definition import details_of
from touchplate.builder.ecosystems.oci.definition import details_of as image_details_of
from touchplate.verify.cli import COMMANDS
from touchplate.verify.jcs import format_json
from touchplate.verify.statements import Provenance, parse_predicate, parse_statement

README = Path(__file__).resolve().parents[2] / "builder" / "README.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)


def test_definition_in_the_readme_is_one() -> None:
    example, image = blocks("yaml")
    definition = parse_definition(example.encode())
    assert details_of(definition).maven is not None
    assert definition.limits.wall_seconds == 1800

    details = image_details_of(parse_definition(image.encode()))
    assert details.bases[0].place.repository == "team/base"


def test_provenance_in_the_readme_is_one() -> None:
    example, image = blocks("json")
    statement = parse_statement(format_json(json.loads(example)))
    provenance = parse_predicate(statement)
    assert isinstance(provenance, Provenance)
    assert provenance.source_kinds == {"sources-jar"}
    assert provenance.has_host_tools
    provenance = parse_predicate(parse_statement(format_json(json.loads(image))))
    assert isinstance(provenance, Provenance)
    assert provenance.source_kinds == {"source-release"}
    assert provenance.builder.endswith("/touchplate/runc/v1")


def test_commands_in_the_readme_are_understood() -> None:
    parser = argparse.ArgumentParser(exit_on_error=False)
    register(parser)
    commands = []
    for block in blocks("console"):
        for line in block.replace("\\\n", "").splitlines():
            if line.startswith("$ touchplate "):
                commands.append(shlex.split(line)[2:])
    assert [command[0] for command in commands] == ["rebuild", "keygen", "rebuild", "rebuild", "rebuild"]
    for name, *arguments in commands:
        assert name in COMMANDS
        if name == "rebuild":
            parser.parse_args(arguments)
