"""Deterministic statements, keys and damage for tests of every room: no randomness, no clock."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from touchplate.verify.dsse import sign_envelope
from touchplate.verify.entry import Entry, make_entry
from touchplate.verify.jcs import JSON, JSONValue, format_json, parse_json
from touchplate.verify.keys import P256_ORDER, Algorithm, StatementSigner
from touchplate.verify.names import format_builder
from touchplate.verify.predicates.comparison import (
    Comparison,
    Differences,
    Failure,
    File,
    Result,
    format_comparison,
)
from touchplate.verify.predicates.provenance import Dependency, Provenance, format_provenance
from touchplate.verify.predicates.record import Record, format_record
from touchplate.verify.purl import PackageURL, maven_purl
from touchplate.verify.statements import (
    COMPARISON_TYPE,
    PROVENANCE_TYPE,
    RECORD_TYPE,
    make_statement,
    make_subject,
)

OPERATOR_A = "https://rebuild-a.example.org"
OPERATOR_B = "https://rebuild-b.example.org"
RECORDER = "https://recorder.example.org"

LIB = maven_purl("org.example", "lib", "1.0")
LIB_OTHER_VERSION = maven_purl("org.example", "lib", "1.1")
PUBLISHED = b"the bytes of lib-1.0.jar as published\n"
OTHER = b"the bytes of lib-1.0.jar as somebody else built it\n"

SEEN = 1_800_000_000
"""A time for records: 2027-01-15T08:00:00Z."""

SOME_IDENTITY = hashlib.sha256(b"identity of a provenance entry").hexdigest()

_UPSTREAM = "upstream:central/org/example/lib/1.0/"


def statement_signer(name: str = "rebuilder-a", algorithm: Algorithm = "p256") -> StatementSigner:
    """The key that `name` always gives."""
    seed = hashlib.sha256(f"{algorithm} {name}".encode()).digest()
    if algorithm == "ed25519":
        return StatementSigner(Ed25519PrivateKey.from_private_bytes(seed))
    scalar = int.from_bytes(seed, "big") % (P256_ORDER - 1) + 1
    return StatementSigner(ec.derive_private_key(scalar, ec.SECP256R1()))


def digests_of(data: bytes) -> dict[str, str]:
    """sha256, sha512, sha1 and md5 of `data`, in hex."""
    return {name: hashlib.new(name, data).hexdigest() for name in ("sha256", "sha512", "sha1", "md5")}


def sha256_of(data: bytes) -> dict[str, str]:
    """The digest set of `data` with sha256 only."""
    return {"sha256": hashlib.sha256(data).hexdigest()}


def dependencies(
    sources: Sequence[str] = ("source-release",), *, host_tool: bool = False
) -> tuple[Dependency, ...]:
    """What a build of `LIB` used: the named kinds of source, a definition, an input lock, one tool."""
    uris = {
        "vcs": "upstream:git.example.org/lib",
        "source-release": _UPSTREAM + "lib-1.0-src.tar.gz",
        "sources-jar": "pkg:maven/org.example/lib@1.0?classifier=sources&type=jar",
    }
    return (
        *(Dependency(kind, sha256_of(kind.encode()), uris[kind]) for kind in sources),
        Dependency("definition", sha256_of(b"definition"), name="definition.yaml"),
        Dependency("input-lock", sha256_of(b"lock"), name="inputs.json"),
        Dependency(
            "tool", sha256_of(b"jdk"), name="jdk-17", annotations={"root": "host"} if host_tool else {}
        ),
    )


def make_provenance(
    data: bytes = PUBLISHED,
    uri: PackageURL = LIB,
    *,
    operator: str = OPERATOR_A,
    backend: str = "bubblewrap",
    sources: Sequence[str] = ("source-release",),
    host_tool: bool = False,
    digests: Mapping[str, str] | None = None,
    more: Sequence[bytes] = (),
    note: str = "1",
) -> bytes:
    """Payload: `operator` built `uri` with the bytes `data`. Another `note` makes another statement.

    `more`: further contents of the same file, each a subject of its own.
    """
    provenance = Provenance(
        build_type=f"https://touchplate.dev/buildtypes/{uri.ecosystem}/v1",
        package=uri,
        definition="inferred",
        dependencies=dependencies(sources, host_tool=host_tool),
        builder=format_builder(operator, backend),
        byproducts={
            name: hashlib.sha256(name.encode()).hexdigest() for name in ("build-log", "sandbox-report")
        },
        metadata={"invocationId": note, "startedOn": "2027-01-15T08:00:00Z"},
        builder_version={"touchplate": "0.1.0"},
    )
    contents = [digests or sha256_of(data), *map(sha256_of, more)]
    subjects = [make_subject(uri, one) for one in contents]
    return make_statement(subjects, PROVENANCE_TYPE, format_provenance(provenance))


def make_comparison(
    result: Result = "identical",
    published: bytes = PUBLISHED,
    rebuilt: bytes | None = None,
    uri: PackageURL = LIB,
    *,
    provenance: str = SOME_IDENTITY,
    stabilizers: tuple[str, ...] = ("zip-entry-times@1",),
) -> bytes:
    """Payload: comparing `published` with `rebuilt` (absent: what fits `result`) had this `result`.

    `provenance`: hex identity of the entry about the rebuilt bytes.
    """
    if rebuilt is None:
        rebuilt = published if result == "identical" else OTHER
    built = result != "not-built"
    comparison = Comparison(
        result=result,
        package=uri,
        published=File(sha256_of(published), len(published), _UPSTREAM + uri.file_name),
        definition=hashlib.sha256(b"definition").hexdigest(),
        rebuilt=File(sha256_of(rebuilt), len(rebuilt)) if built else None,
        provenance=provenance if built else None,
        stabilizers=stabilizers if result == "equivalent" else (),
        stabilized=hashlib.sha256(b"stabilized").hexdigest() if result == "equivalent" else None,
        differences=Differences(
            3,
            ("jdk-major",),
            ("META-INF/MANIFEST.MF: Build-Jdk-Spec 17 != 11",),
            File(sha256_of(b"report"), 6),
        )
        if result == "different"
        else None,
        failure=None if built else Failure("build", "exit-status", "the command ended with status 1"),
    )
    subject = make_subject(uri, sha256_of(published))
    return make_statement([subject], COMPARISON_TYPE, format_comparison(comparison))


def make_record(data: bytes = PUBLISHED, uri: PackageURL = LIB, *, seen: int = SEEN) -> bytes:
    """Payload: `uri` was first seen with the bytes `data`."""
    digests = digests_of(data)
    record = Record(uri, _UPSTREAM + uri.file_name, len(data), seen, digests)
    return make_statement([make_subject(uri, digests)], RECORD_TYPE, format_record(record))


def sign(payload: bytes, signer: StatementSigner | None = None) -> Entry:
    """The entry of `payload` by `signer` (absent: rebuilder-a). Deterministic."""
    signer = signer or statement_signer()
    return make_entry(sign_envelope(payload, signer), signer.key.spki)


def edited(payload: bytes, *path: str | int, value: JSONValue) -> bytes:
    """`payload` with the value at `path` replaced or added, unchecked."""
    document, holder, last = _find(payload, path)
    holder[last] = value
    return format_json(document)


def without(payload: bytes, *path: str | int) -> bytes:
    """`payload` without the member or item at `path`, unchecked."""
    document, holder, last = _find(payload, path)
    del holder[last]
    return format_json(document)


def _find(payload: bytes, path: Sequence[str | int]) -> tuple[JSON, "dict[str | int, JSONValue]", str | int]:
    document: JSON = parse_json(payload, max_bytes=1 << 20)
    holder: object = document
    for step in path[:-1]:
        holder = holder[step]  # type: ignore[index]
    return document, holder, path[-1]  # type: ignore[return-value]


def mangle(data: bytes) -> Iterator[bytes]:
    """Every truncation of `data`, every byte flipped in two ways, an extra byte in every place."""
    for end in range(len(data)):
        yield data[:end]
    for place, byte in enumerate(data):
        # The lowest bit, and the one between upper and lower case.
        for mask in (0x01, 0x20):
            yield data[:place] + bytes([byte ^ mask]) + data[place + 1 :]
    for place in range(len(data) + 1):
        for extra in (b" ", b"A"):
            yield data[:place] + extra + data[place:]
