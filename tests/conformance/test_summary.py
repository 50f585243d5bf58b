"""Verification summaries (SLSA VSA v1) as others read them: in-toto, securesystemslib, sigstore."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.builder.desk import VERIFIER, Desk, open_desk
from tests.conformance.go_programs import program
from tests.verify.cases import provenance, record, second
from tests.verify.support import LIB, LIB_OTHER_VERSION, OTHER, PUBLISHED, sha256_of, statement_signer

from touchplate.verify import cli
from touchplate.verify.keys import format_public_pem

pytestmark = pytest.mark.slow

RUN_SECONDS = 120  # An answer takes milliseconds.
GOOD = {
    "subject-digest": f"sha256:{sha256_of(PUBLISHED)['sha256']}",
    "verifier-id": VERIFIER,
    "resource-uri": str(LIB),
    "verified-level": "SLSA_BUILD_REPRODUCED",
}


def ask(desk: Desk, **changes: str) -> str:
    """What the foreign checker says about the desk's last summary: PASSED, or the step that does not hold."""
    (desk.folder / "last.json").write_bytes(desk.envelope)
    key = desk.folder / "verifier.pem"
    if not key.exists():
        key.write_text(format_public_pem(statement_signer("verifier").key))
    options = {**GOOD, **{name.replace("_", "-"): value for name, value in changes.items()}}
    command = [str(program("summary")), "--attestation-path", str(desk.folder / "last.json")]
    command += ["--public-key-path", str(key)]
    command += [part for name, value in options.items() for part in (f"--{name}", value)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.strip() if done.returncode == 0 else done.stderr.split(": ")[1]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = open_desk(tmp_path)
    desk.bundle(record(), provenance(), second())
    desk.made()
    return desk


def test_a_summary_is_read_and_passes_all_seven_steps(desk: Desk) -> None:
    assert ask(desk) == "PASSED"
    assert ask(desk, verified_level="SLSA_BUILD_LEVEL_1") == "PASSED"
    assert ask(desk, verified_level="TOUCHPLATE_RECORDED") == "PASSED"
    assert desk.check("--require", "SLSA_BUILD_REPRODUCED") == 0


def test_an_ed25519_verifier_is_read_too(tmp_path: Path) -> None:
    desk = open_desk(tmp_path)
    desk.bundle(provenance(), second())
    desk.key.unlink()
    assert cli.main(["keygen", "--for", "verifier", "--ed25519", "--out", str(desk.key)]) == 0
    desk.made()
    assert ask(desk) == "PASSED"


@pytest.mark.parametrize(
    ("name", "value", "step"),
    [
        ("subject_digest", f"sha256:{sha256_of(OTHER)['sha256']}", "step 2"),
        ("verifier_id", "https://other.example.org", "step 4"),
        ("resource_uri", str(LIB_OTHER_VERSION), "step 5"),
        ("verified_level", "SLSA_BUILD_LEVEL_2", "step 7"),
        ("verified_level", "SLSA_SOURCE_LEVEL_1", "step 7"),
    ],
)
def test_it_is_refused_for_what_it_does_not_say(name: str, value: str, step: str, desk: Desk) -> None:
    assert ask(desk, **{name: value}) == step


def test_a_failure_and_a_wrong_key_are_refused(desk: Desk) -> None:
    (desk.folder / "verifier.pem").write_text(format_public_pem(statement_signer("rebuilder-a").key))
    assert ask(desk) == "step 1"
    (desk.folder / "verifier.pem").unlink()
    desk.bundle(provenance())
    desk.made(code=1)
    assert ask(desk, verified_level="FAILED") == "step 6"


def test_the_words_of_slsa_1_0_are_levels_with_numbers_only(desk: Desk) -> None:
    desk.made("--slsa-version", "1.0")
    assert ask(desk) == "step 7"
    assert ask(desk, verified_level="SLSA_BUILD_LEVEL_1") == "PASSED"
