"""Marks and causes have their sentence: no short word on a page is left to guess."""

import ast
import html
from pathlib import Path

from tests.api.support import world

from touchplate.api.pages.words import CAUSES, MARKS

ROOT = Path(__file__).resolve().parents[2]
TEMPLATES = ROOT / "api" / "touchplate" / "api" / "pages" / "templates"


def known_causes() -> tuple[str, ...]:
    """Those that the builder may name, as its source has them: the rooms do not import each other."""
    (source,) = (ROOT / "builder" / "touchplate" / "builder").rglob("compare.py")
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_CAUSE_ORDER":
            return tuple(ast.literal_eval(node.value))
    raise AssertionError(f"{source} has no list of causes")


def test_every_cause_that_a_comparison_names_is_explained() -> None:
    assert list(CAUSES) == list(known_causes())


def test_every_mark_of_a_file_is_explained_on_the_start_page(tmp_path: Path) -> None:
    text = (TEMPLATES / "marks.html").read_text(encoding="utf-8")
    levels = text[text.index("macro levels") : text.index("macro result")]
    assert len(MARKS) == levels.count("mark(") + 1  # and "not built", which the list of rebuilds shows
    with world(tmp_path) as here:
        page = html.unescape(here.get("/").text)
        assert [word for _, _, word, meaning in MARKS if word not in page or meaning not in page] == []
        assert 'id="marks"' in page
        assert 'href="/#marks"' in here.get("/artifacts/0000", Accept="text/html").text
