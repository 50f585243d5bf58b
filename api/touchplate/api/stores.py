"""What every adapter's judge reads and writes, and how all of them record first sight."""

from __future__ import annotations

from dataclasses import dataclass

from touchplate.api.alarms import Alarms
from touchplate.api.blobs import Blob, BlobStore
from touchplate.api.errors import NotReadyError
from touchplate.api.index.facts import FactIndex
from touchplate.api.index.store import EvidenceRow
from touchplate.api.links import Links
from touchplate.api.peers import PeerBlobs
from touchplate.api.pull import MAX_FILE_BYTES
from touchplate.api.records import FirstSight, RecordWriter
from touchplate.verify.purl import PackageURL


@dataclass(frozen=True)
class Stores:
    """What judging reads and writes. `peers`: other nodes that may have a blob which an upstream gives no
    longer; None when this node is no peer."""

    blobs: BlobStore
    links: Links
    index: FactIndex
    alarms: Alarms
    peers: PeerBlobs | None = None

    def of_peers(self, sha256: str, max_bytes: int = MAX_FILE_BYTES) -> Blob | None:
        """These bytes from another peer; None when none gives them. They are stored, and not linked yet."""
        return None if self.peers is None else self.peers.obtain(sha256, max_bytes)

    def recorded_of_peers(self, package: PackageURL) -> Blob | None:
        """As `of_peers`, for the bytes that the log recorded first for a package file."""
        if self.peers is None:
            return None
        self.index.catch_up()
        first = self.index.first_record(package)
        return None if first is None else self.peers.obtain(first.sha256, _recorded_size(first))


class FirstSights:
    """Puts first sights into the log, and stops when the gate's own trust file does not count them."""

    def __init__(self, stores: Stores, records: RecordWriter | None) -> None:
        """`records` may be None when no upstream records first sight."""
        self._stores = stores
        self._records = records
        self._are_void = False

    def is_recorded(self, package: PackageURL) -> bool:
        """Whether the log holds a good record of this package file, for whatever bytes."""
        return self._stores.index.first_record(package) is not None

    def record(self, upstream: str, sight: FirstSight) -> None:
        """Record a file that the upstream of the name `upstream` gave. On return the index knows it.

        Raises BusyError and NotReadyError.
        """
        if self._records is None or self._are_void:
            raise NotReadyError(
                f"upstream {upstream!r} records first sight, and there is no recorder that counts"
            )
        index = self._records.record(sight)
        self._stores.index.catch_up(index + 1)
        if not self.is_recorded(sight.package):
            # Else every request would put one more of them into the log.
            self._are_void = True
            message = f"the trust file does not count this node's own record at index {index}"
            self._stores.alarms.raise_alarm(f"{message}; nothing is recorded until a restart")
            raise NotReadyError(message)


def _recorded_size(record: EvidenceRow) -> int:
    """Bytes of the file that a record is about. Another recorder may have larger limits than this node."""
    size = record.detail["size"]
    return min(size, MAX_FILE_BYTES) if isinstance(size, int) else MAX_FILE_BYTES
