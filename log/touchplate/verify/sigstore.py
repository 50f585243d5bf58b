"""Sigstore's form of one proved entry (bundle v0.3), and the trusted root for stock verifiers.

Stock verifiers check the signature, one log key's line and the inclusion; none checks a quorum, and each
leaves out other fields (`logIndex`, `treeSize`, `rootHash`, `canonicalizedBody`). All are written right here,
and a bundle with one of them wrong is refused when it is read.
"""

import hashlib
from collections.abc import Sequence

from touchplate.verify.bundle import MAX_BUNDLE_BYTES, parse_proof, take_base64, take_decimal
from touchplate.verify.checkpoints import Checkpoint
from touchplate.verify.encoding import encode_base64
from touchplate.verify.entry import Entry
from touchplate.verify.errors import MalformedError, ProofError, shown
from touchplate.verify.fields import take_list, take_object, take_text
from touchplate.verify.jcs import JSON, format_json, parse_json
from touchplate.verify.keys import ED25519_PREFIX
from touchplate.verify.notes import NoteKey
from touchplate.verify.policy import Policy
from touchplate.verify.rfc6962 import HASH_SIZE
from touchplate.verify.values import replace, value

MEDIA_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
TRUSTED_ROOT_MEDIA_TYPE = "application/vnd.dev.sigstore.trustedroot+json;version=0.1"

EXPORT_NOTICE = "stock Sigstore verifiers check one log signature and no quorum of witnesses or peers"
"""Said wherever a file for them is exported: what their acceptance is not worth."""

MAX_LOG_KEYS = 32
"""Elements of `tlogEntries`: stock verifiers take no more."""

_KIND = {"kind": "hashedrekord", "version": "0.0.2"}
_VALID_FROM = "1970-01-01T00:00:00Z"


@value
class SigstoreBundle:
    """A parsed bundle, unproved. `log_ids`: one per element; all elements agree in everything else.

    `leaf_data` is `canonicalizedBody`; `spki` is the key in it. Size and root are what the bundle claims.
    """

    envelope: bytes
    spki: bytes
    index: int
    proof: tuple[bytes, ...]
    checkpoint: bytes
    leaf_data: bytes
    size: int
    root: bytes
    log_ids: tuple[bytes, ...]


def log_id(key: NoteKey) -> bytes:
    """The 32 bytes that name a log key: the hash whose first four are the key id (signed-note)."""
    return hashlib.sha256(key.name.encode("utf-8") + b"\n" + bytes([key.type]) + key.public).digest()


def sigstore_bundle(
    entry: Entry, index: int, proof: Sequence[bytes], checkpoint: Checkpoint, policy: Policy
) -> bytes:
    """The bundle of one entry: one `tlogEntries` element per log key of `policy` that signed `checkpoint`.

    At most `MAX_LOG_KEYS` of them, in the order of the policy.

    The proof is not checked again. Raises MalformedError when no log key of the policy signed.
    """
    signed = set(checkpoint.log_keys)
    keys = [log.key for log in policy.logs if log.key in signed][:MAX_LOG_KEYS]
    if not keys:
        raise MalformedError(f"no log key of the policy signed the checkpoint of {checkpoint.origin!r}")
    return format_json(
        {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {
                "publicKey": {"hint": key_hint(entry.spki)},
                "tlogEntries": [_format_element(entry, index, proof, checkpoint, key) for key in keys],
            },
            # The envelope has one form, so parsing it and writing it again gives the logged bytes.
            "dsseEnvelope": parse_json(entry.envelope, max_bytes=MAX_BUNDLE_BYTES),
        }
    )


def trusted_root(policy: Policy) -> bytes:
    """`trusted_root.json` for stock verifiers: the Ed25519 log keys in the order of the policy.

    One ML-DSA key in it would make them refuse the whole file. See `EXPORT_NOTICE`.
    """
    logs = [_format_log(log.key) for log in policy.logs]
    return format_json(
        {
            "mediaType": TRUSTED_ROOT_MEDIA_TYPE,
            "tlogs": logs,
            "certificateAuthorities": [],
            "ctlogs": [],
            "timestampAuthorities": [],
        }
    )


def key_hint(spki: bytes) -> str:
    """How a bundle names a statement key: base64 of the SHA-256 of its SPKI."""
    return encode_base64(hashlib.sha256(spki).digest())


def parse_sigstore_bundle(data: bytes) -> SigstoreBundle:
    """The bundle in `data`: our form only, every field there and none beside. Raises MalformedError.

    Whether `checkpoint`, size, root, log ids and leaf are right is for `check_agreement` and `check`.
    """
    value = parse_json(data, max_bytes=MAX_BUNDLE_BYTES)
    outer = take_object(value, "bundle", ("mediaType", "verificationMaterial", "dsseEnvelope"))
    if outer["mediaType"] != MEDIA_TYPE:
        raise MalformedError(f"bundle has mediaType {shown(outer['mediaType'])}, not {MEDIA_TYPE!r}")
    material = take_object(
        outer["verificationMaterial"], "verificationMaterial", ("publicKey", "tlogEntries")
    )
    hint = take_text(take_object(material["publicKey"], "publicKey", ("hint",))["hint"], "hint")
    elements = take_list(material["tlogEntries"], "tlogEntries", most=MAX_LOG_KEYS)
    if not elements:
        raise MalformedError("tlogEntries is empty, so nothing shows that the entry is in a log")
    parsed = [_parse_element(element, outer["dsseEnvelope"]) for element in elements]
    first = parsed[0]
    ids = tuple(one.log_ids[0] for one in parsed)
    if any(replace(one, log_ids=first.log_ids) != first for one in parsed):
        raise MalformedError("tlogEntries elements differ in more than logId")
    if len(set(ids)) != len(ids):
        raise MalformedError("tlogEntries names one log key twice")
    if hint != key_hint(first.spki):
        raise MalformedError(f"hint {shown(hint)} is not the sha-256 of the key in canonicalizedBody")
    return replace(first, log_ids=ids)


