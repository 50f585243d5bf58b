"""Envelopes: DSSE 1.0 around an in-toto statement, in one exact form (entry format 3).

There is no `keyid`: other verifiers skip a signature whose keyid they do not expect, and since it is signed
by nobody and part of no leaf, any value would give one entry several envelopes.
"""

from touchplate.verify.encoding import decode_base64, encode_base64
from touchplate.verify.errors import MalformedError, shown
from touchplate.verify.jcs import parse_json
from touchplate.verify.keys import StatementSigner
from touchplate.verify.values import value

PAYLOAD_TYPE = "application/vnd.in-toto+json"

MAX_ENVELOPE_BYTES = 64 * 1024
"""Bytes of an envelope. Part of the format: a reader that allowed more would see more entries than others."""

_BEFORE_PAYLOAD = b'{"payload":"'
_BEFORE_SIGNATURE = b'","payloadType":"' + PAYLOAD_TYPE.encode() + b'","signatures":[{"sig":"'
_AFTER_SIGNATURE = b'"}]}'


@value
class Envelope:
    """What an envelope holds: the payload as signed, and the one signature over its PAE."""

    payload: bytes
    signature: bytes


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed: the pre-authentication encoding of DSSE ("Signature Definition")."""
    name = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(name), name, len(payload), payload)


def parse_envelope(data: bytes) -> Envelope:
    """The envelope in `data`, which must be the RFC 8785 form of its content, to the byte.

    Raises MalformedError. The signature is not looked at: see `entry.make_entry` for its form and
    `entry.verify_entry` for its validity.
    """
    if len(data) > MAX_ENVELOPE_BYTES:
        raise MalformedError(
            f"envelope of {len(data)} bytes is longer than {MAX_ENVELOPE_BYTES}", reason="too-large"
        )
    # Base64 holds no quote, so the first middle part found is the only place where it can stand.
    middle = data.find(_BEFORE_SIGNATURE)
    if not data.startswith(_BEFORE_PAYLOAD) or not data.endswith(_AFTER_SIGNATURE) or middle < 0:
        raise MalformedError(_what_is_wrong(data))
    after_middle, end = middle + len(_BEFORE_SIGNATURE), len(data) - len(_AFTER_SIGNATURE)
    payload, signature = data[len(_BEFORE_PAYLOAD) : middle], data[after_middle:end]
    if b'"' in payload or b'"' in signature:  # more than one signature, or other fields
        raise MalformedError(_what_is_wrong(data))
    # Latin-1 takes every byte; decode_base64 then refuses those that are not of its alphabet.
    envelope = Envelope(
        decode_base64(payload.decode("latin-1"), "envelope payload"),
        decode_base64(signature.decode("latin-1"), "envelope signature"),
    )
    # The three fixed parts can share a quote; then they are all found, and the envelope is another one. Where
    # they do not, `data` is these five parts one after the other, and each text is the one that its bytes
    # give: it is what `format_envelope` makes of them.
    if middle < len(_BEFORE_PAYLOAD) or end < after_middle:
        raise MalformedError(_what_is_wrong(data))
    return envelope


def format_envelope(payload: bytes, signature: bytes) -> bytes:
    """The only form of an envelope. Raises MalformedError (`too-large`) beyond `MAX_ENVELOPE_BYTES`."""
    parts = (
        _BEFORE_PAYLOAD,
        encode_base64(payload).encode("ascii"),
        _BEFORE_SIGNATURE,
        encode_base64(signature).encode("ascii"),
        _AFTER_SIGNATURE,
    )
    data = b"".join(parts)
    if len(data) > MAX_ENVELOPE_BYTES:
        raise MalformedError(
            f"envelope would have {len(data)} bytes, more than {MAX_ENVELOPE_BYTES}: shorten the statement, "
            "which should hold digests instead of lists",
            reason="too-large",
        )
    return data


def sign_envelope(payload: bytes, signer: StatementSigner) -> bytes:
    """The envelope over `payload` by `signer`, the same bytes each time. Raises MalformedError."""
    return format_envelope(payload, signer.sign(pae(PAYLOAD_TYPE, payload)))


def _what_is_wrong(data: bytes) -> str:
    # For the message only: most refused envelopes are another tool's, one step away from the form.
    form = "envelope is not the rfc 8785 form of payload, payloadType and one sig"
    try:
        value = parse_json(data, max_bytes=MAX_ENVELOPE_BYTES)
    except MalformedError as error:
        return f"{form}: {error}"
    if not isinstance(value, dict):
        return f"{form}: it is no object"
    if value.get("payloadType") != PAYLOAD_TYPE:
        return f"envelope has payloadType {shown(value.get('payloadType'))}, not {PAYLOAD_TYPE!r}"
    signatures = value.get("signatures")
    if not isinstance(signatures, list) or len(signatures) != 1:
        return "envelope must have exactly one signature; send one envelope per signer"
    if isinstance(signatures[0], dict) and "keyid" in signatures[0]:
        return "envelope has a keyid, which nothing signs; leave it out"
    return f"{form}: white space, order or fields differ"
