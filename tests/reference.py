"""RFC 6962 section 2.1, written down literally and recursively: slow, only to cross-check fast code."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def _split(n: int) -> int:
    """The largest power of two smaller than n (k < n <= 2k)."""
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def mth(d: Sequence[bytes]) -> bytes:
    """MTH(D[n]): Merkle tree hash of a list of leaf data (RFC 6962 2.1)."""
    n = len(d)
    if n == 0:
        return hashlib.sha256(b"").digest()
    if n == 1:
        return hashlib.sha256(b"\x00" + d[0]).digest()
    k = _split(n)
    return hashlib.sha256(b"\x01" + mth(d[:k]) + mth(d[k:])).digest()


def path(m: int, d: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D[n]): audit path of the leaf m (RFC 6962 2.1.1)."""
    n = len(d)
    if n == 1:
        return []
    k = _split(n)
    if m < k:
        return [*path(m, d[:k]), mth(d[k:])]
    return [*path(m - k, d[k:]), mth(d[:k])]


def proof(m: int, d: Sequence[bytes]) -> list[bytes]:
    """PROOF(m, D[n]): consistency proof between the first m leaves and all (RFC 6962 2.1.2), 0 < m <= n."""
    return _subproof(m, d, True)


def _subproof(m: int, d: Sequence[bytes], complete: bool) -> list[bytes]:
    n = len(d)
    if m == n:
        return [] if complete else [mth(d)]
    k = _split(n)
    if m <= k:
        return [*_subproof(m, d[:k], complete), mth(d[k:])]
    return [*_subproof(m - k, d[k:], False), mth(d[:k])]
