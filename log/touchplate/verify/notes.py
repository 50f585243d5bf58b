"""Signed notes: text with signature lines (C2SP signed-note), keys of logs and cosigners (tlog-cosignature).

    <text, ends in a newline>
    <empty line>
    — <key name> <base64 of key id (4 bytes) || signature>      (one line per signature)

    public key:     <name>+<hex key id>+<base64 of type byte || public key>
    private key:    PRIVATE+KEY+<name>+<hex key id>+<base64 of type byte || seed>

The type byte says which role a key has, and no key serves two: 0x01 signs as a log, 0x04 (Ed25519) and 0x06
(ML-DSA-44, see `mldsa`) cosign with a time.

Reading is stricter than signed-note asks: every byte is consumed, base64 has one form, and a note with a
wrong line of any known key is refused whole. Pure: times come from the caller.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection, Iterable, Sequence
from typing import Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from touchplate.verify import ed25519, mldsa
from touchplate.verify.encoding import decode_base64, decode_hex, encode_base64
from touchplate.verify.errors import MalformedError, SignatureError, shown
from touchplate.verify.values import value

MAX_NOTE_BYTES = 1024 * 1024
"""Bytes of a signed note: 64 post-quantum signature lines and a body fit several times."""

MAX_SIGNATURE_LINES = 64
"""Signature lines of a note: signed-note asks for at least 16, stock verifiers stop at 100."""

MAX_KEY_NAME_BYTES = 255
"""Bytes of a key name: longer than any host name with a path that a person would type."""

LOG_KEY_TYPE = 0x01
"""Ed25519 over the note text (signed-note)."""

COSIGNER_KEY_TYPE = 0x04
"""Ed25519 over a time and the note text (tlog-cosignature)."""

MLDSA_COSIGNER_KEY_TYPE = 0x06
"""ML-DSA-44 over name, time and the checkpoint's three lines (tlog-cosignature)."""

_DASH = "— "  # U+2014 EM DASH, space
_ID_BYTES = 4
_ED25519_KEY_BYTES = 32
_ED25519_SIGNATURE_BYTES = 64
_TIME_BYTES = 8
_MAX_TIME = 2**63
_MAX_HOST = 253
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ORIGIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_COSIGNER = rf"{_ORIGIN.pattern}(?:/[A-Za-z0-9._~-]+)*"
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")

Role = Literal["log", "cosigner"]
CosignerAlgorithm = Literal["ed25519", "mldsa44"]
_COSIGNERS: dict[CosignerAlgorithm, int] = {
    "ed25519": COSIGNER_KEY_TYPE,
    "mldsa44": MLDSA_COSIGNER_KEY_TYPE,
}
_TYPES = (LOG_KEY_TYPE, *_COSIGNERS.values())


# --- keys -------------------------------------------------------------------------------------------------


@value
class NoteKey:
    """A public key of a log (type 0x01) or a cosigner (0x04, 0x06), named by name and id (signed-note)."""

    name: str
    key_id: bytes
    type: int
    public: bytes

    @property
    def role(self) -> Role:
        """What the key's type byte lets it do."""
        return "log" if self.type == LOG_KEY_TYPE else "cosigner"

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}"


def is_origin(name: str) -> bool:
    """Whether `name` can be the origin of a log, and so the name of its key: a bare lower-case host name
    without path and port (stock verifiers compare it with a host name)."""
    return len(name) <= _MAX_HOST and _ORIGIN.fullmatch(name) is not None


def parse_verifier_key(text: str) -> NoteKey:
    """A public key from its text form, with or without the final newline of a key file.

    Raises MalformedError; `unsupported-key-type` for a type other than 0x01, 0x04 and 0x06, and for 0x06 when
    the installed library has no ML-DSA-44.
    """
    name, key_id, key_type, public = _parse_key(text.removesuffix("\n").split("+", 2), "public key")
    if key_type == MLDSA_COSIGNER_KEY_TYPE:
        mldsa.check_public(public)
    else:
        ed25519.check_public(public)
    return _require_id(NoteKey(name, _key_id(name, key_type, public), key_type, public), key_id)


def format_verifier_key(key: NoteKey) -> str:
    """The text form of a public key, without a final newline."""
    return f"{key.name}+{key.key_id.hex()}+{encode_base64(bytes([key.type]) + key.public)}"


