"""Sigstore's form: what stock verifiers are given, and what ours refuses where they do not look."""

import hashlib
import io
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from tests.simkeys import ORIGIN, log_signer, solo_policy, verifier_key
from tests.verify.bundles import make_checkpoint, make_proof
from tests.verify.cases import comparison, make_trust, no_files, provenance, second, trust_text
from tests.verify.support import (
    LIB,
    LIB_OTHER_VERSION,
    OTHER,
    PUBLISHED,
    digests_of,
    edited,
    make_provenance,
    mangle,
    sign,
    without,
)

from touchplate.verify.check import Report, check_sigstore_bundle, digest_file
from touchplate.verify.checkpoints import open_checkpoint
from touchplate.verify.encoding import decode_base64, encode_base64
from touchplate.verify.entry import Entry, make_entry
from touchplate.verify.errors import MalformedError, RefusedError, VerifyError
from touchplate.verify.keys import P256_ORDER
from touchplate.verify.policy import Policy, parse_policy
from touchplate.verify.sigstore import log_id, parse_sigstore_bundle, sigstore_bundle, trusted_root
from touchplate.verify.statements import PROVENANCE_TYPE
from touchplate.verify.trust import parse_trust

PEERS = [log_signer(), log_signer("peer 1"), log_signer("peer 2")]
PEERS_TEXT = "".join(f"log {verifier_key(peer)}\n" for peer in PEERS) + "quorum none\n"


def bundle_of(
    entries: list[Entry], index: int = 0, policy: Policy | None = None, signers: tuple[Any, ...] = ()
) -> bytes:
    policy = policy or solo_policy()
    checkpoint = open_checkpoint(make_checkpoint(entries, signers), policy)
    return sigstore_bundle(entries[index], index, make_proof(entries, index), checkpoint, policy)


def good() -> bytes:
    return bundle_of([provenance(), second()])


def check(data: bytes, file: bytes = PUBLISHED, policy: str | None = None) -> Report:
    trust = parse_trust(trust_text("operators = 1", policy=policy), no_files)
    return check_sigstore_bundle(data, digest_file(io.BytesIO(file)), LIB, trust, now=0)


def test_a_bundle_goes_through_the_same_steps() -> None:
    report = check(good())
    assert report.levels.explain("reproduced") == "1 of 1 operator"
    assert report.checkpoint.size == 2


