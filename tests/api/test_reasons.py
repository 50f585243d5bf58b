"""The table of reasons: every word that the gate, the levels and the check can say has its sentences."""

import ast
from pathlib import Path

import pytest
from tests.verify.cases import CASES

from touchplate.api.errors import ChangedError
from touchplate.api.ignored import group
from touchplate.api.reasons import LOST, OTHERWISE, REFUSALS, UNFIT, meaning
from touchplate.verify.check import EntryWarning
from touchplate.verify.levels import LEVELS

ROOT = Path(__file__).resolve().parents[2]
VERIFY = ROOT / "log" / "touchplate" / "verify"
STEPS = ("steps", "statements", "subjects", "entry", "dsse", "jcs", "keys", "purl", "names", "fields")
"""The modules of steps 4 and 5; with the predicates, all that can cost an entry of the index."""

NEVER_HERE = {"withheld"}
"""Packed entries of that form are no entries: the log refuses them, and the index has no row for them."""


def words_of(path: Path) -> set[str]:
    """The reasons that a module gives: `reason=…`, and the second argument of RefusedError."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            given = [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
            if isinstance(node.func, ast.Name) and node.func.id == "RefusedError" and len(node.args) > 1:
                given.append(node.args[1])
            found |= {str(one.value) for one in given if isinstance(one, ast.Constant)}
    return found


def test_every_word_of_the_check_has_a_meaning() -> None:
    files = [VERIFY / f"{name}.py" for name in STEPS] + sorted((VERIFY / "predicates").glob("*.py"))
    words = set().union(*(words_of(path) for path in files)) - NEVER_HERE
    assert {"unknown-key", "wrong-builder", "wrong-digest", "high-s", "unknown-build-type"} <= words
    assert sorted(words - LOST.keys()) == []


def test_every_word_about_files_of_conan_has_a_meaning() -> None:
    folder = ROOT / "api" / "touchplate" / "api" / "conan"
    words = set().union(*(words_of(folder / f"{name}.py") for name in ("archive", "manifest", "manifests")))
    # Some are named by a helper of their own.
    assert words <= UNFIT.keys() == {"wrong-manifest", "bad-archive", "unsafe-archive"}
    assert all(meaning(word) is UNFIT[word] for word in UNFIT)


def test_the_default_words_of_errors_have_a_meaning() -> None:
    assert {"malformed", "bad-signature"} <= LOST.keys()


def test_every_word_of_the_gate_has_a_meaning() -> None:
    tree = ast.parse((ROOT / "api" / "touchplate" / "api" / "gate.py").read_text())
    words = {
        str(node.args[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Reason"
        and isinstance(node.args[0], ast.Constant)
    }
    assert words == {"snapshot", "too-young"}
    assert {*words, ChangedError.default_reason, *(f"not-{level}" for level in LEVELS)} == REFUSALS.keys()


@pytest.mark.parametrize("word", sorted({case.refused[1] for case in CASES if case.refused}))
def test_every_refusal_of_the_shared_table_has_a_meaning(word: str) -> None:
    assert meaning(word) is not OTHERWISE


@pytest.mark.parametrize("word", sorted({*REFUSALS, *LOST}))
def test_meanings_are_whole_sentences(word: str) -> None:
    for text in (meaning(word).what, meaning(word).remedy):
        assert text[0].isupper()
        assert text.endswith(".")
        assert "  " not in text


def test_a_word_that_nobody_knows_still_gets_a_sentence() -> None:
    assert meaning("never-heard-of") is OTHERWISE


def test_entries_that_fail_alike_are_told_once() -> None:
    warnings = [
        EntryWarning(3, 4, "unknown-key", "its key (a) is not in the trust file"),
        EntryWarning(5, 5, "wrong-artifact", "other bytes"),
        EntryWarning(9, 4, "unknown-key", "its key (a) is not in the trust file"),
        EntryWarning(11, 4, "unknown-key", "its key (b) is not in the trust file"),
    ]
    assert [(one.indexes, one.reason) for one in group(warnings)] == [
        ((3, 9), "unknown-key"),
        ((5,), "wrong-artifact"),
        ((11,), "unknown-key"),
    ]
