"""The peers and the load generator, built from the Go module in `load`, into the cache outside the tree."""

from __future__ import annotations

import json
from pathlib import Path

from tests.bench.caches import say
from tests.bench.harness import SkippedError
from tests.conformance.go_programs import NoGoError, cache_folder, cached, go_version, run_go

from touchplate.base.environment import Environment, read_environment

MODULE = Path(__file__).parent / "load"
TRILLIAN = "github.com/google/trillian"
TRILLIAN_SERVER = "trillian_log_server"
TRILLIAN_SIGNER = "trillian_log_signer"
TESSERA = "posix"
LOAD = "load"
PACKAGES = {
    LOAD: ".",
    TRILLIAN_SERVER: f"{TRILLIAN}/cmd/{TRILLIAN_SERVER}",
    TRILLIAN_SIGNER: f"{TRILLIAN}/cmd/{TRILLIAN_SIGNER}",
    TESSERA: f"github.com/transparency-dev/tessera/cmd/conformance/{TESSERA}",
}
"""Package of each program; versions are those of go.mod."""

BUILD_SECONDS = 1_800
"""Trillian's server brings the clients of all its databases: minutes on two busy cores."""


def program(name: str) -> Path:
    """A built program of PACKAGES. Raises SkippedError."""
    environment = read_environment()
    try:
        return _build(environment, name)
    except NoGoError as error:
        raise SkippedError(str(error)) from error


def _build(environment: Environment, name: str) -> Path:
    parts = [go_version(environment).encode()]
    sources = [MODULE / "go.mod", MODULE / "go.sum"]
    sources += sorted(MODULE.glob("*.go")) if name == LOAD else []
    parts += [source.read_bytes() for source in sources]

    def build(folder: Path) -> None:
        say(f"building {name}, once")
        command = ["build", "-trimpath", "-o", str(folder / name), PACKAGES[name]]
        run_go(environment, command, seconds=BUILD_SECONDS, folder=MODULE)

    return cached(cache_folder(environment), [name], parts, build)[0]


def trillian_schema() -> str:
    """Trillian's own tables for PostgreSQL. Raises SkippedError."""
    environment = read_environment()
    try:
        text = run_go(
            environment, ["mod", "download", "-json", TRILLIAN], seconds=BUILD_SECONDS, folder=MODULE
        )
    except NoGoError as error:
        raise SkippedError(str(error)) from error
    folder = Path(json.loads(text)["Dir"])
    return (folder / "storage" / "postgresql" / "schema" / "storage.sql").read_text()