def test_the_envelope_in_it_is_the_logged_one() -> None:
    entry = provenance()
    parsed = parse_sigstore_bundle(bundle_of([entry]))
    assert (parsed.envelope, parsed.spki, parsed.leaf_data) == (entry.envelope, entry.spki, entry.leaf_data)
    assert (
        json.loads(bundle_of([entry]))["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["hashes"]
        == []
    )


def test_there_is_one_element_for_each_log_key_that_signed() -> None:
    policy = parse_policy(PEERS_TEXT)
    data = bundle_of([provenance()], policy=policy, signers=(PEERS[2], PEERS[0]))
    ids = [element["logId"]["keyId"] for element in json.loads(data)["verificationMaterial"]["tlogEntries"]]
    assert ids == [encode_base64(log_id(PEERS[number].key)) for number in (0, 2)]
    assert check(data, policy=PEERS_TEXT).levels.reproduced


def test_a_bundle_outlives_the_retirement_of_one_log_key() -> None:
    data = bundle_of([provenance()], policy=parse_policy(PEERS_TEXT), signers=(PEERS[0], PEERS[1]))
    assert check(data).levels.reproduced


def test_a_bundle_of_no_known_log_key_is_refused() -> None:
    data = bundle_of([provenance()], policy=parse_policy(PEERS_TEXT), signers=(PEERS[0], PEERS[1]))
    assert refusal(_edit(data, *TLE, value=json.loads(data)["verificationMaterial"]["tlogEntries"][1]), 1)


def test_no_log_key_that_signed_is_no_bundle() -> None:
    checkpoint = open_checkpoint(make_checkpoint([provenance()]), solo_policy())
    other = parse_policy(f"log {verifier_key(PEERS[1])}\nquorum none\n")
    with pytest.raises(MalformedError, match="no log key of the policy signed"):
        sigstore_bundle(provenance(), 0, (), checkpoint, other)


TLE = ("verificationMaterial", "tlogEntries", 0)
PROOF = (*TLE, "inclusionProof")


def _edit(data: bytes, *path: str | int, value: object) -> bytes:
    return edited(data, *path, value=value)  # type: ignore[arg-type]


def refusal(data: bytes, step: int, file: bytes = PUBLISHED) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        check(data, file)
    assert caught.value.step == step, caught.value
    return caught.value


ZERO = encode_base64(bytes(32))


@pytest.mark.parametrize(
    ("path", "value", "step"),
    [
        ((*TLE, "logIndex"), "1", 1),
        ((*PROOF, "logIndex"), "1", 1),
        ((*TLE, "logIndex"), 0, 1),
        ((*PROOF, "treeSize"), "3", 1),
        ((*PROOF, "treeSize"), "02", 1),
        ((*PROOF, "rootHash"), ZERO, 1),
        ((*PROOF, "hashes", 0), ZERO, 3),
        ((*PROOF, "hashes"), [], 3),
        ((*PROOF, "hashes"), [ZERO, ZERO], 3),
        ((*PROOF, "hashes"), None, 1),
        ((*TLE, "logId", "keyId"), ZERO, 1),
        ((*TLE, "kindVersion", "version"), "0.0.1", 1),
        ((*TLE, "integratedTime"), "1", 1),
        ((*TLE, "canonicalizedBody"), "e30=", 1),
        (("verificationMaterial", "tlogEntries"), [], 1),
        (("verificationMaterial", "publicKey", "hint"), ZERO, 1),
        (("verificationMaterial", "publicKey", "hint"), "", 1),
        (("verificationMaterial", "timestampVerificationData"), {}, 1),
        (("mediaType",), "application/vnd.dev.sigstore.bundle+json;version=0.2", 1),
        (("more",), 1, 1),
        (("dsseEnvelope", "payloadType"), "application/json", 3),
        (("dsseEnvelope", "payload"), "e30=", 3),
        (("dsseEnvelope", "signatures", 0, "keyid"), hashlib.sha256(provenance().spki).hexdigest(), 3),
        (("dsseEnvelope", "signatures", 0, "keyid"), "", 3),
        (("dsseEnvelope", "signatures"), [], 3),
        (("dsseEnvelope", "more"), 1, 3),
    ],
)
def test_refuses_a_wrong_field(path: tuple[str | int, ...], value: object, step: int) -> None:
    refusal(_edit(good(), *path, value=value), step)


@pytest.mark.parametrize(
    "path", [(*TLE, "logIndex"), (*TLE, "inclusionProof"), (*PROOF, "hashes"), (*PROOF, "treeSize"), TLE]
)
def test_refuses_a_missing_field(path: tuple[str | int, ...]) -> None:
    refusal(without(good(), *path), 1)


def test_refuses_the_same_element_twice() -> None:
    element = json.loads(good())["verificationMaterial"]["tlogEntries"][0]
    refusal(_edit(good(), "verificationMaterial", "tlogEntries", value=[element, element]), 1)


def test_refuses_two_signatures() -> None:
    signature = json.loads(good())["dsseEnvelope"]["signatures"][0]
    refusal(_edit(good(), "dsseEnvelope", "signatures", value=[signature, signature]), 3)


def test_refuses_a_leaf_that_is_not_canonical() -> None:
    body = decode_base64(
        json.loads(good())["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"], "leaf"
    )
    changed = encode_base64(body.replace(b',"', b', "', 1))
    assert refusal(_edit(good(), *TLE, "canonicalizedBody", value=changed), 3).reason == "wrong-leaf"


def test_refuses_a_leaf_of_another_key() -> None:
    # Hint and body agree with each other, and are not those of the envelope that was signed.
    theirs = json.loads(bundle_of([second()]))["verificationMaterial"]
    changed = _edit(good(), *TLE, "canonicalizedBody", value=theirs["tlogEntries"][0]["canonicalizedBody"])
    refusal(_edit(changed, "verificationMaterial", "publicKey", value=theirs["publicKey"]), 3)


def _der(number: int) -> bytes:
    data = number.to_bytes(33, "big").lstrip(b"\0")
    data = b"\0" + data if data[0] & 0x80 else data
    return b"\x02" + bytes([len(data)]) + data


def _r_s(entry: Entry) -> tuple[int, int]:
    return decode_dss_signature(entry.signature)


def high_s(entry: Entry) -> bytes:
    r, s = _r_s(entry)
    body = _der(r) + _der(P256_ORDER - s)
    return b"\x30" + bytes([len(body)]) + body


def raw(entry: Entry) -> bytes:
    return b"".join(number.to_bytes(32, "big") for number in _r_s(entry))


@pytest.mark.parametrize(("form", "reason"), [(high_s, "high-s"), (raw, "raw-signature")])
def test_refuses_signature_forms_that_stock_verifiers_accept(
    form: Callable[[Entry], bytes], reason: str
) -> None:
    # The leaf is built for this very signature, so that inclusion holds: only the form is wrong.
    entry = provenance()
    signature = encode_base64(form(entry))
    data = _edit(bundle_of([entry]), "dsseEnvelope", "signatures", 0, "sig", value=signature)
    leaf = entry.leaf_data.replace(encode_base64(entry.signature).encode(), signature.encode())
    data = _edit(data, *TLE, "canonicalizedBody", value=encode_base64(leaf))
    assert refusal(data, 3).reason == reason


def test_refuses_a_foreign_statement_type() -> None:
    payload = edited(make_provenance(), "_type", value="https://in-toto.io/Statement/v0.1")
    assert refusal(bundle_of([sign(payload)]), 4).reason == "malformed"


def test_a_different_does_not_count() -> None:
    assert refusal(bundle_of([comparison("rebuilder-a", "different")]), 7).reason == "not-reproduced"


def test_refuses_a_wrong_sha256_beside_a_right_sha512() -> None:
    digests = {**digests_of(PUBLISHED), "sha256": digests_of(OTHER)["sha256"]}
    assert refusal(bundle_of([provenance(digests=digests)]), 5).reason == "wrong-artifact"


def test_refuses_another_signature_than_the_logged_one() -> None:
    entry, other = provenance(), provenance(note="2")
    wrong = make_entry(
        entry.envelope.replace(
            encode_base64(entry.signature).encode(), encode_base64(other.signature).encode()
        ),
        entry.spki,
    )
    checkpoint = open_checkpoint(make_checkpoint([entry]), solo_policy())
    refusal(sigstore_bundle(wrong, 0, (), checkpoint, solo_policy()), 3)


def test_refuses_a_bad_line_of_another_known_log_key() -> None:
    # Stock verifiers look at the line of `logId` only.
    entries = [provenance()]
    note = make_checkpoint(entries, (PEERS[0], PEERS[1])).decode()
    lines = note.splitlines(keepends=True)
    lines[-1] = lines[-1][:-4] + ("AA=\n" if not lines[-1].endswith("AA=\n") else "BA=\n")
    data = _edit(bundle_of(entries), *PROOF, "checkpoint", "envelope", value="".join(lines))
    with pytest.raises(RefusedError) as caught:
        check(data, policy=PEERS_TEXT)
    assert caught.value.step == 1


def test_refuses_another_file_and_another_package() -> None:
    assert refusal(good(), 5, OTHER).reason == "wrong-artifact"
    assert refusal(bundle_of([provenance(uri=LIB_OTHER_VERSION)]), 5).reason == "wrong-package"


def test_every_damage_is_refused_or_changes_nothing() -> None:
    trust = make_trust("operators = 1")
    data, file = bundle_of([provenance()]), digest_file(io.BytesIO(PUBLISHED))
    parsed = parse_sigstore_bundle(data)
    for damaged in mangle(data):
        try:
            check_sigstore_bundle(damaged, file, LIB, trust, now=0)
        except VerifyError:
            continue
        assert parse_sigstore_bundle(damaged) == parsed


def test_the_trusted_root_lists_log_keys_in_the_order_of_the_policy() -> None:
    root = json.loads(trusted_root(parse_policy(PEERS_TEXT)))
    assert [log["logId"]["keyId"] for log in root["tlogs"]] == [
        encode_base64(log_id(peer.key)) for peer in PEERS
    ]
    assert {log["baseUrl"] for log in root["tlogs"]} == {f"https://{ORIGIN}"}
    assert root["tlogs"][0]["publicKey"]["validFor"] == {"start": "1970-01-01T00:00:00Z"}
    assert (root["certificateAuthorities"], root["ctlogs"], root["timestampAuthorities"]) == ([], [], [])


def test_a_log_id_starts_with_the_key_id() -> None:
    assert log_id(log_signer().key)[:4] == log_signer().key.key_id


def test_the_statement_type_is_what_stock_verifiers_ask_for() -> None:
    payload = decode_base64(json.loads(good())["dsseEnvelope"]["payload"], "payload")
    assert json.loads(payload)["predicateType"] == PROVENANCE_TYPE


def test_no_more_log_keys_are_written_than_stock_verifiers_take() -> None:
    peers = [log_signer(f"peer {number}") for number in range(33)]
    policy = parse_policy("".join(f"log {verifier_key(peer)}\n" for peer in peers) + "quorum none\n")
    data = bundle_of([provenance()], policy=policy, signers=tuple(peers))
    assert parse_sigstore_bundle(data).log_ids == tuple(log_id(peer.key) for peer in peers[:32])


def test_a_log_key_that_did_not_sign_is_not_named() -> None:
    data = json.loads(bundle_of([provenance()], policy=parse_policy(PEERS_TEXT), signers=(PEERS[0],)))
    elements = data["verificationMaterial"]["tlogEntries"]
    elements.append({**elements[0], "logId": {"keyId": encode_base64(log_id(PEERS[1].key))}})
    with pytest.raises(RefusedError, match="did not sign") as caught:
        check(json.dumps(data).encode(), policy=PEERS_TEXT)
    assert (caught.value.step, caught.value.reason) == (1, "unsigned-log")


def test_a_log_id_that_can_name_no_key_is_no_unknown_one() -> None:
    data = json.loads(bundle_of([provenance()], policy=parse_policy(PEERS_TEXT), signers=tuple(PEERS)))
    data["verificationMaterial"]["tlogEntries"][1]["logId"]["keyId"] = "e30="
    with pytest.raises(RefusedError, match="logId has 2 bytes, not 32") as caught:
        check(json.dumps(data).encode(), policy=PEERS_TEXT)
    assert (caught.value.step, caught.value.reason) == (1, "malformed")


@pytest.mark.parametrize("field", ["rootHash", "treeSize", "hashes"])
def test_elements_agree_in_all_but_the_log_key(field: str) -> None:
    entries = [provenance(), second()]
    data = json.loads(bundle_of(entries, policy=parse_policy(PEERS_TEXT), signers=tuple(PEERS)))
    proof = data["verificationMaterial"]["tlogEntries"][1]["inclusionProof"]
    proof[field] = {"rootHash": encode_base64(bytes(32)), "treeSize": "3", "hashes": []}[field]
    with pytest.raises(MalformedError, match="differ in more than logId"):
        parse_sigstore_bundle(json.dumps(data).encode())
