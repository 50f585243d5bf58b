"""Statement keys: who signs what is said about packages. ECDSA P-256 or Ed25519, each in one form only.

The SPKI bytes of a key are part of every leaf, and a signature is too, so a second spelling of either would
give one statement several leaves. Log and cosigner keys are of another kind: see `notes`.
"""

import hashlib
from functools import lru_cache
from typing import Literal, TypeAlias

from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from touchplate.verify.ed25519 import check_public
from touchplate.verify.encoding import decode_base64, encode_base64
from touchplate.verify.errors import MalformedError, SignatureError, shown

Algorithm: TypeAlias = Literal["p256", "ed25519"]

P256_PREFIX = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
"""SPKI of an uncompressed point on the named curve P-256, up to the point's coordinates (RFC 5480 2)."""

P256_SPKI_BYTES = 91

ED25519_PREFIX = bytes.fromhex("302a300506032b6570032100")
"""SPKI of Ed25519, up to the raw key (RFC 8410 4)."""

ED25519_SPKI_BYTES = 44

ED25519_NULL_PREFIX = bytes.fromhex("302c300706032b65700500032100")
"""The same with NULL as parameters, which RFC 8410 3 forbids: rebuilderd (in-toto-rs) writes its keys so."""

ED25519_SIGNATURE_BYTES = 64

P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""n of P-256 (SEC 2, 2.4.2): (r, s) and (r, n - s) are both valid, so s is taken from the lower half."""

RAW_SIGNATURE_BYTES = 64
"""Bytes of r and s without DER (IEEE P1363), a form that other verifiers accept and this one must name."""

PEM_LIMIT = 16 * 1024
"""Bytes of a PEM file: an encrypted key takes 400, and a file of megabytes is another file."""

RECENT_KEYS = 256
"""Parsed keys that are remembered: a log has few, and checking that a point is on the curve costs as much as
parsing its statement's JSON."""

_PEM_BEGIN = "-----BEGIN PUBLIC KEY-----"
_PEM_END = "-----END PUBLIC KEY-----"
_PEM_LINE = 64  # RFC 7468 2
_PRIVATE_BEGINS = (b"-----BEGIN PRIVATE KEY-----", b"-----BEGIN ENCRYPTED PRIVATE KEY-----")


class StatementKey:
    """A public statement key, made by `parse_spki` or `parse_public_pem`. Equal when the SPKI bytes are."""

    __slots__ = ("_public", "algorithm", "spki")

    def __init__(self, public: ec.EllipticCurvePublicKey | Ed25519PublicKey) -> None:
        self._public = public
        self.algorithm: Algorithm
        self.spki: bytes
        if isinstance(public, Ed25519PublicKey):
            self.algorithm, self.spki = "ed25519", ED25519_PREFIX + public.public_bytes_raw()
        else:
            numbers = public.public_numbers()
            point = numbers.x.to_bytes(32, "big") + numbers.y.to_bytes(32, "big")
            self.algorithm, self.spki = "p256", P256_PREFIX + point

    @property
    def spki_sha256(self) -> bytes:
        """SHA-256 of the SPKI: the name by which a log and a Sigstore bundle look a key up."""
        return hashlib.sha256(self.spki).digest()

    def verify(self, signature: bytes, pae: bytes) -> None:
        """Check `signature` over `pae`. Raises SignatureError when it does not hold or has a refused form."""
        check_signature_form(self.algorithm, signature)
        try:
            if isinstance(self._public, Ed25519PublicKey):
                self._public.verify(signature, pae)
            else:
                self._public.verify(signature, pae, _VerifyingECDSA())
        except InvalidSignature as error:
            raise SignatureError(f"signature does not hold under key {self.spki_sha256.hex()}") from error

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StatementKey) and other.spki == self.spki

    def __hash__(self) -> int:
        return hash(self.spki)

    def __repr__(self) -> str:
        return f"StatementKey({self.algorithm}, spki sha256 {self.spki_sha256.hex()})"


class _VerifyingECDSA(ec.ECDSA):
    """ECDSA-SHA256 for verifying. `ec.ECDSA()` itself asks the backend whether it can sign deterministically,
    and loading that costs a fifth of the start of `touchplate verify`."""

    def __init__(self) -> None:
        """Not the parent's: both properties that it would set are given here."""

    @property
    def algorithm(self) -> hashes.HashAlgorithm:
        return hashes.SHA256()

    @property
    def deterministic_signing(self) -> bool:
        return False


