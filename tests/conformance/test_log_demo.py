"""The demo's log, read by foreign readers as `make demo` leaves it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conformance import log_demo
from tests.conformance.go_programs import program
from tests.conformance.made_logs import LogCopy, make_log


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    """`evidence.json` and its folder, with a log of our own making."""
    folder = tmp_path / "demo" / "evidence"
    made = make_log(folder, 80)
    made.bundles[0].rename(folder / "a-1.0.jar.touchplate.json")
    root = (made.folder / "checkpoint").read_text().splitlines()[2]
    path = tmp_path / "evidence.json"
    log = {"folder": "log", "origin": "log.example.org", "size": 80, "root": root, "key": made.key}
    path.write_text(json.dumps({"folder": "demo/evidence", "log": log}))
    return path


def log_of(evidence: Path) -> LogCopy:
    return LogCopy(evidence.parent / "demo" / "evidence" / "log")


@pytest.fixture
def programs() -> None:
    """Both readers, or the skip or failure that says why there are none."""
    for name in ("reader", "fsck"):
        program(name)


@pytest.mark.slow
@pytest.mark.usefixtures("programs")
def test_finds_a_good_log_good_and_sees_each_damage(
    evidence: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert log_demo.main([str(evidence)]) == 0
    assert "11 of 11 answers as they must be" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("programs")
def test_a_bad_log_is_a_failure(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log_of(evidence).flip("tile/0/000.p/80", 33)
    assert log_demo.main([str(evidence)]) == 1
    printed = capsys.readouterr().out
    assert "WRONG  reader: as the node served it: " in printed
    assert "WRONG  fsck: as the node served it: fsck failed" in printed


@pytest.mark.slow
@pytest.mark.usefixtures("programs")
def test_another_root_than_the_demo_saw_is_a_failure(
    evidence: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = json.loads(evidence.read_text())
    facts["log"]["root"] = "A" * 43 + "="
    evidence.write_text(json.dumps(facts))
    assert log_demo.main([str(evidence)]) == 1
    assert "10 of 11" in capsys.readouterr().out


@pytest.mark.parametrize("missing", ["log/checkpoint", "a-1.0.jar.touchplate.json"])
def test_evidence_that_cannot_be_read_is_told_apart(
    missing: str, evidence: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (evidence.parent / "demo" / "evidence" / missing).unlink()
    assert log_demo.main([str(evidence)]) == 2
    assert "run `make demo` first" in capsys.readouterr().err


def test_no_evidence_is_told_apart(tmp_path: Path) -> None:
    assert log_demo.main([str(tmp_path / "none.json")]) == 2
