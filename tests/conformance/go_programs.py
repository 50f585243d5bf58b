"""Builds foreign programs from the Go module of this folder, one at a time, into a cache outside the tree."""

from __future__ import annotations

import hashlib
import json
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from touchplate.base.durable import write_atomic
from touchplate.base.environment import Environment, read_environment

MODULE = Path(__file__).parent
PROGRAMS = {
    "sigstore": "./sigstore",
    "reader": "./reader",
    "vectors": "./vectors",
    "summary": "./summary",
    "fsck": "github.com/transparency-dev/tessera/cmd/fsck",
    "hammer": "github.com/transparency-dev/tessera/internal/hammer",
}
"""Package of each program; the version of a foreign one is the one in go.mod."""

# Seconds. The largest cold build compiles some 400 packages: about 100 on two cores, more beside other work.
BUILD_SECONDS = 900
T = TypeVar("T")


class NoGoError(Exception):
    """There is no `go` on the search path, or a program cannot be built with it."""


def cache_folder(environment: Environment) -> Path:
    """Where built programs are kept: `$TOUCHPLATE_GO_CACHE`, else `touchplate/go` in the user's cache."""
    if named := environment.value("TOUCHPLATE_GO_CACHE"):
        return Path(named)
    folder = environment.cache_folder
    if folder is None:
        raise NoGoError("no folder for built programs; set HOME or TOUCHPLATE_GO_CACHE")
    return folder / "touchplate" / "go"


def build_program(environment: Environment, name: str, cache: Path | None = None) -> Path:
    """A built program, from the cache when its sources and the compiler are the same. Raises NoGoError."""
    parts = [go_version(environment).encode()]
    sources = [MODULE / "go.mod", MODULE / "go.sum", *sorted((MODULE / name).glob("*.go"))]
    parts += [source.read_bytes() for source in sources]

    def build(folder: Path) -> None:
        command = ["build", "-trimpath", "-o", str(folder / name), PROGRAMS[name]]
        run_go(environment, command, seconds=BUILD_SECONDS)

    return cached(cache or cache_folder(environment), [name], parts, build)[0]


def cached(
    cache: Path, names: Sequence[str], parts: Sequence[bytes], build: Callable[[Path], None]
) -> list[Path]:
    """The programs `names` that `build` makes in an empty folder, or made earlier from the same `parts`."""
    digest = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:16]
    programs = [cache / f"{name}-{digest}" for name in names]
    if not all(program.exists() for program in programs):
        cache.mkdir(parents=True, exist_ok=True)
        # A folder for each build: two runs at once do not see each other's halves.
        with tempfile.TemporaryDirectory(prefix="build-", dir=cache) as folder:
            build(Path(folder))
            for name, program in zip(names, programs, strict=True):
                write_atomic(program, (Path(folder) / name).read_bytes(), mode=0o755)
    return programs


def module_folder(environment: Environment, path: str) -> Path:
    """The unpacked sources of a module of go.mod, fetched if need be, checked by go.sum. Raises NoGoError."""
    text = run_go(environment, ["mod", "download", "-json", path], seconds=BUILD_SECONDS)
    return Path(json.loads(text)["Dir"])


def go_version(environment: Environment) -> str:
    """What `go version` prints: another compiler makes other programs."""
    return run_go(environment, ["version"], seconds=60)


def run_go(
    environment: Environment,
    arguments: Sequence[str],
    *,
    seconds: float,
    folder: Path = MODULE,
    flags: str = "-mod=readonly -buildvcs=false",
) -> str:
    """What `go` prints. Raises NoGoError when there is none, or it fails."""
    go = environment.find_program("go")
    if go is None:
        raise NoGoError("no `go` on the search path; install Go 1.25.8 or newer")
    # The installed compiler or none: a test downloads no toolchain. No workspace around the checkout counts.
    fixed = {"GOFLAGS": flags, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    return run([str(go), *arguments], {**environment.variables, **fixed}, folder, seconds)


def run(command: Sequence[str], variables: Mapping[str, str], folder: Path, seconds: float) -> str:
    """What a command prints. Raises NoGoError when it cannot be run, fails or takes too long."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
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


def built(build: Callable[[Environment], T], what: str) -> T:
    """What `build` makes, in a test: without Go a skip that says what was not asked, a failure in CI."""
    environment = read_environment()
    try:
        return build(environment)
    except NoGoError as error:
        if environment.is_ci:
            pytest.fail(f"continuous integration needs {what}: {error}")
        pytest.skip(f"{what.upper()} NOT ASKED: {error}")


def program(name: str) -> Path:
    """A built program of PROGRAMS, in a test; see `built`."""
    return built(lambda environment: build_program(environment, name), name)
