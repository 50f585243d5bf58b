"""Tessera's own checker of logs reads ours over HTTP, and calls a damaged one failed."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.api.support import running_upstream, write_node
from tests.conformance.go_programs import program
from tests.conformance.made_logs import KEY, LogCopy, make_log, make_raw_log
from tests.conformance.readers import ask_fsck, run_fsck
from tests.log.exports import export, served, sqlite_log
from tests.log.support import sign
from tests.node.test_serve import serving
from tests.verify.support import make_provenance, statement_signer
from tests.verify.support import sign as sign_entry

from touchplate.base.sql import sqlite_engine

SIZE = 300


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> LogCopy:
    """A log with tiles on two levels."""
    return make_log(tmp_path_factory.mktemp("log"), SIZE)


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 255, 256, 257])
def test_passes_our_logs_of_signed_entries(size: int, tmp_path: Path) -> None:
    words = run_fsck(program("fsck"), make_log(tmp_path, size), tmp_path)
    assert words.good, words.text
    assert f"Successfully fsck'd log with size {size} and root" in words.text


@pytest.mark.slow
def test_passes_a_log_with_three_levels_of_tiles(tmp_path: Path) -> None:
    words = run_fsck(program("fsck"), make_raw_log(tmp_path, 70_000), tmp_path)
    assert words.good, words.text


@pytest.mark.slow
def test_passes_the_log_of_a_running_node(tmp_path: Path) -> None:
    """Not a copy: paths, answers and headers are those of the node's own HTTP face."""
    signer = statement_signer("rebuilder-a")
    envelopes = [sign_entry(make_provenance(note=str(number)), signer).envelope for number in range(SIZE)]
    body = b"".join(len(each).to_bytes(4, "big") + each for each in envelopes)
    with running_upstream() as upstream, serving(write_node(tmp_path, upstream.url)) as node:
        url = node.url()
        assert node.request(url, "/log/add-batch", "POST", body)[0] == 200
        words = ask_fsck(program("fsck"), f"{url}/log", KEY, tmp_path)
        assert words.verdict.startswith(f"Successfully fsck'd log with size {SIZE} and root"), words.text
        assert node.stop() == 0


@pytest.mark.slow
def test_passes_an_exported_folder_behind_a_plain_web_server(tmp_path: Path) -> None:
    export(sqlite_engine(sqlite_log(tmp_path, 250)), tmp_path / "export")
    export(sqlite_engine(sqlite_log(tmp_path, 520, 250)), tmp_path / "export")
    with served(tmp_path / "export") as url:
        words = ask_fsck(program("fsck"), url, KEY, tmp_path)
    assert words.verdict.startswith("Successfully fsck'd log with size 520 and root"), words.text


# What is changed, and which tiles then differ from what the entries give: any of them may be named first.
DAMAGED = {
    "tile/0/000": ["tile/0/000"],
    "tile/0/001.p/44": ["tile/0/001.p/44"],
    "tile/1/000.p/1": ["tile/1/000.p/1"],
    "tile/entries/000": ["tile/0/000", "tile/1/000.p/1"],
    "tile/entries/001.p/44": ["tile/0/001.p/44"],
}


@pytest.mark.slow
@pytest.mark.parametrize("path", DAMAGED)
def test_names_a_changed_file(path: str, log: LogCopy, tmp_path: Path) -> None:
    damaged = log.copy(tmp_path)
    damaged.flip(path, 50 if "entries" in path else 0)
    words = run_fsck(program("fsck"), damaged, tmp_path)
    assert not words.good
    assert any(f"fsck failed: failed: {tile}: log has:" in words.text for tile in DAMAGED[path]), words.text


@pytest.mark.slow
def test_does_not_believe_a_head_that_the_tree_contradicts(log: LogCopy, tmp_path: Path) -> None:
    damaged = log.copy(tmp_path)
    damaged.write("checkpoint", sign(SIZE, bytes(32)))
    words = run_fsck(program("fsck"), damaged, tmp_path)
    assert not words.good
    assert f"but checkpoint claims {'00' * 32}" in words.text


@pytest.mark.slow
def test_does_not_believe_an_unsigned_head(log: LogCopy, tmp_path: Path) -> None:
    damaged = log.copy(tmp_path)
    damaged.flip("checkpoint", len("log.example.org\n"))
    words = run_fsck(program("fsck"), damaged, tmp_path)
    assert not words.good
    assert "failed to fetch and verify checkpoint" in words.text


@pytest.mark.slow
def test_misses_a_tile(log: LogCopy, tmp_path: Path) -> None:
    damaged = log.copy(tmp_path)
    (damaged.folder / "tile/0/001.p/44").unlink()
    assert not run_fsck(program("fsck"), damaged, tmp_path).good
