"""Envelopes: one exact form, to the byte."""

import json

import pytest
from tests.verify.support import make_record, mangle, statement_signer

from touchplate.verify.dsse import (
    MAX_ENVELOPE_BYTES,
    PAYLOAD_TYPE,
    Envelope,
    format_envelope,
    pae,
    parse_envelope,
    sign_envelope,
)
from touchplate.verify.encoding import encode_base64
from touchplate.verify.errors import MalformedError, SignatureError
from touchplate.verify.jcs import format_json

PAYLOAD = b'{"a":1}'
SIGNATURE = b"sig"
GOOD = format_envelope(PAYLOAD, SIGNATURE)


def test_pae_is_that_of_the_dsse_specification() -> None:
    # secure-systems-lab/dsse, protocol.md, "Test Vectors".
    expected = b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    assert pae("http://example.com/HelloWorld", b"hello world") == expected


def test_pae_counts_bytes_not_characters() -> None:
    assert pae("ä", b"\x00") == b"DSSEv1 2 \xc3\xa4 1 \x00"


def test_writes_the_rfc_8785_form_and_reads_it_back() -> None:
    expected = format_json(
        {
            "payload": encode_base64(PAYLOAD),
            "payloadType": PAYLOAD_TYPE,
            "signatures": [{"sig": encode_base64(SIGNATURE)}],
        }
    )
    assert expected == GOOD
    assert parse_envelope(GOOD) == Envelope(PAYLOAD, SIGNATURE)


def test_signs_over_the_pae_and_the_same_each_time() -> None:
    signer = statement_signer()
    data = sign_envelope(make_record(), signer)
    assert data == sign_envelope(make_record(), signer)
    envelope = parse_envelope(data)
    assert envelope.payload == make_record()
    signer.key.verify(envelope.signature, pae(PAYLOAD_TYPE, envelope.payload))


def changed(**changes: object) -> bytes:
    return json.dumps(json.loads(GOOD) | changes, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "rfc 8785"),
        (b"[]", "no object"),
        (GOOD + b"\n", "white space"),
        (json.dumps(json.loads(GOOD)).encode(), "white space"),
        (json.dumps(dict(reversed(json.loads(GOOD).items())), separators=(",", ":")).encode(), "order"),
        (changed(payloadType="application/json"), "payloadType 'application/json'"),
        (changed(payloadType=None), "payloadType None"),
        (changed(extra=1), "fields differ"),
        (changed(signatures=[]), "exactly one signature"),
        (changed(signatures=[{"sig": "c2ln"}, {"sig": "c2ln"}]), "exactly one signature"),
        (changed(signatures=[{"keyid": "", "sig": "c2ln"}]), "keyid"),
        (changed(signatures=[{"sig": "c2ln", "keyid": "x"}]), "keyid"),
        (changed(signatures=[{"sig": "c2ln", "x": 1}]), "fields differ"),
        (changed(payload="e30"), "envelope payload"),
        (changed(payload="e3-_"), "envelope payload"),
        (changed(payload="e30=\n"), "envelope payload"),
        (changed(signatures=[{"sig": "c2l="}]), "envelope signature"),
        (GOOD.replace(b'"payload":', b'"payl\\u006fad":'), "fields differ"),
        (b'{"payload":"' + GOOD, "does not parse"),
    ],
)
def test_refuses_other_forms_and_says_why(data: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        parse_envelope(data)


def test_refuses_envelopes_whose_parts_share_a_quote() -> None:
    middle = b'","payloadType":"' + PAYLOAD_TYPE.encode() + b'","signatures":[{"sig":"'
    for data in (b'{"payload":' + middle + b'"}]}', b'{"payload":"' + middle + b"}]}"):
        with pytest.raises(MalformedError):
            parse_envelope(data)


def test_keeps_the_limit_of_64_kib_both_ways() -> None:
    frame = len(format_envelope(b"", SIGNATURE))
    largest = format_envelope(b"x" * ((MAX_ENVELOPE_BYTES - frame) // 4 * 3), SIGNATURE)
    assert MAX_ENVELOPE_BYTES - 4 < len(largest) <= MAX_ENVELOPE_BYTES
    parse_envelope(largest)
    with pytest.raises(MalformedError) as caught:
        parse_envelope(GOOD + b" " * MAX_ENVELOPE_BYTES)
    assert caught.value.reason == "too-large"
    with pytest.raises(MalformedError, match="shorten the statement"):
        sign_envelope(b"x" * MAX_ENVELOPE_BYTES, statement_signer())


def test_damage_is_refused_or_breaks_the_signature() -> None:
    signer = statement_signer()
    good = sign_envelope(PAYLOAD, signer)
    for damaged in mangle(good):
        if damaged == good:
            continue
        try:
            envelope = parse_envelope(damaged)
        except MalformedError:
            continue
        with pytest.raises(SignatureError):
            signer.key.verify(envelope.signature, pae(PAYLOAD_TYPE, envelope.payload))
