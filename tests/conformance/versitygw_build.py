"""Builds versitygw, an S3 server, from a module beside this file (apart: its requirements are many)."""

from __future__ import annotations

from pathlib import Path

from tests.conformance.go_programs import BUILD_SECONDS, MODULE, cache_folder, cached, go_version, run_go

from touchplate.base.environment import Environment

FOLDER = MODULE / "versitygw"
PACKAGE = "github.com/versity/versitygw/cmd/versitygw"


def build_versitygw(environment: Environment, cache: Path | None = None) -> Path:
    """The server, from the cache when nothing changed. Raises NoGoError."""
    parts = [go_version(environment).encode()]
    parts += [(FOLDER / name).read_bytes() for name in ("go.mod", "go.sum")]

    def build(folder: Path) -> None:
        command = ["build", "-trimpath", "-o", str(folder / "versitygw"), PACKAGE]
        run_go(environment, command, seconds=BUILD_SECONDS, folder=FOLDER)

    return cached(cache or cache_folder(environment), ["versitygw"], parts, build)[0]
