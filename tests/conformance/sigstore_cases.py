"""What stock Sigstore verifiers accept and refuse of our form, case by case, with our own answer beside it.

The good cases come first: a verifier that skipped the log would refuse nothing. Where sigstore-go accepts
what ours must refuse, the case shows both.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from tests.conformance.sigstore_world import (
    COSIGNERS,
    LOGS,
    OTHER_LOGS,
    PEERS,
    SOLO,
    Document,
    Logged,
    M,
    b64,
    changed,
    key_id,
    leaf_of,
    log_payload,
    open_policy,
    plain_bundle,
    product_bundle,
    public_pem,
    removed,
    unb64,
)
from tests.simkeys import ORIGIN, note_signer, verifier_key
from tests.verify.cases import no_files
from tests.verify.support import (
    LIB,
    OPERATOR_A,
    OTHER,
    PUBLISHED,
    digests_of,
    edited,
    make_comparison,
    make_provenance,
    make_record,
    sha256_of,
    statement_signer,
)

from touchplate.verify.check import check_sigstore_bundle, digest_file
from touchplate.verify.dsse import PAYLOAD_TYPE, pae
from touchplate.verify.errors import RefusedError
from touchplate.verify.jcs import JSONValue
from touchplate.verify.keys import P256_ORDER, StatementSigner
from touchplate.verify.sigstore import trusted_root
from touchplate.verify.trust import parse_trust

Answer = Literal["ok", "refused"]
NOW = 1_800_000_100
PROOF = (*M, "inclusionProof")
NOTE = (*PROOF, "checkpoint", "envelope")
SIG = ("dsseEnvelope", "signatures", 0, "sig")
ALICE = statement_signer("rebuilder-a")
BOB = statement_signer("rebuilder-b")


@dataclass(frozen=True)
class Case:
    """One bundle, and what each side must say about it.

    `go`: sigstore-go's answer. `ours`: the reason for which our own check refuses it, "" when it accepts,
    None when the case is about something that we do not read. `need`: the levels that ours is asked for.
    """

    name: str
    bundle: Document
    go: Answer
    ours: str | None
    signer: StatementSigner = ALICE
    kind: Literal["rebuilder", "recorder"] = "rebuilder"
    policy: str = SOLO
    root: bytes | None = None
    artifact: bytes = PUBLISHED
    by_digest: bool = False
    threshold: int = 1
    need: tuple[str, ...] = ("reproduced",)

    @property
    def trusted_root(self) -> bytes:
        """The trusted root that the foreign verifier gets."""
        return self.root if self.root is not None else trusted_root(open_policy(self.policy))


def our_answer(case: Case) -> str:
    """The reason for which our end-to-end check refuses the case's bundle; "" when it accepts it."""
    builder = f'builder = "{OPERATOR_A}/touchplate/bubblewrap/v1"\n' if case.kind == "rebuilder" else ""
    text = (
        f'[log]\npolicy = """\n{case.policy}"""\n[levels.reproduced]\noperators = 1\n'
        f'[[{case.kind}]]\noperator = "{OPERATOR_A}"\n{builder}ecosystems = ["maven"]\n'
        f'key = """\n{public_pem(case.signer)}"""\n'
    )
    trust = parse_trust(text, no_files)
    data = json.dumps(case.bundle).encode()
    file = digest_file(io.BytesIO(case.artifact))
    try:
        check_sigstore_bundle(data, file, LIB, trust, now=NOW, need=case.need)
    except RefusedError as error:
        return error.reason
    return ""


def all_cases() -> list[Case]:
    """Every case; names are unique."""
    groups = (
        good(),
        log_damage(),
        checkpoint_damage(),
        entry_damage(),
        unread_by_go(),
        refused_forms(),
        ours_only(),
    )
    cases = [case for group in groups for case in group]
    assert len({case.name for case in cases}) == len(cases)
    return cases


