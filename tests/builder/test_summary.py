"""`touchplate vsa`: what is signed is how `verify`'s own check ended, and nothing that was not seen."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from tests.builder.desk import POLICY_URI, VERIFIER, Desk, open_desk
from tests.builder.loghost import OPERATOR, log_host
from tests.simkeys import ORIGIN, log_signer, solo_policy, verifier_key, witness_signer
from tests.simlog import SimLog, serving
from tests.verify.bundles import make_bundle, make_checkpoint, make_proof
from tests.verify.cases import (
    badly_signed,
    comparison,
    default_blocks,
    equivalent_by_b,
    provenance,
    record,
    recorder_block,
    second,
    trust_text,
)
from tests.verify.support import (
    LIB,
    LIB_OTHER_VERSION,
    OTHER,
    PUBLISHED,
    make_provenance,
    sha256_of,
    statement_signer,
)

from touchplate.builder.attestation.foreign import check_foreign
from touchplate.builder.errors import AttestError
from touchplate.verify import cli
from touchplate.verify.checkpoints import open_checkpoint
from touchplate.verify.dsse import parse_envelope, sign_envelope
from touchplate.verify.encoding import decode_base64
from touchplate.verify.entry import Entry
from touchplate.verify.jcs import JSON, format_json, parse_json
from touchplate.verify.keys import format_private_pem, format_public_pem, load_signer, parse_public_pem
from touchplate.verify.predicates.summary import Summary
from touchplate.verify.purl import maven_purl
from touchplate.verify.sigstore import sigstore_bundle
from touchplate.verify.sources import add_envelope, open_source
from touchplate.verify.statements import parse_statement

SHA256 = sha256_of(PUBLISHED)["sha256"]
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return open_desk(tmp_path)


def input_digests(summary: Summary) -> list[str]:
    return [one.sha256 for one in summary.inputs]


def digest_of(entry: Entry) -> str:
    return hashlib.sha256(entry.envelope).hexdigest()


def test_two_rebuilders_make_a_pass_that_says_what_was_seen_and_how(desk: Desk) -> None:
    entries = [record(), provenance(), second()]
    desk.bundle(*entries)
    summary = desk.made()
    assert (summary.result, summary.verifier, summary.resource) == ("PASSED", VERIFIER, str(LIB))
    assert summary.levels == (
        "SLSA_BUILD_LEVEL_1",
        "SLSA_BUILD_REPRODUCED",
        "TOUCHPLATE_RECORDED",
        "TOUCHPLATE_REPRODUCED",
    )
    assert input_digests(summary) == [digest_of(entry) for entry in entries]
    assert [one.name for one in summary.inputs] == [f"{ORIGIN}/entry/{index}" for index in range(3)]
    assert (summary.policy.uri, summary.policy.sha256) == (
        POLICY_URI,
        hashlib.sha256(desk.trust.read_bytes()).hexdigest(),
    )
    assert {"touchplate", "cryptography"} <= set(summary.versions)
    assert summary.slsa_version == "1.2"
    assert desk.check("--require", "SLSA_BUILD_REPRODUCED,SLSA_BUILD_LEVEL_1", "--max-age", "1h") == 0


def test_the_words_of_slsa_1_0_have_no_properties(desk: Desk) -> None:
    desk.bundle(provenance(), second())
    summary = desk.made("--slsa-version", "1.0")
    assert (summary.levels, summary.slsa_version) == (("SLSA_BUILD_LEVEL_1", "TOUCHPLATE_REPRODUCED"), "1.0")


def test_one_rebuilder_is_not_enough_and_the_failure_is_signed(desk: Desk, capsys: Captured) -> None:
    desk.bundle(provenance())
    summary = desk.made(code=1)
    assert (summary.result, summary.levels) == ("FAILED", ("FAILED",))
    assert len(summary.inputs) == 1  # what was looked at, though it was not enough
    assert "1 of 2 operators" in capsys.readouterr().err
    assert desk.check() == 1
    assert "failed (step 6)" in capsys.readouterr().err


def test_one_operator_never_makes_slsas_reproduced_whatever_the_trust_file_asks(desk: Desk) -> None:
    desk.trust.write_text(trust_text("operators = 1"))
    desk.bundle(provenance(), provenance(key="rebuilder-a2", note="2"))
    assert desk.made().levels == ("SLSA_BUILD_LEVEL_1", "TOUCHPLATE_REPRODUCED")


def test_equivalent_rebuilds_never_make_slsas_reproduced_and_both_envelopes_are_named(desk: Desk) -> None:
    desk.trust.write_text(trust_text("operators = 1", 'stabilizers = ["zip-entry-times@1"]'))
    entries = equivalent_by_b()
    desk.bundle(*entries)
    summary = desk.made()
    assert summary.levels == ("SLSA_BUILD_LEVEL_UNEVALUATED", "TOUCHPLATE_REPRODUCED")
    assert input_digests(summary) == [digest_of(entry) for entry in entries]


def test_recorded_alone_says_nothing_about_a_build(desk: Desk) -> None:
    desk.bundle(record())
    assert desk.made("--require", "recorded").levels == (
        "SLSA_BUILD_LEVEL_UNEVALUATED",
        "TOUCHPLATE_RECORDED",
    )


def test_inputs_are_complete_and_hold_no_entry_that_counts_for_nothing(desk: Desk) -> None:
    different = comparison("rebuilder-a", "different")
    good = [provenance(), second(), different]
    lost = [badly_signed(), provenance(uri=LIB_OTHER_VERSION, note="3"), provenance(key="stranger", note="4")]
    desk.bundle(*lost, *good)
    assert input_digests(desk.made()) == [digest_of(entry) for entry in good]


def test_names_of_a_trust_file_have_their_digests_beside_it(desk: Desk) -> None:
    policy = f"log {verifier_key(log_signer())} https://log.example.org/log/\nquorum none\n"
    (desk.folder / "policy.txt").write_text(policy)
    blocks = "\n".join(default_blocks())
    desk.trust.write_text(f'[log]\npolicy = "policy.txt"\n{blocks}')
    desk.bundle(provenance(), second())
    summary = desk.made()
    assert summary.policy.files == {"policy.txt": hashlib.sha256(policy.encode()).hexdigest()}
    assert summary.inputs[1].uri == "https://log.example.org/log/entry/1"


@pytest.mark.parametrize(
    "url", ["https://me:secret@log.example.org/", "https://log.example.org/?token=secret"]
)
def test_a_password_in_the_policys_address_of_the_log_is_not_published(
    url: str, desk: Desk, capsys: Captured
) -> None:
    policy = f"log {verifier_key(log_signer())} {url}\nquorum none\n"
    desk.trust.write_text(trust_text(policy=policy))
    desk.bundle(provenance(), second())
    assert [one.uri for one in desk.made().inputs] == [None, None]
    assert "is not told" in capsys.readouterr().err
    assert b"secret" not in parse_envelope(desk.envelope).payload


def test_a_trust_file_of_too_many_files_signs_nothing_and_says_what_to_write(
    desk: Desk, capsys: Captured
) -> None:
    desk.bundle(provenance(), second())
    blocks = default_blocks()
    for number in range(500):
        name, key = f"{'k' * 40}{number}.pem", statement_signer(f"k{number}", "ed25519").key
        (desk.folder / name).write_text(format_public_pem(key))
        blocks.append(f'[[recorder]]\noperator = "https://r{number}.example.org"\nkey = "{name}"\n')
        blocks.append('ecosystems = ["maven"]\n')
    desk.trust.write_text(trust_text(blocks=blocks))
    assert nothing(desk) == 2
    assert "500 files of the trust file" in capsys.readouterr().err


def test_a_bundle_in_sigstores_form_is_evidence_too(desk: Desk) -> None:
    entry, policy = provenance(), solo_policy()
    checkpoint = open_checkpoint(make_checkpoint([entry]), policy)
    bundle = sigstore_bundle(entry, 0, make_proof([entry], 0), checkpoint, policy)
    (desk.folder / "bundle.sigstore.json").write_bytes(bundle)
    desk.trust.write_text(trust_text("operators = 1"))
    summary = desk.made("--bundle", str(desk.folder / "bundle.sigstore.json"))
    assert (summary.result, input_digests(summary)) == ("PASSED", [digest_of(entry)])


# --- from a log ---


def in_log(desk: Desk, *entries: Entry) -> SimLog:
    log = SimLog(desk.folder / "log")
    log.grow(3)
    for entry in entries:
        log.add(entry)
    log.publish()
    return log


def test_a_log_is_searched_and_each_input_can_be_fetched_from_it(desk: Desk) -> None:
    with serving(in_log(desk, provenance(), second())) as served:
        summary = desk.made("--log", served.url, "--state", str(desk.folder / "state"))
    assert [one.uri for one in summary.inputs] == [f"{served.url}/entry/3", f"{served.url}/entry/4"]
    assert summary.result == "PASSED"


def test_what_a_summary_names_is_what_a_real_log_serves_there(desk: Desk, tmp_path: Path) -> None:
    with log_host(tmp_path / "host") as host:
        signer = load_signer(host.key.read_bytes())
        for note in ("1", "2"):
            payload = make_provenance(operator=OPERATOR, note=note)
            add_envelope(open_source(f"{host.url}/log"), sign_envelope(payload, signer))
        desk.trust.write_text("[levels.reproduced]\noperators = 1\n" + host.trust.read_text())
        summary = desk.made("--log", f"{host.url}/log", "--state", str(tmp_path / "state"))
        served = [httpx.get(one.uri or "").json()["envelope"] for one in summary.inputs]
    assert [hashlib.sha256(decode_base64(one, "envelope")).hexdigest() for one in served] == input_digests(
        summary
    )
    assert len(served) == 2


def test_a_log_that_holds_nothing_about_a_file_makes_a_failure(desk: Desk) -> None:
    log = in_log(desk)
    summary = desk.made("--log", str(log.folder), "--state", str(desk.folder / "state"), code=1)
    assert (summary.result, summary.inputs) == ("FAILED", ())


def test_other_packages_with_the_same_bytes_do_not_crowd_out_the_one_that_is_asked_for(desk: Desk) -> None:
    others = []
    for number in range(40):  # more than a bundle takes, all believed and all earlier in the log
        package = maven_purl("org.example", "lib", f"2.{number}")
        others += [provenance(uri=package, note=str(number)), second(uri=package, note=str(number))]
    good = [provenance(), *equivalent_by_b()]
    log = in_log(desk, *others, *good)
    desk.trust.write_text(trust_text('stabilizers = ["zip-entry-times@1"]'))
    summary = desk.made("--log", str(log.folder), "--state", str(desk.folder / "state"))
    assert (summary.result, input_digests(summary)) == ("PASSED", [digest_of(entry) for entry in good])


@pytest.mark.parametrize("damage", ["remove", "flip"])
def test_a_log_that_cannot_be_read_whole_makes_no_summary(damage: str, desk: Desk, capsys: Captured) -> None:
    log = in_log(desk, provenance(), second())
    files = [each for each in (log.folder / "tile" / "envelopes").rglob("*") if each.is_file()]
    for each in files:
        if damage == "remove":
            each.unlink()
        else:
            log.damage(str(each.relative_to(log.folder)), at=90)
    out = desk.folder / "out.json"
    code = desk.run("--log", str(log.folder), "--state", str(desk.folder / "state"), "--out", str(out))
    assert code == 2
    assert not out.exists()
    assert "failed:" not in capsys.readouterr().err


def test_a_digest_is_enough_with_a_bundle_or_a_log(desk: Desk) -> None:
    desk.bundle(record(), provenance(), second())
    given = ["--digest", f"sha256:{SHA256}"]
    bundle = str(desk.folder / "lib-1.0.jar.touchplate.json")
    assert desk.made(*given, "--bundle", bundle, artifact=False).result == "PASSED"
    subject = parse_statement(parse_envelope(desk.envelope).payload).subjects[0]
    assert dict(subject.digests) == {"sha256": SHA256}  # nothing that was not seen
    log = in_log(desk, record(), provenance(), second())
    state = ["--state", str(desk.folder / "state")]
    assert desk.made(*given, "--log", str(log.folder), *state, artifact=False).result == "PASSED"


def test_another_digest_finds_nothing(desk: Desk) -> None:
    log = in_log(desk, provenance(), second())
    given = ["--digest", f"sha256:{sha256_of(OTHER)['sha256']}", "--log", str(log.folder)]
    assert desk.made(*given, "--state", str(desk.folder / "state"), artifact=False, code=1).result == "FAILED"


# --- nothing is signed ---


def nothing(desk: Desk, *arguments: str, artifact: bool = True) -> int:
    out = desk.folder / "never.json"
    code = desk.run("--out", str(out), *arguments, artifact=artifact)
    assert not out.exists()
    return code


def test_evidence_that_refuses_everything_makes_no_summary(desk: Desk, capsys: Captured) -> None:
    assert nothing(desk) == 2  # no bundle
    desk.bundle(provenance(), second(), data=OTHER)
    assert nothing(desk) == 2
    assert "step 2" in capsys.readouterr().err
    bundle = desk.folder / "lib-1.0.jar.touchplate.json"
    whole = make_bundle([provenance(), second()])
    for bad in (
        whole[:-1],
        whole + b" " * (4 << 20),
        whole.replace(b'{"artifact"', b'{"artifact":{},"artifact"', 1),
    ):
        bundle.write_bytes(bad)
        assert nothing(desk) == 2
        assert "step 1" in capsys.readouterr().err
    other_log = make_bundle([provenance(), second()], signers=[log_signer("another")])
    bundle.write_bytes(other_log)
    assert nothing(desk) == 2


def test_a_stale_checkpoint_makes_no_summary_when_a_fresh_one_is_asked_for(desk: Desk) -> None:
    witness = witness_signer("w.example.org")
    policy = f"log {verifier_key(log_signer())}\nwitness w {verifier_key(witness)}\nquorum w\n"
    desk.trust.write_text(trust_text(policy=policy, log='max_checkpoint_age = "1h"'))
    entries = [provenance(), second()]
    old = make_bundle(entries, signers=[log_signer(), witness], time=1_700_000_000)
    (desk.folder / "lib-1.0.jar.touchplate.json").write_bytes(old)
    assert nothing(desk, "--fresh") == 2
    assert desk.made().result == "PASSED"  # told, not judged, as `verify` has it


def test_a_broken_trust_file_makes_no_summary(desk: Desk) -> None:
    desk.bundle(provenance(), second())
    desk.trust.write_text(trust_text() + "\n[[verifier]]\n")
    assert nothing(desk) == 2


def test_a_key_of_another_role_or_verifier_signs_no_summary(desk: Desk, capsys: Captured) -> None:
    desk.bundle(provenance(), second())
    desk.key.write_bytes(format_private_pem(statement_signer("rebuilder-a")))
    assert nothing(desk) == 2
    assert "one for each role" in capsys.readouterr().err
    desk.key.write_bytes(format_private_pem(statement_signer("verifier")))
    block = recorder_block("https://other.example.org", "verifier").replace("[[recorder]]", "[[verifier]]")
    desk.trust.write_text(trust_text(blocks=[*default_blocks(), block]))
    assert nothing(desk) == 2
    assert "for the verifier https://other.example.org" in capsys.readouterr().err
    oci = recorder_block(VERIFIER, "verifier", ecosystems=("oci",)).replace("[[recorder]]", "[[verifier]]")
    desk.trust.write_text(trust_text(blocks=[*default_blocks(), oci]))
    assert nothing(desk) == 2
    assert "lists the key for oci" in capsys.readouterr().err


def test_a_key_that_others_can_read_signs_nothing(desk: Desk, capsys: Captured) -> None:
    desk.bundle(provenance(), second())
    desk.key.chmod(0o644)
    assert nothing(desk) == 2
    assert "chmod 600" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["--bundle", "x", "--log", "y"],
        ["--state", "x"],
        ["--require", "perfect"],
        ["--verifier", "http://verify.example.org"],
        ["--policy-uri", "not a uri"],
        ["--slsa-version", "2.0"],
        ["--package", "pkg:npm/x@1"],
        ["--package", "pkg:conan/zlib@1.3"],
        ["--digest", f"sha256:{SHA256}"],
    ],
)
def test_a_command_that_is_not_understood_signs_nothing(arguments: list[str], desk: Desk) -> None:
    desk.bundle(provenance(), second())
    assert nothing(desk, *arguments) == 64


def test_an_existing_file_is_never_touched(desk: Desk) -> None:
    desk.bundle(provenance(), second())
    out = desk.folder / "there.json"
    out.write_bytes(b"mine")
    assert desk.run("--out", str(out)) == 2
    assert out.read_bytes() == b"mine"


def test_an_answer_that_cannot_be_printed_leaves_no_summary(desk: Desk) -> None:
    desk.bundle(provenance(), second())
    out = desk.folder / "out.json"
    command = [sys.executable, "-m", "touchplate.verify", *desk.command("--out", str(out))]
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert (ended.returncode, out.exists()) == (2, False)
    assert b"no space left" in ended.stderr


def test_json_tells_all_and_holds_the_envelope_when_it_has_no_file(desk: Desk, capsys: Captured) -> None:
    desk.bundle(provenance())
    assert desk.run("--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["verdict"], told["levels"], told["reason"]) == ("failed", ["FAILED"], "not-reproduced")
    desk.envelope = told["envelope"].encode()
    assert desk.check() == 1


def test_a_made_key_signs_and_is_checked(desk: Desk, tmp_path: Path) -> None:
    assert cli.main(["keygen", "--for", "verifier", "--out", str(tmp_path / "made.key")]) == 0
    desk.bundle(provenance(), second())
    desk.made("--key", str(tmp_path / "made.key"))
    key = parse_public_pem((tmp_path / "made.pem").read_text())
    from touchplate.verify.entry import make_entry, verify_entry

    verify_entry(make_entry(desk.envelope, key.spki))


# --- in-toto's bindings ---


def summary_value(desk: Desk) -> dict[str, JSON]:
    desk.bundle(provenance(), second())
    desk.made()
    value = parse_json(parse_envelope(desk.envelope).payload, max_bytes=1 << 16)
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timeVerified", "yesterday"),
        ("verifier", {"id": 7}),
        ("policy", {}),
        ("verifiedLevels", [["SLSA_BUILD_LEVEL_1"]]),
        ("inputAttestations", [{"digest": {"sha256": 7}}]),
        ("somethingElse", 1),
    ],
)
def test_refuses_to_sign_what_in_totos_bindings_refuse(name: str, value: JSON, desk: Desk) -> None:
    statement = summary_value(desk)
    check_foreign(format_json(statement))
    predicate = statement["predicate"]
    assert isinstance(predicate, dict)
    predicate[name] = value
    with pytest.raises(AttestError, match="in-toto"):
        check_foreign(format_json(statement))
