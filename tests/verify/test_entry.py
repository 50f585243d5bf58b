"""Entries: the leaf form that existing verifiers rebuild, identity, and the packed form."""

import hashlib
import json

import pytest
from cryptography.hazmat.primitives.asymmetric import utils
from tests.verify.support import make_record, mangle, sign, statement_signer

from touchplate.verify.dsse import format_envelope, pae, parse_envelope, sign_envelope
from touchplate.verify.encoding import encode_base64
from touchplate.verify.entry import (
    MAX_PACKED_BYTES,
    Entry,
    assemble_entry,
    make_entry,
    pack_entry,
    parse_packed,
    verify_entry,
)
from touchplate.verify.errors import MalformedError, SignatureError, VerifyError
from touchplate.verify.jcs import format_json
from touchplate.verify.keys import P256_ORDER, Algorithm

PAYLOAD = make_record()
P256 = sign(PAYLOAD, statement_signer())
ED25519 = sign(PAYLOAD, statement_signer("rebuilder-a", "ed25519"))

# Leaf hash and identity of these two. The form can never change: trees that hold it could not be checked.
GOLDEN = {
    "p256": (
        "f95aab376ebdc54a7f62b217fef7c271f0f6206f6ed214001f9df90364784fd3",
        "60f39d6ff4fe0a4e42e09860155c184dd431ef93b2fd85aaf074e4ba91fa0602",
    ),
    "ed25519": (
        "e05fa79563d92f57a210f6007c5598e9d1e22fcde8fdb13db57853d1365061aa",
        "7f759d5e4b8ffbc75d4f78f28971cf08807b25211def7efadef7bd991f62097a",
    ),
}


def leaf(entry: Entry, algorithm: str, digest: bytes, details: str) -> bytes:
    return format_json(
        {
            "apiVersion": "0.0.2",
            "kind": "hashedrekord",
            "spec": {
                "hashedRekordV002": {
                    "data": {"algorithm": algorithm, "digest": encode_base64(digest)},
                    "signature": {
                        "content": encode_base64(entry.signature),
                        "verifier": {
                            "keyDetails": details,
                            "publicKey": {"rawBytes": encode_base64(entry.spki)},
                        },
                    },
                }
            },
        }
    )


def test_p256_leaf_is_hashedrekord_with_sha256() -> None:
    signed = pae("application/vnd.in-toto+json", PAYLOAD)
    assert P256.pae == signed
    assert P256.leaf_data == leaf(
        P256, "SHA2_256", hashlib.sha256(signed).digest(), "PKIX_ECDSA_P256_SHA_256"
    )
    assert 480 < len(P256.leaf_data) <= 489


def test_ed25519_leaf_is_hashedrekord_with_sha512_and_the_name_of_the_prehashed_form() -> None:
    signed = pae("application/vnd.in-toto+json", PAYLOAD)
    assert ED25519.leaf_data == leaf(ED25519, "SHA2_512", hashlib.sha512(signed).digest(), "PKIX_ED25519_PH")
    assert len(ED25519.leaf_data) == 453
    verify_entry(ED25519)  # a pure signature over the PAE all the same


@pytest.mark.parametrize("entry", [P256, ED25519])
def test_leaf_hash_and_identity_follow_from_envelope_and_key(entry: Entry) -> None:
    assert entry.leaf_hash == hashlib.sha256(b"\x00" + entry.leaf_data).digest()
    assert entry.identity == hashlib.sha256(entry.pae + entry.spki).digest()
    assert (entry.leaf_hash.hex(), entry.identity.hex()) == GOLDEN[entry.key.algorithm]
    assert entry.payload == PAYLOAD
    json.loads(entry.leaf_data)


def test_identity_is_of_statement_and_key_not_of_the_signature() -> None:
    other_key = sign(PAYLOAD, statement_signer("rebuilder-b"))
    other_statement = sign(make_record(seen=0), statement_signer())
    assert len({entry.identity for entry in (P256, other_key, other_statement, ED25519)}) == 4
    other_signature = statement_signer().sign(b"something else")
    resigned = make_entry(format_envelope(PAYLOAD, other_signature), P256.spki)
    assert resigned.identity == P256.identity
    assert resigned.leaf_hash != P256.leaf_hash
    with pytest.raises(SignatureError, match="does not hold"):
        verify_entry(resigned)


