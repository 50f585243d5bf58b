"""Builds and runs the Go checker of tests/conformance/sigstore: a foreign verifier's verdicts."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from touchplate.base.durable import write_atomic
from touchplate.base.environment import Environment

MODULE = Path(__file__).parent / "sigstore"
# Seconds. A cold build compiles some 400 packages: about 100 on two cores, more beside other work.
BUILD_SECONDS = 900
# Seconds. A verdict takes milliseconds.
RUN_SECONDS = 120
# The checker's exit codes: every verdict as expected, or not.
_ANSWERED = (0, 1)


class NoGoError(Exception):
    """There is no `go` on the search path, or the checker cannot be built with it."""


@dataclass(frozen=True)
class Verdict:
    """What the foreign verifier said about a case: "ok" or "refused", and its reason."""

    got: str
    detail: str


def cache_folder(environment: Environment) -> Path:
    """Where built checkers are kept: `$TOUCHPLATE_GO_CACHE`, else `touchplate/go` in the user's cache."""
    if named := environment.value("TOUCHPLATE_GO_CACHE"):
        return Path(named)
    folder = environment.cache_folder
    if folder is None:
        raise NoGoError("no folder for built checkers; set HOME or TOUCHPLATE_GO_CACHE")
    return folder / "touchplate" / "go"


def build_checker(environment: Environment, cache: Path | None = None) -> Path:
    """The built checker, from the cache when its sources and the compiler are the same. Raises NoGoError."""
    go = environment.find_program("go")
    if go is None:
        raise NoGoError("no `go` on the search path; install Go 1.25 or newer")
    variables = {
        **environment.variables,
        "GOFLAGS": "-mod=readonly",
        "CGO_ENABLED": "0",
        # The installed compiler or none: a test downloads no toolchain.
        "GOTOOLCHAIN": "local",
    }
    version = _run([str(go), "version"], variables, 60)
    digest = hashlib.sha256(version.encode())
    for name in ("go.mod", "go.sum", "main.go"):
        digest.update((MODULE / name).read_bytes())
    folder = cache if cache is not None else cache_folder(environment)
    program = folder / f"sigstore-{digest.hexdigest()[:16]}"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        made = folder / f"{program.name}.new"
        _run([str(go), "build", "-trimpath", "-o", str(made), "."], variables, BUILD_SECONDS)
        write_atomic(program, made.read_bytes(), mode=0o755)
        made.unlink()
    return program


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


def _run(command: Sequence[str], variables: Mapping[str, str], seconds: float) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=MODULE,
            env=dict(variables),
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoGoError(f"{' '.join(command[:2])}: {error}") from None
    if done.returncode != 0:
        raise NoGoError(f"{' '.join(command[:2])}: {done.stderr.strip()[-2000:]}")
    return done.stdout
