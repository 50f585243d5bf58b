"""The blob folder: files by sha256, and their other digests computed once, when they arrive."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from touchplate.api.errors import NotFoundError
from touchplate.base.durable import DigestFolder

DIGESTS = ("sha256", "sha512", "sha384", "sha1", "md5")
"""Every digest that a statement may give for a file; sha256 identifies, the others must be right too."""

CHUNK_BYTES = 1024 * 1024
"""Bytes per read. Hashing and sending in 64 KiB pieces costs twice as much (facts of the prototype)."""


@dataclass(frozen=True)
class Blob:
    """One stored file: its size in bytes and its digests in lower-case hex."""

    size: int
    sha256: str
    sha512: str
    sha384: str
    sha1: str
    md5: str


class BlobStore:
    """Blobs in a digest folder. Who may read which blob is a matter of links, not of this class."""

    def __init__(self, folder: DigestFolder, workspace: Path) -> None:
        """`workspace`: folder for files that are still being fetched, on the same disk as `folder`."""
        self._folder = folder
        self.workspace = workspace
        workspace.mkdir(parents=True, exist_ok=True)

    def put(self, stream: IO[bytes]) -> Blob:
        """Hash the stream from its start to its end, then store it durably."""
        hashes = {name: hashlib.new(name, usedforsecurity=name not in ("sha1", "md5")) for name in DIGESTS}
        size = 0
        while chunk := stream.read(CHUNK_BYTES):
            size += len(chunk)
            for state in hashes.values():
                state.update(chunk)
        blob = Blob(size, **{name: state.hexdigest() for name, state in hashes.items()})
        stream.seek(0)
        # The folder hashes again what it writes: a file that changes underneath is refused there.
        self._folder.put(stream, expected=blob.sha256)
        return blob

    def has(self, sha256: str) -> bool:
        """Whether the bytes are here."""
        return self._folder.has(sha256)

    def path(self, sha256: str) -> Path:
        """The file of a blob, for sending. Raises NotFoundError when it is not here."""
        if not self._folder.has(sha256):
            raise NotFoundError(f"blob {sha256} is not held here", reason="blob-missing")
        return self._folder.path(sha256)
