"""The four predicates: every required and forbidden field, and what must agree with the subjects."""

import pytest
from tests.simkeys import ORIGIN, log_signer, verifier_key, witness_signer
from tests.verify.support import (
    LIB,
    OPERATOR_A,
    OTHER,
    PUBLISHED,
    SEEN,
    SOME_IDENTITY,
    dependencies,
    digests_of,
    edited,
    make_comparison,
    make_provenance,
    make_record,
    sha256_of,
    statement_signer,
    without,
)

from touchplate.verify.encoding import encode_base64
from touchplate.verify.errors import MalformedError
from touchplate.verify.jcs import JSONValue, parse_json
from touchplate.verify.keys import format_public_pem
from touchplate.verify.predicates.admission import format_admission_predicate
from touchplate.verify.predicates.comparison import (
    FAILURES,
    PHASES,
    RESULTS,
    Failure,
    Result,
    format_comparison,
)
from touchplate.verify.predicates.peers import Peer, format_peer, format_peer_change
from touchplate.verify.predicates.provenance import Dependency, format_provenance
from touchplate.verify.predicates.record import format_record
from touchplate.verify.statements import (
    ADMISSION_TYPE,
    COMPARISON_TYPE,
    PEERS_TYPE,
    PROVENANCE_TYPE,
    RECORD_TYPE,
    Admission,
    Comparison,
    LogSubject,
    PeerChange,
    Predicate,
    Provenance,
    Record,
    make_log_statement,
    make_statement,
    make_subject,
    parse_predicate,
    parse_statement,
)
from touchplate.verify.values import replace

Path = list[str | int]

PROVENANCE = make_provenance()
BUILD: Path = ["predicate", "buildDefinition"]
RUN: Path = ["predicate", "runDetails"]
FIRST: Path = [*BUILD, "resolvedDependencies", 0]
SOURCE: Path = [*BUILD, "resolvedDependencies", 2]
TOOL: Path = [*BUILD, "resolvedDependencies", 3]
HEX = "0a" * 32


def parse(payload: bytes) -> Predicate:
    return parse_predicate(parse_statement(payload))


