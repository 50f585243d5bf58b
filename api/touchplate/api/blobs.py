"""The blob folder: files by sha256, hashed while they arrive, and hashed again before they are sent."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from touchplate.api.errors import NotFoundError
from touchplate.base.durable import DigestFolder, DigestWriter

DIGESTS = ("sha256", "sha512", "sha384", "sha1", "md5")
"""Every digest that a statement may give for a file; sha256 identifies, the others must be right too."""

CHUNK_BYTES = 1024 * 1024
"""Bytes per read. Hashing and sending in 64 KiB pieces costs twice as much (facts of the prototype)."""

SOUND_ENTRIES = 20_000
"""Blobs whose state on disk is remembered after hashing, about 4 MB; the oldest go first."""

State = tuple[int, int, int, int, int]


@dataclass(frozen=True)
class Blob:
    """One stored file: its size in bytes and its digests in lower-case hex."""

    size: int
    sha256: str
    sha512: str
    sha384: str
    sha1: str
    md5: str


class BlobWriter:
    """One file on its way into the store: `write` pieces, then `commit`. Leaving the `with` block without
    `commit` leaves nothing behind. One thread uses it at a time."""

    def __init__(
        self, folder: DigestFolder, expected: str | None = None, max_bytes: int | None = None
    ) -> None:
        self._folder = folder
        self._expected = expected
        self._max_bytes = max_bytes
        self._writer: DigestWriter | None = None
        self._hashes = {
            name: hashlib.new(name, usedforsecurity=name not in ("sha1", "md5")) for name in DIGESTS
        }
        self._size = 0

    def write(self, piece: bytes, /) -> None:
        """Add bytes. Raises StorageError when the disk refuses them, TooLargeError."""
        self._size += len(piece)
        for state in self._hashes.values():
            state.update(piece)
        self._opened().write(piece)

    def commit(self) -> Blob:
        """Make the file durable under its sha256. Raises StorageError, WrongDigestError."""
        self._opened().commit()
        return Blob(self._size, **{name: state.hexdigest() for name, state in self._hashes.items()})

    def _opened(self) -> DigestWriter:
        # On the first piece: most requests that end in a 404 need no file.
        if self._writer is None:
            self._writer = self._folder.writer(expected=self._expected, max_bytes=self._max_bytes)
        return self._writer

    def __enter__(self) -> BlobWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.__exit__(kind, error, trace)


class BlobStore:
    """Blobs in a digest folder. Who may read which blob is a matter of links, not of this class."""

    def __init__(self, folder: DigestFolder) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._sound: OrderedDict[str, State] = OrderedDict()  # under self._lock

    def writer(self, expected: str | None = None, max_bytes: int | None = None) -> BlobWriter:
        """A writer for bytes that come piece by piece; with `expected` (hex sha256), for those bytes only."""
        return BlobWriter(self._folder, expected, max_bytes)

    def expecting(self, sha256: str, size: int) -> DigestWriter:
        """A writer for bytes whose digest and size are known: `commit` raises WrongDigestError for others."""
        return self._folder.writer(expected=sha256, max_bytes=size)

    def has(self, sha256: str) -> bool:
        """Whether there is a file of this name; `is_sound` says whether it holds the right bytes."""
        return self._folder.has(sha256)

    def is_sound(self, sha256: str) -> bool:
        """Whether the file still hashes to its name. It is read again whenever the file system says that it
        changed, and once per process; a missing file is not sound."""
        try:
            before = self._state(sha256)
            with self._lock:
                if self._sound.get(sha256) == before:
                    self._sound.move_to_end(sha256)
                    return True
            with self._folder.path(sha256).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            # A file that was exchanged while it was read is not remembered, and hashed again next time.
            is_steady = self._state(sha256) == before
        except OSError:
            return False
        if found != sha256:
            return False
        if is_steady:
            with self._lock:
                self._sound[sha256] = before
                while len(self._sound) > SOUND_ENTRIES:
                    self._sound.popitem(last=False)
        return True

    def path(self, sha256: str) -> Path:
        """The file of a blob, for sending. Raises NotFoundError when it is not here."""
        if not self._folder.has(sha256):
            raise NotFoundError(f"blob {sha256} is not held here", reason="blob-missing")
        return self._folder.path(sha256)

    def _state(self, sha256: str) -> State:
        """What changes with every write through the file system: ctime cannot be set back."""
        found = self._folder.path(sha256).stat()
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
