"""`[log.witness]`: a policy that could never publish is refused at the start, with the remedy."""

import dataclasses
from pathlib import Path

import pytest
from tests.log.support import write_settings
from tests.simkeys import log_signer, verifier_key, witness_signer

from touchplate.base.values import Duration
from touchplate.log.cosigning.config import WitnessesConfig, load_policy
from touchplate.log.cosigning.rounds import Round
from touchplate.log.cosigning.witness import SignedHead
from touchplate.log.errors import CheckpointError
from touchplate.log.keys import RetiringConfig
from touchplate.log.service import LogService
from touchplate.verify.checkpoints import open_checkpoint, sign_checkpoint
from touchplate.verify.errors import PolicyError
from touchplate.verify.notes import MAX_SIGNATURE_LINES, unverified_text
from touchplate.verify.rfc6962 import EMPTY_ROOT

LOG = f"log {verifier_key(log_signer())}\n"
KEYS = [verifier_key(witness_signer(f"w{number}.example.org")) for number in range(3)]


def settings(folder: Path, text: str) -> WitnessesConfig:
    path = folder / "policy.txt"
    path.write_text(text)
    return WitnessesConfig(path)


def test_witnesses_of_one_url_are_asked_once(tmp_path: Path) -> None:
    text = (
        LOG + f"witness a {KEYS[0]} https://w.example.org/x/\nwitness b {KEYS[1]} https://w.example.org/x\n"
    )
    config = settings(tmp_path, text + f"witness c {KEYS[2]} http://127.0.0.1:1\ngroup g 2 a b c\nquorum g\n")
    _, asked = load_policy(config, log_signer().key)
    assert [(each.url, [one.name for one in each.witnesses]) for each in asked] == [
        ("https://w.example.org/x", ["a", "b"]),
        ("http://127.0.0.1:1", ["c"]),
    ]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (LOG + f"witness a {KEYS[0]}\nquorum a\n", "needs witnesses without a URL"),
        (LOG + f"witness a {KEYS[0]} ftp://w.example.org\nquorum a\n", "not an http or https URL"),
        (LOG + f"witness a {KEYS[0]} https://[w.example.org\nquorum a\n", "not a URL"),
        (LOG + f"witness a {KEYS[0]} https://w.example.org:70000\nquorum a\n", "not a URL"),
        (LOG + f"witness a {KEYS[0]} https://me:word@w.example.org\nquorum a\n", "password"),
        (LOG + f"witness a {KEYS[0]} https://w.example.org/?x\nquorum a\n", "no URL of a witness"),
        (f"log {verifier_key(log_signer('other'))}\nquorum none\n", "own key"),
        (LOG + "quorum x\n", "not defined"),
    ],
)
def test_what_could_never_be_published_is_refused(text: str, word: str, tmp_path: Path) -> None:
    with pytest.raises((CheckpointError, PolicyError), match=word):
        load_policy(settings(tmp_path, text), log_signer().key)


def policy_of(count: int) -> str:
    lines = [
        f"witness w{number} {verifier_key(witness_signer(f'w{number}.example.org'))} http://127.0.0.1:1/{number}"
        for number in range(count)
    ]
    return LOG + "\n".join(lines) + "\nquorum w0\n"


def test_as_many_witnesses_are_asked_as_a_note_has_lines_for_and_no_more(tmp_path: Path) -> None:
    config = settings(tmp_path, policy_of(MAX_SIGNATURE_LINES - 1))
    policy, asked = load_policy(config, log_signer().key)
    assert len(asked) == MAX_SIGNATURE_LINES - 1
    note = sign_checkpoint("log.example.org", 0, EMPTY_ROOT, log_signer())
    done = Round(SignedHead(0, EMPTY_ROOT, note), policy, (), {})
    text = unverified_text(note)
    for witness in policy.witnesses:
        done.take(0, {witness.name: witness_signer(witness.key.name).sign(text, time=1)})
    assert len(open_checkpoint(done.note(), policy).cosigners) == MAX_SIGNATURE_LINES - 1
    with pytest.raises(CheckpointError, match="room for 63"):
        load_policy(settings(tmp_path, policy_of(MAX_SIGNATURE_LINES)), log_signer().key)


def test_a_log_with_such_a_policy_does_not_start_and_leaves_nothing_locked(tmp_path: Path) -> None:
    config = write_settings(tmp_path / "settings")
    bad = dataclasses.replace(config, witness=settings(tmp_path, LOG + f"witness a {KEYS[0]}\nquorum a\n"))
    with pytest.raises(CheckpointError):
        LogService(bad, tmp_path / "data")
    with pytest.raises(OSError, match="No such file"):
        LogService(
            dataclasses.replace(config, witness=WitnessesConfig(tmp_path / "none.txt")), tmp_path / "data"
        )
    service = LogService(config, tmp_path / "data")
    service.start()
    service.stop()


def test_peers_two_keys_and_wrong_times_are_refused_with_the_reason(tmp_path: Path) -> None:
    config = write_settings(tmp_path / "settings")
    witness = WitnessesConfig(tmp_path / "policy.txt")
    peers = dataclasses.replace(config, mode="peers", witness=witness).check()
    assert any("knows one log key per origin" in each for each in peers)
    shared = dataclasses.replace(
        config, storage="postgresql+psycopg://me@db.example.org/log", witness=witness
    )
    assert not shared.check()
    assert not dataclasses.replace(config, witness=witness).check()
    retiring = RetiringConfig(config.key, "2030-01-01T00:00:00Z")
    two = dataclasses.replace(config, witness=witness, retiring=retiring).check()
    assert len(two) == 1
    assert "retiring: not with [log.witness]: an outside witness knows one log key per origin" in two[0]
    assert not dataclasses.replace(config, retiring=retiring).check()
    assert len(WitnessesConfig(tmp_path, Duration(0), Duration(0)).check()) == 2
