"""Statements: their outer form, the kinds that may make them, and what is read back before it is signed."""

from collections.abc import Callable

import pytest
from tests.verify.support import (
    LIB,
    PUBLISHED,
    digests_of,
    edited,
    make_comparison,
    make_provenance,
    make_record,
    mangle,
    sha256_of,
    statement_signer,
    without,
)

from touchplate.verify.dsse import PAYLOAD_TYPE, pae
from touchplate.verify.errors import MalformedError, SignatureError, VerifyError
from touchplate.verify.jcs import JSONValue, format_json
from touchplate.verify.purl import maven_purl, parse_purl
from touchplate.verify.statements import (
    MAX_SUBJECTS,
    PROVENANCE_TYPE,
    RECORD_TYPE,
    STATEMENT_TYPE,
    Comparison,
    Provenance,
    Record,
    Subject,
    make_statement,
    make_subject,
    parse_predicate,
    parse_statement,
)

RECORD = make_record()
FOREIGN_TYPE = "https://example.org/release/v1"


def foreign(subjects: list[Subject]) -> bytes:
    return make_statement(subjects, FOREIGN_TYPE, {"anything": [1]})


def test_reads_subjects_type_and_kind() -> None:
    statement = parse_statement(RECORD)
    (subject,) = statement.subjects
    assert subject == Subject("lib-1.0.jar", LIB, digests_of(PUBLISHED))
    assert subject.sha256 == sha256_of(PUBLISHED)["sha256"]
    assert statement.predicate_type == RECORD_TYPE
    assert statement.kind == "recorder"
    assert isinstance(parse_predicate(statement), Record)


@pytest.mark.parametrize(
    ("payload", "kind", "predicate"),
    [(make_provenance(), "rebuilder", Provenance), (make_comparison(), "rebuilder", Comparison)],
)
def test_says_which_kind_of_key_may_make_it(payload: bytes, kind: str, predicate: type) -> None:
    statement = parse_statement(payload)
    assert statement.kind == kind
    assert isinstance(parse_predicate(statement), predicate)


def test_takes_foreign_statements_and_refuses_their_predicates() -> None:
    statement = parse_statement(foreign([make_subject(LIB, sha256_of(b""))]))
    assert statement.kind == "unknown"
    assert statement.predicate == {"anything": [1]}
    with pytest.raises(MalformedError) as caught:
        parse_predicate(statement)
    assert caught.value.reason == "unknown-predicate"


def test_takes_foreign_spelling_of_json() -> None:
    assert parse_statement(RECORD.replace(b":", b" : ", 1)) == parse_statement(RECORD)


def test_takes_labels_of_a_subject_that_in_toto_knows() -> None:
    labelled = edited(RECORD, "subject", 0, "annotations", value={"a": 1})
    assert parse_statement(edited(labelled, "subject", 0, "mediaType", value="x")) == parse_statement(RECORD)