def write_cases(cases: Sequence[Case], folder: Path) -> Path:
    """Write the cases for the Go checker (its form: see main.go) into `folder`; the path of the list."""
    listed = []
    for number, case in enumerate(cases):
        names = [f"{number:03}-{what}" for what in ("bundle.json", "root.json", "artifact")]
        contents = (json.dumps(case.bundle).encode(), case.trusted_root, case.artifact)
        for name, data in zip(names, contents, strict=True):
            (folder / name).write_bytes(data)
        artifact = (
            {"sha256": hashlib.sha256(case.artifact).hexdigest()} if case.by_digest else {"file": names[2]}
        )
        listed.append(
            {
                "name": case.name,
                "bundle": names[0],
                "trustedRoot": names[1],
                "publicKey": public_pem(case.signer),
                "expect": case.go,
                "threshold": case.threshold,
                **artifact,
            }
        )
    path = folder / "cases.json"
    path.write_text(json.dumps(listed, indent=1))
    return path


def ok_bundle() -> Document:
    """The bundle that most cases damage: a provenance at index 2 of 7."""
    return product_bundle(log_payload())


def good() -> Iterator[Case]:
    """What every verifier accepts."""
    yield Case("provenance by a p-256 key", ok_bundle(), "ok", "")
    yield Case("artifact given by its digest", ok_bundle(), "ok", "", by_digest=True)
    ed25519 = statement_signer("rebuilder-a", "ed25519")
    edwards = product_bundle(log_payload(signer=ed25519), ed25519)
    yield Case("provenance by an ed25519 key", edwards, "ok", "", signer=ed25519)
    comparison = product_bundle(log_payload(make_comparison("identical")))
    yield Case("comparison", comparison, "ok", "", need=())
    record = product_bundle(log_payload(make_record()))
    yield Case("record", record, "ok", "", kind="recorder", need=("recorded",))
    for index, filler in ((0, 0), (0, 1), (6, 6), (255, 256), (256, 256)):
        logged = log_payload(index=index, filler=filler)
        yield Case(f"index {index} of {filler + 1}", product_bundle(logged), "ok", "")
    peers = log_payload(signers=(*LOGS[:3], *COSIGNERS[:3]), policy=PEERS)
    bundle = product_bundle(peers)
    for asked in (1, 3):
        yield Case(f"three peers' heads, {asked} asked for", bundle, "ok", "", policy=PEERS, threshold=asked)
    yield Case("three peers' heads, four asked for", bundle, "refused", None, policy=PEERS, threshold=4)


