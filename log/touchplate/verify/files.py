"""The digests of one file, as they are compared with what statements and bundles say about it."""

import hashlib
from collections.abc import Mapping
from typing import BinaryIO

from touchplate.verify.fields import DIGEST_BYTES
from touchplate.verify.values import value

ALGORITHMS = tuple(DIGEST_BYTES)
"""The digests that a subject can give. Only sha256 identifies; others must be right when given."""

_LABELS = ("sha1", "md5")  # compared because they are given; never what anything rests on

CHUNK_BYTES = 1 << 20
"""Bytes read at a time: large enough that hashing, not reading, is what takes the time."""


@value
class FileDigests:
    """What was computed from the bytes of one file. `digests`: algorithm to lower-case hex, sha256 always.

    `whole`: False when the bytes are not at hand and only these digests are known: then `size` says nothing,
    and no other digest is compared.
    """

    size: int
    digests: Mapping[str, str]
    whole: bool = True

    @property
    def sha256(self) -> str:
        """The digest that identifies the file, lower-case hex."""
        return self.digests["sha256"]

    def differing(self, claimed: Mapping[str, str]) -> tuple[str, ...]:
        """The algorithms of `ALGORITHMS` in `claimed` whose digest is another, or was not computed here."""
        known = [name for name in ALGORITHMS if name in claimed and (self.whole or name in self.digests)]
        return tuple(name for name in known if self.digests.get(name) != claimed[name])


def digest_file(file: BinaryIO) -> FileDigests:
    """All digests of what is left in `file`. Raises OSError."""
    hashes = [hashlib.new(name, usedforsecurity=name not in _LABELS) for name in ALGORITHMS]
    size = 0
    while chunk := file.read(CHUNK_BYTES):
        size += len(chunk)
        for one in hashes:
            one.update(chunk)
    return FileDigests(size, {name: one.hexdigest() for name, one in zip(ALGORITHMS, hashes, strict=True)})
