"""An entry: an envelope with the key it was signed by, and everything that follows from the two.

The leaf is Sigstore's Rekor v2 `hashedrekord` 0.0.2, so that verifiers which already exist rebuild it from
the envelope and the key and check its inclusion. Nothing of it can be changed later.
"""

import hashlib

from touchplate.verify.dsse import MAX_ENVELOPE_BYTES, PAYLOAD_TYPE, Envelope, pae, parse_envelope
from touchplate.verify.encoding import encode_base64
from touchplate.verify.errors import MalformedError
from touchplate.verify.keys import P256_SPKI_BYTES, StatementKey, check_signature_form, parse_spki
from touchplate.verify.rfc6962 import leaf_hash
from touchplate.verify.values import derived, value

MAX_PACKED_BYTES = 4 + MAX_ENVELOPE_BYTES + 2 + P256_SPKI_BYTES
"""Bytes of the longest packed entry: two length fields, an envelope, the longer of the two key forms."""

_ENVELOPE_LENGTH_BYTES = 4
_SPKI_LENGTH_BYTES = 2
_WITHHELD = bytes(_ENVELOPE_LENGTH_BYTES + _SPKI_LENGTH_BYTES)

# Leaf form 1: Ed25519 is named with SHA-512 and "PH" though the signature is a pure one over the PAE; this is
# what the other verifiers rebuild, and with the plain names they refuse.
_LEAF_NAMES = {
    "p256": ("SHA2_256", "PKIX_ECDSA_P256_SHA_256"),
    "ed25519": ("SHA2_512", "PKIX_ED25519_PH"),
}


@value
class Entry:
    """An envelope and the SPKI of its key, both in their only form; the signature itself is not checked.

    Raises MalformedError or SignatureError on construction, so an Entry that exists is well formed.
    """

    envelope: bytes
    spki: bytes

    def __post_init__(self) -> None:
        check_signature_form(self.key.algorithm, self.signature)

    @derived
    def key(self) -> StatementKey:
        """The key that is said to have signed."""
        return parse_spki(self.spki)

    @derived
    def _content(self) -> Envelope:
        return parse_envelope(self.envelope)

    @property
    def payload(self) -> bytes:
        """The statement's bytes as signed."""
        return self._content.payload

    @property
    def signature(self) -> bytes:
        """The signature over the PAE."""
        return self._content.signature

    @derived
    def pae(self) -> bytes:
        """The bytes under the signature."""
        return pae(PAYLOAD_TYPE, self.payload)

    @derived
    def identity(self) -> bytes:
        """SHA-256(PAE || SPKI): one statement by one key is one entry, whatever its signature."""
        return hashlib.sha256(self.pae + self.spki).digest()

    @derived
    def leaf_data(self) -> bytes:
        """The bytes that the tree holds: canonical JSON of the PAE's hash, the signature and the key."""
        algorithm, details = _LEAF_NAMES[self.key.algorithm]
        hasher = hashlib.sha256 if self.key.algorithm == "p256" else hashlib.sha512
        # Written out, since every part is plain ASCII and this order is that of RFC 8785.
        text = (
            '{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{"hashedRekordV002":{"data":{"algorithm":"'
            f'{algorithm}","digest":"{encode_base64(hasher(self.pae).digest())}"}},"signature":{{"content":"'
            f'{encode_base64(self.signature)}","verifier":{{"keyDetails":"{details}","publicKey":{{"rawBytes":"'
            f'{encode_base64(self.spki)}"}}}}}}}}}}}}'
        )
        return text.encode("ascii")

    @derived
    def leaf_hash(self) -> bytes:
        """SHA-256(0x00 || leaf data) (RFC 6962 2.1)."""
        return leaf_hash(self.leaf_data)


def make_entry(envelope: bytes, spki: bytes) -> Entry:
    """The entry of an envelope and the key it is said to be signed by.

    Form only: raises MalformedError for envelope and SPKI, SignatureError for the form of the signature.
    """
    return Entry(envelope, spki)


def assemble_entry(envelope: bytes, content: Envelope, key: StatementKey) -> Entry:
    """`make_entry` for whoever has parsed `envelope` into `content` and holds the key: neither is done again.

    Raises SignatureError for the form of the signature.
    """
    entry = Entry.__new__(Entry)
    vars(entry).update(envelope=envelope, spki=key.spki, key=key, _content=content)
    entry.__post_init__()
    return entry


def verify_entry(entry: Entry) -> None:
    """Check that the entry's key made its signature. Raises SignatureError."""
    entry.key.verify(entry.signature, entry.pae)


def pack_entry(entry: Entry) -> bytes:
    """uint32 BE length || envelope || uint16 BE length || SPKI: an entry on the wire and at rest."""
    return b"".join(
        (
            len(entry.envelope).to_bytes(_ENVELOPE_LENGTH_BYTES, "big"),
            entry.envelope,
            len(entry.spki).to_bytes(_SPKI_LENGTH_BYTES, "big"),
            entry.spki,
        )
    )


def parse_packed(data: bytes) -> Entry:
    """The entry in `data`, every byte of it. Raises MalformedError, SignatureError as `make_entry`.

    The reserved form of two zero lengths (withheld) is refused with reason `withheld`.
    """
    if data == _WITHHELD:
        raise MalformedError(
            "packed entry is withheld, a form that is reserved and not defined", reason="withheld"
        )
    envelope, rest = _take(data, _ENVELOPE_LENGTH_BYTES, "envelope")
    spki, rest = _take(rest, _SPKI_LENGTH_BYTES, "key")
    if rest:
        raise MalformedError(f"packed entry is followed by {len(rest)} more bytes")
    return make_entry(envelope, spki)


def _take(data: bytes, length_bytes: int, what: str) -> tuple[bytes, bytes]:
    length = int.from_bytes(data[:length_bytes], "big")
    end = length_bytes + length
    if len(data) < max(end, length_bytes):
        raise MalformedError(f"packed entry ends after {len(data)} bytes of a {what} that needs {end}")
    return data[length_bytes:end], data[end:]
