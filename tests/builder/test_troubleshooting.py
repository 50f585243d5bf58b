"""builder/docs/troubleshooting.md quotes messages that the program really has."""

import re
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


def sources() -> str:
    """All the program's text: strings that stand on several lines joined, what is filled in left open."""
    parts = []
    for room in ("builder", "log", "api"):
        for path in sorted((ROOT / room / "touchplate").rglob("*.py")):
            parts.append(path.read_text(encoding="utf-8"))
    return re.sub(r'"\s*\n\s*f?"', "", "\n".join(parts))


SOURCES = sources()


@pytest.mark.parametrize("message", quoted())
def test_the_message_is_one_of_the_programs(message: str) -> None:
    """Names, numbers and `…` are of the case; the words between them stand in one string."""
    words = re.split(r"…|'[^']*'|\b\d+\b", message)
    pattern = _ANYTHING.join(re.escape(word) for word in words)
    assert re.search(pattern, SOURCES), f"no module says {message!r}"


def test_there_is_a_row_for_each_kind_of_trouble() -> None:
    assert len(quoted()) > 20
