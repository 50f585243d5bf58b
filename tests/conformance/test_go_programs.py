"""How foreign programs are built: once, outside the tree, and never silently not at all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.conformance.go_programs import (
    MODULE,
    NoGoError,
    build_program,
    built,
    cache_folder,
    cached,
    program,
)
from tests.conformance.witness_build import VERSION

from touchplate.base.environment import Environment, read_environment


def test_a_missing_go_is_a_loud_skip_for_people(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="READER NOT ASKED: no `go` on the search path"):
        program("reader")


def test_a_missing_go_is_a_failure_in_continuous_integration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="continuous integration needs reader"):
        program("reader")


def test_programs_are_kept_outside_the_tree() -> None:
    folder = cache_folder(read_environment())
    assert not folder.is_relative_to(MODULE.parents[1])
    assert cache_folder(Environment({"TOUCHPLATE_GO_CACHE": "/named"})) == Path("/named")
    with pytest.raises(NoGoError, match="set HOME or TOUCHPLATE_GO_CACHE"):
        cache_folder(Environment({}))


def test_the_same_parts_are_built_once_and_others_anew(tmp_path: Path) -> None:
    built_in = []

    def build(folder: Path) -> None:
        built_in.append(folder)
        for name in ("one", "two"):
            (folder / name).write_text("program")

    first = cached(tmp_path, ["one", "two"], [b"a", b"bc"], build)
    assert cached(tmp_path, ["one", "two"], [b"a", b"bc"], build) == first
    assert len(built_in) == 1
    assert [path.read_text() for path in first] == ["program", "program"]
    assert first[0].stat().st_mode & 0o777 == 0o755
    # Where one part ends and the next begins counts.
    assert cached(tmp_path, ["one", "two"], [b"ab", b"c"], build) != first
    assert len(built_in) == 2
    first[1].unlink()
    assert cached(tmp_path, ["one", "two"], [b"a", b"bc"], build) == first
    assert first[1].exists()


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        (folder / "one").write_text("half of a prog")
        raise NoGoError("go build: no")

    with pytest.raises(NoGoError):
        cached(tmp_path, ["one"], [], build)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "path",
    [
        "github.com/sigstore/sigstore-go",
        "golang.org/x/mod",
        "github.com/transparency-dev/formats",
        "github.com/transparency-dev/merkle",
        "github.com/transparency-dev/tessera",
    ],
)
def test_the_readme_names_the_versions_that_are_built(path: str) -> None:
    found = re.search(rf"^\t{re.escape(path)} v(\S+)", (MODULE / "go.mod").read_text(), re.MULTILINE)
    assert found is not None
    rows = [line for line in (MODULE / "README.md").read_text().splitlines() if line.startswith("| ")]
    assert any(re.search(rf"\b{re.escape(found[1])}\b", row.split("|")[2]) for row in rows)


def test_the_readme_names_the_trillian_that_is_built() -> None:
    found = re.search(r"google/trillian v(\S+)", (MODULE / "trillian" / "go.mod").read_text())
    assert found is not None
    assert f"| {found[1]} |" in (MODULE / "README.md").read_text()


def test_the_readme_names_the_witness_that_is_built() -> None:
    assert f"| `omniwitness` | {VERSION.rpartition('-')[2]} |" in (MODULE / "README.md").read_text()


def sources() -> dict[Path, bytes]:
    """Every file of the Go module's folder, but what Python compiles."""
    files = [path for path in MODULE.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {path: path.read_bytes() for path in files}


@pytest.mark.slow
def test_a_build_leaves_the_checkout_as_it_was(tmp_path: Path) -> None:
    before = sources()
    made = built(lambda environment: build_program(environment, "vectors", tmp_path), "vectors")
    assert list(tmp_path.iterdir()) == [made]
    assert sources() == before