def refused(payload: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        parse(payload)


def test_reads_provenance_and_writes_it_back() -> None:
    provenance = parse(PROVENANCE)
    assert isinstance(provenance, Provenance)
    assert provenance.package == LIB
    assert provenance.operator == OPERATOR_A
    assert provenance.source_kinds == {"source-release"}
    assert not provenance.has_host_tools
    assert provenance.one("definition").digests == sha256_of(b"definition")
    assert provenance.one("input-lock").name == "inputs.json"
    assert provenance.metadata["invocationId"] == "1"
    subject = make_subject(LIB, sha256_of(PUBLISHED))
    assert make_statement([subject], PROVENANCE_TYPE, format_provenance(provenance)) == PROVENANCE


def test_says_when_a_tool_came_from_the_host() -> None:
    provenance = parse(make_provenance(host_tool=True))
    assert isinstance(provenance, Provenance)
    assert provenance.has_host_tools


def test_sorts_dependencies_by_kind_and_uri_when_writing() -> None:
    provenance = parse(make_provenance(sources=["vcs", "sources-jar", "source-release"]))
    assert isinstance(provenance, Provenance)
    kinds = [each.kind for each in provenance.dependencies]
    assert kinds == ["definition", "input-lock", "source-release", "sources-jar", "tool", "vcs"]
    assert provenance.source_kinds == {"vcs", "source-release", "sources-jar"}


def test_takes_the_optional_fields_of_slsa() -> None:
    payload = edited(PROVENANCE, *BUILD, "internalParameters", value={"x": 1})
    payload = edited(payload, *RUN, "builder", "builderDependencies", value=[])
    payload = edited(payload, *RUN, "metadata", "finishedOn", value="2027-01-15T08:01:00Z")
    parse(without(without(payload, *RUN, "builder", "version"), *RUN, "metadata", "invocationId"))
    parse(without(payload, *RUN, "metadata"))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["predicate", "x"], 1, "unknown fields"),
        ([*BUILD, "x"], 1, "unknown fields"),
        ([*BUILD, "internalParameters"], [], "internalParameters"),
        ([*BUILD, "buildType"], "https://touchplate.dev/buildtypes/conan/v1", "does not build"),
        ([*BUILD, "externalParameters", "x"], 1, "unknown fields"),
        ([*BUILD, "externalParameters", "definition"], "", "definition"),
        ([*BUILD, "externalParameters", "package"], "pkg:maven/org.example/lib@1.0", "no type"),
        ([*BUILD, "externalParameters", "package"], "pkg:maven/org.example/lib@1.1?type=jar", "no file of"),
        ([*BUILD, "externalParameters", "package"], "pkg:maven/org.other/lib@1.0?type=jar", "no file of"),
        ([*BUILD, "externalParameters", "package"], "pkg:maven/org.example/libs@1.0?type=jar", "no file of"),
        (
            [*BUILD, "externalParameters", "package"],
            "pkg:maven/org.example/lib@1.0?repository_url=repo.example.org&type=jar",
            "no file of",
        ),
        ([*BUILD, "resolvedDependencies"], [], "has 0 items"),
        ([*FIRST, "x"], 1, "unknown fields"),
        ([*FIRST, "downloadLocation"], "https://mirror.example.org/a", "unknown fields"),
        ([*FIRST, "digest"], {"gitCommit": "1"}, "no sha256"),
        ([*FIRST, "uri"], "https://example.org/a", "uri"),
        ([*FIRST, "uri"], "pkg:npm/a@1", "purl"),
        ([*FIRST, "name"], "", "name"),
        ([*FIRST, "mediaType"], 1, "mediaType"),
        ([*FIRST, "annotations", "x"], 1, "annotation"),
        ([*FIRST, "annotations", "kind"], "tool", "not sorted"),
        ([*FIRST, "annotations", "kind"], "other", "kind"),
        ([*FIRST, "annotations", "kind"], ["vcs", "tool"], "kind"),
        ([*FIRST, "annotations", "root"], "host", "only a tool"),
        ([*TOOL, "annotations", "root"], "image", "root"),
        ([*RUN, "x"], 1, "unknown fields"),
        ([*RUN, "builder", "x"], 1, "unknown fields"),
        ([*RUN, "builder", "id"], OPERATOR_A, "builder"),
        ([*RUN, "builder", "id"], OPERATOR_A + "/touchplate/none/v1", "builder"),
        ([*RUN, "builder", "version"], {"a": 1}, "builder version"),
        ([*RUN, "builder", "builderDependencies"], {}, "builderDependencies"),
        ([*RUN, "metadata", "x"], "1", "unknown fields"),
        ([*RUN, "metadata", "startedOn"], "2027-01-15", "startedOn"),
        ([*RUN, "byproducts"], [], "byproducts lack build-log, sandbox-report"),
        ([*RUN, "byproducts", 0, "name"], "sandbox-report", "twice"),
        ([*RUN, "byproducts", 0, "name"], "notes", "not one of"),
        ([*RUN, "byproducts", 0, "digest"], {}, "no sha256"),
    ],
)
def test_refuses_other_provenance(path: Path, value: JSONValue, message: str) -> None:
    refused(edited(PROVENANCE, *path, value=value), message)


@pytest.mark.parametrize(
    "path",
    [
        *(["predicate", name] for name in ("buildDefinition", "runDetails")),
        *([*BUILD, name] for name in ("buildType", "externalParameters", "resolvedDependencies")),
        *([*BUILD, "externalParameters", name] for name in ("package", "definition")),
        *([*FIRST, name] for name in ("digest", "annotations")),
        *([*RUN, name] for name in ("builder", "byproducts")),
        [*RUN, "builder", "id"],
        [*RUN, "byproducts", 0, "name"],
    ],
)
def test_refuses_provenance_that_lacks_something(path: Path) -> None:
    refused(without(PROVENANCE, *path), f"lacks {path[-1]}")


