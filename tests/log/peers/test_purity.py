"""What verdicts depend on has no clock, no chance, no network and no file."""

import ast
from pathlib import Path

import pytest

LOG = Path(__file__).resolve().parents[3] / "log" / "touchplate" / "log"
PURE = (
    "peers/machine.py",
    "peers/state.py",
    "peers/rules.py",
    "peers/changes.py",
    "peers/statements.py",
    "peers/overview.py",
    "peers/transactions.py",
    "peers/checks.py",
    "growth.py",
)
ALLOWED = {"collections.abc", "dataclasses", "hashlib", "collections", "functools", "threading", "typing"}
OURS = ("touchplate.log", "touchplate.verify")


@pytest.mark.parametrize("name", PURE)
def test_the_state_machine_imports_nothing_that_two_peers_could_see_differently(name: str) -> None:
    tree = ast.parse((LOG / name).read_text(encoding="utf-8"))
    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    imported |= {each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names}
    foreign = {module for module in imported if not module.startswith(OURS) and module not in ALLOWED}
    assert foreign == set()
    assert not {
        module for module in imported if module.startswith(("touchplate.log.storage", "touchplate.base"))
    }
    calls = {
        node.func.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    assert not calls & {"open", "print", "input", "id", "hash"}