class NoteSigner:
    """A private key of a log or a cosigner. Its repr and its errors never show the seed."""

    def __init__(self, name: str, key_type: int, seed: bytes) -> None:
        self._seed = seed
        self._private: mldsa.Signer
        if key_type == MLDSA_COSIGNER_KEY_TYPE:
            self._private, public = mldsa.load_seed(seed)
        else:
            self._private = private = Ed25519PrivateKey.from_private_bytes(seed)
            public = private.public_key().public_bytes_raw()
        self.key = NoteKey(name, _key_id(name, key_type, public), key_type, public)

    def __repr__(self) -> str:
        return f"NoteSigner({self.key})"

    def sign(self, text: str, *, time: int | None = None) -> str:
        """The signature line for `text`, with its newline.

        A cosigner needs `time` (unix seconds) and puts it into line and signature (tlog-cosignature); a log
        key has no place for one. Raises ValueError when `time` is missing or impossible, MalformedError when
        `text` cannot be the text of a note, or not of a checkpoint as ML-DSA-44 needs it.
        """
        _check_text(text)
        if self.key.type == LOG_KEY_TYPE:
            payload = self._private.sign(text.encode())
        elif time is None or not 0 < time < _MAX_TIME:
            raise ValueError(f"a cosignature carries the time of signing in unix seconds, not {time!r}")
        else:
            payload = time.to_bytes(_TIME_BYTES, "big") + self._private.sign(_cosigned(self.key, text, time))
        return f"{_DASH}{self.key.name} {encode_base64(self.key.key_id + payload)}\n"

    def format(self) -> str:
        """The private text form, without a final newline. A secret: it belongs into a file of mode 0600."""
        seed = encode_base64(bytes([self.key.type]) + self._seed)
        return f"PRIVATE+KEY+{self.key.name}+{self.key.key_id.hex()}+{seed}"


def parse_signer_key(text: str) -> NoteSigner:
    """A private key from its text form, with or without the final newline of a key file.

    Raises MalformedError, which never repeats the text.
    """
    # Base64 has "+" too: only the first four separate.
    parts = text.removesuffix("\n").split("+", 4)
    if parts[:2] != ["PRIVATE", "KEY"]:
        raise MalformedError("this is not a private note key: it does not start with PRIVATE+KEY+")
    name, key_id, key_type, seed = _parse_key(parts[2:], "private key", mldsa.SEED_BYTES)
    signer = NoteSigner(name, key_type, seed)
    _require_id(signer.key, key_id)
    return signer


def format_signer_key(signer: NoteSigner) -> str:
    """The private text form of `signer`, without a final newline; the pair of `parse_signer_key`."""
    return signer.format()


def generate_note_signer(name: str, role: Role, algorithm: CosignerAlgorithm = "ed25519") -> NoteSigner:
    """A new key. The name of a log's key is its origin (see `is_origin`), a cosigner's is host[/path].

    Raises MalformedError for a name that cannot stand in a note or is not of its role's form, for a log key
    that is not Ed25519 (witnesses take no other), and when the library has no ML-DSA-44. Keys that others
    made may have any name that signed-note allows.
    """
    _check_name(name)
    if role == "log" and not is_origin(name):
        raise MalformedError(
            f"{shown(name)} cannot be the origin of a log: use a bare lower-case host name, no path, no port"
        )
    if role == "cosigner" and not re.fullmatch(_COSIGNER, name):
        raise MalformedError(
            f"{shown(name)} cannot be a cosigner's name: use a lower-case host name, host[/path]"
        )
    if role == "log" and algorithm != "ed25519":
        raise MalformedError("a log key is Ed25519: witnesses and stock verifiers take no other")
    key_type = LOG_KEY_TYPE if role == "log" else _COSIGNERS[algorithm]
    return NoteSigner(name, key_type, secrets.token_bytes(mldsa.SEED_BYTES))


def _key_id(name: str, key_type: int, public: bytes) -> bytes:
    """signed-note: SHA-256(name || 0x0A || type || public key)[:4]."""
    return hashlib.sha256(name.encode() + b"\n" + bytes([key_type]) + public).digest()[:_ID_BYTES]


