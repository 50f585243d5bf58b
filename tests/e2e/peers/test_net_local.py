"""`touchplate net local` as a newcomer uses it: start, write, read, ask, stop."""

import json
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from tests.log.support import record_envelope

from touchplate.base.environment import read_environment
from touchplate.log.peers.engine import EngineMissingError, install_engine
from touchplate.verify.cli import main
from touchplate.verify.keys import load_signer

pytestmark = pytest.mark.slow

SECONDS = 120


def test_a_network_starts_takes_an_entry_and_ends_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        install_engine()
    except EngineMissingError as error:
        if read_environment().is_ci:
            raise
        pytest.skip(f"no engine: {error}")
    command = [
        sys.executable,
        "-m",
        "touchplate.verify",
        "net",
        "local",
        "--folder",
        str(tmp_path / "net"),
        "--json",
    ]
    with (tmp_path / "errors").open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors)
    try:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        assert len(told["urls"]) == 4
        signer = load_signer((tmp_path / "net/recorder.pem").read_bytes())
        request = urllib.request.Request(f"{told['urls'][1]}/add", record_envelope(1, signer), method="POST")
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            assert answer.read() == b"0"
        for url in told["urls"]:
            assert main(["log", "checkpoint", "--url", url, "--policy", told["policy"], "--json"]) == 0
            assert json.loads(capsys.readouterr().out)["verified"] is True
        for number in range(4):
            config = tmp_path / f"net/peer{number}/peer.toml"
            assert main(["peer", "status", "--config", str(config), "--json"]) == 0
            status = json.loads(capsys.readouterr().out)
            assert (status["votingPower"], status["catchingUp"]) == ("1", False)
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(SECONDS)
        process.stdout.close()  # type: ignore[union-attr]
    assert code == 0, (tmp_path / "errors").read_text()
