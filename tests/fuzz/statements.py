"""Targets: strict JSON, envelopes, statements with their predicates, names, and statement keys."""

import json
from functools import partial

from tests.fuzz.target import Target, attempt, expect, text_of
from tests.simkeys import log_signer, verifier_key, witness_signer
from tests.verify import cases
from tests.verify.support import (
    LIB,
    make_comparison,
    make_provenance,
    make_record,
    statement_signer,
)

from touchplate.verify.dsse import MAX_ENVELOPE_BYTES, format_envelope, parse_envelope
from touchplate.verify.encoding import encode_base64, format_time, parse_time
from touchplate.verify.entry import make_entry
from touchplate.verify.jcs import JSONValue, format_json, parse_json
from touchplate.verify.keys import (
    Algorithm,
    check_signature_form,
    format_private_pem,
    format_public_pem,
    load_signer,
    normalise_signature,
    parse_public_pem,
    parse_spki,
)
from touchplate.verify.names import format_builder, format_upstream_uri, parse_builder, parse_upstream_uri
from touchplate.verify.predicates.admission import format_admission_predicate
from touchplate.verify.predicates.comparison import format_comparison
from touchplate.verify.predicates.peers import Peer, format_peer_change
from touchplate.verify.predicates.provenance import format_provenance
from touchplate.verify.predicates.record import format_record
from touchplate.verify.purl import format_purl, normalise_purl, parse_purl
from touchplate.verify.statements import (
    ADMISSION_TYPE,
    COMPARISON_TYPE,
    PEERS_TYPE,
    PROVENANCE_TYPE,
    RECORD_TYPE,
    STATEMENT_TYPE,
    Admission,
    Comparison,
    LogSubject,
    PeerChange,
    Predicate,
    Provenance,
    make_log_statement,
    make_statement,
    parse_predicate,
    parse_statement,
)

SIGNER = statement_signer()
SIGNATURE = SIGNER.sign(b"whatever")


def strict_json(data: bytes) -> bool:
    """What the strict reader takes, the standard library reads alike, and its canonical form is one form."""
    value = attempt(partial(parse_json, data, max_bytes=len(data)))
    if value is None:
        return data.strip(b" \t\r\n") == b"null"
    canonical = format_json(value)
    expect(parse_json(canonical, max_bytes=len(canonical)) == value, "another value when written")
    expect(format_json(parse_json(canonical, max_bytes=len(canonical))) == canonical, "no canonical form")
    expect(json.loads(data) == value and json.loads(canonical) == value, "another reader reads another value")
    return True


def _jsons() -> list[bytes]:
    good = [b'{"b":[1,-2,0],"a":"\\u00e9\\ud83d\\ude00\\n"}', b'[true,false,null,"x"]', b" 9007199254740991 "]
    bad = [b'{"a":1,"a":2}', b"[1.0]", b"-0", b'"\\ud800"', b"9007199254740992", b"[" * 40, b"\xef\xbb\xbf1"]
    return good + bad


def envelope(data: bytes) -> bool:
    """An envelope has one form; any payload comes out of its envelope as it went in, and gives one leaf."""
    parsed = attempt(lambda: parse_envelope(data))
    if parsed is not None:
        expect(format_envelope(parsed.payload, parsed.signature) == data, "other bytes")
        entry = attempt(lambda: make_entry(data, SIGNER.key.spki))
        if entry is not None:
            expect(entry.payload == parsed.payload and entry.envelope == data, "another entry")
            leaf = parse_json(entry.leaf_data, max_bytes=MAX_ENVELOPE_BYTES)
            expect(format_json(leaf) == entry.leaf_data, "leaf data that is not RFC 8785")
    sealed = attempt(lambda: format_envelope(data, SIGNATURE))
    if sealed is not None:
        expect(parse_envelope(sealed).payload == data, "another payload")
    return parsed is not None


