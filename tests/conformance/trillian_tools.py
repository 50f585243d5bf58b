"""Trillian's own tools and live test, built from a module beside this file, and ways to run them.

A module apart (`trillian/go.mod`): together with the rest, its requirements would move the versions of
others.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.conformance.go_programs import BUILD_SECONDS, MODULE, cache_folder, cached, go_version, run_go

from touchplate.base.environment import Environment

FOLDER = MODULE / "trillian"
TRILLIAN = "github.com/google/trillian"
TOOLS = {
    "createtree": f"{TRILLIAN}/cmd/createtree",
    "updatetree": f"{TRILLIAN}/cmd/updatetree",
    "deletetree": f"{TRILLIAN}/cmd/deletetree",
    "mdmtest": f"{TRILLIAN}/testonly/mdm/mdmtest",
}
LIVE = "trillian_live"
"""The binary of Trillian's package `integration`."""

RUN_SECONDS = 120


@dataclass(frozen=True)
class Ran:
    """How a tool ended. Its words count: some of Trillian's tools end with 0 when they did nothing."""

    code: int
    out: str
    err: str


def build_tools(environment: Environment, *names: str) -> dict[str, Path]:
    """The named tools of TOOLS, and LIVE, from the cache when nothing changed. Raises NoGoError."""
    parts = [go_version(environment).encode()]
    parts += [(FOLDER / name).read_bytes() for name in ("go.mod", "go.sum")]
    made = {}
    for name in names:

        def build(folder: Path, name: str = name) -> None:
            output = ["-trimpath", "-o", str(folder / name)]
            what = ["test", "-c", *output, f"{TRILLIAN}/integration"]
            if name in TOOLS:
                what = ["build", *output, TOOLS[name]]
            run_go(environment, what, seconds=BUILD_SECONDS, folder=FOLDER)

        made[name] = cached(cache_folder(environment), [name], parts, build)[0]
    return made


def run_tool(program: Path, *arguments: str, seconds: float = RUN_SECONDS) -> Ran:
    """Run a tool to its end."""
    done = subprocess.run(
        [str(program), *arguments], capture_output=True, text=True, timeout=seconds, check=False
    )
    return Ran(done.returncode, done.stdout, done.stderr)
