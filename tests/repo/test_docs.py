"""Docs cannot rot: each command that they show exists and takes the options shown.

README's `verify` command is run for real by the demo (tests/e2e/demo_steps.py), its `rebuild` by
`make e2e-maven`, log/README.md's examples by tests/log/test_readme.py, and log/OPERATING.md's by
tests/node/test_guide.py.
"""

import importlib
import re
import shlex
from pathlib import Path
from typing import cast

import pytest

from touchplate.verify.cli import CommandModule
from touchplate.verify.commands import COMMANDS
from touchplate.verify.usage import Parser

ROOT = Path(__file__).resolve().parents[2]
DOCS = sorted(
    path
    for path in [
        *ROOT.glob("*.md"),
        *ROOT.glob("*/README.md"),
        *ROOT.glob("tests/*/README.md"),
        *ROOT.glob("*/docs/*.md"),
        ROOT / "log" / "OPERATING.md",
    ]
    if path.name != "CHANGELOG.md"
)


DATABASE = ("createuser", "createdb", "pg_dump", "psql")
"""PostgreSQL's programs: there it is the name of a role or a database."""


def shell_lines(path: Path) -> list[str]:
    """The commands of a document: `sh` blocks, `console` blocks (after `$ `), indented ones; a line each."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    fenced = re.findall(r"^```(sh|console)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for kind, block in fenced if kind == "sh" for line in block.splitlines()]
    lines += [
        line[2:]
        for kind, block in fenced
        if kind == "console"
        for line in block.splitlines()
        if line[:2] == "$ "
    ]
    lines += [line for line in text.splitlines() if re.match(r" {4,}touchplate ", line)]
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def commands() -> list[tuple[str, list[str]]]:
    """Each `touchplate …` that a document shows, as (document, words after the program's name)."""
    found = []
    for path in DOCS:
        for line in shell_lines(path):
            words = shlex.split(line, comments=True)
            names = [number for number, word in enumerate(words) if Path(word).name == "touchplate"]
            if names and words[0] not in DATABASE:
                end = next(
                    (n for n, word in enumerate(words) if word in ("|", ">", "&", "&&", "<")), len(words)
                )
                found.append((str(path.relative_to(ROOT)), words[names[0] + 1 : end]))
    return found


def test_the_docs_show_the_commands_that_people_need() -> None:
    shown = {words[0] for _, words in commands()}
    assert {"verify", "rebuild", "serve", "keygen"} <= shown


@pytest.mark.parametrize(
    ("document", "words"), commands(), ids=[f"{n}-{words[0]}" for n, (_, words) in enumerate(commands(), 1)]
)
def test_each_command_in_the_docs_takes_the_options_shown(document: str, words: list[str]) -> None:
    name = two if (two := " ".join(words[:2])) in COMMANDS else words[0]
    assert name in COMMANDS, f"{document} shows a command that does not exist: {words[0]}"
    module = cast(CommandModule, importlib.import_module(COMMANDS[name].module))
    parser = Parser(prog=f"touchplate {name}")
    module.register(parser)
    assert parser.parse_args(words[len(name.split()) :])


def test_every_command_and_exit_code_is_in_a_document() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in DOCS)
    assert [name for name in COMMANDS if f"touchplate {name}" not in text] == []


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in DOCS
        for target in re.findall(r"\]\((?!https?:|mailto:|#)([^)#]+)", path.read_text(encoding="utf-8"))
        if not (path.parent / target).exists()
    ]
    assert broken == []


@pytest.mark.parametrize("path", DOCS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_within_the_docs_lead_somewhere(path: Path) -> None:
    astray = []
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)", path.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        page = path.parent / target if target else path
        if not page.exists() or (anchor and anchor not in anchors(page)):
            astray.append(f"{target}#{anchor}")
    assert astray == []


def anchors(page: Path) -> set[str]:
    """Of each heading, as GitHub makes them: lower case, punctuation left out, spaces as hyphens."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
