"""Signed envelopes on their way to a log: on disk before they are sent, and exactly those sent again.

A statement holds times, so building and signing again after a crash would put a second account of the same
rebuild into the log. What was signed is therefore stored first; a log answers a repeated envelope with the
index that it has already.
"""

import contextlib
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from touchplate.base.durable import make_folder, remove_abandoned_writes, write_atomic
from touchplate.base.errors import StorageError
from touchplate.builder.errors import OutboxError, storage_lack
from touchplate.verify.encoding import decode_base64, encode_base64, parse_decimal
from touchplate.verify.errors import VerifyError
from touchplate.verify.jcs import JSON, JSONValue, format_json, parse_json

MAX_PARCEL_BYTES = 16 * 1024 * 1024
"""A parcel of 128 envelopes of the largest size; ours hold two of 5 kB."""

_VERSION = 1

Read = TypeVar("Read")


@dataclass(frozen=True)
class Parcel:
    """Envelopes that go to one log together, in order, and the evidence that goes before them."""

    name: str
    package: str
    envelopes: tuple[bytes, ...]
    evidence: tuple[str, ...]
    """sha256 of the files in the evidence folder that the envelopes name."""
    log: str = ""
    """URL of the log that they are for; empty: for whichever is named first."""


class Outbox:
    """A folder of parcels: waiting ones in it, done ones below `done/` with their indexes, those that a log
    refused below `refused/` with the reason.

    Any number of processes may use one folder; two that send the same parcel at once do no harm. Opening it
    removes what crashed writers left.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._done = folder / "done"
        self._refused = folder / "refused"
        make_folder(self._done)
        for one in (self._folder, self._done, self._refused):
            remove_abandoned_writes(one)

    def put(self, package: str, envelopes: Sequence[bytes], evidence: Sequence[str], log: str = "") -> Parcel:
        """Store a new parcel; on return it is on disk. Raises HostLack when the disk refuses it."""
        # The time orders parcels; the rest keeps two processes of the same nanosecond apart.
        name = f"{time.time_ns():020d}-{secrets.token_hex(4)}.json"
        parcel = Parcel(name, package, tuple(envelopes), tuple(evidence), log)
        self._write(self._folder / name, _format(parcel))
        return parcel

    def path(self, parcel: Parcel) -> Path:
        """Where a waiting parcel lies."""
        return self._folder / parcel.name

    def waiting(self) -> list[Parcel]:
        """Parcels that are not done, oldest first. Raises OutboxError for one that cannot be read."""
        found = []
        for path in sorted(self._folder.glob("*.json")):
            with contextlib.suppress(FileNotFoundError):  # another process has just sent it
                found.append(_read(path, _parse))
        return found

    def indexes(self, parcel: Parcel) -> tuple[int, ...]:
        """Where the log holds the envelopes of a parcel that is done, whoever sent it. Raises OutboxError."""
        path = self._done / parcel.name
        try:
            return _read(path, _parse_indexes)
        except FileNotFoundError:
            raise OutboxError(f"the parcel {parcel.name} was not sent: look below {self._refused}") from None

    def mark_done(self, parcel: Parcel, indexes: Sequence[int]) -> None:
        """Note the indexes under which the log holds the envelopes; the parcel waits no longer."""
        value = {**_format(parcel), "indexes": [str(index) for index in indexes]}
        self._write(self._done / parcel.name, value)
        # The note is on disk. A crash before the next line sends again, and gets the same indexes.
        (self._folder / parcel.name).unlink(missing_ok=True)

    def mark_refused(self, parcel: Parcel, reason: str) -> None:
        """Set a parcel aside that the log will never take, with its reason."""
        make_folder(self._refused)
        self._write(self._refused / parcel.name, {**_format(parcel), "refused": reason})
        (self._folder / parcel.name).unlink(missing_ok=True)

    def _write(self, path: Path, value: dict[str, JSONValue]) -> None:
        try:
            write_atomic(path, format_json(value), 0o600)
        except StorageError as error:
            raise storage_lack("cannot store signed envelopes", self._folder, error) from error


def _read(path: Path, parse: Callable[[str, JSON], Read]) -> Read:
    """Raises FileNotFoundError, OutboxError."""
    try:
        return parse(path.name, parse_json(path.read_bytes(), max_bytes=MAX_PARCEL_BYTES))
    except FileNotFoundError:
        raise
    except (OSError, VerifyError, KeyError, TypeError) as error:
        raise OutboxError(f"cannot read the parcel {str(path)!r}: {error}; move it away") from error


def _format(parcel: Parcel) -> dict[str, JSONValue]:
    return {
        "version": _VERSION,
        "package": parcel.package,
        "envelopes": [encode_base64(envelope) for envelope in parcel.envelopes],
        "evidence": list(parcel.evidence),
        "log": parcel.log,
    }


def _parse(name: str, value: JSON) -> Parcel:
    if not isinstance(value, dict) or value["version"] != _VERSION:
        raise TypeError("not a parcel of version 1")
    package, envelopes, evidence = value["package"], value["envelopes"], value["evidence"]
    if not (isinstance(package, str) and isinstance(envelopes, list) and isinstance(evidence, list)):
        raise TypeError("package, envelopes or evidence have another type")
    return Parcel(
        name,
        package,
        tuple(decode_base64(str(each), "envelope") for each in envelopes),
        tuple(str(each) for each in evidence),
        str(value["log"]),
    )


def _parse_indexes(name: str, value: JSON) -> tuple[int, ...]:
    if not isinstance(value, dict) or not isinstance(value["indexes"], list):
        raise TypeError("not a parcel that is done")
    return tuple(parse_decimal(str(index), "index") for index in value["indexes"])