def check_signature_form(algorithm: Algorithm, signature: bytes) -> None:
    """Check that `signature` is in its only form: strict DER with low s, or 64 bytes for Ed25519.

    Entry format 3. Says nothing about validity. Raises SignatureError with reason `high-s`, `raw-signature`
    or `bad-signature-form`.
    """
    if algorithm == "ed25519":
        if len(signature) != ED25519_SIGNATURE_BYTES:
            raise SignatureError(
                f"an ed25519 signature has {ED25519_SIGNATURE_BYTES} bytes, not {len(signature)}",
                reason="bad-signature-form",
            )
        return
    try:
        r, s = decode_dss_signature(signature)
        strict = r > 0 and s > 0 and encode_dss_signature(r, s) == signature
    except ValueError:
        strict = False
    if not strict:
        if len(signature) == RAW_SIGNATURE_BYTES:
            raise SignatureError("ecdsa signature is raw r||s; send it as der", reason="raw-signature")
        raise SignatureError(
            f"ecdsa signature is not strict der: {shown(signature.hex())}", reason="bad-signature-form"
        )
    if r >= P256_ORDER or s >= P256_ORDER:
        raise SignatureError(
            "ecdsa signature has r or s beyond the order of p-256", reason="bad-signature-form"
        )
    if s > P256_ORDER // 2:
        raise SignatureError("ecdsa signature has a high s; send it with n - s", reason="high-s")


@lru_cache(RECENT_KEYS)
def parse_spki(spki: bytes) -> StatementKey:
    """The key with exactly these SPKI bytes. Raises MalformedError for every other key type or form."""
    try:
        if len(spki) == P256_SPKI_BYTES and spki.startswith(P256_PREFIX):
            # The prefix ends with the 04 of an uncompressed point, which belongs to the encoded point.
            point = spki[len(P256_PREFIX) - 1 :]
            key = StatementKey(ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), point))
        elif len(spki) == ED25519_SPKI_BYTES and spki.startswith(ED25519_PREFIX):
            key = StatementKey(Ed25519PublicKey.from_public_bytes(spki[len(ED25519_PREFIX) :]))
        else:
            raise MalformedError(
                "key is neither p-256 with an uncompressed point nor ed25519, and no other is accepted: "
                f"{shown(spki.hex())}",
                reason="bad-key",
            )
    except ValueError as error:  # a point that is not on the curve
        raise MalformedError(f"key is not a point on p-256: {shown(spki.hex())}", reason="bad-key") from error
    if key.spki != spki:  # whatever the library tolerates, the leaf holds these very bytes
        raise MalformedError(
            f"key does not re-encode to the same bytes: {shown(spki.hex())}", reason="bad-key"
        )
    return key


def parse_public_pem(text: str) -> StatementKey:
    """The key of PEM text with one `PUBLIC KEY` block (RFC 7468 13) and nothing else.

    Line ends may be CRLF, and white space around the block is ignored. Raises MalformedError, for an Ed25519
    key under which anybody can sign, too.
    """
    return _require_strong(parse_spki(_pem_bytes(text)))


def parse_rebuilderd_pem(text: str) -> StatementKey:
    """The Ed25519 key of a rebuilderd instance, in the form of RFC 8410 or in rebuilderd's own.

    Raises MalformedError, for keys of other types too: it has none.
    """
    spki = _pem_bytes(text)
    if spki.startswith(ED25519_NULL_PREFIX):
        spki = ED25519_PREFIX + spki[len(ED25519_NULL_PREFIX) :]
    key = parse_spki(spki)
    if key.algorithm != "ed25519":
        raise MalformedError(
            f"rebuilderd signs with ed25519, and this key is {key.algorithm}", reason="bad-key"
        )
    return _require_strong(key)


def _require_strong(key: StatementKey) -> StatementKey:
    """Where people list keys, not where leaves are read: no list, no leaf that counts."""
    if key.algorithm == "ed25519":
        check_public(key.spki[len(ED25519_PREFIX) :])
    return key


