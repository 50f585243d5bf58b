"""What the adapters want from their neighbours, each as a small Protocol. The node plugs the neighbours
in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from touchplate.verify.checkpoints import Checkpoint


class EntrySource(Protocol):
    """The log as the index follows it. All entries come in order and none is left out."""

    def entries_after(self, count: int) -> list[tuple[int, bytes]]:
        """(index, packed entry) of the next entries when `count` of them are known; empty when there are
        none.

        A source may answer with fewer than there are; the caller asks again.
        """

    def wait_for_growth(self, size: int, timeout_seconds: float) -> int:
        """Wait until the log holds more than `size` entries, or the time is up; answers its size then."""


class Recorder(Protocol):
    """The way into the log for records of first sight."""

    def append(self, envelopes: Sequence[bytes]) -> list[int]:
        """Put signed envelopes into the log and answer their indexes, in order, once they are durable."""


@dataclass(frozen=True)
class ProvenEntry:
    """One entry with its inclusion proof: `key` is the SPKI, `proof` the hashes of 32 bytes."""

    index: int
    envelope: bytes
    key: bytes
    proof: tuple[bytes, ...]


class ProofSource(Protocol):
    """Where proofs of inclusion come from."""

    def checkpoint(self) -> bytes:
        """The newest published checkpoint, a signed note."""

    def proven_entries(self, checkpoint: Checkpoint, indexes: Sequence[int]) -> list[ProvenEntry]:
        """The entries at `indexes`, each with its proof against `checkpoint`, in the given order."""


@dataclass(frozen=True)
class Fetched:
    """What an upstream answered. The body is in the sink when `status` is 200, and dropped otherwise."""

    status: int


class Sink(Protocol):
    """Where a body goes to."""

    def write(self, data: bytes, /) -> object:
        """Take some bytes."""


class Fetcher(Protocol):
    """A bounded HTTP client for one upstream."""

    def fetch(self, path: str, sink: Sink, max_bytes: int) -> Fetched:
        """GET the file at `path` (decoded, below the upstream's root) into `sink`.

        Raises UpstreamError when there is no answer, a cut one, or one of more than `max_bytes`.
        """


class BlobHolder(Protocol):
    """Another node that gives blobs to this one by their digest."""

    @property
    def name(self) -> str:
        """How people here call it."""

    def fetch(self, sha256: str, sink: Callable[[bytes], object], max_bytes: int) -> bool:
        """Pass the bytes of a blob to `sink` as they come, unchecked; False when it has none for us.

        Raises UpstreamError when there is no usable answer; what `sink` raises comes through.
        """


class EvidenceStore(Protocol):
    """The files behind statements, each by its digest: definitions, input locks, build logs, reports."""

    def where(self, sha256: str) -> str | None:
        """The path at which this node serves the file; None when it does not hold it."""