def test_refuses_provenance_without_a_kind_a_source_or_its_uri() -> None:
    refused(without(PROVENANCE, *FIRST, "annotations", "kind"), "kind")
    refused(without(PROVENANCE, *SOURCE, "uri"), "source without uri")
    refused(without(PROVENANCE, *SOURCE), "name no source")


def test_needs_exactly_one_definition_and_one_input_lock() -> None:
    provenance = parse(PROVENANCE)
    assert isinstance(provenance, Provenance)
    subject = make_subject(LIB, sha256_of(PUBLISHED))
    for kind in ("definition", "input-lock"):
        for wrong in (
            tuple(each for each in dependencies() if each.kind != kind),
            (*dependencies(), Dependency(kind, sha256_of(b"second"))),
        ):
            with pytest.raises(MalformedError, match=f"of kind {kind}, not one"):
                make_statement(
                    [subject], PROVENANCE_TYPE, format_provenance(replace(provenance, dependencies=wrong))
                )


def test_gives_unknown_build_types_a_reason_of_their_own() -> None:
    with pytest.raises(MalformedError) as caught:
        parse(edited(PROVENANCE, *BUILD, "buildType", value="https://example.org/other"))
    assert caught.value.reason == "unknown-build-type"


def test_takes_several_files_of_one_package_version() -> None:
    sources = {"name": "lib-1.0-sources.jar", "uri": f"{str(LIB).replace('?', '?classifier=sources&')}"}
    subjects: JSONValue = [
        {"name": "lib-1.0.jar", "uri": str(LIB), "digest": sha256_of(b"1")},
        {**sources, "digest": sha256_of(b"2")},
    ]
    parse(edited(PROVENANCE, "subject", value=subjects))


@pytest.mark.parametrize("result", RESULTS)
def test_reads_comparisons_and_writes_them_back(result: Result) -> None:
    payload = make_comparison(result)
    comparison = parse(payload)
    assert isinstance(comparison, Comparison)
    assert comparison.result == result
    assert comparison.package == LIB
    assert (comparison.provenance == SOME_IDENTITY) == (result != "not-built")
    assert (comparison.rebuilt is None) == (comparison.failure is not None) == (result == "not-built")
    subject = make_subject(LIB, sha256_of(PUBLISHED))
    assert make_statement([subject], COMPARISON_TYPE, format_comparison(comparison)) == payload


VALUES: dict[str, JSONValue] = {
    "rebuilt": {"digest": sha256_of(OTHER), "size": len(OTHER)},
    "provenance": {"identity": SOME_IDENTITY},
    "stabilizers": ["zip-entry-times@1"],
    "stabilized": {"sha256": HEX},
    "differences": {"count": 1, "causes": [], "summary": []},
    "failure": {"phase": "build", "reason": "timeout", "detail": "60 min"},
}
REQUIRED: dict[Result, set[str]] = {
    "identical": {"rebuilt", "provenance"},
    "equivalent": {"rebuilt", "provenance", "stabilizers", "stabilized"},
    "different": {"rebuilt", "provenance", "differences"},
    "not-built": {"failure"},
}


@pytest.mark.parametrize("result", RESULTS)
def test_comparison_fields_are_required_or_forbidden_as_the_table_says(result: Result) -> None:
    payload = make_comparison(result)
    for name in ("result", "package", "published", "definition"):
        with pytest.raises(MalformedError):
            parse(without(payload, "predicate", name))
    for name, value in VALUES.items():
        if name in REQUIRED[result]:
            refused(without(payload, "predicate", name), f"lacks {name}")
        else:
            refused(edited(payload, "predicate", name, value=value), f"must not have {name}")
    refused(edited(payload, "predicate", "extra", value=1), "unknown fields")


