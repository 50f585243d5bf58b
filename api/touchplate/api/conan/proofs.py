"""What we put under `metadata/sign/` of every revision, where stock clients fetch it by themselves.

FILE.touchplate.json    the proof bundle of FILE, for `touchplate verify`
FILE.intoto.jsonl       the statements about it
pkgsign-manifest.json   all files with their sha256, which stock clients with a verifying plugin compare
"""

from __future__ import annotations

import json

from touchplate.api.conan.judge import JudgedRevision
from touchplate.api.conan.layout import FILE_LIST, MANIFEST, SIGN_FOLDER, ProofRequest, proof_names
from touchplate.api.errors import NotReadyError
from touchplate.api.proofs import Prover


class ConanProofs:
    """Makes those files."""

    def __init__(self, prover: Prover) -> None:
        self._prover = prover

    def names(self, judged: JudgedRevision) -> list[str]:
        """Those that there are for a revision: a client that is told of a file fails without it."""
        found = [f"{SIGN_FOLDER}/{FILE_LIST}"]
        try:
            size = self._prover.checkpoint().size
        except NotReadyError:
            return found
        for file in judged.files:
            if file.name != MANIFEST and self._prover.entries_about(file.link.sha256, file.package, size):
                found += proof_names(file.name)
        return found

    def body(self, judged: JudgedRevision, asked: ProofRequest) -> bytes:
        """One of them. Raises NotFoundError, NotReadyError."""
        if asked.name is None:
            listed = [{"file": file.name, "sha256": file.link.sha256} for file in judged.files]
            return json.dumps({"files": sorted(listed, key=lambda one: one["file"])}, indent=2).encode()
        file = judged.file(asked.name)
        if asked.aspect == "bundle":
            return self._prover.bundle(file.link, file.package)
        lines = self._prover.envelopes(file.link.sha256, file.package)
        return b"".join(line + b"\n" for line in lines)
