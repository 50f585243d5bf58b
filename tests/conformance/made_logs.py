"""Logs for foreign readers: grown by our own storage and publishing, then copied as a mirror would."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.log.support import open_sqlite, raw_entries, record_envelope, running_log, sign
from tests.simkeys import log_signer, verifier_key
from tests.verify.support import LIB, PUBLISHED, digests_of

from touchplate.log.reading import LogReader
from touchplate.verify.bundle import Artifact, Bundle, BundleEntry, format_bundle
from touchplate.verify.tiles import (
    TILE_WIDTH,
    BundleCoord,
    entries_path,
    envelopes_path,
    tile_path,
    tiles_of,
)

KEY = verifier_key(log_signer())
"""Public key of the logs that are made here, in the text form of signed notes."""

BATCH = 4096
"""Entries in one transaction: as many as the sequencer takes."""


@dataclass(frozen=True)
class LogCopy:
    """A log as files below `folder`, at the paths of tlog-tiles, and proof bundles beside it."""

    folder: Path
    key: str = KEY
    bundles: tuple[Path, ...] = ()
    envelopes: bool = True

    def copy(self, target: Path) -> LogCopy:
        """The same in another folder, to be damaged."""
        shutil.copytree(self.folder, target / "log")
        bundles = tuple(Path(shutil.copy(bundle, target)) for bundle in self.bundles)
        return LogCopy(target / "log", self.key, bundles, self.envelopes)

    def write(self, path: str, data: bytes) -> None:
        """Put bytes at a path, right or wrong."""
        file = self.folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)

    def flip(self, path: str, at: int = 0) -> None:
        """Change one bit of a file."""
        data = bytearray((self.folder / path).read_bytes())
        data[at] ^= 1
        self.write(path, bytes(data))


def make_log(folder: Path, size: int) -> LogCopy:
    """A log of `size` signed entries, taken in by the log's own service; with a bundle of some of them."""
    with running_log(folder / "service") as service:
        if size:
            service.append([record_envelope(number) for number in range(size)])
        copied = copy_log(service.reader, folder / "log")
        if not size:
            return copied
        bundle = folder / "bundle.json"
        bundle.write_bytes(make_bundle(service.reader, sorted({0, size // 2, size - 1})))
        return LogCopy(copied.folder, bundles=(bundle,))


def make_raw_log(folder: Path, size: int) -> LogCopy:
    """A log of `size` entries that nobody signed: storage and publishing only, and so much faster to make."""
    folder.mkdir(parents=True, exist_ok=True)
    tree = open_sqlite(folder)
    try:
        for start in range(0, size, BATCH):
            tree.apply(raw_entries(min(BATCH, size - start), start), sign)
        return copy_log(LogReader(tree), folder / "log", envelopes=False)
    finally:
        tree.close()


def make_bundle(reader: LogReader, indexes: list[int]) -> bytes:
    """A proof bundle of the entries at `indexes` against the newest checkpoint."""
    size = reader.size()
    entries = []
    for index in indexes:
        entry = reader.entry(index)
        proof = tuple(reader.inclusion(index, size))
        entries.append(BundleEntry(index, entry.envelope, entry.spki, proof))
    artifact = Artifact(LIB, LIB.file_name, len(PUBLISHED), {"sha256": digests_of(PUBLISHED)["sha256"]})
    return format_bundle(Bundle(artifact, reader.checkpoint(), tuple(entries)))


def copy_log(reader: LogReader, target: Path, *, envelopes: bool = True) -> LogCopy:
    """Write checkpoint, tiles and bundles under the paths at which they are served."""
    copied = LogCopy(target, envelopes=envelopes)
    copied.write("checkpoint", reader.checkpoint())
    size = reader.size()
    for tile in tiles_of(size):
        copied.write(tile_path(tile), reader.resource(tile))
    for start in range(0, size, TILE_WIDTH):
        number, width = start // TILE_WIDTH, min(TILE_WIDTH, size - start)
        entries = BundleCoord("entries", number, width)
        copied.write(entries_path(number, width), reader.resource(entries))
        if envelopes:
            packed = BundleCoord("envelopes", number, width)
            copied.write(envelopes_path(number, width), reader.resource(packed))
    return copied