TOO_MANY: list[JSONValue] = [
    {"name": "lib-1.0.jar", "uri": str(LIB), "digest": sha256_of(b"")} for _ in range(MAX_SUBJECTS + 1)
]
SHA256 = sha256_of(PUBLISHED)["sha256"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["extra"], 1, "unknown fields"),
        (["_type"], "https://in-toto.io/Statement/v0.1", "_type"),
        (["_type"], None, "_type"),
        (["predicateType"], "", "predicateType"),
        (["predicateType"], 1, "predicateType"),
        (["predicate"], [], "predicate is not an object"),
        (["predicate"], "x", "predicate is not an object"),
        (["predicate"], None, "predicate is not an object"),
        (["subject"], {}, "subject is not an array"),
        (["subject"], [], "has 0 items, not 1 to 256"),
        (["subject"], TOO_MANY, "has 257 items, not 1 to 256"),
        (["subject", 0], "x", "subject 0 is not an object"),
        (["subject", 0, "x"], 1, "unknown fields"),
        (["subject", 0, "name"], "other.jar", "last path segment"),
        (["subject", 0, "name"], None, "name"),
        (["subject", 0, "uri"], "pkg:maven/org.example/lib@1.0", "no type"),
        (["subject", 0, "uri"], "upstream:central/a", "purl"),
        (["subject", 0, "uri"], "pkg:maven/org.example/lib@1.1?type=jar", "last path segment"),
        (["subject", 0, "digest"], [], "digest is not an object"),
        (["subject", 0, "digest", "sha256"], SHA256.upper(), "lower-case hex"),
        (["subject", 0, "digest", "sha256"], SHA256[:-2], "64 hex digits"),
        (["subject", 0, "digest", "sha256"], 1, "sha256"),
        (["subject", 0, "digest", "sha512"], SHA256, "128 hex digits"),
        (["subject", 0, "digest", "sha384"], "x", "96 hex digits"),
        (["subject", 0, "digest", "md5"], "x", "32 hex digits"),
        (["subject", 0, "digest", "label"], "", "label"),
    ],
)
def test_refuses_other_statements(path: list[str | int], value: JSONValue, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        parse_statement(edited(RECORD, *path, value=value))


@pytest.mark.parametrize(
    "path",
    [
        *(["_type"], ["subject"], ["predicateType"], ["predicate"]),
        *(["subject", 0, name] for name in ("name", "uri", "digest")),
        ["subject", 0, "digest", "sha256"],
    ],
)
def test_refuses_statements_that_lack_something(path: list[str | int]) -> None:
    with pytest.raises(MalformedError, match=f"(lacks|no) {path[-1]}"):
        parse_statement(without(RECORD, *path))


@pytest.mark.parametrize("data", [b"", b"[]", b"null", b"\xef\xbb\xbf" + RECORD, RECORD + b"{}"])
def test_refuses_payloads_that_are_no_strict_json_object(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse_statement(data)


def test_takes_256_subjects() -> None:
    subjects = [
        make_subject(maven_purl("g", "a", str(number)), sha256_of(b"")) for number in range(MAX_SUBJECTS)
    ]
    assert len(parse_statement(foreign(subjects)).subjects) == MAX_SUBJECTS


def test_names_conan_and_oci_subjects_by_their_last_segment() -> None:
    digest = "sha256:" + "0a" * 32
    for text, name in (
        ("pkg:conan/zlib@1.3?file=conan_package.tgz&package_id=1&prev=2&rrev=3", "conan_package.tgz"),
        (f"pkg:oci/debian@{digest}?repository_url=docker.io/library/debian", "debian"),
    ):
        (subject,) = parse_statement(foreign([make_subject(parse_purl(text), sha256_of(b""))])).subjects
        assert subject.name == name
    with pytest.raises(MalformedError, match="names no file"):
        make_subject(parse_purl("pkg:conan/zlib@1.3"), sha256_of(b""))


def test_makes_canonical_statements() -> None:
    predicate: JSONValue = {"b": 1, "a": "ä"}
    subject = make_subject(LIB, sha256_of(b""))
    payload = make_statement([subject], FOREIGN_TYPE, {"b": 1, "a": "ä"})
    assert payload == format_json(
        {
            "predicate": predicate,
            "predicateType": FOREIGN_TYPE,
            "subject": [{"digest": sha256_of(b""), "name": "lib-1.0.jar", "uri": str(LIB)}],
            "_type": STATEMENT_TYPE,
        }
    )


def test_makes_no_statement_that_readers_would_refuse() -> None:
    subject = make_subject(LIB, sha256_of(b""))
    with pytest.raises(MalformedError, match="provenance lacks"):
        make_statement([subject], PROVENANCE_TYPE, {})
    with pytest.raises(MalformedError, match="has 0 items"):
        make_statement([], FOREIGN_TYPE, {})
    with pytest.raises(MalformedError, match="last path segment"):
        make_statement([Subject("x", LIB, sha256_of(b""))], FOREIGN_TYPE, {})


@pytest.mark.parametrize("make", [make_record, make_provenance, lambda: make_comparison("different")])
def test_damaged_payloads_are_refused_or_break_the_signature(make: Callable[[], bytes]) -> None:
    payload, signer = make(), statement_signer()
    signature = signer.sign(pae(PAYLOAD_TYPE, payload))
    for damaged in mangle(payload):
        if damaged == payload:
            continue
        try:
            parse_predicate(parse_statement(damaged))
        except VerifyError:
            continue
        # Such as another digit of a digest, or white space: valid, and not what was signed.
        with pytest.raises(SignatureError):
            signer.key.verify(signature, pae(PAYLOAD_TYPE, damaged))