def log_damage() -> Iterator[Case]:
    """Entries that are not proved to be in the log."""
    ok = ok_bundle()
    hashes = ok["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["hashes"]
    yield Case("no log entry", changed(ok, *M[:-1], to=[]), "refused", "malformed")
    yield Case("no log entries at all", removed(ok, *M[:-1]), "refused", "malformed")
    flipped = b64(bytes([unb64(hashes[0])[0] ^ 1]) + unb64(hashes[0])[1:])
    yield Case(
        "hash of the proof changed", changed(ok, *PROOF, "hashes", 0, to=flipped), "refused", "bad-proof"
    )
    yield Case(
        "one hash more", changed(ok, *PROOF, "hashes", to=[*hashes, hashes[0]]), "refused", "bad-proof"
    )
    yield Case("one hash less", changed(ok, *PROOF, "hashes", to=hashes[:-1]), "refused", "bad-proof")
    beyond = changed(changed(ok, *M, "logIndex", to="7"), *PROOF, "logIndex", to="7")
    yield Case("index not below the size", beyond, "refused", "bad-proof")
    neighbour = changed(changed(ok, *M, "logIndex", to="3"), *PROOF, "logIndex", to="3")
    yield Case("index of a neighbour", neighbour, "refused", "bad-proof")
    yield Case("index wrong outside the proof", changed(ok, *M, "logIndex", to="3"), "refused", "malformed")
    yield Case("other log key in the root", ok, "refused", "unknown-log-key", policy=OTHER_LOGS)
    twice = changed(ok, *M[:-1], to=[ok["verificationMaterial"]["tlogEntries"][0]] * 2)
    yield Case("the same log entry twice", twice, "refused", "malformed")


def checkpoint_damage() -> Iterator[Case]:
    """Checkpoints that are not signed as they must be."""
    logged = log_payload()
    ok = product_bundle(logged)
    both = f"log {_key(0)}\nlog {_key(1)}\nquorum none\n"

    def signed(note: str) -> Document:
        return changed(ok, *NOTE, to=note)

    by_other = replace(logged, signers=LOGS[1:2])
    yield Case(
        "line of the named log key missing", signed(by_other.note), "refused", "unknown-log", policy=both
    )
    forged = replace(logged, filler=9).text
    line = LOGS[0].sign(forged)
    yield Case(
        "line of the named log key wrong", signed(f"{logged.text}\n{line}"), "refused", "bad-signature"
    )
    text = forged + logged.note[len(logged.text) :]
    yield Case("size and root of the checkpoint changed", signed(text), "refused", "bad-signature")
    cosigned = replace(logged, signers=COSIGNERS)
    yield Case("only cosignatures", signed(cosigned.note), "refused", "unknown-log-key")
    lines = "".join(note_signer(f"w{number}.example.org", "log").sign(logged.text) for number in range(100))
    yield Case("101 signature lines", signed(f"{logged.note}{lines}"), "refused", "malformed")
    elsewhere = logged.text.replace(ORIGIN, "other.example.org")
    note = f"{elsewhere}\n{LOGS[0].sign(elsewhere)}"
    yield Case("checkpoint of another origin", signed(note), "refused", "wrong-origin")
    other = note_signer("other.example.org", "log")
    note = f"{elsewhere}\n{other.sign(elsewhere)}"
    listed = changed(ok, *M, "logId", "keyId", to=key_id(other))
    root = json.loads(trusted_root(open_policy(SOLO)))
    root = changed(root, "tlogs", 0, "logId", "keyId", to=key_id(other))
    root = changed(root, "tlogs", 0, "publicKey", "rawBytes", to=b64(_SPKI_PREFIX + other.key.public))
    yield Case(
        "origin is not the host of the root's address",
        changed(listed, *NOTE, to=note),
        "refused",
        "unknown-log-key",
        root=json.dumps(root).encode(),
    )


def entry_damage() -> Iterator[Case]:
    """Envelopes that are not the ones which the leaf is of; the tree is always right."""
    ok = ok_bundle()
    payload = b64(make_provenance(note="2"))
    yield Case("payload changed", changed(ok, "dsseEnvelope", "payload", to=payload), "refused", "bad-proof")
    other_type = changed(ok, "dsseEnvelope", "payloadType", to="application/json")
    yield Case("payload type changed", other_type, "refused", "malformed")
    yield Case("other statement key", ok, "refused", "unknown-key", signer=BOB)
    yield Case("other artifact", ok, "refused", "wrong-artifact", artifact=OTHER)
    logged = log_payload()
    by_bob = replace(logged, leaf=leaf_of(logged.payload, logged.signature, BOB))
    yield Case("leaf names another key", plain_bundle(by_bob, BOB), "refused", "unknown-key")
    spaced = replace(logged, leaf=json.dumps(json.loads(logged.leaf), sort_keys=True).encode())
    yield Case("leaf is not canonical json", plain_bundle(spaced), "refused", "bad-proof")
    again = _other_signature(logged)
    yield Case("signature is not the logged one", changed(ok, *SIG, to=b64(again)), "refused", "bad-proof")


def unread_by_go() -> Iterator[Case]:
    """Fields that sigstore-go does not compare and others do: we write them right, and refuse wrong ones."""
    ok = ok_bundle()
    root = b64(hashlib.sha256(b"another root").digest())
    yield Case("index of the proof wrong", changed(ok, *PROOF, "logIndex", to="3"), "ok", "malformed")
    yield Case("root of the proof wrong", changed(ok, *PROOF, "rootHash", to=root), "ok", "wrong-root")
    yield Case("size of the proof wrong", changed(ok, *PROOF, "treeSize", to="8"), "ok", "wrong-size")
    body = json.loads(log_payload().leaf)
    body = changed(body, "spec", "hashedRekordV002", "data", "digest", to=root)
    text = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    yield Case("body is not the leaf", changed(ok, *M, "canonicalizedBody", to=b64(text)), "ok", "wrong-leaf")
    alone = product_bundle(log_payload(index=0, filler=0))
    yield Case("hashes absent at size 1", removed(alone, *PROOF, "hashes"), "ok", "malformed")
    numbers = changed(changed(ok, *M, "logIndex", to=2), *PROOF, "logIndex", to=2)
    yield Case("numbers instead of strings", numbers, "ok", "malformed")
    lists = json.loads(trusted_root(open_policy(SOLO)))
    for name in ("certificateAuthorities", "ctlogs", "timestampAuthorities"):
        lists = removed(lists, name)
    yield Case("root without its empty lists", ok, "ok", None, root=json.dumps(lists).encode())


def refused_forms() -> Iterator[Case]:
    """Forms that nobody accepts."""
    ok = ok_bundle()
    spki = hashlib.sha256(ALICE.key.spki)
    for name, keyid in (
        ("hex of the key's hash", spki.hexdigest()),
        ("base64 of the key's hash", b64(spki.digest())),
    ):
        marked = changed(ok, "dsseEnvelope", "signatures", 0, "keyid", to=keyid)
        yield Case(f"keyid is the {name}", marked, "refused", "malformed")
    signatures = ok["dsseEnvelope"]["signatures"]
    yield Case(
        "two signatures", changed(ok, "dsseEnvelope", "signatures", to=signatures * 2), "refused", "malformed"
    )
    yield Case("unknown field", changed(ok, "extra", to=1), "refused", "malformed")
    subject: JSONValue = {"name": "a", "uri": str(LIB), "digest": sha256_of(PUBLISHED)}
    many = edited(make_provenance(), "subject", value=[subject] * 1025)
    yield Case("1,025 subjects", plain_bundle(log_payload(many)), "refused", "too-large")


def ours_only() -> Iterator[Case]:
    """What stock verifiers accept and ours must refuse, or must not count."""
    for name, keyid in (("empty", ""), ("the ssh fingerprint", _ssh_fingerprint(ALICE))):
        marked = changed(ok_bundle(), "dsseEnvelope", "signatures", 0, "keyid", to=keyid)
        yield Case(f"keyid is {name}", marked, "ok", "malformed")
    logged = log_payload()
    r, s = decode_dss_signature(logged.signature)
    high = encode_dss_signature(r, P256_ORDER - s)
    yield Case("signature with high s", plain_bundle(_resigned(logged, high)), "ok", "high-s")
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    yield Case("signature as r and s", plain_bundle(_resigned(logged, raw)), "ok", "raw-signature")
    old = edited(logged.payload, "_type", value="https://in-toto.io/Statement/v0.1")
    yield Case("statement of another version", plain_bundle(log_payload(old)), "ok", "malformed")
    different = product_bundle(log_payload(make_comparison("different")))
    yield Case("comparison that found differences", different, "ok", "not-reproduced")
    digests = {**sha256_of(OTHER), "sha512": digests_of(PUBLISHED)["sha512"]}
    mixed = product_bundle(log_payload(make_provenance(digests=digests)))
    yield Case("sha256 of another file beside the right sha512", mixed, "ok", "wrong-artifact")
    alone = product_bundle(replace(logged, policy=f"log {_key(0)}\nquorum none\n"))
    yield Case("head by one of four peers", alone, "ok", "quorum", policy=PEERS)
    both = f"log {_key(0)}\nlog {_key(1)}\nquorum none\n"
    note = logged.note + LOGS[1].sign(replace(logged, filler=9).text)
    bad_line = changed(product_bundle(logged), *NOTE, to=note)
    yield Case("bad line of another known log key", bad_line, "ok", "bad-signature", policy=both)


# RFC 8410 section 4: what stands before the 32 bytes of an Ed25519 key in its SPKI.
_SPKI_PREFIX = bytes.fromhex("302a300506032b6570032100")


def _key(number: int) -> str:
    return verifier_key(LOGS[number])


def _ssh_fingerprint(signer: StatementSigner) -> str:
    public = load_pem_public_key(public_pem(signer).encode())
    assert isinstance(public, ec.EllipticCurvePublicKey)
    text = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    digest = hashlib.sha256(unb64(text.split()[1].decode())).digest()
    return "SHA256:" + b64(digest).rstrip("=")


def _resigned(logged: Logged, signature: bytes) -> Logged:
    """The same entry with its signature in another form, in the envelope and in the leaf."""
    return replace(logged, signature=signature, leaf=leaf_of(logged.payload, signature, ALICE))


def _other_signature(logged: Logged) -> bytes:
    """A second valid signature by the same key: ours are deterministic, so it is made by hand."""
    private = load_pem_private_key(ALICE.private_pem(), None)
    assert isinstance(private, ec.EllipticCurvePrivateKey)
    r, s = decode_dss_signature(private.sign(pae(PAYLOAD_TYPE, logged.payload), ec.ECDSA(hashes.SHA256())))
    return encode_dss_signature(r, min(s, P256_ORDER - s))