def _parse_key(
    parts: Sequence[str], what: str, mldsa_bytes: int = mldsa.KEY_BYTES
) -> tuple[str, bytes, int, bytes]:
    """(name, key id, type, key bytes). Messages do not repeat the key part: it may be a secret."""
    if len(parts) != 3:
        raise MalformedError(f"a {what} has the form NAME+ID+KEY")
    name, id_text, key_text = parts
    _check_name(name)
    key_id = decode_hex(id_text, _ID_BYTES, f"the id of {what} {shown(name)}")
    try:
        data = decode_base64(key_text, what)
    except MalformedError:
        raise MalformedError(f"the key part of {what} {shown(name)} is not base64 in its one form") from None
    key_type = data[0] if data else 0
    if key_type not in _TYPES:
        raise MalformedError(
            f"{what} {shown(name)} is of type 0x{key_type:02x}: known are 0x01 (log), 0x04, 0x06 (cosigner)",
            reason="unsupported-key-type",
        )
    algorithm, length = ("an Ed25519", _ED25519_KEY_BYTES)
    if key_type == MLDSA_COSIGNER_KEY_TYPE:
        algorithm, length = ("an ML-DSA-44", mldsa_bytes)
    if len(data) != 1 + length:
        raise MalformedError(
            f"{what} {shown(name)} has {len(data) - 1} bytes, {algorithm} key has {length} there"
        )
    return name, key_id, key_type, data[1:]


def _require_id(key: NoteKey, key_id: bytes) -> NoteKey:
    if key.key_id != key_id:
        raise MalformedError(
            f"the key of {shown(key.name)} has the id {key.key_id.hex()}, not {key_id.hex()} as it says"
        )
    return key


def _check_name(name: str) -> None:
    # signed-note: not empty, no Unicode space, no plus; control characters cannot stand in a note at all.
    if not name or any(char.isspace() or char < " " or char == "+" for char in name):
        raise MalformedError(
            f"{shown(name)} cannot be a key name: it is empty or has a space or a plus in it"
        )
    if len(_encode(name, "a key name")) > MAX_KEY_NAME_BYTES:
        raise MalformedError(f"the key name {shown(name)} is longer than {MAX_KEY_NAME_BYTES} bytes")


# --- notes ------------------------------------------------------------------------------------------------


@value
class VerifiedSignature:
    """A signature line that was verified: its key and, for a cosigner, the unix time it stands for."""

    key: NoteKey
    timestamp: int | None


@value
class OpenNote:
    """A note of which at least one line was verified. `unknown`: number of lines of other keys."""

    text: str
    signatures: tuple[VerifiedSignature, ...]
    unknown: int


def sign_note(text: str, signers: Iterable[NoteSigner], time: int | None = None) -> bytes:
    """A note over `text` with one line per signer, cosigners at `time` (unix seconds).

    Raises MalformedError when the result would not be a note: bad text, no signer, more than 64.
    """
    lines = [signer.sign(text, time=time if signer.key.role == "cosigner" else None) for signer in signers]
    if not 0 < len(lines) <= MAX_SIGNATURE_LINES:
        raise MalformedError(f"a note has 1 to {MAX_SIGNATURE_LINES} signature lines, not {len(lines)}")
    note = f"{text}\n{''.join(lines)}".encode()
    if len(note) > MAX_NOTE_BYTES:
        raise MalformedError(f"a note of {len(note)} bytes is larger than {MAX_NOTE_BYTES}")
    return note


def open_note(data: bytes, keys: Sequence[NoteKey]) -> OpenNote:
    """Read a note and verify every line of a key in `keys`.

    Raises MalformedError for bytes that are no note (any line counts, also of unknown keys), SignatureError
    `bad-signature` when a line of a known key does not verify or a known key has two lines, and
    `no-known-signature` when no line is of a known key (signed-note, Signatures).
    """
    text, lines = _split(data)
    known = {(key.name, key.key_id): key for key in keys}
    if any(known[key.name, key.key_id] != key for key in keys):
        # A collision of name and 32-bit id: which key was meant cannot be told.
        raise MalformedError("two different known keys have the same name and id", reason="ambiguous-key")
    verified: dict[NoteKey, VerifiedSignature] = {}
    strangers = []
    for line in lines:
        name, key_id, payload = _parse_line(line)
        key = known.get((name, key_id))
        if key is None:
            strangers.append(f"{name}+{key_id.hex()}")
            continue
        if key in verified:
            raise SignatureError(f"the note has two lines of the key {shown(str(key))}")
        verified[key] = _verify(key, text, payload)
    if not verified:
        raise SignatureError(
            f"no line of the note is of a known key: signed by {shown(', '.join(strangers))}",
            reason="no-known-signature",
        )
    return OpenNote(text, tuple(verified.values()), len(strangers))


