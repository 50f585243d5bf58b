"""Hashing of RFC 6962 Merkle trees: leaves, inner nodes, and the roots of growing trees.

Everything here is SHA-256 over bytes that the caller holds; nothing is trusted and nothing is judged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

HASH_SIZE = 32
"""Bytes of every hash in the tree (SHA-256)."""

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""Root of the tree without leaves (RFC 6962 2.1: the hash of an empty string)."""


def leaf_hash(data: bytes) -> bytes:
    """Hash of a leaf's data: SHA-256(0x00 || data) (RFC 6962 2.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Hash of an inner node: SHA-256(0x01 || left || right) (RFC 6962 2.1)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def fold_right(hashes: Sequence[bytes]) -> bytes:
    """Hash of a subtree from its complete subtrees, given from the largest (left) to the smallest (right).

    Requires at least one hash. RFC 6962 2.1 splits at the largest power of two below the size, so the
    smallest two are joined first.
    """
    folded = hashes[-1]
    for left in reversed(hashes[:-1]):
        folded = node_hash(left, folded)
    return folded


class CompactRange:
    """A tree known only by its complete subtrees: enough to append leaves and to tell the root.

    `hashes` holds one hash per set bit of `size`, from the largest subtree (left) to the smallest.
    Not safe for use by several threads at once.
    """

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        """Start from a tree of `size` leaves; raises ValueError when the hashes do not fit that size."""
        self._size = size
        self._hashes = list(hashes)
        if size < 0 or len(self._hashes) != size.bit_count():
            raise ValueError(f"a tree of size {size} has other than {len(self._hashes)} complete subtrees")
        if any(len(each) != HASH_SIZE for each in self._hashes):
            raise ValueError(f"every hash of a compact range has {HASH_SIZE} bytes")

    @property
    def size(self) -> int:
        """Number of leaves."""
        return self._size

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """Hashes of the complete subtrees, largest first."""
        return tuple(self._hashes)

    def append(self, leaf: bytes) -> None:
        """Add one leaf by its leaf hash (32 bytes)."""
        if len(leaf) != HASH_SIZE:
            raise ValueError(f"a leaf hash has {HASH_SIZE} bytes, not {len(leaf)}")
        # Every trailing one bit of the size is a complete subtree of the same height as what was just made.
        size = self._size
        while size & 1:
            leaf = node_hash(self._hashes.pop(), leaf)
            size >>= 1
        self._hashes.append(leaf)
        self._size += 1

    def root(self) -> bytes:
        """Root hash of the tree (RFC 6962 2.1, MTH)."""
        return fold_right(self._hashes) if self._hashes else EMPTY_ROOT

    def copy(self) -> CompactRange:
        """An independent range of the same tree."""
        return CompactRange(self._size, self._hashes)
