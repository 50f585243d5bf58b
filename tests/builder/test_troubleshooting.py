"""builder/docs/troubleshooting.md quotes messages that the program really has."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "builder" / "docs" / "troubleshooting.md"
RESULTS = {"different", "not-built", "equivalent", "identical", "waiting", "lost", "failed"}
"""Words of a result or a state, which are no messages."""

_ANYTHING = r"[^\n]{0,400}?"


def quoted() -> list[str]:
    """What stands in back quotes in each row's first column."""
    rows = re.findall(r"^\| (.*?) \| ", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    found = [text for row in rows for text in re.findall(r"`([^`]+)`", row)]
    return [text for text in found if text not in RESULTS]


def texts(node: ast.AST) -> Iterator[str]:
    """Strings that the program may say, what is filled in left open; neither comments nor docstrings."""
    if isinstance(node, ast.JoinedStr):
        yield "".join(str(one.value) if isinstance(one, ast.Constant) else "…" for one in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    for child in ast.iter_child_nodes(node):
        if not (isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant)):
            yield from texts(child)


def sources() -> str:
    rooms = (ROOT / room / "touchplate" for room in ("builder", "log", "api"))
    paths = (path for room in rooms for path in sorted(room.rglob("*.py")))
    return "\n".join(text for path in paths for text in texts(ast.parse(path.read_bytes())))


SOURCES = sources()


@pytest.mark.parametrize("message", quoted())
def test_the_message_is_one_of_the_programs(message: str) -> None:
    """Names, numbers and `…` are of the case; the words between them stand in one string."""
    words = re.split(r"…|'[^']*'|\b\d+\b", message)
    pattern = _ANYTHING.join(re.escape(word) for word in words)
    assert re.search(pattern, SOURCES), f"no module says {message!r}"


def test_there_is_a_row_for_each_kind_of_trouble() -> None:
    assert len(quoted()) > 20
