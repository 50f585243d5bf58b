"""Targets: proof bundles of both forms, trust files, and the whole check over what they say."""

import io
import json
from functools import cache

from tests.fuzz.statements import STATEMENT_WORDS, statement_seeds
from tests.fuzz.target import Target, attempt, expect
from tests.simkeys import solo_policy
from tests.verify.bundles import make_bundle, make_checkpoint, make_proof
from tests.verify.cases import make_trust, no_files, provenance, record, second, trust_text
from tests.verify.support import (
    LIB,
    OPERATOR_B,
    OTHER,
    PUBLISHED,
    edited,
    make_comparison,
    make_provenance,
    sign,
    statement_signer,
)

from touchplate.verify.bundle import format_bundle, parse_bundle
from touchplate.verify.check import (
    FileDigests,
    LevelsMissingError,
    Report,
    attested_packages,
    check_bundle,
    check_sigstore_bundle,
    digest_file,
)
from touchplate.verify.checkpoints import open_checkpoint
from touchplate.verify.encoding import encode_base64
from touchplate.verify.entry import Entry
from touchplate.verify.errors import RefusedError
from touchplate.verify.jcs import JSON, JSONValue, format_json, parse_json
from touchplate.verify.judge import judge
from touchplate.verify.output import printable
from touchplate.verify.report_text import remedy, report_json, report_pairs
from touchplate.verify.sigstore import MEDIA_TYPE, key_hint, parse_sigstore_bundle, sigstore_bundle
from touchplate.verify.statements import RECORD_TYPE
from touchplate.verify.trust import TrustFile, parse_admission, parse_trust

LIMIT = 1 << 20


@cache
def _file() -> FileDigests:
    return digest_file(io.BytesIO(PUBLISHED))


@cache
def _entries() -> tuple[Entry, ...]:
    """The log that all seeds are of."""
    return (record(), provenance(), second())


@cache
def _trust(*rules: str) -> TrustFile:
    return make_trust(*rules)


def bundle(data: bytes) -> bool:
    """An accepted bundle is what its canonical JSON says; verified is only what the log's operators said."""
    parsed = attempt(lambda: parse_bundle(data))
    if parsed is not None:
        written = format_bundle(parsed)
        expect(written == format_json(parse_json(data, max_bytes=LIMIT)), "a part of it was not read")
        expect(parse_bundle(written) == parsed, "another bundle when written")
    try:
        verified = check_bundle(data, _file(), LIB, _trust("operators = 1"), now=0)
    except RefusedError:
        return parsed is not None
    expect(parsed is not None, "verified what does not parse")
    _expect_honest(verified)
    return True


def _expect_honest(report: Report) -> None:
    known = {(entry.envelope, entry.spki) for entry in _entries()}
    expect(report.checkpoint.note.encode() == make_checkpoint(_entries()), "a head that nobody signed")
    for operator in report.levels.operators:
        entry = _entries()[operator.index]
        expect((entry.envelope, entry.spki) in known, "counted an entry that nobody made")
        expect(f'"{operator.operator}/'.encode() in entry.payload, "counted for somebody else")


def _bundles() -> list[bytes]:
    good = make_bundle(_entries())
    value = json.loads(good)
    shorter = {**value, "entries": value["entries"][1:2]}
    twice = {**value, "entries": value["entries"][:2] * 2}
    spaced = json.dumps(value, indent=1, ensure_ascii=False).encode()
    swapped = make_bundle(_entries(), swap=True)
    return [good, format_json(shorter), format_json(twice), swapped, spaced, good[:-2], b"{}"]


def sigstore(data: bytes) -> bool:
    """Nothing in a Sigstore bundle is passed over: what was read of it is all that stands there."""
    parsed = attempt(lambda: parse_sigstore_bundle(data))
    if parsed is not None:
        element: dict[str, JSON] = {
            "logIndex": str(parsed.index),
            "kindVersion": {"kind": "hashedrekord", "version": "0.0.2"},
            "inclusionProof": {
                "logIndex": str(parsed.index),
                "rootHash": encode_base64(parsed.root),
                "treeSize": str(parsed.size),
                "hashes": [encode_base64(one) for one in parsed.proof],
                "checkpoint": {"envelope": parsed.checkpoint.decode()},
            },
            "canonicalizedBody": encode_base64(parsed.leaf_data),
        }
        written: dict[str, JSONValue] = {
            "mediaType": MEDIA_TYPE,
            "verificationMaterial": {
                "publicKey": {"hint": key_hint(parsed.spki)},
                "tlogEntries": [
                    {**element, "logId": {"keyId": encode_base64(one)}} for one in parsed.log_ids
                ],
            },
            "dsseEnvelope": parse_json(parsed.envelope, max_bytes=LIMIT),
        }
        canonical = format_json(parse_json(data, max_bytes=LIMIT))
        expect(format_json(written) == canonical, "a part of it was not read")
    try:
        verified = check_sigstore_bundle(data, _file(), LIB, _trust("operators = 1"), now=0)
    except RefusedError:
        return parsed is not None
    expect(parsed is not None, "verified what does not parse")
    _expect_honest(verified)
    return True


def _sigstores() -> list[bytes]:
    head = open_checkpoint(make_checkpoint(_entries()), solo_policy())
    made = [
        sigstore_bundle(_entries()[index], index, make_proof(_entries(), index), head, solo_policy())
        for index in range(3)
    ]
    return [*made, made[1].replace(b'"1"', b'"2"'), made[1][:-1], b"{}"]


