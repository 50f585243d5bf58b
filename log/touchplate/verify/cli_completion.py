"""`touchplate completion`: the words that a shell offers behind `touchplate`, drawn from the commands."""

import argparse
import importlib
from collections.abc import Iterator
from contextlib import suppress
from shlex import quote

from touchplate.verify.commands import COMMANDS
from touchplate.verify.jcs import JSONValue
from touchplate.verify.output import print_json, print_text
from touchplate.verify.usage import OK, Parser

SCRIPT = """\
# Completion of touchplate {shell}. Made by `touchplate completion {shell}`; make it anew after an upgrade.
declare -A _touchplate_words=(
{table}
)
_touchplate() {{
    local path=touchplate word
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        if [[ -n ${{_touchplate_words["$path $word"]-}} ]]; then path="$path $word"; fi
    done
    mapfile -t COMPREPLY < <(compgen -W "${{_touchplate_words[$path]}}" -- "${{COMP_WORDS[COMP_CWORD]}}")
}}
complete -o default -F _touchplate touchplate
"""
# Options take values, too; a word that begins none of these is completed as a file name (`-o default`).


def register(parser: argparse.ArgumentParser) -> None:
    """The options of `touchplate completion`."""
    parser.add_argument("shell", choices=("bash",), help="the shell that is to complete")
    parser.add_argument("--json", action="store_true", help="print the words alone as JSON")


def run(args: argparse.Namespace) -> int:
    """Print the script, or the words. Commands whose part is not installed are offered without options."""
    words = collect_words()
    if args.json:
        print_json({path: list[JSONValue](offered) for path, offered in words.items()})
        return OK
    table = "\n".join(f"    [{quote(path)}]={quote(' '.join(offered))}" for path, offered in words.items())
    print_text(SCRIPT.format(shell=args.shell, table=table))
    return OK


def collect_words() -> dict[str, list[str]]:
    """What may follow each beginning of a command line, such as `touchplate jobs`."""
    found: dict[str, list[str]] = {"touchplate": ["--help", "--version"]}
    for name, command in COMMANDS.items():
        parser = Parser(prog=f"touchplate {name}")
        with suppress(ModuleNotFoundError):
            importlib.import_module(command.module).register(parser)
        for path, offered in _offered(f"touchplate {name}", parser):
            before, _, word = path.rpartition(" ")
            if word not in (known := found.setdefault(before, [])):
                known.append(word)
            found.setdefault(path, []).extend(offered)
        # A first word that is no command by itself leads to those that begin with it.
        first = name.partition(" ")[0]
        if first not in found["touchplate"]:
            found["touchplate"].append(first)
    return found


def _offered(path: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, list[str]]]:
    words: list[str] = []
    for action in parser._actions:  # noqa: SLF001 -- argparse tells it no other way
        words += [one for one in action.option_strings if one.startswith("--")]
        if isinstance(action.choices, dict):
            for word, below in action.choices.items():
                yield from _offered(f"{path} {word}", below)
        elif action.choices and not action.option_strings:
            words += [str(one) for one in action.choices]
    yield path, words