@pytest.mark.parametrize(
    ("result", "path", "value", "message"),
    [
        ("identical", ["result"], "same", "result is 'same'"),
        ("identical", ["package"], "pkg:maven/org.example/lib@1.1?type=jar", "not its subject"),
        ("identical", ["published", "x"], 1, "unknown fields"),
        ("identical", ["published", "uri"], "https://example.org/lib.jar", "upstream"),
        ("identical", ["published", "uri"], str(LIB), "upstream"),
        ("identical", ["published", "size"], -1, "whole number"),
        ("identical", ["published", "size"], True, "whole number"),
        ("identical", ["published", "size"], "38", "whole number"),
        ("identical", ["published", "digest"], {"sha512": "0" * 128}, "no sha256"),
        ("identical", ["published", "digest", "sha256"], HEX, "published is not the subject"),
        ("identical", ["rebuilt", "digest", "sha256"], HEX, "identical, yet"),
        ("identical", ["rebuilt", "size"], 1, "identical, yet"),
        ("identical", ["rebuilt", "uri"], "upstream:a/b", "unknown fields"),
        ("identical", ["provenance"], {"identity": HEX.upper()}, "lower-case"),
        ("identical", ["provenance"], {"identity": "0a"}, "64 hex"),
        ("identical", ["definition"], {"digest": {"md5": "0" * 32}}, "no sha256"),
        ("equivalent", ["rebuilt", "digest"], sha256_of(PUBLISHED), "same sha256"),
        ("equivalent", ["stabilizers"], [], "has 0 items"),
        ("equivalent", ["stabilizers"], ["zip-entry-times"], "name@version"),
        ("equivalent", ["stabilizers"], ["zip@0"], "name@version"),
        ("equivalent", ["stabilized"], {"sha512": "0" * 128}, "lacks sha256"),
        ("different", ["rebuilt", "digest"], sha256_of(PUBLISHED), "same sha256"),
        ("different", ["differences", "count"], 0, "at least 1"),
        ("different", ["differences", "causes"], "jdk", "not an array"),
        ("different", ["differences", "summary"], [1], "summary line"),
        ("different", ["differences", "report"], {"digest": sha256_of(b"")}, "lacks size"),
        ("different", ["differences", "x"], 1, "unknown fields"),
        ("not-built", ["failure", "phase"], "test", "phase"),
        ("not-built", ["failure", "reason"], "disk-full", "reason"),
        ("not-built", ["failure", "detail"], 1, "detail"),
        ("not-built", ["failure", "x"], 1, "unknown fields"),
    ],
)
def test_refuses_other_comparisons(result: Result, path: Path, value: JSONValue, message: str) -> None:
    refused(edited(make_comparison(result), "predicate", *path, value=value), message)


def test_takes_every_phase_and_reason_of_a_failure() -> None:
    for phase in PHASES:
        for reason in FAILURES:
            payload = edited(make_comparison("not-built"), "predicate", "failure", "phase", value=phase)
            comparison = parse(edited(payload, "predicate", "failure", "reason", value=reason))
            assert isinstance(comparison, Comparison)
            assert comparison.failure == Failure(phase, reason, "the command ended with status 1")


def test_differences_need_no_report() -> None:
    comparison = parse(without(make_comparison("different"), "predicate", "differences", "report"))
    assert isinstance(comparison, Comparison)
    assert comparison.differences is not None
    assert comparison.differences.report is None


@pytest.mark.parametrize("payload", [make_comparison(), make_record()])
def test_comparisons_and_records_have_exactly_one_subject(payload: bytes) -> None:
    document = parse_json(payload, max_bytes=100_000)
    assert isinstance(document, dict)
    subjects = document["subject"]
    assert isinstance(subjects, list)
    refused(edited(payload, "subject", value=subjects * 2), "one subject, not 2")


def test_reads_records_and_writes_them_back() -> None:
    payload = make_record()
    record = parse(payload)
    assert isinstance(record, Record)
    assert (record.package, record.seen, record.size) == (LIB, SEEN, len(PUBLISHED))
    assert record.uri == "upstream:central/org/example/lib/1.0/lib-1.0.jar"
    subject = make_subject(LIB, digests_of(PUBLISHED))
    assert make_statement([subject], RECORD_TYPE, format_record(record)) == payload


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["x"], 1, "unknown fields"),
        (["package"], "pkg:maven/org.example/lib@1.1?type=jar", "not its subject"),
        (["uri"], "https://example.org/lib.jar", "upstream"),
        (["size"], "1.5", "whole number"),
        (["size"], -1, "whole number"),
        (["seen"], "yesterday", "seen"),
        (["seen"], SEEN, "seen"),
        (["digest", "sha384"], "0" * 96, "record digest has"),
        (["digest", "md5"], "0" * 32, "not that of its subject"),
        (["digest", "sha256"], HEX, "not that of its subject"),
    ],
)
def test_refuses_other_records(path: Path, value: JSONValue, message: str) -> None:
    refused(edited(make_record(), "predicate", *path, value=value), message)


