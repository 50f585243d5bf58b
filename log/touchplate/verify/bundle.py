"""The proof bundle: everything for an offline check of one file against one checkpoint (bundle format 6).

Only the form is checked here. Nothing in a bundle is believed by being in it: `check` proves each entry.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from touchplate.verify.encoding import decode_base64, decode_hex, encode_base64, parse_decimal
from touchplate.verify.errors import MalformedError, shown
from touchplate.verify.files import ALGORITHMS
from touchplate.verify.jcs import JSON, format_json, parse_json
from touchplate.verify.proofs import MAX_PROOF_HASHES
from touchplate.verify.purl import PackageURL, format_purl, parse_purl
from touchplate.verify.rfc6962 import HASH_SIZE

MEDIA_TYPE = "application/vnd.touchplate.bundle.v1+json"

MAX_BUNDLE_BYTES = 4 << 20
"""Bytes. Part of the format: 64 envelopes of 64 KiB in base64 are more, real ones are a few KiB each."""

MAX_BUNDLE_ENTRIES = 64
"""Entries. Part of the format: it bounds the signatures that a reader checks for one file."""

_DIGEST_BYTES = {"sha256": 32, "sha512": 64, "sha384": 48, "sha1": 20, "md5": 16}


@dataclass(frozen=True)
class Artifact:
    """The label of a bundle: which file it is about. `digests`: algorithm to lower-case hex, sha256 always.

    Digests and size are compared with the file; `package` and `name` are never evidence.
    """

    package: PackageURL
    name: str
    size: int
    digests: Mapping[str, str] = field(hash=False)


@dataclass(frozen=True)
class BundleEntry:
    """One entry as a bundle carries it, unproved: envelope bytes, SPKI, inclusion proof (32 bytes each)."""

    index: int
    envelope: bytes
    spki: bytes
    proof: tuple[bytes, ...]


@dataclass(frozen=True)
class Bundle:
    """A parsed bundle. `checkpoint` is the signed note as bytes; `entries` ascend by index."""

    artifact: Artifact
    checkpoint: bytes
    entries: tuple[BundleEntry, ...]


def parse_bundle(data: bytes) -> Bundle:
    """The bundle in `data`. Raises MalformedError for every other form, unknown fields and null included."""
    value = parse_json(data, max_bytes=MAX_BUNDLE_BYTES)
    outer = members(value, "bundle", ("mediaType", "artifact", "checkpoint", "entries"))
    if outer["mediaType"] != MEDIA_TYPE:
        raise MalformedError(f"bundle has mediaType {shown(outer['mediaType'])}, not {MEDIA_TYPE!r}")
    entries = items(outer["entries"], "entries", MAX_BUNDLE_ENTRIES)
    bundle = Bundle(
        _parse_artifact(outer["artifact"]),
        text(outer["checkpoint"], "checkpoint").encode("utf-8"),
        tuple(_parse_entry(entry, f"entry {number}") for number, entry in enumerate(entries, start=1)),
    )
    _check_order(bundle.entries)
    return bundle


def format_bundle(bundle: Bundle) -> bytes:
    """The bundle as RFC 8785 JSON. Raises MalformedError when it would not parse again."""
    data = format_json(
        {
            "mediaType": MEDIA_TYPE,
            "artifact": {
                "package": format_purl(bundle.artifact.package),
                "name": bundle.artifact.name,
                "size": bundle.artifact.size,
                "digest": dict(bundle.artifact.digests),
            },
            "checkpoint": bundle.checkpoint.decode("utf-8"),
            "entries": [
                {
                    "index": str(entry.index),
                    "envelope": encode_base64(entry.envelope),
                    "key": encode_base64(entry.spki),
                    "proof": [encode_base64(one) for one in entry.proof],
                }
                for entry in bundle.entries
            ],
        }
    )
    parse_bundle(data)
    return data


def parse_proof(value: JSON, what: str) -> tuple[bytes, ...]:
    """The hashes of an inclusion proof, 32 bytes each. Raises MalformedError."""
    hashes = tuple(decode_base64(text(one, what), what) for one in items(value, what, MAX_PROOF_HASHES))
    for one in hashes:
        if len(one) != HASH_SIZE:
            raise MalformedError(f"{what} holds a hash of {len(one)} bytes, not {HASH_SIZE}")
    return hashes


def members(value: JSON, what: str, names: tuple[str, ...]) -> dict[str, JSON]:
    """The object `value`, which has exactly the fields `names`. Raises MalformedError."""
    if not isinstance(value, dict):
        raise MalformedError(f"{what} is not an object: {shown(value)}")
    for name in value:
        if name not in names:
            raise MalformedError(f"{what} has an unknown field {shown(name)}")
    for name in names:
        if name not in value:
            raise MalformedError(f"{what} has no field {name!r}")
    return value


def items(value: JSON, what: str, limit: int) -> list[JSON]:
    """The array `value` of at most `limit` items. Raises MalformedError."""
    if not isinstance(value, list):
        raise MalformedError(f"{what} is not an array: {shown(value)}")
    if len(value) > limit:
        raise MalformedError(
            f"{what} has {len(value)} items; at most {limit} are allowed", reason="too-large"
        )
    return value


def text(value: JSON, what: str) -> str:
    """The text `value`. Raises MalformedError."""
    if not isinstance(value, str):
        raise MalformedError(f"{what} is not a text: {shown(value)}")
    return value


def _parse_artifact(value: JSON) -> Artifact:
    artifact = members(value, "artifact", ("package", "name", "size", "digest"))
    name = text(artifact["name"], "artifact name")
    if not name or "/" in name:
        raise MalformedError(f"artifact name {shown(name)} is not the last segment of a path")
    size = artifact["size"]
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise MalformedError(f"artifact size is not a number of bytes: {shown(size)}")
    digests = _parse_digests(artifact["digest"])
    return Artifact(parse_purl(text(artifact["package"], "artifact package")), name, size, digests)


def _parse_digests(value: JSON) -> dict[str, str]:
    if not isinstance(value, dict) or "sha256" not in value:
        raise MalformedError(f"artifact digest is not an object with sha256: {shown(value)}")
    digests: dict[str, str] = {}
    for name, digest in value.items():
        if name not in ALGORITHMS:
            raise MalformedError(f"artifact digest {shown(name)} is unknown; known: {', '.join(ALGORITHMS)}")
        digests[name] = text(digest, name)
        decode_hex(digests[name], _DIGEST_BYTES[name], f"artifact {name}")
    return digests


def _parse_entry(value: JSON, what: str) -> BundleEntry:
    entry = members(value, what, ("index", "envelope", "key", "proof"))
    return BundleEntry(
        parse_decimal(text(entry["index"], f"{what} index"), f"{what} index"),
        decode_base64(text(entry["envelope"], f"{what} envelope"), f"{what} envelope"),
        decode_base64(text(entry["key"], f"{what} key"), f"{what} key"),
        parse_proof(entry["proof"], f"{what} proof"),
    )


def _check_order(entries: tuple[BundleEntry, ...]) -> None:
    for earlier, later in pairwise(entries):
        if earlier.index >= later.index:
            raise MalformedError(
                f"entries do not ascend by index: {later.index} stands after {earlier.index}"
            )