def _envelopes() -> list[bytes]:
    good = cases.provenance().envelope
    value = json.loads(good)
    keyed = {**value, "signatures": [{"keyid": "", "sig": "AA=="}]}
    spaced = json.dumps(value).encode()
    return [good, cases.record().envelope, format_envelope(b"{}", b""), format_json(keyed), spaced, good[:-1]]


def statement(data: bytes) -> bool:
    """A statement that is written again from what was read of it is read as the same statement."""
    parsed = attempt(lambda: parse_statement(data))
    if parsed is None:
        return False
    predicate = attempt(partial(parse_predicate, parsed))
    if predicate is None:
        return False
    if parsed.log is None:
        payload = make_statement(parsed.subjects, parsed.predicate_type, _format(predicate))
    else:
        payload = make_log_statement(parsed.log, parsed.predicate_type, _format(predicate))
    again = parse_statement(payload)
    expect((again.subjects, again.log) == (parsed.subjects, parsed.log), "other subjects when written")
    expect(parse_predicate(again) == predicate, "another predicate when written")
    return True


def _format(predicate: Predicate) -> dict[str, JSONValue]:
    if isinstance(predicate, Provenance):
        return format_provenance(predicate)
    if isinstance(predicate, Comparison):
        return format_comparison(predicate)
    if isinstance(predicate, Admission):
        return format_admission_predicate(predicate)
    if isinstance(predicate, PeerChange):
        return format_peer_change(predicate)
    return format_record(predicate)


def _admission() -> bytes:
    other = statement_signer("administrator", "ed25519").key
    key: dict[str, JSONValue] = {
        "kind": "rebuilder",
        "operator": "https://a.example.org",
        "builder": "https://a.example.org/touchplate/gvisor/v1",
        "key": format_public_pem(SIGNER.key),
        "ecosystems": ["maven", "oci"],
        "until_index": 9,
    }
    predicate: dict[str, JSONValue] = {
        "add": [key],
        "remove": [other.spki_sha256.hex()],
        "administrators": [encode_base64(other.spki)],
        "threshold": 1,
        "from_index": 4,
    }
    return make_log_statement(LogSubject("log.example.org", "ab" * 32), ADMISSION_TYPE, predicate)


def _membership() -> bytes:
    keys = log_signer("e"), witness_signer("e.example.org")
    peer = Peer(
        "e",
        encode_base64(b"v" * 32),
        "ab" * 20 + "@e.example.org:26656",
        "https://e.example.org/log",
        *map(verifier_key, keys),
    )
    predicate = format_peer_change(PeerChange((peer,), ("a",), 4))
    return make_log_statement(LogSubject("log.example.org", "ab" * 32), PEERS_TYPE, predicate)


def statement_seeds() -> list[bytes]:
    """One statement of each kind, and two that are none."""
    results = ("identical", "equivalent", "different", "not-built")
    good = [make_provenance(), make_provenance(host_tool=True, sources=("sources-jar", "vcs")), make_record()]
    good += [make_comparison(result) for result in results]  # type: ignore[arg-type]
    return [*good, _admission(), _membership(), good[0].replace(b"source-release", b"tool"), b"{}"]


STATEMENT_WORDS = (
    STATEMENT_TYPE, PROVENANCE_TYPE, COMPARISON_TYPE, RECORD_TYPE, ADMISSION_TYPE, "annotations", "host",
    "digest", "sha256", "sha512", "subject", "uri", "name", "predicate", "kind", "resolvedDependencies",
    "definition", "input-lock", "tool", "vcs", "source-release", "sources-jar", "upstream:central/", "pkg:",
)  # fmt: skip


