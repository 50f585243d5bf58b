"""The repository keeps its own rules: layout, lock, sizes, words that must not be in it."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOTS = ("log", "builder", "api", "proto")
LONGEST_FILE = 600  # lines; a reader should be able to hold a file in the head
LONGEST_FUNCTION = 80  # lines
MOST_POSITIONAL = 5
FOREIGN_SIGNATURES = {"redirect_request"}  # urllib.request.HTTPRedirectHandler fixes it


def tracked() -> list[Path]:
    names = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def python_files() -> list[Path]:
    return [
        path for path in tracked() if path.suffix == ".py" and not path.stem.endswith(("_pb2", "_pb2_grpc"))
    ]


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


@pytest.mark.parametrize("root", ROOTS)
def test_no_init_file_hides_the_other_roots_of_the_namespace(root: str) -> None:
    assert not (ROOT / root / "touchplate" / "__init__.py").exists()


def test_every_room_is_typed() -> None:
    rooms = [
        room
        for root in ROOTS
        for room in (ROOT / root / "touchplate").iterdir()
        if (room / "__init__.py").exists()
    ]
    assert {room.name for room in rooms} == {"verify", "base", "log", "builder", "api", "node", "proto"}
    assert [room.name for room in rooms if not (room / "py.typed").exists()] == []


def test_tests_have_no_init_files() -> None:
    assert list((ROOT / "tests").rglob("__init__.py")) == []


def test_lock_holds_hashes_and_no_addresses() -> None:
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    packages = re.findall(r"^[A-Za-z0-9_.-]+==", lock, re.MULTILINE)
    assert len(packages) > 20
    assert lock.count("--hash=sha256:") >= len(packages)
    assert "://" not in lock


def test_files_and_functions_stay_small() -> None:
    long_files = [
        str(p) for p in python_files() if len(p.read_text(encoding="utf-8").splitlines()) > LONGEST_FILE
    ]
    assert long_files == []
    spans = [
        (f"{path}:{node.lineno} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1)
        for path in python_files()
        for node in functions(path)
    ]
    assert [name for name, lines in spans if lines > LONGEST_FUNCTION] == []
    assert sum(lines <= 40 for _, lines in spans) >= 0.9 * len(spans)


def test_functions_take_at_most_five_positional_parameters() -> None:
    wide = [
        f"{path}:{node.lineno} {node.name}"
        for path in python_files()
        if "tests" not in path.relative_to(ROOT).parts
        for node in functions(path)
        if node.name not in FOREIGN_SIGNATURES
        and len([a for a in node.args.posonlyargs + node.args.args if a.arg not in ("self", "cls")])
        > MOST_POSITIONAL
    ]
    assert wide == []


def test_no_binaries_are_tracked() -> None:
    suffixes = {".jar", ".gz", ".zip", ".whl", ".tgz", ".pyc", ".so"}
    assert [str(path) for path in tracked() if path.suffix in suffixes] == []


def test_make_targets_named_in_the_docs_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, re.MULTILINE))
    named = {
        target
        for path in tracked()
        if path.suffix == ".md"
        for target in re.findall(r"`make ([a-z0-9-]+)`", path.read_text(encoding="utf-8"))
    }
    assert {"demo", "test"} <= named
    assert named <= targets


def test_a_make_target_is_listed_once() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    listed = re.findall(r"^([a-z0-9-]+):.*##", makefile, re.MULTILINE)
    assert len(listed) > 20
    assert sorted(set(listed)) == sorted(listed)


def test_no_merge_was_committed_half_done() -> None:
    marks = re.compile(rb"^(<{7}|>{7}) ", re.MULTILINE)
    assert marks.search(b"a\n" + b"<" * 7 + b" HEAD\n")
    assert [str(path) for path in tracked() if marks.search(path.read_bytes())] == []
