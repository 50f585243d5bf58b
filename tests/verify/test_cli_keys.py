"""`touchplate keygen` and `touchplate trust`: from keys to a trust file that is believed."""

import errno
import json
import os
import stat
from itertools import count
from pathlib import Path

import pytest
from tests.simkeys import log_signer, verifier_key

from touchplate.verify import cli
from touchplate.verify.keys import load_signer, parse_public_pem
from touchplate.verify.notes import parse_signer_key, parse_verifier_key
from touchplate.verify.trust import load_trust

Captured = pytest.CaptureFixture[str]
OPERATORS = ("https://a.example.org", "https://b.example.org/builds")


def keygen(role: str, out: Path, *arguments: str) -> int:
    return cli.main(["keygen", "--for", role, "--out", str(out), *arguments])


@pytest.mark.parametrize("role", ["rebuilder", "recorder", "administrator", "verifier"])
def test_makes_statement_keys(role: str, tmp_path: Path) -> None:
    assert keygen(role, tmp_path / "x.key") == 0
    signer = load_signer((tmp_path / "x.key").read_bytes(), None)
    public = parse_public_pem((tmp_path / "x.pem").read_text())
    assert (public, public.algorithm) == (signer.key, "p256")
    assert stat.S_IMODE((tmp_path / "x.key").stat().st_mode) == 0o600


@pytest.mark.parametrize(("role", "name"), [("log", "log.example.org"), ("cosigner", "w.example.org/one")])
def test_makes_note_keys(role: str, name: str, tmp_path: Path) -> None:
    assert keygen(role, tmp_path / "x", "--name", name) == 0
    private = (tmp_path / "x").read_text()
    assert private.endswith("\n")
    assert parse_verifier_key((tmp_path / "x.pub").read_text()) == parse_signer_key(private).key
    assert parse_signer_key(private).key.role == role
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o600


def test_makes_post_quantum_cosigner_keys_and_no_others(tmp_path: Path) -> None:
    assert keygen("cosigner", tmp_path / "x", "--name", "w.example.org", "--algorithm", "mldsa44") == 0
    key = parse_verifier_key((tmp_path / "x.pub").read_text())
    assert (key.type, key) == (6, parse_signer_key((tmp_path / "x").read_text()).key)
    assert keygen("log", tmp_path / "y", "--name", "w.example.org", "--algorithm", "mldsa44") == 2
    assert keygen("rebuilder", tmp_path / "z", "--algorithm", "mldsa44") == 64


def test_makes_ed25519_keys(tmp_path: Path) -> None:
    assert keygen("rebuilder", tmp_path / "x.key", "--ed25519") == 0
    assert parse_public_pem((tmp_path / "x.pem").read_text()).algorithm == "ed25519"


