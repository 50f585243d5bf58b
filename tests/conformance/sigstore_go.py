"""Runs the Go checker of tests/conformance/sigstore: a foreign verifier's verdicts."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

# Seconds. A verdict takes milliseconds.
RUN_SECONDS = 120
# The checker's exit codes: every verdict as expected, or not.
_ANSWERED = (0, 1)


@dataclass(frozen=True)
class Verdict:
    """What the foreign verifier said about a case: "ok" or "refused", and its reason."""

    got: str
    detail: str


def run_checker(checker: Path, cases: Path) -> Mapping[str, Verdict]:
    """The verdicts by name over a file of cases (its form: see main.go). AssertionError when it fails."""
    done = subprocess.run(
        [str(checker), str(cases)], capture_output=True, text=True, timeout=RUN_SECONDS, check=False
    )
    assert done.returncode in _ANSWERED, f"the checker failed: {done.stderr.strip()}"
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    surprised = any(line["got"] != line["expect"] for line in lines)
    assert surprised == (done.returncode == 1), "the checker's exit code contradicts its lines"
    return {line["name"]: Verdict(line["got"], line.get("detail", "")) for line in lines}