def _pem_bytes(text: str) -> bytes:
    if len(text) > PEM_LIMIT:
        raise MalformedError(f"a public key in pem is not {len(text)} characters long", reason="bad-key")
    lines = [line.strip() for line in text.strip().splitlines()]
    if len(lines) < 3 or lines[0] != _PEM_BEGIN or lines[-1] != _PEM_END:
        first = shown(lines[0]) if lines else "nothing"
        raise MalformedError(
            f"expected one block {_PEM_BEGIN!r} and nothing else, found {first}", reason="bad-key"
        )
    return decode_base64("".join(lines[1:-1]), "public key")


def format_public_pem(key: StatementKey) -> str:
    """PEM text of a public key, with final newline."""
    text = encode_base64(key.spki)
    lines = [text[start : start + _PEM_LINE] for start in range(0, len(text), _PEM_LINE)]
    return "\n".join([_PEM_BEGIN, *lines, _PEM_END, ""])


class StatementSigner:
    """A private statement key. Signs deterministically and never shows its key: repr names the public one."""

    __slots__ = ("_private", "key")

    def __init__(self, private: ec.EllipticCurvePrivateKey | Ed25519PrivateKey) -> None:
        """Take a key of the `cryptography` library. Raises MalformedError for a curve other than P-256."""
        if isinstance(private, ec.EllipticCurvePrivateKey) and not isinstance(private.curve, ec.SECP256R1):
            raise MalformedError(f"curve {private.curve.name} is not p-256", reason="bad-key")
        self._private = private
        self.key = StatementKey(private.public_key())

    def sign(self, pae: bytes) -> bytes:
        """Signature over `pae`: Ed25519, or ECDSA-SHA256 (RFC 6979) as DER with low s."""
        if isinstance(self._private, Ed25519PrivateKey):
            return self._private.sign(pae)
        signature = self._private.sign(pae, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))
        return normalise_signature(signature)

    def private_pem(self, password: bytes | None = None) -> bytes:
        """PKCS#8 PEM of the private key, encrypted when a password is given. To be stored with mode 0600."""
        from cryptography.hazmat.primitives import serialization

        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password is not None:
            encryption = serialization.BestAvailableEncryption(password)
        return self._private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )

    def __repr__(self) -> str:
        return f"StatementSigner({self.key.algorithm}, spki sha256 {self.key.spki_sha256.hex()})"


def normalise_signature(signature: bytes) -> bytes:
    """An ECDSA P-256 signature (DER) with its s brought into the lower half. Raises SignatureError."""
    try:
        r, s = decode_dss_signature(signature)
    except ValueError as error:
        raise SignatureError("ecdsa signature is not der", reason="bad-signature-form") from error
    return encode_dss_signature(r, min(s, P256_ORDER - s))


def generate_signer(algorithm: Algorithm = "p256") -> StatementSigner:
    """A new random key."""
    if algorithm == "ed25519":
        return StatementSigner(Ed25519PrivateKey.generate())
    return StatementSigner(ec.generate_private_key(ec.SECP256R1()))


def format_private_pem(signer: StatementSigner, password: bytes | None = None) -> bytes:
    """PKCS#8 PEM of the private key, encrypted when a password is given. To be stored with mode 0600."""
    return signer.private_pem(password)


def load_signer(pem: bytes, password: bytes | None = None) -> StatementSigner:
    """The signer of a private key in PKCS#8 PEM. Raises MalformedError, which never shows the key."""
    # On use: serialization brings ssh and ciphers along, which a reader never needs.
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if len(pem) > PEM_LIMIT or not pem.lstrip().startswith(_PRIVATE_BEGINS):
        raise MalformedError(
            "expected a pkcs#8 private key in pem, see `touchplate keygen`", reason="bad-key"
        )
    encrypted = pem.lstrip().startswith(_PRIVATE_BEGINS[1])
    if encrypted and password is None:
        raise MalformedError("private key is encrypted and no password was given", reason="bad-key")
    if not encrypted and password is not None:
        raise MalformedError("private key is not encrypted, yet a password was given", reason="bad-key")
    try:
        private = load_pem_private_key(pem, password)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError):
        # InternalError: what the library makes of a key of another curve with a wrong length.
        # `from None`: the library's message may quote what it read.
        problem = "with this password" if encrypted else "as pkcs#8"
        raise MalformedError(f"private key cannot be read {problem}", reason="bad-key") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey | Ed25519PrivateKey):
        raise MalformedError(f"{type(private).__name__} is neither p-256 nor ed25519", reason="bad-key")
    return StatementSigner(private)