@pytest.mark.parametrize(
    "path",
    [
        ["package"],
        ["uri"],
        ["size"],
        ["seen"],
        ["digest"],
        ["digest", "sha512"],
        ["digest", "sha1"],
        ["digest", "md5"],
    ],
)
def test_refuses_records_that_lack_something(path: Path) -> None:
    refused(without(make_record(), "predicate", *path), "record")
    both = without(make_record(), "predicate", *path)
    if len(path) == 2:
        refused(without(both, "subject", 0, *path), "record digest has")


def admission() -> bytes:
    administrators = [statement_signer(name).key for name in ("admin-a", "admin-b")]
    add: JSONValue = {
        "kind": "rebuilder",
        "operator": OPERATOR_A,
        "builder": OPERATOR_A + "/touchplate/bubblewrap/v1",
        "key": format_public_pem(statement_signer().key),
        "ecosystems": ["maven"],
        "until_index": 9,
    }
    return make_log_statement(
        LogSubject(ORIGIN, HEX),
        ADMISSION_TYPE,
        {
            "add": [add],
            "remove": [HEX],
            "administrators": [encode_base64(key.spki) for key in administrators],
            "threshold": 2,
            "from_index": 7,
        },
    )


def test_reads_admissions() -> None:
    parsed = parse(admission())
    assert isinstance(parsed, Admission)
    assert parsed.add[0].key == statement_signer().key
    assert (parsed.add[0].from_index, parsed.add[0].until_index) == (0, 9)
    assert (parsed.remove, parsed.threshold, parsed.from_index) == ((HEX,), 2, 7)
    recorder = {"kind": "recorder", "operator": OPERATOR_A, "key": format_public_pem(statement_signer().key)}
    blocks: JSONValue = [
        {**recorder, "ecosystems": ["oci", "conan"]},
        {**recorder, "kind": "administrator", "from_index": 3},
    ]
    again = parse(edited(admission(), "predicate", "add", value=blocks))
    assert isinstance(again, Admission)
    assert [each.kind for each in again.add] == ["recorder", "administrator"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["x"], 1, "unknown fields"),
        (["threshold"], 0, "at least 1"),
        (["threshold"], 3, "with 2 administrators"),
        (["administrators"], [], "has 0 items"),
        (["administrators"], [encode_base64(statement_signer().key.spki)] * 2, "twice"),
        (["administrators", 0], "AAAA", "key"),
        (["remove"], ["x"], "remove"),
        (["from_index"], -1, "from_index"),
        (["add", 0, "x"], 1, "unknown fields"),
        (["add", 0, "kind"], "publisher", "kind"),
        (["add", 0, "kind"], "recorder", "only a rebuilder"),
        (["add", 0, "operator"], "https://A", "operator"),
        (["add", 0, "operator"], "https://other.example.org", "another operator"),
        (["add", 0, "builder"], None, "builder"),
        (["add", 0, "key"], "keys/a.pem", "PUBLIC KEY"),
        (["add", 0, "ecosystems"], [], "has 0 items"),
        (["add", 0, "ecosystems"], ["npm"], "ecosystem"),
        (["add", 0, "until_index"], "9", "until_index"),
    ],
)
def test_refuses_other_admissions(path: Path, value: JSONValue, message: str) -> None:
    refused(edited(admission(), "predicate", *path, value=value), message)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["name"], "log.example.org/x", "no log's origin"),
        (["uri"], "pkg:maven/a/b@1?type=jar", "unknown fields"),
        (["digest"], {"sha512": HEX * 2}, "lacks sha256"),
        (["digest", "sha256"], "0A" * 32, "digest sha256"),
        (["digest", "sha1"], HEX[:40], "unknown fields"),
    ],
)
def test_an_administrator_speaks_of_one_log_and_its_rules(path: Path, value: JSONValue, message: str) -> None:
    statement = parse_statement(admission())
    assert (statement.log, statement.subjects) == (LogSubject(ORIGIN, HEX), ())
    refused(edited(admission(), "subject", 0, *path, value=value), message)
    file = make_record()
    refused(edited(file, "predicateType", value=ADMISSION_TYPE), "subject")
    refused(edited(admission(), "predicateType", value=RECORD_TYPE), "subject 0 lacks uri")
    two: JSONValue = [{"name": ORIGIN, "digest": {"sha256": HEX}}] * 2
    refused(edited(admission(), "subject", value=two), "2 items")


