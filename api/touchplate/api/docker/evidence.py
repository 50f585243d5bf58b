"""What only speaks about an image, and is served without being judged: it must not be able to be one.

A manifest is believed to be such by the types of its layers alone, which its publisher chose. So the bytes
themselves have to be JSON, which no client can unpack, and not begin like an archive either.
"""

from __future__ import annotations

import json

from touchplate.api.errors import RefusedError

MAX_EVIDENCE_BYTES = 16 * 1024**2
"""Bytes of one attestation or bill of materials: large ones have 10 MiB."""

MAX_ARRAYS = 1_000_000
"""Arrays in it, also those in texts: a list of 10 MiB has 60,000. Each takes 64 bytes, even an empty one."""

_TAR_BLOCK = 512
_CHECKSUM = slice(148, 156)


def check_evidence(body: bytes) -> None:
    """Raises RefusedError for bytes that are no JSON document, or that an unpacker could take for a tar.

    Needs up to 300 MB for a document of MAX_EVIDENCE_BYTES: a caller looks at one at a time.
    """
    an_object = object()
    try:
        # Objects are dropped as soon as they were read: only the form matters.
        value = None
        if body.count(b"[") <= MAX_ARRAYS:
            value = json.loads(body.decode("utf-8"), object_pairs_hook=lambda _: an_object)
    except (ValueError, RecursionError):
        value = None
    if not (value is an_object or isinstance(value, list)) or _is_tar(body[:_TAR_BLOCK]):
        raise RefusedError(
            "its manifest says that this is an attestation, which nobody judges, and it is no JSON document",
            reason="not-evidence",
        )


def _is_tar(block: bytes) -> bool:
    """Whether a block carries its own checksum (POSIX.1-1988 ustar, also the older forms)."""
    if len(block) < _TAR_BLOCK:
        return False
    text = block[_CHECKSUM].strip(b" \0")
    try:
        given = int(text, 8)
    except ValueError:
        return False
    others = block[: _CHECKSUM.start] + b" " * 8 + block[_CHECKSUM.stop :]
    signed = sum(byte - 256 if byte > 127 else byte for byte in others)
    return given in (sum(others), signed)
