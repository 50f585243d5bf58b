"""Logs, entries and bundles for the conformance cases: real keys and signatures, good forms and bad ones.

A bundle here is what `touchplate.verify.sigstore` writes, read back as JSON, so that a case can damage one
field. What the product refuses to make (a leaf of another form, a signature in another form) is written out
here from the text of the formats, without the product's code.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tests import reference
from tests.simkeys import ORIGIN, note_signer, verifier_key
from tests.verify.support import LIB, OPERATOR_A, PUBLISHED, make_provenance, statement_signer

from touchplate.verify.checkpoints import format_checkpoint_body, open_checkpoint
from touchplate.verify.dsse import PAYLOAD_TYPE, pae
from touchplate.verify.entry import make_entry
from touchplate.verify.keys import StatementSigner, format_public_pem
from touchplate.verify.notes import NoteSigner, sign_note
from touchplate.verify.policy import Policy, parse_policy
from touchplate.verify.sigstore import log_id, sigstore_bundle

# A bundle, envelope or trusted root as JSON: cases reach into it and change one value.
Document = dict[str, Any]

M = ("verificationMaterial", "tlogEntries", 0)
"""Where the (first) log entry of a bundle stands."""

LOGS = tuple(note_signer(ORIGIN, "log", f"peer {number}") for number in range(4))
"""Four log keys of one origin, as peers have them; a solo log uses the first."""

COSIGNERS = tuple(note_signer(f"peer-{number}.example.org", "cosigner") for number in range(4))
"""The cosigner keys of the same peers."""

COSIGNED_AT = 1_800_000_000
SOLO = f"log {verifier_key(LOGS[0])}\nquorum none\n"
PEERS = "".join(
    [
        *(f"log {verifier_key(log)}\n" for log in LOGS),
        *(f"witness p{number} {verifier_key(each)}\n" for number, each in enumerate(COSIGNERS)),
        "group peers 3 p0 p1 p2 p3\nquorum peers\n",
    ]
)
"""The policy of four peers, of whom three must cosign."""

OTHER_LOGS = f"log {verifier_key(note_signer(ORIGIN, 'log', 'somebody else'))}\nquorum none\n"


@dataclass(frozen=True)
class Logged:
    """One envelope in a log: its payload and signature, and the leaf that stands in the tree for it.

    `filler` other leaves stand in the tree, `index` of them before it; `signers` sign the checkpoint.
    """

    payload: bytes
    signature: bytes
    leaf: bytes
    index: int = 2
    filler: int = 6
    signers: Sequence[NoteSigner] = LOGS[:1]
    policy: str = SOLO
    origin: str = field(default=ORIGIN)

    @property
    def leaves(self) -> list[bytes]:
        """All leaves of the tree."""
        others = [b"some other leaf %d" % number for number in range(self.filler)]
        return [*others[: self.index], self.leaf, *others[self.index :]]

    @property
    def text(self) -> str:
        """The checkpoint's text."""
        return format_checkpoint_body(self.origin, len(self.leaves), reference.mth(self.leaves))

    @property
    def note(self) -> str:
        """The signed checkpoint."""
        return sign_note(self.text, self.signers, COSIGNED_AT).decode()


def log_payload(
    payload: bytes | None = None, signer: StatementSigner | None = None, **options: Any
) -> Logged:
    """A payload (a provenance unless given) signed by `signer` (rebuilder-a) and logged; see `Logged`."""
    payload = payload if payload is not None else make_provenance(PUBLISHED, LIB, operator=OPERATOR_A)
    signer = signer or statement_signer()
    signature = signer.sign(pae(PAYLOAD_TYPE, payload))
    return Logged(payload, signature, leaf_of(payload, signature, signer), **options)


def leaf_of(payload: bytes, signature: bytes, signer: StatementSigner) -> bytes:
    """Leaf data by the text of Rekor's hashedrekord 0.0.2, for signatures of any form."""
    curve = signer.key.algorithm == "p256"
    hasher = hashlib.sha256 if curve else hashlib.sha512
    document = {
        "apiVersion": "0.0.2",
        "kind": "hashedrekord",
        "spec": {
            "hashedRekordV002": {
                "data": {
                    "algorithm": "SHA2_256" if curve else "SHA2_512",
                    "digest": b64(hasher(pae(PAYLOAD_TYPE, payload)).digest()),
                },
                "signature": {
                    "content": b64(signature),
                    "verifier": {
                        "keyDetails": "PKIX_ECDSA_P256_SHA_256" if curve else "PKIX_ED25519_PH",
                        "publicKey": {"rawBytes": b64(signer.key.spki)},
                    },
                },
            }
        },
    }
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def product_bundle(logged: Logged, signer: StatementSigner | None = None) -> Document:
    """The bundle that touchplate itself writes for a well-formed entry."""
    signer = signer or statement_signer()
    envelope = {
        "payload": b64(logged.payload),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"sig": b64(logged.signature)}],
    }
    entry = make_entry(json.dumps(envelope, sort_keys=True, separators=(",", ":")).encode(), signer.key.spki)
    assert entry.leaf_data == logged.leaf, "the product's leaf is not the one that the formats describe"
    policy = open_policy(logged.policy)
    checkpoint = open_checkpoint(logged.note.encode(), policy)
    proof = reference.path(logged.index, logged.leaves)
    made: Document = json.loads(sigstore_bundle(entry, logged.index, proof, checkpoint, policy))
    return made


def plain_bundle(logged: Logged, signer: StatementSigner | None = None) -> Document:
    """The same bundle for what the product would not write: the parts put together as they are."""
    made = product_bundle(log_payload())
    element = made["verificationMaterial"]["tlogEntries"][0]
    element["logIndex"] = element["inclusionProof"]["logIndex"] = str(logged.index)
    element["inclusionProof"]["treeSize"] = str(len(logged.leaves))
    element["inclusionProof"]["rootHash"] = b64(reference.mth(logged.leaves))
    element["inclusionProof"]["hashes"] = [b64(each) for each in reference.path(logged.index, logged.leaves)]
    element["inclusionProof"]["checkpoint"]["envelope"] = logged.note
    element["canonicalizedBody"] = b64(logged.leaf)
    made["dsseEnvelope"]["payload"] = b64(logged.payload)
    made["dsseEnvelope"]["signatures"] = [{"sig": b64(logged.signature)}]
    spki = (signer or statement_signer()).key.spki
    made["verificationMaterial"]["publicKey"]["hint"] = b64(hashlib.sha256(spki).digest())
    return made


def changed(document: Document, *path: str | int, to: Any) -> Document:
    """A copy with the value at `path` replaced or added."""
    made = copy.deepcopy(document)
    holder: Any = made
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = to
    return made


def removed(document: Document, *path: str | int) -> Document:
    """A copy without the member at `path`."""
    made = copy.deepcopy(document)
    holder: Any = made
    for step in path[:-1]:
        holder = holder[step]
    del holder[path[-1]]
    return made


def open_policy(text: str) -> Policy:
    """The parsed policy."""
    return parse_policy(text)


def public_pem(signer: StatementSigner) -> str:
    """The public key as PEM."""
    return format_public_pem(signer.key)


def key_id(signer: NoteSigner) -> str:
    """How bundles and trusted roots name a log key."""
    return b64(log_id(signer.key))


def b64(data: bytes) -> str:
    """Base64 with the standard alphabet."""
    return base64.b64encode(data).decode("ascii")


def unb64(text: str) -> bytes:
    """The bytes of base64."""
    return base64.b64decode(text)
