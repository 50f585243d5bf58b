"""The demo's evidence, asked about as `make demo` leaves it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conformance import sigstore_demo
from tests.conformance.go_programs import program
from tests.conformance.sigstore_cases import ALICE, BOB, ok_bundle
from tests.conformance.sigstore_world import SOLO, changed, open_policy, public_pem
from tests.verify.support import PUBLISHED, digests_of

from touchplate.verify.sigstore import trusted_root


@pytest.fixture
def evidence(tmp_path: Path) -> Path:
    """`evidence.json` and its folder."""
    folder = tmp_path / "demo" / "evidence"
    folder.mkdir(parents=True)
    (folder / "sigstore-2.json").write_text(json.dumps(ok_bundle()))
    (folder / "trusted_root.json").write_bytes(trusted_root(open_policy(SOLO)))
    (folder / "one.pem").write_text(public_pem(ALICE))
    (folder / "two.pem").write_text(public_pem(BOB))
    path = tmp_path / "evidence.json"
    facts = {
        "folder": "demo/evidence",
        "artifact": {"sha256": digests_of(PUBLISHED)["sha256"]},
        "sigstore": {"bundles": ["sigstore-2.json"], "trusted_root": "trusted_root.json"},
    }
    path.write_text(json.dumps(facts))
    return path


@pytest.mark.slow
def test_accepts_good_evidence_and_sees_each_damage_refused(
    evidence: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    program("sigstore")
    assert sigstore_demo.main([str(evidence)]) == 0
    assert "6 of 6 verdicts as they must be" in capsys.readouterr().out


@pytest.mark.slow
def test_bad_evidence_is_a_failure(evidence: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program("sigstore")
    bundle = changed(ok_bundle(), "dsseEnvelope", "payloadType", to="text/plain")
    (evidence.parent / "demo" / "evidence" / "sigstore-2.json").write_text(json.dumps(bundle))
    assert sigstore_demo.main([str(evidence)]) == 1
    assert "EXPECTED ok" in capsys.readouterr().out


def test_evidence_that_cannot_be_read_is_told_apart(
    evidence: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (evidence.parent / "demo" / "evidence" / "one.pem").write_text("-----BEGIN PRIVATE KEY-----\n")
    assert sigstore_demo.main([str(evidence)]) == 2
    assert "one.pem" in capsys.readouterr().err
    assert sigstore_demo.main([str(evidence.parent / "none.json")]) == 2
