"""The auditors' half needs the standard library and `cryptography`, and nothing else."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import touchplate.verify

ROOM = Path(touchplate.verify.__file__).parent
ALLOWED = sys.stdlib_module_names | {"cryptography"}


def modules() -> list[Path]:
    return sorted(ROOM.rglob("*.py"))


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield node.module or ""


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOM)))
def test_a_module_imports_only_what_the_base_install_has(path: Path) -> None:
    for name in imported(ast.parse(path.read_text("utf-8"))):
        assert name.split(".")[0] in ALLOWED or name.startswith("touchplate.verify"), f"{path.name}: {name}"


def test_all_modules_are_looked_at() -> None:
    assert {"check", "levels", "cli"} <= {path.stem for path in modules()}


SLOW = ("urllib.request", "http.client", "importlib.metadata", "rich", "email", "asyncio", "subprocess")
"""What `touchplate verify` must not load: each costs about as much as everything it needs."""


def test_verify_starts_without_slow_modules() -> None:
    import subprocess

    program = (
        "import sys, touchplate.verify.cli as cli\n"
        "cli.main(['verify', 'no-such-file', '--trust', 'no-such-trust'])\n"
        f"print([name for name in {SLOW!r} if name in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