def trust(data: bytes) -> bool:
    """A trust file means the same each time, finds each of its keys and nobody else's."""
    text = data.decode("latin-1")
    parsed = attempt(lambda: parse_trust(text, no_files))
    if parsed is not None:
        expect(parse_trust(text, no_files) == parsed, "another trust file the second time")
        expect(all(key in parsed.find(key.key.spki) for key in parsed.keys), "a key that is not found")
        expect(not parsed.find(statement_signer("stranger").key.spki), "a stranger is found")
        expect(parsed.reproduced.operators >= 1 and bool(parsed.reproduced.sources), "nothing is needed")
        expect(parsed.max_checkpoint_age is None or parsed.policy.needs_witnesses, "an age by nobody's clock")
    admission = attempt(lambda: parse_admission(text, no_files))
    expect(parsed is None or admission is None, "one file is both lists")
    return parsed is not None or admission is not None


def _trusts() -> list[bytes]:
    good = trust_text("operators = 3", 'sources = ["vcs"]', 'stabilizers = ["zip-entry-times@1"]')
    blocks = good[good.index("[[") :]
    ranged = blocks + "from_index = 3\nuntil_index = 9\n"
    texts = [
        good,
        trust_text(),
        blocks,
        ranged,
        good + "color = 1\n",
        good.replace("maven", "npm"),
        "[log]\n",
    ]
    return [text.encode() for text in texts]


def signed_statement(data: bytes) -> bool:
    """Any payload under a trusted key: it counts only when a literal reading of it says what it must."""
    entry = attempt(lambda: sign(data, statement_signer("rebuilder-b")))
    if entry is None:
        return False
    file, first = _file(), _entries()[1]
    levels = judge([(0, first), (1, entry)], file, LIB, _trust()).levels
    if not levels.reproduced:
        return False
    value = json.loads(data)
    subject = [one for one in value["subject"] if one["uri"] == str(LIB)]
    # One subject has to match: a build may name a file more than once.
    expect(any(one["digest"]["sha256"] == file.sha256 for one in subject), "other bytes")
    definition = value["predicate"]["buildDefinition"]
    kinds = {one["annotations"]["kind"] for one in definition["resolvedDependencies"]}
    expect({"definition", "input-lock"} < kinds and "sources-jar" not in kinds, "sources that do not count")
    expect(bool(kinds & {"vcs", "source-release"}), "built from nothing")
    builder = f"{OPERATOR_B}/touchplate/bubblewrap/v1"
    expect(value["predicate"]["runDetails"]["builder"]["id"] == builder, "another builder")
    expect(definition["buildType"] == "https://touchplate.dev/buildtypes/maven/v1", "another build type")
    expect(value["_type"] == "https://in-toto.io/Statement/v1", "another statement type")
    return True


def _signed() -> list[bytes]:
    good = make_provenance(operator=OPERATOR_B)
    more = make_provenance(operator=OPERATOR_B, sources=("vcs", "source-release"))
    bad = [make_provenance(), make_provenance(OTHER, operator=OPERATOR_B)]
    bad.append(make_provenance(operator=OPERATOR_B, sources=("sources-jar",)))
    return [good, more, *bad, good[:-1]]


def report(data: bytes) -> bool:
    """Whatever a trusted rebuilder or recorder signs, the report of the check can be shown and sent."""
    key = "recorder" if RECORD_TYPE.encode() in data else "rebuilder-b"
    entry = attempt(lambda: sign(data, statement_signer(key)))
    if entry is None:
        return False
    entries = [_entries()[1], entry]
    try:
        made = check_bundle(make_bundle(entries), _file(), LIB, _trust(), now=0)
    except LevelsMissingError as error:
        made = error.report
        expect(bool(remedy(error)) and "\n" not in printable(str(error)), "a refusal of several lines")
    expect(made.judgement == judge(enumerate(entries), _file(), LIB, _trust()), "two verdicts")
    lines = [printable(line) for pair in report_pairs(made, "lib.jar") for line in pair]
    expect(all("\n" not in line and "\x1b" not in line for line in lines), "a line that writes elsewhere")
    expect(json.loads(json.dumps(report_json(made), default=dict)) is not None, "no JSON")
    expect(attested_packages(enumerate(entries), _file(), _trust())[:1] != (), "the good entry is forgotten")
    return not made.warnings


def _reports() -> list[bytes]:
    different = make_comparison("different")
    shouting = edited(different, "predicate", "differences", "causes", value=["\x1b[2J\n"])
    return [make_provenance(operator=OPERATOR_B), shouting, *statement_seeds()]


TRUST_WORDS = (
    "[log]\n", "[levels.reproduced]\n", "[[rebuilder]]\n", "[[recorder]]\n", "operators = ", "key = ",
    '"""', "from_index = ", "until_index = ", "max_checkpoint_age = ", "ecosystems = ", "stabilizers = ",
)  # fmt: skip

TARGETS = (
    Target("bundle", bundle, _bundles, 16_384, ("entries", "proof", "index", "checkpoint"), is_json=True),
    Target("sigstore-bundle", sigstore, _sigstores, 16_384, ("tlogEntries", "logId", "keyId"), is_json=True),
    Target("trust-file", trust, _trusts, 8192, TRUST_WORDS),
    Target("report", report, _reports, 4096, STATEMENT_WORDS, is_json=True),
    Target("signed-statement", signed_statement, _signed, 4096, STATEMENT_WORDS, is_json=True),
)
