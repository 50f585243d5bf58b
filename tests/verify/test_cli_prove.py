"""`touchplate prove`: proofs and bundles out of a log, made and checked by somebody who believes no node."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.simkeys import ORIGIN, verifier_key, witness_signer
from tests.simlog import WRITER, SimLog, serving
from tests.verify.cases import (
    badly_signed,
    comparison,
    equivalent_by_b,
    provenance,
    record,
    second,
    trust_text,
)
from tests.verify.support import LIB, LIB_OTHER_VERSION, OPERATOR_A, PUBLISHED, make_provenance, sign

from touchplate.verify import cli
from touchplate.verify.bundle import MAX_BUNDLE_ENTRIES, parse_bundle
from touchplate.verify.dsse import sign_envelope
from touchplate.verify.entry import Entry, make_entry, pack_entry
from touchplate.verify.files import digest_file
from touchplate.verify.keys import StatementSigner, format_public_pem, parse_spki
from touchplate.verify.policy import format_policy
from touchplate.verify.purl import maven_purl
from touchplate.verify.tlog_proof import parse_tlog_proof

Captured = pytest.CaptureFixture[str]


@dataclass
class Auditor:
    """Somebody with a log to read, a policy, a trust file, and the published file."""

    path: Path
    log: SimLog

    def run(self, *arguments: str | Path) -> int:
        return cli.main([str(each) for each in arguments])

    def prove(self, *arguments: str | Path, log: str | Path | None = None) -> int:
        return self.run("prove", "--log", log or self.log.folder, "--trust", self.trust, *arguments)

    def check(self, *arguments: str | Path) -> int:
        return self.run("prove", "--check", self.proof, "--policy", self.policy, *arguments)

    def verify(self, *arguments: str | Path) -> int:
        return self.run("verify", self.file, "--trust", self.trust, "--package", str(LIB), *arguments)

    def write(self, name: str, data: bytes) -> Path:
        (self.path / name).write_bytes(data)
        return self.path / name

    @property
    def trust(self) -> Path:
        return self.path / "trust.toml"

    @property
    def policy(self) -> Path:
        return self.path / "policy.txt"

    @property
    def file(self) -> Path:
        return self.path / "lib-1.0.jar"

    @property
    def proof(self) -> Path:
        return self.path / "entry.tlog-proof"

    @property
    def bundle(self) -> Path:
        return self.path / "lib-1.0.jar.touchplate.json"


def logged(path: Path, entries: list[Entry], filler: int = 0) -> Auditor:
    """An auditor of a log with these entries, with as much before and after them that says nothing."""
    log = SimLog(path / "log")
    log.grow(filler)
    for entry in entries:
        log.add(entry)
    log.grow(filler)
    log.publish()
    auditor = Auditor(path, log)
    auditor.trust.write_text(trust_text())
    auditor.policy.write_text(f"log {verifier_key(log.signer)}\nquorum none\n")
    auditor.write("lib-1.0.jar", PUBLISHED)
    return auditor


@pytest.fixture
def auditor(tmp_path: Path) -> Auditor:
    return logged(tmp_path, [record(), provenance(), second()], filler=200)


# --- .tlog-proof ---


def test_a_proof_of_an_entry_is_made_and_checked_offline(auditor: Auditor, capsys: Captured) -> None:
    assert auditor.prove("--index", "201", "--out", auditor.proof) == 0
    capsys.readouterr()
    assert auditor.check() == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"verified: entry 201 is in the log {ORIGIN}, tree of 403\n")
    assert str(LIB) in shown
    assert "slsa.dev/provenance" in shown


def test_the_proof_is_json_when_asked(auditor: Auditor, capsys: Captured) -> None:
    assert auditor.prove("--index", "201", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["index"], made["origin"], made["size"]) == ("201", ORIGIN, "403")
    auditor.proof.write_text(made["proof"])
    assert auditor.run("prove", "--check", auditor.proof, "--trust", auditor.trust, "--json") == 0
    checked = json.loads(capsys.readouterr().out)
    assert (checked["verdict"], checked["index"], checked["root"]) == ("verified", "201", made["root"])
    assert checked["entry"]["signers"] == [f"rebuilder of {OPERATOR_A}"]
    assert checked["entry"]["subjects"][0]["package"] == str(LIB)


def test_the_proof_goes_to_standard_output_byte_for_byte(auditor: Auditor, capsys: Captured) -> None:
    assert auditor.prove("--index", "0") == 0
    text = capsys.readouterr().out
    assert auditor.prove("--index", "0", "--out", auditor.proof) == 0
    assert auditor.proof.read_text(encoding="utf-8") == text


def test_a_bare_proof_is_checked_with_what_the_auditor_holds(auditor: Auditor, capsys: Captured) -> None:
    entry = auditor.log.entries[201]
    assert auditor.prove("--index", "201", "--bare", "--out", auditor.proof) == 0
    assert parse_tlog_proof(auditor.proof.read_bytes()).extra is None
    envelope = auditor.write("entry.json", entry.envelope)
    pem = auditor.write("key.pem", format_public_pem(parse_spki(entry.spki)).encode())
    assert auditor.check("--entry", envelope, "--key", pem) == 0
    assert auditor.check("--entry", envelope, "--key", auditor.write("key.der", entry.spki)) == 0
    assert auditor.check("--entry", auditor.write("entry.packed", pack_entry(entry))) == 0
    capsys.readouterr()
    assert auditor.check("--leaf", auditor.write("leaf", entry.leaf_data), "--json") == 0
    assert "entry" not in json.loads(capsys.readouterr().out)
    assert auditor.check() == 64
    assert "does not carry its entry" in capsys.readouterr().err


def test_another_entry_is_refused(auditor: Auditor, capsys: Captured) -> None:
    assert auditor.prove("--index", "201", "--out", auditor.proof) == 0
    other = auditor.log.entries[202]
    assert auditor.check("--entry", auditor.write("packed", pack_entry(other))) == 1
    assert auditor.check("--leaf", auditor.write("leaf", other.leaf_data), "--json") == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out.splitlines()[-1])["verdict"] == "refused"
    wrong_key = auditor.write("key", other.spki)
    assert (
        auditor.check("--entry", auditor.write("e", auditor.log.entries[201].envelope), "--key", wrong_key)
        == 1
    )
    auditor.proof.write_bytes(auditor.proof.read_bytes()[:-40])
    assert auditor.check() == 1


def test_an_entry_that_its_key_did_not_sign_is_refused_though_it_is_in_the_log(
    tmp_path: Path, capsys: Captured
) -> None:
    auditor = logged(tmp_path, [badly_signed()])
    assert auditor.prove("--index", "0", "--out", auditor.proof) == 0
    assert auditor.check() == 1
    assert "bad-signature" in capsys.readouterr().err


def test_a_log_of_another_key_is_refused(auditor: Auditor, tmp_path: Path, capsys: Captured) -> None:
    assert auditor.prove("--index", "0", "--out", auditor.proof) == 0
    auditor.policy.write_text(
        "log log.example.org+c5c59ba7+AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEB\nquorum none\n"
    )
    assert auditor.check() != 0
    capsys.readouterr()


def test_proofs_are_made_over_http_and_from_a_growing_log(auditor: Auditor, tmp_path: Path) -> None:
    with serving(auditor.log) as served:
        assert auditor.prove("--index", "3", "--out", auditor.proof, log=served.url) == 0
        auditor.log.grow(100)
        auditor.log.publish()
        later = tmp_path / "later.tlog-proof"
        assert auditor.prove("--index", "3", "--out", later, log=served.url) == 0
    for path, size in ((auditor.proof, b"\n403\n"), (later, b"\n503\n")):
        assert size in path.read_bytes()
        assert auditor.run("prove", "--check", path, "--policy", auditor.policy) == 0


def test_an_index_beyond_the_tree_cannot_be_proven(auditor: Auditor, capsys: Captured) -> None:
    assert auditor.prove("--index", "403") == 2
    assert "not in the tree of size 403" in capsys.readouterr().err


def test_a_file_that_is_there_is_never_overwritten(auditor: Auditor) -> None:
    auditor.write("entry.tlog-proof", b"precious")
    assert auditor.prove("--index", "0", "--out", auditor.proof) == 2
    assert auditor.proof.read_bytes() == b"precious"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("--index", "1", "--index", "2"),
        ("--index", "1", "--package", "pkg:maven/a/b@1"),
        ("--index", "1", "--leaf", "x"),
        ("--bundle", "x", "--bare"),
        ("--index", "one"),
    ],
)
def test_usage_of_making_is_checked(auditor: Auditor, arguments: tuple[str, ...]) -> None:
    assert auditor.prove(*arguments) == 64


@pytest.mark.parametrize(
    "arguments",
    [
        ("--index", "1"),
        ("--out", "x"),
        ("--bare",),
        ("--state", "x"),
        ("--bundle", "x"),
        ("--key", "policy.txt"),
    ],
)
def test_usage_of_checking_is_checked(
    auditor: Auditor, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(auditor.path)
    assert auditor.prove("--index", "0", "--out", auditor.proof) == 0
    assert auditor.check(*arguments) == 64


# --- bundles ---


def test_a_bundle_is_found_in_the_log_and_verifies(auditor: Auditor, capsys: Captured) -> None:
    assert auditor.prove("--bundle", auditor.file, "--out", auditor.bundle) == 0
    assert [each.index for each in parse_bundle(auditor.bundle.read_bytes()).entries] == [200, 201, 202]
    assert auditor.verify("--require", "recorded,reproduced") == 0
    assert "verified: lib-1.0.jar" in capsys.readouterr().out


def test_named_entries_make_a_bundle_without_a_search(auditor: Auditor, capsys: Captured) -> None:
    command = ("--bundle", auditor.file, "--index", "202", "--index", "201", "--index", "202", "--json")
    assert auditor.prove(*command, "--out", auditor.bundle) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["indexes"], made["package"]) == (["201", "202"], str(LIB))
    assert auditor.verify() == 0


def test_a_search_also_brings_what_a_comparison_needs(tmp_path: Path) -> None:
    auditor = logged(tmp_path, [provenance(), *equivalent_by_b()], filler=3)
    auditor.trust.write_text(trust_text('stabilizers = ["zip-entry-times@1"]'))
    assert auditor.prove("--bundle", auditor.file, "--out", auditor.bundle) == 0
    assert len(parse_bundle(auditor.bundle.read_bytes()).entries) == 3
    assert auditor.verify() == 0


def test_a_comparison_whose_provenance_is_not_logged_still_stands(tmp_path: Path) -> None:
    auditor = logged(tmp_path, [comparison("rebuilder-a", "different", provenance="11" * 32)], filler=3)
    assert auditor.prove("--bundle", auditor.file, "--out", auditor.bundle) == 0
    assert [each.index for each in parse_bundle(auditor.bundle.read_bytes()).entries] == [3]


def test_a_digest_that_is_spelt_with_escapes_is_found(tmp_path: Path) -> None:
    with (tmp_path / "x").open("w+b") as file:
        file.write(PUBLISHED)
        file.seek(0)
        digest = digest_file(file).sha256.encode()
    payload = make_provenance()
    escaped = payload.replace(digest, digest[:1] + b"\\u%04x" % digest[1] + digest[2:])
    assert digest not in escaped
    entry = make_entry(sign_envelope(escaped, WRITER), WRITER.key.spki)
    auditor = logged(tmp_path, [entry])
    assert auditor.prove("--bundle", auditor.file, "--out", auditor.bundle) == 0


def test_a_file_that_the_log_does_not_know_has_no_bundle(auditor: Auditor, capsys: Captured) -> None:
    assert auditor.prove("--bundle", auditor.write("other", b"something else")) == 2
    assert "no entry of the log" in capsys.readouterr().err


def test_a_file_with_two_names_needs_one(tmp_path: Path, capsys: Captured) -> None:
    auditor = logged(tmp_path, [provenance(), second(), provenance(uri=LIB_OTHER_VERSION)])
    assert auditor.prove("--bundle", auditor.file) == 2
    assert "--package" in capsys.readouterr().err
    assert auditor.prove("--bundle", auditor.file, "--package", str(LIB), "--out", auditor.bundle) == 0
    assert auditor.verify() == 0


def test_a_flood_of_entries_does_not_crowd_out_what_counts(tmp_path: Path, capsys: Captured) -> None:
    flood = [sign(make_provenance(note=f"{n}"), WRITER) for n in range(MAX_BUNDLE_ENTRIES + 30)]
    again = [provenance(note=f"{n}") for n in range(MAX_BUNDLE_ENTRIES)]
    auditor = logged(tmp_path, [*flood, *again, second()])
    assert auditor.prove("--bundle", auditor.file, "--out", auditor.bundle) == 0
    assert "the bundle has the 64 most useful" in capsys.readouterr().err
    assert auditor.verify() == 0


def test_other_packages_with_the_same_bytes_do_not_crowd_out_the_one_that_is_asked_for(
    tmp_path: Path,
) -> None:
    others = [maven_purl("org.example", "lib", f"2.{number}") for number in range(MAX_BUNDLE_ENTRIES)]
    earlier = [provenance(uri=package, note=str(package)) for package in others]
    auditor = logged(tmp_path, [*earlier, provenance(), second()])
    assert auditor.prove("--bundle", auditor.file, "--package", str(LIB), "--out", auditor.bundle) == 0
    assert auditor.verify() == 0


def test_a_search_that_finds_more_than_fits_into_memory_says_so(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    auditor = logged(tmp_path, [provenance(note=f"{n}") for n in range(5)])
    monkeypatch.setattr("touchplate.verify.search.MAX_FOUND", 4)
    assert auditor.prove("--bundle", auditor.file, "--out", auditor.bundle) == 2
    assert "name some of them with `touchplate prove --index`" in capsys.readouterr().err
    monkeypatch.setattr("touchplate.verify.search.MAX_FOUND", 5)
    assert auditor.prove("--bundle", auditor.file, "--out", auditor.bundle) == 0


def test_who_is_trusted_comes_before_any_number_of_strangers_with_one_entry_each(tmp_path: Path) -> None:
    strangers = [StatementSigner(Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32)) for n in range(70)]
    flood = [sign(make_provenance(note="x"), each) for each in strangers]
    auditor = logged(tmp_path, [*flood, provenance(), second()])
    assert auditor.prove("--bundle", auditor.file, "--out", auditor.bundle) == 0
    assert auditor.verify() == 0


def test_a_cosigner_beyond_the_calendar_changes_no_verdict(tmp_path: Path, capsys: Captured) -> None:
    # A clock in milliseconds: the signature is good, and its time is no moment of the calendar.
    time = 1_800_000_000_000
    log = SimLog(tmp_path / "log", witnesses=(witness_signer("w.example.org"),))
    log.grow(1)
    log.publish(time=time)
    policy, proof = tmp_path / "policy.txt", tmp_path / "0.tlog-proof"
    policy.write_text(format_policy(log.policy))
    words = ["--policy", str(policy), "--index", "0", "--out", str(proof)]
    assert cli.main(["prove", "--log", str(log.folder), *words]) == 0
    capsys.readouterr()
    assert cli.main(["prove", "--check", str(proof), "--policy", str(policy)]) == 0
    assert f"w0 (@{time})" in capsys.readouterr().out
    assert cli.main(["prove", "--check", str(proof), "--policy", str(policy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["cosigners"] == [{"name": "w0", "time": f"@{time}"}]


def test_a_trust_file_in_the_place_of_a_policy_is_told(auditor: Auditor, capsys: Captured) -> None:
    assert auditor.run("prove", "--log", auditor.log.folder, "--policy", auditor.trust, "--index", "0") == 2
    assert "trust.toml: policy line 1: " in (said := capsys.readouterr().err)
    assert said.endswith("; a trust file is given with --trust\n")


def test_a_bundle_of_a_policy_alone_takes_one_of_each_signer_first(tmp_path: Path) -> None:
    flood = [sign(make_provenance(note=f"{n}"), WRITER) for n in range(MAX_BUNDLE_ENTRIES + 30)]
    auditor = logged(tmp_path, [*flood, provenance(), second()])
    command = ("prove", "--log", auditor.log.folder, "--policy", auditor.policy, "--bundle", auditor.file)
    assert auditor.run(*command, "--out", auditor.bundle) == 0
    assert auditor.verify() == 0


# --- what is remembered ---


def test_the_checkpoint_is_remembered_and_a_fork_reported(
    auditor: Auditor, state_folder: Path, capsys: Captured
) -> None:
    assert auditor.prove("--index", "0") == 0
    assert (state_folder / f"head-{ORIGIN}").read_bytes() == auditor.log.note()
    other = auditor.log.fork(auditor.path / "other", 100)
    other.grow(400, "other ")
    other.publish()
    capsys.readouterr()
    assert auditor.prove("--index", "0", "--json", log=other.folder) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["reason"] == "fork"
    assert Path(said["file"]).parent == state_folder
    assert (state_folder / f"head-{ORIGIN}").read_bytes() == auditor.log.note()
    # With a memory of its own, the other history is news.
    assert auditor.prove("--index", "0", "--state", auditor.path / "fresh", log=other.folder) == 0
    assert (auditor.path / "fresh" / f"head-{ORIGIN}").read_bytes() == other.note()


def test_without_a_home_the_state_must_be_named(
    auditor: Auditor, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", str(auditor.path / "home"))
    assert auditor.prove("--index", "0") == 0
    assert (auditor.path / "home/.local/state/touchplate" / f"head-{ORIGIN}").exists()
    for home in ("", "relative", "/"):
        monkeypatch.setenv("HOME", home)
        capsys.readouterr()
        assert auditor.prove("--index", "0") == 2
        assert "--state DIR" in capsys.readouterr().err