def name(data: bytes) -> bool:
    """Package URLs, upstream URIs, builders and times have one spelling; what a person types gets it."""
    text = text_of(data)
    purl = attempt(lambda: parse_purl(text))
    if purl is not None:
        expect(format_purl(purl) == text, "another spelling")
        expect(normalise_purl(text) == purl, "a good purl is changed by normalising")
    typed = attempt(lambda: normalise_purl(text))
    if typed is not None:
        expect(parse_purl(format_purl(typed)) == typed, "a normalised purl that does not parse")
        attempt(lambda: typed.file_name)
    upstream = attempt(lambda: parse_upstream_uri(text))
    if upstream is not None:
        expect(format_upstream_uri(*upstream) == text, "another spelling")
    builder = attempt(lambda: parse_builder(text))
    if builder is not None:
        expect(format_builder(*builder) == text, "another spelling")
    moment = attempt(lambda: parse_time(text))
    if moment is not None:
        expect(format_time(moment) == text, "another spelling")
    return any(each is not None for each in (purl, typed, upstream, builder, moment))


def _names() -> list[bytes]:
    texts = [
        str(LIB),
        "pkg:maven/g.h/a@1%2B2?classifier=sources&repository_url=repo.example.org/x&type=tar.gz",
        "pkg:conan/zlib@1.3?channel=stable&file=conan_package.tgz&package_id=0f&prev=1&rrev=2&user=me",
        f"pkg:oci/app@sha256:{'ab' * 32}?repository_url=docker.io/library/app",
        "PKG:/maven/g/a@1?type=jar&classifier=",
        "upstream:central/org/example/a%20b.jar",
        "https://rebuild.example.org:8443/team/touchplate/bubblewrap/v1",
        "2027-01-15T08:00:00Z",
        "pkg:maven/g/../a@1?type=jar",
        "pkg:npm/x@1",
    ]
    return [text.encode() for text in texts]


def statement_key(data: bytes) -> bool:
    """Keys and signatures have one form: SPKI to the byte, PEM up to line ends and white space around it."""
    key = attempt(lambda: parse_spki(data))
    expect(key is None or key.spki == data, "another key")
    public = attempt(lambda: parse_public_pem(data.decode("latin-1")))
    if public is not None:
        expect(parse_public_pem(format_public_pem(public)) == public, "another key when written")
    signer = attempt(lambda: load_signer(data))
    if signer is not None:
        expect(load_signer(format_private_pem(signer)).key == signer.key, "another key when written")
    normal = attempt(lambda: normalise_signature(data))
    if is_good("p256", data):
        expect(normal == data, "a good signature is changed by normalising")
    expect(not is_good("ed25519", data) or len(data) == 64, "an odd signature is in its form")
    return any(each is not None for each in (key, public, signer))


def is_good(algorithm: Algorithm, signature: bytes) -> bool:
    """Whether a signature is in its one form."""

    def run() -> bool:
        check_signature_form(algorithm, signature)
        return True

    return attempt(run) is True


def _keys() -> list[bytes]:
    signers = (SIGNER, statement_signer("rebuilder-a", "ed25519"))
    good = [signer.key.spki for signer in signers]
    good += [format_public_pem(signer.key).encode() for signer in signers]
    good += [signer.private_pem() for signer in signers]
    # The same key as a compressed point, lengths and all: readers of SPKI take it, ours must not.
    compressed = bytes.fromhex("3039") + good[0][2:23] + b"\x03\x22\x00\x02" + good[0][27:59]
    return [*good, SIGNATURE, SIGNATURE[:-1], compressed, good[2].replace(b"\n", b"\r\n")]


TARGETS = (
    Target("json", strict_json, _jsons, 1024, ("\\u", "\\ud83d", "true", "null", "{}", "[]"), is_json=True),
    Target("envelope", envelope, _envelopes, 8192, ('{"payload":"', '"}]}', '","payloadType":"')),
    Target("statement", statement, statement_seeds, 4096, STATEMENT_WORDS, is_json=True),
    Target("name", name, _names, 512, ("pkg:maven/", "pkg:conan/", "pkg:oci/", "upstream:", "%2F", "type=")),
    Target("statement-key", statement_key, _keys, 1024, ("-----BEGIN PUBLIC KEY-----", "-----END ")),
)
