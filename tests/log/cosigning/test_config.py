"""`[log.witness]`: a policy that could never publish is refused at the start, with the remedy."""

import dataclasses
from pathlib import Path

import pytest
from tests.log.support import write_settings
from tests.simkeys import log_signer, verifier_key, witness_signer

from touchplate.base.values import Duration
from touchplate.log.cosigning.config import WitnessesConfig, load_policy
from touchplate.log.errors import CheckpointError
from touchplate.log.keys import RetiringConfig
from touchplate.log.service import LogService
from touchplate.verify.errors import PolicyError

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
        (LOG + f"witness a {KEYS[0]} ftp://w.example.org\nquorum a\n", "no URL of a witness"),
        (LOG + f"witness a {KEYS[0]} https://w.example.org/?x\nquorum a\n", "no URL of a witness"),
        (f"log {verifier_key(log_signer('other'))}\nquorum none\n", "own key"),
        (LOG + "quorum x\n", "not defined"),
    ],
)
def test_what_could_never_be_published_is_refused(text: str, word: str, tmp_path: Path) -> None:
    with pytest.raises((CheckpointError, PolicyError), match=word):
        load_policy(settings(tmp_path, text), log_signer().key)


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