def check_agreement(bundle: SigstoreBundle, checkpoint: Checkpoint, policy: Policy) -> None:
    """That the bundle says of its tree what the verified checkpoint says. Raises ProofError.

    Elements of log keys that the policy does not know are passed over, as their signature lines are: a bundle
    must outlive the retirement of one of several log keys (signed-note).
    """
    if bundle.size != checkpoint.size:
        raise ProofError(
            f"treeSize is {bundle.size}, the checkpoint's {checkpoint.size}", reason="wrong-size"
        )
    if bundle.root != checkpoint.root:
        raise ProofError("rootHash is not the checkpoint's", reason="wrong-root")
    signed = {log_id(key) for key in checkpoint.log_keys}
    known = {log_id(log.key) for log in policy.logs}
    if not signed.intersection(bundle.log_ids):
        raise ProofError("no logId names a log key that signed the checkpoint", reason="unknown-log")
    if any(one in known and one not in signed for one in bundle.log_ids):
        raise ProofError("a logId names a log key that did not sign the checkpoint", reason="unsigned-log")


def _format_element(
    entry: Entry, index: int, proof: Sequence[bytes], checkpoint: Checkpoint, key: NoteKey
) -> dict[str, JSON]:
    return {
        "logIndex": str(index),
        "logId": {"keyId": encode_base64(log_id(key))},
        "kindVersion": dict(_KIND),
        "inclusionProof": {
            "logIndex": str(index),
            "rootHash": encode_base64(checkpoint.root),
            "treeSize": str(checkpoint.size),
            "hashes": [encode_base64(one) for one in proof],
            "checkpoint": {"envelope": checkpoint.note},
        },
        "canonicalizedBody": encode_base64(entry.leaf_data),
    }


def _format_log(key: NoteKey) -> dict[str, JSON]:
    return {
        "baseUrl": f"https://{key.name}",
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": encode_base64(ED25519_PREFIX + key.public),
            "keyDetails": "PKIX_ED25519",
            "validFor": {"start": _VALID_FROM},
        },
        "logId": {"keyId": encode_base64(log_id(key))},
    }


def _parse_element(value: JSON, envelope: JSON) -> SigstoreBundle:
    names = ("logIndex", "logId", "kindVersion", "inclusionProof", "canonicalizedBody")
    element = take_object(value, "tlogEntries element", names)
    if element["kindVersion"] != _KIND:
        raise MalformedError(f"kindVersion is {shown(element['kindVersion'])}, not hashedrekord 0.0.2")
    names = ("logIndex", "rootHash", "treeSize", "hashes", "checkpoint")
    proof = take_object(element["inclusionProof"], "inclusionProof", names)
    index = take_decimal(element["logIndex"], "logIndex")
    if take_decimal(proof["logIndex"], "inclusionProof logIndex") != index:
        raise MalformedError(f"logIndex is {index}, and another in inclusionProof")
    leaf_data = take_base64(element["canonicalizedBody"], "canonicalizedBody")
    note = take_text(take_object(proof["checkpoint"], "checkpoint", ("envelope",))["envelope"], "checkpoint")
    return SigstoreBundle(
        envelope=format_json(envelope),
        spki=_key_in_leaf(leaf_data),
        index=index,
        proof=parse_proof(proof["hashes"], "hashes"),
        checkpoint=note.encode("utf-8"),
        leaf_data=leaf_data,
        size=take_decimal(proof["treeSize"], "treeSize"),
        root=take_base64(proof["rootHash"], "rootHash"),
        log_ids=(_parse_log_id(element["logId"]),),
    )


def _parse_log_id(value: JSON) -> bytes:
    """A log id. One of another length names no key at all, and must not pass for one that is unknown."""
    named = take_base64(take_object(value, "logId", ("keyId",))["keyId"], "logId")
    if len(named) != HASH_SIZE:
        raise MalformedError(f"logId has {len(named)} bytes, not {HASH_SIZE}")
    return named


def _key_in_leaf(leaf_data: bytes) -> bytes:
    """The SPKI that a leaf names: a bundle has it nowhere else. Step 3 rebuilds the leaf and compares."""
    what = "canonicalizedBody"
    value = parse_json(leaf_data, max_bytes=MAX_BUNDLE_BYTES)
    spec = take_object(
        take_object(value, what, ("apiVersion", "kind", "spec"))["spec"], what, ("hashedRekordV002",)
    )
    record = take_object(spec["hashedRekordV002"], what, ("data", "signature"))
    signature = take_object(record["signature"], what, ("content", "verifier"))
    verifier = take_object(signature["verifier"], what, ("keyDetails", "publicKey"))
    return take_base64(take_object(verifier["publicKey"], what, ("rawBytes",))["rawBytes"], f"{what} key")
