"""Verification summaries (SLSA VSA v1): read as specified, and checked in the seven steps."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from tests.verify.cases import (
    default_blocks,
    make_trust,
    no_files,
    rebuilder_block,
    recorder_block,
    trust_text,
)
from tests.verify.support import (
    LIB,
    LIB_OTHER_VERSION,
    OTHER,
    PUBLISHED,
    digests_of,
    edited,
    make_provenance,
    mangle,
    sha256_of,
    sign,
    statement_signer,
    without,
)

from touchplate.verify import cli
from touchplate.verify.dsse import MAX_ENVELOPE_BYTES, format_envelope, parse_envelope, sign_envelope
from touchplate.verify.errors import MalformedError, RefusedError, VerifyError
from touchplate.verify.files import FileDigests
from touchplate.verify.jcs import JSONValue
from touchplate.verify.keys import P256_ORDER, StatementSigner, format_public_pem
from touchplate.verify.predicates.summary import (
    SUMMARY_TYPE,
    Described,
    Policy,
    Summary,
    format_summary,
    parse_summary,
)
from touchplate.verify.statements import make_statement, make_subject, parse_statement
from touchplate.verify.summary import SummaryQuestion, check_summary
from touchplate.verify.trust import (
    TrustFile,
    TrustMistakesError,
    load_trust,
    parse_admission,
    parse_trust,
)
from touchplate.verify.values import replace

VERIFIER = "https://verify.example.org"
MADE = 1_800_000_000
FILE = FileDigests(len(PUBLISHED), digests_of(PUBLISHED))
Captured = pytest.CaptureFixture[str]

SUMMARY = Summary(
    verifier=VERIFIER,
    resource=str(LIB),
    policy=Policy("https://verify.example.org/trust.toml", "ab" * 32, {"policy.txt": "cd" * 32}),
    result="PASSED",
    levels=("SLSA_BUILD_LEVEL_2", "SLSA_BUILD_REPRODUCED", "TOUCHPLATE_REPRODUCED"),
    time=MADE,
    inputs=(Described("ef" * 32, "https://log.example.org/log/entry/7", "log.example.org/entry/7"),),
    versions={"touchplate": "0.1.0"},
    slsa_version="1.2",
)


def verifier_block(operator: str = VERIFIER, key: str = "verifier", ecosystems: str = "maven") -> str:
    block = recorder_block(operator, key, ecosystems=(ecosystems,))
    return block.replace("[[recorder]]", "[[verifier]]")


def trusting(*blocks: str) -> TrustFile:
    return make_trust(blocks=[*default_blocks(), *(blocks or (verifier_block(),))])


def payload(summary: Summary = SUMMARY, data: bytes = PUBLISHED) -> bytes:
    return make_statement([make_subject(LIB, sha256_of(data))], SUMMARY_TYPE, format_summary(summary))


def signed(summary: Summary = SUMMARY, key: str = "verifier") -> bytes:
    return sign_envelope(payload(summary), statement_signer(key))


def question(*levels: str, **changes: object) -> SummaryQuestion:
    return replace(SummaryQuestion(FILE, LIB, levels or ("TOUCHPLATE_REPRODUCED",), MADE + 60), **changes)


def refused(envelope: bytes, asked: SummaryQuestion | None = None, trust: TrustFile | None = None) -> str:
    with pytest.raises(RefusedError) as caught:
        check_summary(envelope, asked or question(), trust or trusting())
    return f"{caught.value.step} {caught.value.reason}"


# --- the predicate ---


def test_a_summary_reads_back_as_it_was_written() -> None:
    assert parse_summary(parse_statement(payload()).predicate) == SUMMARY
    bare = Summary(VERIFIER, str(LIB), Policy("x:y", "ab" * 32), "FAILED", ("FAILED",))
    assert parse_summary(parse_statement(payload(bare)).predicate) == bare


def test_fields_that_are_not_known_are_ignored() -> None:
    more = edited(payload(), "predicate", "https://example.org/extension", value={"a": [1]})
    more = edited(more, "predicate", "dependencyLevels", value={"SLSA_BUILD_LEVEL_3": 2})
    more = edited(more, "predicate", "policy", "mediaType", value="application/toml")
    assert parse_summary(parse_statement(more).predicate) == SUMMARY


@pytest.mark.parametrize(
    ("path", "value", "what"),
    [
        (["verifier"], "somebody", "verifier"),
        (["verifier", "id"], "", "verifier id"),
        (["verifier", "version"], {"touchplate": 1}, "version of"),
        (["resourceUri"], None, "resourceUri"),
        (["policy", "uri"], 1, "policy uri"),
        (["policy", "digest"], {"sha512": "ab"}, "policy digest"),
        (["inputAttestations"], {}, "inputAttestations"),
        (["inputAttestations", 0, "digest"], {"sha256": "AB" * 32}, "inputAttestations 0"),
        (["verificationResult"], "passed", "verificationResult"),
        (["verificationResult"], "FAILED", "beside the result"),
        (["verifiedLevels"], [], "verifiedLevels"),
        (["verifiedLevels"], "SLSA_BUILD_LEVEL_2", "verifiedLevels"),
        (["verifiedLevels"], ["FAILED"], "beside the result"),
        (
            ["verifiedLevels"],
            ["SLSA_BUILD_LEVEL_UNEVALUATED", "SLSA_BUILD_LEVEL_2"],
            "two levels of one track",
        ),
        (["verifiedLevels"], ["A, SLSA_BUILD_LEVEL_3"], "no plain word"),
        (["verifiedLevels"], ["A\nverified"], "no plain word"),
        (["verifiedLevels"], ["FAILED", "SLSA_BUILD_LEVEL_2"], "beside the result"),
        (["verifiedLevels"], ["SLSA_BUILD_LEVEL_2", "SLSA_BUILD_LEVEL_3"], "two levels of one track"),
        (["verifiedLevels"], ["X", "X"], "twice"),
        (["timeVerified"], "yesterday", "timeVerified"),
        (["slsaVersion"], "1", "slsaVersion"),
    ],
)
def test_a_summary_of_another_shape_is_refused(
    path: Sequence[str | int], value: JSONValue, what: str
) -> None:
    changed = edited(payload(), "predicate", *path, value=value)
    with pytest.raises(MalformedError, match=what):
        parse_summary(parse_statement(changed).predicate)


@pytest.mark.parametrize(
    "name", ["verifier", "resourceUri", "policy", "verificationResult", "verifiedLevels"]
)
def test_a_summary_lacks_nothing_that_is_required(name: str) -> None:
    with pytest.raises(MalformedError, match=name):
        parse_summary(parse_statement(without(payload(), "predicate", name)).predicate)


def test_a_level_implies_the_lower_ones_of_its_track_only() -> None:
    assert SUMMARY.has("SLSA_BUILD_LEVEL_1")
    assert SUMMARY.has("SLSA_BUILD_LEVEL_2")
    assert not SUMMARY.has("SLSA_BUILD_LEVEL_3")
    assert not SUMMARY.has("SLSA_SOURCE_LEVEL_1")
    assert SUMMARY.has("SLSA_BUILD_REPRODUCED")
    assert not SUMMARY.has("TOUCHPLATE_RECORDED")
    unevaluated = replace(SUMMARY, levels=("SLSA_BUILD_LEVEL_UNEVALUATED",))
    assert not unevaluated.has("SLSA_BUILD_LEVEL_0")


# --- verifiers in trust files ---


def test_a_trust_file_lists_verifiers_and_an_admission_list_does_not() -> None:
    (block,) = [key for key in trusting().keys if key.kind == "verifier"]
    assert (block.operator, block.ecosystems, block.builder) == (VERIFIER, ("maven",), None)
    with pytest.raises(TrustMistakesError, match="unknown field 'verifier'"):
        parse_admission(verifier_block(), no_files)


@pytest.mark.parametrize(
    ("block", "what"),
    [
        (verifier_block() + "from_index = 3\n", "unknown field 'from_index'"),
        (verifier_block() + 'builder = "x"\n', "unknown field 'builder'"),
        (verifier_block(key="recorder"), "stands under the operator"),
        (verifier_block() + verifier_block("https://other.example.org"), "one key speaks for one operator"),
    ],
)
def test_a_verifiers_block_is_held_to_the_rules_of_the_others(block: str, what: str) -> None:
    with pytest.raises(TrustMistakesError, match=what):
        parse_trust(trust_text(blocks=[*default_blocks(), block]), no_files)


def test_a_verifiers_key_listed_twice_is_refused_with_what_to_write() -> None:
    twice = [verifier_block(), verifier_block(ecosystems="oci")]
    with pytest.raises(TrustMistakesError, match=r"stands in .* 1 already; list it once") as caught:
        trusting(*twice)
    assert "range" not in str(caught.value)  # such a block has none


def test_a_file_that_changes_while_a_trust_file_is_read_is_believed_as_it_was_seen(tmp_path: Path) -> None:
    first, other = (format_public_pem(statement_signer(name).key) for name in ("first", "other"))
    (tmp_path / "k.pem").write_text(first)
    blocks = [
        rebuilder_block(operator, "first").replace(f'"""\n{first}"""', '"k.pem"')
        for operator in ("https://a.example.org", "https://b.example.org")
    ]
    (tmp_path / "trust.toml").write_text(trust_text(blocks=blocks))

    def swap(name: str, data: bytes) -> None:
        if name == "k.pem":  # it was read for the first block, and the second one names it, too
            (tmp_path / "k.pem").write_text(other)

    with pytest.raises(TrustMistakesError, match="stands under the operator"):
        load_trust(tmp_path / "trust.toml", swap)


def test_entries_by_a_verifiers_key_count_for_nothing() -> None:
    from touchplate.verify.judge import gather

    entry = sign(make_provenance(operator=VERIFIER), statement_signer("verifier"))
    gathered = gather([(0, entry)], FILE, LIB, trusting())
    assert gathered.evidence == ()
    assert [warning.reason for warning in gathered.warnings] == ["wrong-kind"]


def test_a_summary_counts_for_nothing_as_an_entry() -> None:
    from touchplate.verify.judge import gather

    as_recorder = sign(payload(), statement_signer("recorder"))
    by_verifier = sign(payload(), statement_signer("verifier"))
    gathered = gather([(0, as_recorder), (1, by_verifier)], FILE, LIB, trusting())
    assert gathered.evidence == ()
    assert [warning.reason for warning in gathered.warnings] == ["unknown-predicate"] * 2


# --- the seven steps ---


@pytest.mark.parametrize("algorithm", ["p256", "ed25519"])
def test_a_good_summary_passes(algorithm: str) -> None:
    signer: StatementSigner = statement_signer("verifier", algorithm)  # type: ignore[arg-type]
    pem = statement_signer("verifier").key

    block = verifier_block().replace(format_public_pem(pem), format_public_pem(signer.key))
    checked = check_summary(sign_envelope(payload(), signer), question(), trusting(block))
    assert (checked.summary, checked.signer.operator) == (SUMMARY, VERIFIER)


def test_step_1_takes_no_key_but_a_verifiers() -> None:
    assert refused(signed(key="rebuilder-a")) == "1 unknown-key"
    assert refused(signed(key="stranger")) == "1 unknown-key"
    assert refused(signed(), trust=make_trust()) == "1 no-verifier"
    only_rebuilder = make_trust(blocks=[rebuilder_block(VERIFIER, "verifier")])
    assert refused(signed(), trust=only_rebuilder) == "1 no-verifier"


def test_step_1_refuses_every_change_of_a_byte() -> None:
    good, trust = signed(), trusting()
    for number, bad in enumerate(mangle(good)):
        if number % 17 == 0:  # each kind of damage, all over the envelope
            with pytest.raises(VerifyError):
                check_summary(bad, question(), trust)


def test_step_1_refuses_other_forms_of_an_envelope() -> None:
    good = signed()
    value = json.loads(good)
    doubled = json.dumps({**value, "signatures": value["signatures"] * 2}).encode()
    with_keyid = json.dumps({**value, "signatures": [{"keyid": "k", **value["signatures"][0]}]}).encode()
    twice = good.replace(b'{"payload":', b'{"payload":"AA==","payload":', 1)
    large = good + b" " * MAX_ENVELOPE_BYTES
    assert {refused(bad) for bad in (doubled, with_keyid, twice)} == {"1 malformed"}
    assert refused(large) == "1 too-large"


def test_step_1_refuses_a_payload_with_duplicate_keys() -> None:
    doubled = payload().replace(b'"predicateType"', b'"predicateType":"x","predicateType"')
    assert refused(sign_envelope(doubled, statement_signer("verifier"))) == "1 malformed"


def test_step_2_asks_for_this_file_as_this_package() -> None:
    other = replace(FILE, digests=digests_of(OTHER))
    assert refused(signed(), question(file=other)) == "2 wrong-artifact"
    assert refused(signed(), question(package=LIB_OTHER_VERSION)) == "2 wrong-package"
    lying = make_statement(
        [make_subject(LIB, {**sha256_of(PUBLISHED), "sha512": "00" * 64})],
        SUMMARY_TYPE,
        format_summary(SUMMARY),
    )
    envelope = sign_envelope(lying, statement_signer("verifier"))
    assert refused(envelope) == "2 wrong-digest"
    by_digest = FileDigests(0, sha256_of(PUBLISHED), whole=False)  # what is not known is not compared
    assert check_summary(envelope, question(file=by_digest), trusting()).summary == SUMMARY


def test_step_3_asks_for_a_summary() -> None:
    other = make_statement([make_subject(LIB, sha256_of(PUBLISHED))], "https://example.org/x", {"a": 1})
    assert refused(sign_envelope(other, statement_signer("verifier"))) == "3 wrong-predicate"
    old = payload().replace(b"verification_summary/v1", b"verification_summary/v0.2")
    assert refused(sign_envelope(old, statement_signer("verifier"))) == "3 wrong-predicate"


def test_step_4_asks_for_the_verifier_of_the_key() -> None:
    assert refused(signed(replace(SUMMARY, verifier="https://other.example.org"))) == "4 wrong-verifier"
    assert refused(signed(replace(SUMMARY, verifier=VERIFIER + "/"))) == "4 wrong-verifier"
    assert refused(signed(), trust=trusting(verifier_block(ecosystems="oci"))) == "4 wrong-ecosystem"
    assert refused(signed(replace(SUMMARY, slsa_version="x"))) == "4 malformed"


def test_step_5_asks_for_the_resource() -> None:
    assert refused(signed(replace(SUMMARY, resource=str(LIB_OTHER_VERSION)))) == "5 wrong-resource"


def test_step_6_asks_for_a_pass() -> None:
    failed = replace(SUMMARY, result="FAILED", levels=("FAILED",))
    assert refused(signed(failed), question("FAILED")) == "6 failed"


def test_step_7_asks_for_each_level() -> None:
    asked = question("TOUCHPLATE_REPRODUCED", "TOUCHPLATE_RECORDED")
    assert refused(signed(), asked) == "7 level-missing"
    assert refused(signed(), question("SLSA_BUILD_LEVEL_3")) == "7 level-missing"
    assert check_summary(signed(), question("SLSA_BUILD_LEVEL_1"), trusting()).summary == SUMMARY


def test_step_7_asks_for_the_policy_when_told_to() -> None:
    known = SUMMARY.policy.uri
    assert check_summary(signed(), question(policy=known), trusting()).summary == SUMMARY
    lenient = signed(replace(SUMMARY, policy=Policy(known + "/lenient", "ab" * 32)))
    assert refused(lenient, question(policy=known)) == "7 wrong-policy"


def test_step_7_asks_for_the_age_when_told_to() -> None:
    assert check_summary(signed(), question(max_age=60), trusting()).summary == SUMMARY
    assert refused(signed(), question(max_age=59)) == "7 stale"
    assert check_summary(signed(), question(max_age=60, now=MADE - 300), trusting()).summary == SUMMARY
    assert refused(signed(), question(max_age=60, now=MADE - 301)) == "7 from-future"
    assert refused(signed(replace(SUMMARY, time=None)), question(max_age=60)) == "7 no-time"


# --- the command ---


def run_check(folder: Path, *arguments: str) -> int:
    (folder / "lib.jar").write_bytes(PUBLISHED)
    (folder / "trust.toml").write_text(trust_text(blocks=[*default_blocks(), verifier_block()]))
    fixed = ["--trust", str(folder / "trust.toml"), "--package", str(LIB)]
    return cli.main(["vsa", "check", str(folder / "vsa.json"), *fixed, *arguments])


def test_the_command_says_what_a_verifier_says(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "vsa.json").write_bytes(signed() + b"\n")
    assert run_check(tmp_path, "--artifact", str(tmp_path / "lib.jar")) == 0
    assert capsys.readouterr().out.startswith(f"verified: {VERIFIER} says of {LIB}: SLSA_BUILD_LEVEL_2, ")
    assert (
        run_check(tmp_path, "--digest", f"sha256:{FILE.sha256}", "--json", "--require", "SLSA_BUILD_LEVEL_1")
        == 0
    )
    told = json.loads(capsys.readouterr().out)
    assert (told["verdict"], told["levels"], told["inputs"][0]["sha256"]) == (
        "verified",
        list(SUMMARY.levels),
        "ef" * 32,
    )


def test_the_command_refuses_with_step_and_remedy(tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / "vsa.json").write_bytes(signed(key="stranger"))
    assert run_check(tmp_path, "--artifact", str(tmp_path / "lib.jar"), "--json") == 1
    shown = capsys.readouterr()
    assert json.loads(shown.out)["reason"] == "unknown-key"
    assert "step 1" in shown.err
    assert run_check(tmp_path, "--artifact", str(tmp_path / "lib.jar"), "--max-age", "1h") == 1


def test_a_refusal_has_the_remedy_of_its_reason(tmp_path: Path, capsys: Captured) -> None:
    wrong_level = edited(payload(), "predicate", "verifiedLevels", value=[1])
    with_keyid = signed().replace(b'{"sig"', b'{"keyid":"k","sig"')
    parsed = parse_envelope(signed())
    r, s = decode_dss_signature(parsed.signature)
    high = format_envelope(parsed.payload, encode_dss_signature(r, P256_ORDER - s))
    future = signed(replace(SUMMARY, time=32_503_680_000))
    for envelope, reason, remedy in (
        (with_keyid, "malformed", "in this form"),
        (sign_envelope(wrong_level, statement_signer("verifier")), "malformed", "in this form"),
        (high, "high-s", "n - s"),
        (future, "from-future", "clock"),
    ):
        (tmp_path / "vsa.json").write_bytes(envelope)
        asked = ["--max-age", "1h", "--digest", f"sha256:{FILE.sha256}", "--json"]
        assert run_check(tmp_path, *asked) == 1
        told = json.loads(capsys.readouterr().out)
        assert told["reason"] == reason
        assert remedy in told["remedy"] + told["error"]


def test_a_level_by_its_name_in_a_trust_file_is_a_usage_error_that_says_the_other(
    tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "vsa.json").write_bytes(signed())
    assert run_check(tmp_path, "--digest", f"sha256:{FILE.sha256}", "--require", "reproduced") == 64
    assert "TOUCHPLATE_REPRODUCED" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--digest", "md5:00"], 64),
        (["--digest", "sha256:00"], 64),
        ([], 64),
        (["--artifact", "no-such-file"], 2),
        (["--digest", f"sha256:{FILE.sha256}", "--max-age", "soon"], 64),
        (["--digest", f"sha256:{FILE.sha256}", "--require", ","], 64),
        (["--digest", f"sha256:{FILE.sha256}", "--policy-uri", "https://verify.example.org/lenient"], 1),
        (["--digest", "sha256:00", "--trust", __file__], 64),  # no trust file, but the command is wrong first
    ],
)
def test_what_is_not_understood_or_not_there_is_no_verdict(
    arguments: list[str], code: int, tmp_path: Path, capsys: Captured
) -> None:
    (tmp_path / "vsa.json").write_bytes(signed())
    assert run_check(tmp_path, *arguments) == code
    assert "verified" not in capsys.readouterr().out
