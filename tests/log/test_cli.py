"""`touchplate log` on heads that are fetched: a trust file says how old they may be."""

import json
import time
from pathlib import Path

import pytest
from tests.simkeys import witness_signer
from tests.simlog import SimLog

from touchplate.verify.cli import main
from touchplate.verify.notes import format_verifier_key

DAY = 86_400


def trust_file(folder: Path, log: SimLog, limit: str) -> Path:
    keys = [format_verifier_key(log.signer.key), format_verifier_key(log.witnesses[0].key)]
    path = folder / "trust.toml"
    path.write_text(
        f'[log]\npolicy = """log {keys[0]}\nwitness w {keys[1]}\nquorum w\n"""\n{limit}', encoding="utf-8"
    )
    return path


def cosigned(folder: Path, at: int) -> SimLog:
    log = SimLog(folder, witnesses=(witness_signer("w.example.org"),))
    log.grow(3)
    log.publish(at)
    return log


@pytest.mark.parametrize("command", ["checkpoint", "fsck"])
def test_an_old_head_is_refused_by_the_age_that_the_trust_file_allows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    log = cosigned(tmp_path / "log", int(time.time()) - 2 * DAY)
    trust = trust_file(tmp_path, log, 'max_checkpoint_age = "24h"\n')
    assert main(["log", command, "--url", str(log.folder), "--trust", str(trust), "--json"]) != 0
    said = capsys.readouterr()
    assert "the age of the checkpoint is" in said.out + said.err
    trust_file(tmp_path, log, "")
    assert main(["log", command, "--url", str(log.folder), "--trust", str(trust), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["size"] == "3"


def test_a_young_head_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = cosigned(tmp_path / "log", int(time.time()) - 60)
    trust = trust_file(tmp_path, log, 'max_checkpoint_age = "24h"\n')
    assert main(["log", "checkpoint", "--url", str(log.folder), "--trust", str(trust)]) == 0
    assert "verified, cosigned by w" in "".join(capsys.readouterr())