def test_encrypts_with_a_password(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("correct horse\n")
    assert keygen("rebuilder", tmp_path / "x.key", "--password-file", str(tmp_path / "password")) == 0
    pem = (tmp_path / "x.key").read_bytes()
    assert pem.startswith(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert load_signer(pem, b"correct horse").key == parse_public_pem((tmp_path / "x.pem").read_text())


@pytest.mark.parametrize("name", ["x.key", "x.pem"])
def test_never_touches_an_existing_file(name: str, tmp_path: Path, capsys: Captured) -> None:
    (tmp_path / name).write_text("mine")
    assert keygen("rebuilder", tmp_path / "x.key") == 2
    assert name in capsys.readouterr().err
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


def test_prints_no_secret(tmp_path: Path, capsys: Captured) -> None:
    assert keygen("log", tmp_path / "x", "--name", "log.example.org", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["verifierKey"] == (tmp_path / "x.pub").read_text().strip()
    assert "PRIVATE" not in str(answer)


def make_keys(folder: Path) -> None:
    assert keygen("log", folder / "log.key", "--name", "log.example.org") == 0
    assert keygen("cosigner", folder / "w.key", "--name", "w.example.org") == 0
    for name in ("a", "b"):
        assert keygen("rebuilder", folder / f"{name}.key") == 0
    assert keygen("recorder", folder / "recorder.key") == 0


def init(folder: Path, *arguments: str) -> int:
    rebuilders = [
        part
        for operator, name in zip(OPERATORS, ("a", "b"), strict=True)
        for part in ("--rebuilder", f"{operator}={folder / name}.pem")
    ]
    out = ["--out", str(folder / "trust.toml"), "--log", str(folder / "log.pub")]
    return cli.main(["trust", "init", *out, *rebuilders, *arguments])


def test_a_new_trust_file_says_what_was_asked(tmp_path: Path) -> None:
    make_keys(tmp_path)
    recorder = f"{OPERATORS[0]}={tmp_path / 'recorder.pem'}"
    assert init(tmp_path, "--recorder", recorder, "--source", "sources-jar", "--ecosystem", "maven") == 0
    trust = load_trust(tmp_path / "trust.toml")
    assert trust.policy.origin == "log.example.org"
    assert [key.operator for key in trust.keys] == [*OPERATORS, OPERATORS[0]]
    assert [key.kind for key in trust.keys] == ["rebuilder", "rebuilder", "recorder"]
    assert (trust.reproduced.operators, trust.reproduced.sources) == (2, ("sources-jar",))
    assert (tmp_path / "trust.toml").read_text().startswith("# Trust file of touchplate")


def test_verifiers_and_instances_of_rebuilderd_have_blocks_of_their_own(tmp_path: Path) -> None:
    make_keys(tmp_path)
    for name in ("v", "d"):
        assert keygen("verifier", tmp_path / f"{name}.key", "--ed25519") == 0
    verifier, instance = "https://verify.example.org", "https://reproduce.example.org"
    pairs = f"{verifier}={tmp_path / 'v.pem'}", f"{instance}={tmp_path / 'd.pem'}"
    assert init(tmp_path, "--verifier", pairs[0], "--rebuilderd", pairs[1], "--ecosystem", "conan") == 0
    keys = load_trust(tmp_path / "trust.toml").keys[2:]
    assert [(key.kind, key.operator, key.ecosystems) for key in keys] == [
        ("verifier", verifier, ("conan",)),
        ("rebuilderd", instance, ()),
    ]
    assert [key.key for key in keys] == [
        parse_public_pem((tmp_path / f"{name}.pem").read_text()) for name in ("v", "d")
    ]


def test_witnesses_are_all_needed(tmp_path: Path) -> None:
    make_keys(tmp_path)
    assert init(tmp_path, "--witness", (tmp_path / "w.pub").read_text().strip()) == 0
    policy = load_trust(tmp_path / "trust.toml").policy
    assert not policy.is_satisfied([])
    assert policy.is_satisfied(["w1"])


def test_too_few_rebuilders_are_pointed_out(tmp_path: Path, capsys: Captured) -> None:
    make_keys(tmp_path)
    assert init(tmp_path, "--operators", "3") == 0
    assert "2 operators have keys to rebuild with, 3 must agree" in capsys.readouterr().err


def test_a_second_trust_file_in_a_folder_has_a_policy_of_its_own(tmp_path: Path) -> None:
    make_keys(tmp_path)
    assert init(tmp_path) == 0
    log, reader = str(tmp_path / "log.pub"), tmp_path / "reader.toml"
    assert cli.main(["trust", "init", "--log", log, "--out", str(reader)]) == 0
    assert load_trust(reader).policy.origin == "log.example.org"
    assert (tmp_path / "reader.policy.txt").read_text() == (tmp_path / "policy.txt").read_text()


def test_what_was_written_is_told_as_json(tmp_path: Path, capsys: Captured) -> None:
    make_keys(tmp_path)
    capsys.readouterr()
    assert init(tmp_path, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["origin"] == "log.example.org"
    assert load_trust(Path(told["trust"])).policy.origin == told["origin"]
    assert Path(told["policy"]).exists()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--rebuilder", "nonsense"), 64),
        (("--rebuilder", "https://c.example.org=missing.pem"), 2),
        (("--operators", "0"), 2),
        (("--log", "log.example.org+00000000+AAAA"), 2),
        (("--recorder", "not-an-operator={folder}/recorder.pem"), 2),
        (("--recorder", "https://c.example.org={folder}/a.pem"), 2),
        (("--recorder", "https://c.example.org={folder}/recorder.key"), 2),
        (("--verifier", "https://c.example.org={folder}/a.pem"), 2),
        (("--rebuilderd", "https://c.example.org={folder}/recorder.pem"), 2),
    ],
)
def test_a_wrong_choice_writes_nothing(
    arguments: tuple[str, ...], code: int, tmp_path: Path, capsys: Captured
) -> None:
    make_keys(tmp_path)
    assert init(tmp_path, *(part.format(folder=tmp_path) for part in arguments)) == code
    assert not (tmp_path / "trust.toml").exists()
    assert not (tmp_path / "policy.txt").exists()


def test_an_existing_trust_file_stays(tmp_path: Path) -> None:
    make_keys(tmp_path)
    (tmp_path / "trust.toml").write_text("mine")
    assert init(tmp_path) == 2
    assert (tmp_path / "trust.toml").read_text() == "mine"
    assert not (tmp_path / "policy.txt").exists()


def test_shows_a_trust_file(tmp_path: Path, capsys: Captured) -> None:
    make_keys(tmp_path)
    init(tmp_path)
    capsys.readouterr()
    assert cli.main(["trust", "show", "--trust", str(tmp_path / "trust.toml")]) == 0
    shown = capsys.readouterr().out
    assert all(
        part in shown for part in (*OPERATORS, "log.example.org", "2 operators, from vcs, source-release")
    )
    assert cli.main(["trust", "show", "--trust", str(tmp_path / "trust.toml"), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["origin"] == "log.example.org"
    assert [key["operator"] for key in answer["keys"]] == list(OPERATORS)


def test_exports_the_log_keys_and_says_what_that_is_worth(tmp_path: Path, capsys: Captured) -> None:
    policy = f'"""\nlog {verifier_key(log_signer())}\nquorum none\n"""'
    (tmp_path / "trust.toml").write_text(f"[log]\npolicy = {policy}\n")
    command = ["trust", "export", "--sigstore", "--trust", str(tmp_path / "trust.toml")]
    assert cli.main(command) == 0
    captured = capsys.readouterr()
    assert "no quorum" in captured.err
    assert cli.main([*command, "--out", str(tmp_path / "root.json")]) == 0
    assert (tmp_path / "root.json").read_text() == captured.out
    assert json.loads(captured.out)["tlogs"][0]["baseUrl"] == "https://log.example.org"


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_disk_that_fails_leaves_no_half_of_a_key(
    tmp_path: Path, number: int, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """The first file, the second, and the folder in which they have their names."""
    real, calls = os.fsync, count(1)

    def failing(descriptor: int) -> None:
        if next(calls) == number:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing)
        assert keygen("log", tmp_path / "x", "--name", "log.example.org") == 2
    named = tmp_path / ("x" if number == 1 else "x.pub")
    assert capsys.readouterr().err == f"touchplate: {named}: input/output error\n"
    assert list(tmp_path.iterdir()) == []
    assert keygen("log", tmp_path / "x", "--name", "log.example.org") == 0
