"""The example in the log's README runs, and its commands are those of the command line."""

import argparse
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.log.mirrors import wrong_with
from tests.log.operated import Operated, note_in
from tests.log.support import RECORDER, open_sqlite, sign, signed_entries
from tests.log.test_fsck import export, policy_file
from tests.simkeys import solo_policy

from touchplate.log.cli import register
from touchplate.log.errors import STATUS, AdmissionError
from touchplate.verify.cli import main

README = Path(__file__).resolve().parents[2] / "log" / "README.md"
GUIDE = README.with_name("OPERATING.md")
"""The operator's page. Its blocks of several commands are run by tests/node/test_guide.py."""


def test_the_example_prints_every_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tree = open_sqlite(tmp_path)
    tree.apply(signed_entries(3), sign)
    tree.close()
    export(tmp_path, tmp_path / "mirror")
    policy_file(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(example.replace("https://log.example.org/log", str(tmp_path / "mirror")), {})
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines] == [
        [str(n), RECORDER.key.spki_sha256.hex()] for n in range(3)
    ]


def test_the_commands_are_understood() -> None:
    text = README.read_text(encoding="utf-8") + GUIDE.read_text(encoding="utf-8")
    commands = re.findall(r"^    touchplate log (?!serve |witness )([^>#\n]*)", text, re.MULTILINE)
    assert len(commands) == 18
    parser = argparse.ArgumentParser(exit_on_error=False)
    register(parser)
    for command in commands:
        parser.parse_args(command.split())


def test_the_operators_commands_do_what_they_are_there_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = GUIDE.read_text(encoding="utf-8")
    commands = [line.split() for line in re.findall(r"^    touchplate (log .*)$", text, re.MULTILINE)]
    # It stands where one looks for it, before the log is frozen and not where a backup is made.
    commands.sort(key=lambda command: command[1] == "stats")
    assert len(commands) == 8
    log = Operated(tmp_path)
    log.append(0, 300)
    shutil.move(log.config, tmp_path / "node.toml")
    (tmp_path / "keys").mkdir()
    monkeypatch.chdir(tmp_path)
    for command in commands:
        if "--follow" in command:
            _follow_until_stopped(command, tmp_path)
        else:
            assert main(command) == 0, command
    assert wrong_with(tmp_path / "public", solo_policy()) == []
    assert (tmp_path / "backup.sqlite").stat().st_size > 0
    assert (tmp_path / "keys" / "log-2.key").exists()


def _follow_until_stopped(command: list[str], folder: Path) -> None:
    arguments = [sys.executable, "-m", "touchplate.verify", *command]
    with subprocess.Popen(arguments, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "300 entries" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert note_in(folder / "public").splitlines()[1] == b"300"


def test_the_table_of_reasons_has_the_statuses_of_the_code() -> None:
    rows = re.findall(r"^\| (\d{3}) \| ([^|]*) \|", README.read_text(encoding="utf-8"), re.MULTILINE)
    named = {
        reason: int(status) for status, reasons in rows for reason in re.findall(r"`([a-z-]+)`", reasons)
    }
    for reason in (
        "malformed",
        "high-s",
        "unknown-key",
        "wrong-kind",
        "wrong-builder",
        "wrong-index",
        "too-large",
    ):
        assert named[reason] == STATUS.status(AdmissionError("x", reason=reason)).http
