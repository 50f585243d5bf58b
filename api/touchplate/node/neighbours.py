"""The neighbours of the adapters, plugged in: the log of this process as their recorder and source of
proofs, the builder's evidence as what stands behind statements."""

from __future__ import annotations

from collections.abc import Sequence

from touchplate.api import errors as api_errors
from touchplate.api.ports import ProvenEntry
from touchplate.base.durable import DigestFolder
from touchplate.log.errors import BusyError, LogError
from touchplate.log.service import LogService
from touchplate.verify.checkpoints import Checkpoint


class LogRecorder:
    """`api.ports.Recorder` over the log in this process."""

    def __init__(self, log: LogService) -> None:
        self._log = log

    def append(self, envelopes: Sequence[bytes]) -> list[int]:
        """See `Recorder.append`. An overloaded log is a busy one for the client, too."""
        try:
            return [result.index for result in self._log.append(envelopes)]
        except BusyError as error:
            raise api_errors.BusyError(
                str(error), retry_after=error.retry_after, reason=error.reason
            ) from error


class LogProofs:
    """`api.ports.ProofSource` over the log in this process."""

    def __init__(self, log: LogService) -> None:
        self._log = log

    def checkpoint(self) -> bytes:
        """See `ProofSource.checkpoint`."""
        try:
            return self._log.checkpoint()
        except LogError as error:
            raise api_errors.NotReadyError(str(error)) from error

    def proven_entries(self, checkpoint: Checkpoint, indexes: Sequence[int]) -> list[ProvenEntry]:
        """See `ProofSource.proven_entries`."""
        return [self._proven(index, checkpoint.size) for index in indexes]

    def _proven(self, index: int, size: int) -> ProvenEntry:
        entry = self._log.reader.entry(index)
        return ProvenEntry(index, entry.envelope, entry.spki, tuple(self._log.reader.inclusion(index, size)))


class EvidenceLinks:
    """`api.ports.EvidenceStore` over the evidence that this node serves."""

    def __init__(self, folder: DigestFolder) -> None:
        self._folder = folder

    def where(self, sha256: str) -> str | None:
        """See `EvidenceStore.where`."""
        return f"/builder/evidence/{sha256}" if self._folder.has(sha256) else None
