"""A witness with its memory and its lock, as a node mounts it at /witness and as it runs by itself."""

from __future__ import annotations

from pathlib import Path

from touchplate.base.durable import FileLock
from touchplate.base.sql import sqlite_engine
from touchplate.log.storage.witnessed import WitnessedHeads
from touchplate.log.witness.config import WitnessConfig, load_signers
from touchplate.log.witness.service import Witness
from touchplate.verify.notes import NoteSigner

PREFIX = "/witness"
"""Where a node mounts it: the submission prefix that logs are told."""


class WitnessNode:
    """A witness, its memory, and the lock that keeps a second process away from it."""

    def __init__(self, config: WitnessConfig, folder: Path, signers: list[NoteSigner]) -> None:
        """Opens the memory in `folder`. Raises StorageError (`locked`), StorageFailedError."""
        self._lock = FileLock(folder / "lock")
        try:
            memory = WitnessedHeads(sqlite_engine(folder / "witness.sqlite"))
        except BaseException:
            self._lock.close()
            raise
        self.witness = Witness(signers, config.log, memory)

    def interrupt(self) -> None:
        """Nothing here takes long."""

    def stop(self) -> None:
        """End in order. Safe to call twice."""
        self.witness.close()
        self._lock.close()


def open_witness(config: WitnessConfig, data: Path) -> WitnessNode:
    """The witness whose memory lies in the data folder `data`. Raises what its keys and memory raise."""
    return WitnessNode(config, data / "witness", load_signers(config))
