"""The proof bundle: everything for an offline check of one file against one checkpoint (bundle format 6).

Only the form is checked here. Nothing in a bundle is believed by being in it: `check` proves each entry.
"""

from collections.abc import Mapping
from itertools import pairwise

from touchplate.verify.encoding import decode_base64, encode_base64, parse_decimal
from touchplate.verify.errors import MalformedError, shown
from touchplate.verify.fields import take_count, take_digests, take_list, take_object, take_text
from touchplate.verify.files import ALGORITHMS
from touchplate.verify.jcs import JSON, format_json, parse_json
from touchplate.verify.proofs import MAX_PROOF_HASHES
from touchplate.verify.purl import PackageURL, format_purl, parse_purl
from touchplate.verify.rfc6962 import HASH_SIZE
from touchplate.verify.values import value

MEDIA_TYPE = "application/vnd.touchplate.bundle.v1+json"

MAX_BUNDLE_BYTES = 4 << 20
"""Bytes. Part of the format: 64 envelopes of 64 KiB in base64 are more, real ones are a few KiB each."""

MAX_BUNDLE_ENTRIES = 64
"""Entries. Part of the format: it bounds the signatures that a reader checks for one file."""


@value
class Artifact:
    """The label of a bundle: which file it is about. `digests`: algorithm to lower-case hex, sha256 always.

    Digests and size are compared with the file; `package` and `name` are never evidence.
    """

    package: PackageURL
    name: str
    size: int
    digests: Mapping[str, str]


@value
class BundleEntry:
    """One entry as a bundle carries it, unproved: envelope bytes, SPKI, inclusion proof (32 bytes each)."""

    index: int
    envelope: bytes
    spki: bytes
    proof: tuple[bytes, ...]


@value
class Bundle:
    """A parsed bundle. `checkpoint` is the signed note as bytes; `entries` ascend by index."""

    artifact: Artifact
    checkpoint: bytes
    entries: tuple[BundleEntry, ...]


def parse_bundle(data: bytes) -> Bundle:
    """The bundle in `data`. Raises MalformedError for every other form, unknown fields and null included."""
    value = parse_json(data, max_bytes=MAX_BUNDLE_BYTES)
    outer = take_object(value, "bundle", ("mediaType", "artifact", "checkpoint", "entries"))
    if outer["mediaType"] != MEDIA_TYPE:
        raise MalformedError(f"bundle has mediaType {shown(outer['mediaType'])}, not {MEDIA_TYPE!r}")
    entries = take_list(outer["entries"], "entries", most=MAX_BUNDLE_ENTRIES)
    bundle = Bundle(
        _parse_artifact(outer["artifact"]),
        take_text(outer["checkpoint"], "checkpoint").encode("utf-8"),
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
    hashes = tuple(take_base64(one, what) for one in take_list(value, what, most=MAX_PROOF_HASHES))
    for one in hashes:
        if len(one) != HASH_SIZE:
            raise MalformedError(f"{what} holds a hash of {len(one)} bytes, not {HASH_SIZE}")
    return hashes


def take_base64(value: JSON, what: str) -> bytes:
    """The bytes of a base64 text. Raises MalformedError."""
    return decode_base64(take_text(value, what), what)


def take_decimal(value: JSON, what: str) -> int:
    """The number below 2**63 in a decimal text: JSON numbers end at 2**53. Raises MalformedError."""
    return parse_decimal(take_text(value, what), what)


def _parse_artifact(value: JSON) -> Artifact:
    artifact = take_object(value, "artifact", ("package", "name", "size", "digest"))
    name = take_text(artifact["name"], "artifact name")
    if "/" in name:
        raise MalformedError(f"artifact name {shown(name)} is not the last segment of a path")
    digests = take_digests(artifact["digest"], "artifact digest")
    unknown = sorted(digests.keys() - set(ALGORITHMS))
    if unknown:
        # Digests and size of the label are all checked; one that cannot be would look as if it were.
        raise MalformedError(f"artifact digest has {shown(unknown)}; known: {', '.join(ALGORITHMS)}")
    package = parse_purl(take_text(artifact["package"], "artifact package"))
    return Artifact(package, name, take_count(artifact["size"], "artifact size"), digests)


def _parse_entry(value: JSON, what: str) -> BundleEntry:
    entry = take_object(value, what, ("index", "envelope", "key", "proof"))
    return BundleEntry(
        take_decimal(entry["index"], f"{what} index"),
        take_base64(entry["envelope"], f"{what} envelope"),
        take_base64(entry["key"], f"{what} key"),
        parse_proof(entry["proof"], f"{what} proof"),
    )


def _check_order(entries: tuple[BundleEntry, ...]) -> None:
    for earlier, later in pairwise(entries):
        if earlier.index >= later.index:
            raise MalformedError(
                f"entries do not ascend by index: {later.index} stands after {earlier.index}"
            )
