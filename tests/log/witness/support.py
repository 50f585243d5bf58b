"""Logs as a witness sees them: trees in memory, their signed heads and proofs; and witnesses with a real
memory."""

from collections.abc import Sequence
from pathlib import Path

from tests.simkeys import note_signer, witness_signer

from touchplate.base.sql import sqlite_engine
from touchplate.log.storage.witnessed import WitnessedHeads
from touchplate.log.witness.config import WitnessedLog
from touchplate.log.witness.requests import format_add_checkpoint
from touchplate.log.witness.service import Witness
from touchplate.verify.encoding import encode_base64
from touchplate.verify.notes import MLDSA_COSIGNER_KEY_TYPE, NoteSigner, format_verifier_key, sign_note
from touchplate.verify.proofs import Node, prove_consistency, root_of
from touchplate.verify.rfc6962 import leaf_hash, node_hash

NOW = 1_800_000_000
NAME = "witness.example.org/w1"
COSIGNER = witness_signer(NAME)
PQ_COSIGNER = NoteSigner(NAME, MLDSA_COSIGNER_KEY_TYPE, bytes(range(32)))
PATHS = "logs.example.com/of/others"
"""An origin that our own logs cannot have, and others do."""


class Nodes:
    """A `HashReader` over leaf hashes."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._levels = [list(leaves)]
        while len(below := self._levels[-1]) > 1:
            pairs = zip(below[::2], below[1::2], strict=False)
            self._levels.append([node_hash(left, right) for left, right in pairs])

    def read_hashes(self, nodes: Sequence[Node]) -> list[bytes]:
        return [self._levels[level][index] for level, index in nodes]


class SomeLog:
    """A log of `count` entries under `origin`; another `branch` is another history from the start."""

    def __init__(self, origin: str = PATHS, count: int = 300, *, branch: str = "", salt: str = "") -> None:
        self.origin = origin
        self.signer = note_signer(origin, "log", salt)
        self.hashes = Nodes([leaf_hash(f"{branch}{number}".encode()) for number in range(count)])

    def root(self, size: int) -> bytes:
        return root_of(self.hashes, size)

    def proof(self, old: int, new: int) -> list[bytes]:
        return prove_consistency(self.hashes, old, new)

    def text(self, size: int, *extensions: str, root: bytes | None = None) -> str:
        lines = [
            self.origin,
            str(size),
            encode_base64(self.root(size) if root is None else root),
            *extensions,
        ]
        return "".join(f"{line}\n" for line in lines)

    def note(self, size: int, *extensions: str, root: bytes | None = None) -> bytes:
        return sign_note(self.text(size, *extensions, root=root), [self.signer])

    def request(self, old: int, new: int) -> bytes:
        return format_add_checkpoint(old, self.proof(old, new), self.note(new))

    @property
    def listed(self) -> WitnessedLog:
        return WitnessedLog((format_verifier_key(self.signer.key),))


def open_memory(folder: Path) -> WitnessedHeads:
    return WitnessedHeads(sqlite_engine(folder / "witness.sqlite"))


def make_witness(
    folder: Path, logs: Sequence[WitnessedLog], signers: Sequence[NoteSigner] = (COSIGNER,)
) -> Witness:
    return Witness(signers, logs, open_memory(folder), now=lambda: NOW)
