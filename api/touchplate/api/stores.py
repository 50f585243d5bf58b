"""What every adapter's judge reads and writes, and how all of them record first sight."""

from __future__ import annotations

from dataclasses import dataclass

from touchplate.api.alarms import Alarms
from touchplate.api.blobs import BlobStore
from touchplate.api.errors import NotReadyError
from touchplate.api.index.facts import FactIndex
from touchplate.api.links import Links
from touchplate.api.records import FirstSight, RecordWriter
from touchplate.verify.purl import PackageURL


@dataclass(frozen=True)
class Stores:
    """What judging reads and writes."""

    blobs: BlobStore
    links: Links
    index: FactIndex
    alarms: Alarms


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