def test_an_admission_is_written_as_it_was_read() -> None:
    parsed = parse(admission())
    assert isinstance(parsed, Admission)
    again = make_log_statement(LogSubject(ORIGIN, HEX), ADMISSION_TYPE, format_admission_predicate(parsed))
    assert parse(again) == parsed


PEER = Peer(
    "peer-e",
    encode_base64(b"v" * 32),
    "ab" * 20 + "@e.example.org:26656",
    "https://e.example.org/log",
    verifier_key(log_signer("e")),
    verifier_key(witness_signer("e.example.org")),
)


def peer_change() -> bytes:
    change = PeerChange((PEER,), ("peer-a",), 7)
    return make_log_statement(LogSubject(ORIGIN, HEX), PEERS_TYPE, format_peer_change(change))


def test_reads_changes_of_peers() -> None:
    assert parse(peer_change()) == PeerChange((PEER,), ("peer-a",), 7)
    assert (PEER.node_id, PEER.public) == ("ab" * 20, b"v" * 32)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["x"], 1, "unknown fields"),
        (["from_index"], -1, "from_index"),
        (["remove"], ["a", "a"], "twice"),
        (["remove", 0], 7, "remove"),
        (["add"], {}, "not an array"),
        (["add", 0, "power"], 2, "unknown fields"),
        (["add", 0, "name"], "Peer", "lower-case letters"),
        (["add", 0, "name"], "a" * 65, "lower-case letters"),
        (["add", 0, "validator"], encode_base64(b"v" * 31), "32 bytes"),
        (["add", 0, "validator"], "v", "validator"),
        (["add", 0, "node"], "e.example.org:26656", "40 hex digits"),
        (["add", 0, "node"], "ab" * 20 + "@e.example.org", "40 hex digits"),
        (["add", 0, "node"], "AB" * 20 + "@e.example.org:1", "40 hex digits"),
        (["add", 0, "node"], "ab" * 20 + "@e.example.org:65536", "40 hex digits"),
        (["add", 0, "node"], "ab" * 20 + "@" + "e" * 600 + ":1", "40 hex digits"),
        (["add", 0, "url"], "https://e.example.org/log/", "without a slash"),
        (["add", 0, "url"], "file:///log", "no URL"),
        (["add", 0, "url"], "https://e.example.org/log?x=1", "no URL"),
        (["add", 0, "url"], "https://u@e.example.org/log", "no URL"),
        (["add", 0, "url"], "https://e.example.org/" + "x" * 600, "no URL"),
        (["add", 0, "log_key"], PEER.cosigner_key, "not a log key"),
        (["add", 0, "cosigner_key"], PEER.log_key, "not a cosigner key"),
        (["add", 0, "cosigner_key"], "e.example.org", "cosigner_key"),
    ],
)
def test_refuses_other_changes_of_peers(path: Path, value: JSONValue, message: str) -> None:
    refused(edited(peer_change(), "predicate", *path, value=value), message)


def test_a_change_of_peers_changes_something() -> None:
    nothing = edited(peer_change(), "predicate", "remove", value=[])
    assert isinstance(parse(nothing), PeerChange)
    refused(edited(nothing, "predicate", "add", value=[]), "neither adds nor removes")
    assert parse(edited(peer_change(), "predicate", "add", value=[format_peer(PEER)])) == parse(peer_change())
