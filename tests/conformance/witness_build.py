"""Builds transparency-dev's omniwitness and loadtest, which ask for more than the module proxy serves.

Its go.mod wants a version of transparency-dev/merkle that was never released and is not served. What it
needs beyond v0.0.2 is one function, called for POST /sign-subtree only, which nobody sends here. So it is
built in a throw-away module that replaces merkle by a copy of v0.0.2 with that function added, refusing
everything. Versions follow from the one named here and from this folder's go.mod; the sums of modules that
only the witness needs come from the Go checksum database.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.conformance.go_programs import (
    BUILD_SECONDS,
    cache_folder,
    cached,
    go_version,
    module_folder,
    run_go,
)

from touchplate.base.environment import Environment

MERKLE = "github.com/transparency-dev/merkle"
WITNESS = "github.com/transparency-dev/witness"
VERSION = "v0.0.0-20260720115447-2e1c6971d19e"

_GO_MOD = f"""module touchplate.dev/conformance/witness

go 1.25.8

require {WITNESS} {VERSION}

replace {MERKLE} => ./merkle
"""

_STUB = f"""package proof

import (
	"errors"

	"{MERKLE}"
)

// VerifySubtreeConsistency refuses every proof: this build has no subtree proofs.
func VerifySubtreeConsistency(merkle.LogHasher, uint64, uint64, uint64, [][]byte, []byte, []byte) error {{
	return errors.New("this build has no subtree proofs")
}}
"""


class WitnessPrograms(NamedTuple):
    """The built programs."""

    omniwitness: Path
    generate_keys: Path


def build_witness(environment: Environment, cache: Path | None = None) -> WitnessPrograms:
    """The witness and its key generator, from the cache when nothing changed. Raises NoGoError."""
    return WitnessPrograms(*_built(environment, WitnessPrograms._fields, cache))


def build_loadtest(environment: Environment) -> Path:
    """What loads a witness with growing logs, from the cache when nothing changed. Raises NoGoError."""
    (program,) = _built(environment, ("loadtest",), None)
    return program


def _built(environment: Environment, names: Sequence[str], cache: Path | None) -> list[Path]:
    merkle = module_folder(environment, MERKLE)

    def build(folder: Path) -> None:
        module = folder / "module"
        _write_module(module, merkle)
        packages = [f"{WITNESS}/cmd/{name}" for name in names]
        command = ["build", "-trimpath", "-o", f"{folder}/", *packages]
        run_go(environment, command, seconds=BUILD_SECONDS, folder=module, flags="-mod=mod")

    parts = [go_version(environment).encode(), str(merkle.name).encode(), _GO_MOD.encode(), _STUB.encode()]
    return cached(cache or cache_folder(environment), names, parts, build)


def _write_module(module: Path, merkle: Path) -> None:
    # File by file: the folders of Go's module cache may not be written to, and copies of them neither.
    for source in [merkle / "go.mod", *merkle.rglob("*.go")]:
        if not source.name.endswith("_test.go"):
            copy = module / "merkle" / source.relative_to(merkle)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(source.read_bytes())
    (module / "merkle" / "proof" / "subtree_stub.go").write_text(_STUB)
    (module / "go.mod").write_text(_GO_MOD)