def unverified_text(data: bytes) -> str:
    """The text of a note of which nothing was verified: it says whose keys to ask.

    Raises MalformedError.
    """
    return _split(data)[0]


def keep_lines(data: bytes, wanted: Collection[tuple[str, bytes]]) -> bytes:
    """The note with only those signature lines that name one of the `wanted` (key name, key id); maybe none.

    Nothing is verified. Raises MalformedError for bytes that are no note.
    """
    text, lines = _split(data)
    kept = [f"{line}\n" for line in lines if _parse_line(line)[:2] in wanted]
    return f"{text}\n{''.join(kept)}".encode()


def _split(data: bytes) -> tuple[str, list[str]]:
    """(text with its final newline, signature lines without theirs): split at the last empty line."""
    if len(data) > MAX_NOTE_BYTES:
        raise MalformedError(f"the note has {len(data)} bytes, more than {MAX_NOTE_BYTES}")
    try:
        note = data.decode()
    except UnicodeDecodeError as error:
        raise MalformedError(f"the note is not UTF-8: byte {error.start}") from None
    at = note.rfind("\n\n")
    if at < 0:
        raise MalformedError("the note has no empty line between text and signatures")
    text, signatures = note[: at + 1], note[at + 2 :]
    _check_text(text)
    if not signatures.endswith("\n"):
        raise MalformedError("the note has no signature lines, or its last one has no newline")
    lines = signatures[:-1].split("\n")
    if len(lines) > MAX_SIGNATURE_LINES:
        raise MalformedError(f"the note has {len(lines)} signature lines, more than {MAX_SIGNATURE_LINES}")
    return text, lines


def _check_text(text: str) -> None:
    _encode(text, "the text of a note")
    if not text.endswith("\n"):
        raise MalformedError("the text of a note ends in a newline")
    if control := _CONTROL.search(text):
        raise MalformedError(f"the text of a note has the control character {control[0]!r}")


def _parse_line(line: str) -> tuple[str, bytes, bytes]:
    """(key name, key id, what follows the id) of one signature line."""
    parts = line.removeprefix(_DASH).split(" ")
    if not line.startswith(_DASH) or len(parts) != 2:
        raise MalformedError(f"{shown(line)} is not a signature line: an em dash, a key name, base64")
    name, signature = parts
    _check_name(name)
    data = decode_base64(signature, f"the signature of {shown(name)}")
    if len(data) <= _ID_BYTES:
        raise MalformedError(
            f"the signature of {shown(name)} has {len(data)} bytes, too few for a key id and more"
        )
    return name, data[:_ID_BYTES], data[_ID_BYTES:]


def _verify(key: NoteKey, text: str, payload: bytes) -> VerifiedSignature:
    time = None
    message = text.encode()
    if key.role == "cosigner":
        time = int.from_bytes(payload[:_TIME_BYTES], "big")
        payload = payload[_TIME_BYTES:]
        # tlog-cosignature: an Ed25519 line always carries a real time; an ML-DSA-44 line without one vouches
        # for consistency only, so its age is that of 1970.
        earliest = 0 if key.type == MLDSA_COSIGNER_KEY_TYPE else 1
        if not earliest <= time < _MAX_TIME:
            raise SignatureError(f"the cosignature of {shown(str(key))} carries no time")
    try:
        if time is not None:
            message = _cosigned(key, text, time)
        if key.type == MLDSA_COSIGNER_KEY_TYPE:
            mldsa.verify(key.public, payload, message)
        elif len(payload) != _ED25519_SIGNATURE_BYTES:
            raise InvalidSignature
        else:
            Ed25519PublicKey.from_public_bytes(key.public).verify(payload, message)
    except (InvalidSignature, ValueError, MalformedError, SignatureError):
        raise SignatureError(
            f"the signature of {shown(str(key))} does not verify: changed note, or another key"
        ) from None
    return VerifiedSignature(key, time)


def _cosigned(key: NoteKey, text: str, time: int) -> bytes:
    """What a cosigner signs (tlog-cosignature). Raises MalformedError for a text that the key cannot sign."""
    if key.type == MLDSA_COSIGNER_KEY_TYPE:
        return mldsa.cosigned_message(key.name, time, text)
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def _encode(text: str, what: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise MalformedError(f"{what} has a lone surrogate in it") from None
