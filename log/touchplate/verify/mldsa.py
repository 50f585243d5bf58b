"""ML-DSA-44 cosignatures (C2SP tlog-cosignature, FIPS 204): what is signed, and the library's keys.

An ML-DSA-44 cosigner does not sign the text of a checkpoint but this, packed:

    "subtree/v1\\n" 0x00 || u8 length || cosigner's name || u64 time || u8 length || origin
                         || u64 0 || u64 size || 32-byte root

So the line binds the cosigner's name, and says nothing about extension lines. The library is asked on use: a
reader without such a key never loads it, and an installation whose `cryptography` (or OpenSSL) has no ML-DSA
reads everything else; a key of this type is then refused with the remedy, and never passed over.
"""

from __future__ import annotations

from typing import Protocol

from touchplate.verify.encoding import decode_base64, parse_decimal
from touchplate.verify.errors import MalformedError, SignatureError, shown
from touchplate.verify.rfc6962 import HASH_SIZE

KEY_BYTES = 1312
"""Bytes of a public key (FIPS 204, table 2)."""

SEED_BYTES = 32
"""Bytes of a private key in its seed form, the only one here (FIPS 204 3.6.3)."""

LABEL = b"subtree/v1\n\0"

_MAX_NAME = 255
_MAX_SIZE = 2**64


class Signer(Protocol):
    """The part of the library's private key that is used."""

    def sign(self, data: bytes) -> bytes:
        """A signature, another one each time."""


def cosigned_message(cosigner: str, time: int, text: str) -> bytes:
    """What the cosigner called `cosigner` signs at `time` (unix seconds) about the checkpoint body `text`.

    Only the first three lines count. Raises MalformedError when they are not those of a checkpoint, or a name
    does not fit.
    """
    lines = text.split("\n", 3)
    if len(lines) < 4:
        raise MalformedError("an ML-DSA-44 cosignature is of a checkpoint: origin, size, root")
    origin, size_text, root_text, _ = lines
    size = parse_decimal(size_text, "the size of the checkpoint", _MAX_SIZE)
    root = decode_base64(root_text, "the root of the checkpoint")
    if len(root) != HASH_SIZE:
        raise MalformedError(f"the root of a checkpoint has {HASH_SIZE} bytes, not {len(root)}")
    head = _opaque(cosigner, "the cosigner's name") + time.to_bytes(8, "big") + _opaque(origin, "the origin")
    return LABEL + head + bytes(8) + size.to_bytes(8, "big") + root


def _opaque(text: str, what: str) -> bytes:
    data = text.encode()
    if not 1 <= len(data) <= _MAX_NAME:
        raise MalformedError(f"{what} {shown(text)} does not have 1 to {_MAX_NAME} bytes")
    return bytes([len(data)]) + data


def load_seed(seed: bytes) -> tuple[Signer, bytes]:
    """(private key, public key bytes) of a seed. Raises MalformedError `unsupported-key-type`."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
    except ImportError:
        raise _unsupported() from None
    try:
        private = MLDSA44PrivateKey.from_seed_bytes(seed)
    except UnsupportedAlgorithm:
        raise _unsupported() from None
    return private, private.public_key().public_bytes_raw()


def check_public(public: bytes) -> None:
    """Raises MalformedError for bytes that the library does not take as a public key."""
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
    except ImportError:
        raise _unsupported() from None
    try:
        MLDSA44PublicKey.from_public_bytes(public)
    except UnsupportedAlgorithm:
        raise _unsupported() from None
    except ValueError as error:
        raise MalformedError(f"this is no ML-DSA-44 key: {error}") from None


def verify(public: bytes, signature: bytes, message: bytes) -> None:
    """Raises SignatureError unless `signature` (2,420 bytes, empty context) is of `message`."""
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

    try:
        MLDSA44PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError, UnsupportedAlgorithm):
        raise SignatureError("the ML-DSA-44 signature does not verify") from None


def _unsupported() -> MalformedError:
    return MalformedError(
        "the key is of type 0x06 (ML-DSA-44), which the installed `cryptography` does not have: install"
        " cryptography 50 or newer with an OpenSSL that has ML-DSA, or use an Ed25519 key",
        reason="unsupported-key-type",
    )