def test_verifies_under_its_own_key_only() -> None:
    verify_entry(P256)
    with pytest.raises(SignatureError, match="does not hold"):
        verify_entry(make_entry(P256.envelope, statement_signer("rebuilder-b").key.spki))


def test_refuses_high_s_and_raw_signatures_before_anything_is_verified() -> None:
    r, s = utils.decode_dss_signature(P256.signature)
    high = utils.encode_dss_signature(r, P256_ORDER - s)
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    for signature, reason in ((high, "high-s"), (raw, "raw-signature"), (b"", "bad-signature-form")):
        with pytest.raises(SignatureError) as caught:
            make_entry(format_envelope(PAYLOAD, signature), P256.spki)
        assert caught.value.reason == reason


def test_refuses_a_signature_of_the_other_algorithm() -> None:
    for envelope, spki in ((P256.envelope, ED25519.spki), (ED25519.envelope, P256.spki)):
        with pytest.raises(SignatureError):
            make_entry(envelope, spki)


def test_refuses_bad_envelopes_and_keys() -> None:
    with pytest.raises(MalformedError, match="envelope"):
        make_entry(P256.envelope + b" ", P256.spki)
    with pytest.raises(MalformedError, match="key"):
        make_entry(P256.envelope, P256.spki[:-1])
    with pytest.raises(MalformedError, match="key"):
        Entry(P256.envelope, b"")


@pytest.mark.parametrize("algorithm", ["p256", "ed25519"])
def test_packs_and_reads_back(algorithm: Algorithm) -> None:
    entry = sign(PAYLOAD, statement_signer("a", algorithm))
    packed = pack_entry(entry)
    assert packed == (
        len(entry.envelope).to_bytes(4, "big")
        + entry.envelope
        + len(entry.spki).to_bytes(2, "big")
        + entry.spki
    )
    assert len(packed) <= MAX_PACKED_BYTES
    assert parse_packed(packed) == entry


def test_refuses_the_reserved_form_of_a_withheld_entry() -> None:
    with pytest.raises(MalformedError, match="withheld") as caught:
        parse_packed(bytes(6))
    assert caught.value.reason == "withheld"


@pytest.mark.parametrize("data", [b"", b"\x00" * 5, b"\x00" * 7, b"\xff" * 6, pack_entry(P256) + b"\x00"])
def test_refuses_packed_entries_that_do_not_fit_their_lengths(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_packed(data)


@pytest.mark.parametrize("algorithm", ["p256", "ed25519"])
def test_damaged_packed_entries_are_refused_or_break_the_signature(algorithm: Algorithm) -> None:
    signer = statement_signer("a", algorithm)
    good = pack_entry(make_entry(sign_envelope(b"{}", signer), signer.key.spki))
    for damaged in mangle(good):
        if damaged == good:
            continue
        try:
            entry = parse_packed(damaged)
        except VerifyError:
            continue
        assert pack_entry(entry) == damaged
        with pytest.raises(SignatureError):
            verify_entry(entry)


@pytest.mark.parametrize("made", [P256, ED25519])
def test_an_entry_assembled_from_parsed_parts_is_the_same_entry(made: Entry) -> None:
    assembled = assemble_entry(made.envelope, parse_envelope(made.envelope), made.key)
    assert assembled == made
    for name in ("key", "payload", "signature", "pae", "identity", "leaf_data", "leaf_hash"):
        assert getattr(assembled, name) == getattr(made, name)
    assert pack_entry(assembled) == pack_entry(made)


def test_assembling_refuses_the_form_of_a_signature_as_making_does() -> None:
    with pytest.raises(SignatureError):
        assemble_entry(ED25519.envelope, parse_envelope(ED25519.envelope), P256.key)
    with pytest.raises(SignatureError):
        make_entry(ED25519.envelope, P256.spki)
