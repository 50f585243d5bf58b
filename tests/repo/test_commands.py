"""What all sub-commands have in common: each option says what it does, and answers come as JSON."""

import argparse
import importlib
from collections.abc import Iterator
from typing import cast

import pytest

from touchplate.verify.cli import CommandModule
from touchplate.verify.commands import COMMANDS, GROUPS
from touchplate.verify.usage import HELP_WIDTH, Parser

WITHOUT_JSON = {
    "serve",  # these four run until they are stopped; their log has --log-format json
    "log serve",
    "peer start",
    "trust export",  # its output is JSON in any case
}


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Each command that can be typed, by its words."""
    found: dict[str, argparse.ArgumentParser] = {}
    for name, command in COMMANDS.items():
        parser = Parser(prog=f"touchplate {name}", description=command.summary)
        cast(CommandModule, importlib.import_module(command.module)).register(parser)
        found.update(_leaves(name, parser))
    return found


def _leaves(name: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    below = [one for one in parser._actions if isinstance(one, argparse._SubParsersAction)]
    for action in below:
        for word, sub in action.choices.items():
            yield from _leaves(f"{name} {word}", sub)
    if not below:
        yield name, parser


PARSERS = parsers()


@pytest.mark.parametrize("name", PARSERS)
def test_each_option_says_what_it_does(name: str) -> None:
    parser = PARSERS[name]
    assert parser.description
    assert [action.dest for action in parser._actions if not action.help] == []


def test_every_answer_can_be_had_as_json() -> None:
    without = {
        name
        for name, parser in PARSERS.items()
        if not any("--json" in action.option_strings for action in parser._actions)
    }
    assert without == WITHOUT_JSON


def test_each_command_stands_in_one_group() -> None:
    assert sum(len(group) for group in GROUPS.values()) == len(COMMANDS)


@pytest.mark.parametrize("name", PARSERS)
def test_the_help_fits_a_terminal(name: str) -> None:
    lines = PARSERS[name].format_help().splitlines()
    assert [line for line in lines if len(line) > HELP_WIDTH] == []
