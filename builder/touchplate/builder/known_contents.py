"""What archives hold, by the digest of the archive: looked through once, not for every build that uses them.

A list is only kept of an archive that was looked through to its end, within the limits. It follows from the
archive's bytes and from the rules of `answer` alone, so it is right for every later build, whatever that
has to make.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from touchplate.builder.errors import storage_lack

RULES = 5
"""Goes up when `answer` looks deeper or at other formats: older lists then say too little."""

_DIGEST_BYTES = 32


class KnownContents:
    """A folder of lists. Safe for several threads and processes at once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / f"rules-{RULES}"

    def find(self, sha256: str) -> frozenset[str] | None:
        """The SHA-256 (hex) of the archive `sha256` and of all that it holds; None when that is not known."""
        try:
            data = self._path(sha256).read_bytes()
        except OSError:
            return None
        digests, checksum = data[:-_DIGEST_BYTES], data[-_DIGEST_BYTES:]
        # Written in place and not flushed, so it may be cut.
        if hashlib.sha256(bytes.fromhex(sha256) + digests).digest() != checksum:
            return None
        text = digests.hex()
        width = 2 * _DIGEST_BYTES
        return frozenset(text[start : start + width] for start in range(0, len(text), width))

    def keep(self, sha256: str, digests: Iterable[str]) -> None:
        """Remember what the archive `sha256` holds, itself included. Raises HostLack when it cannot be
        written."""
        body = bytes.fromhex("".join(sorted(digests)))
        data = body + hashlib.sha256(bytes.fromhex(sha256) + body).digest()
        path = self._path(sha256)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # In place: whoever reads or dies in the middle sees a list that its sum does not fit.
            path.write_bytes(data)
        except OSError as error:
            raise storage_lack("cannot keep a list of contents", self._folder, error) from error

    def _path(self, sha256: str) -> Path:
        return self._folder / sha256[:2] / sha256
