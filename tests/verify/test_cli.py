"""The console command: dispatch, exit codes, errors of one line."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from touchplate.verify import cli
from touchplate.verify.commands import COMMANDS, Command, format_also
from touchplate.verify.errors import RefusedError, TransportError
from touchplate.verify.output import printable
from touchplate.verify.usage import UsageError

Captured = pytest.CaptureFixture[str]


def run(*arguments: str) -> int:
    return cli.main(arguments)


def test_help_names_every_command(capsys: Captured) -> None:
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in COMMANDS)
    assert run() == 64


def test_the_overview_fits_a_terminal_and_says_what_codes_mean(capsys: Captured) -> None:
    run("--help")
    shown = capsys.readouterr().out.splitlines()
    assert [line for line in shown if len(line) > 80] == []
    codes = [words[0] for line in shown if (words := line.removeprefix("exit codes:").split())]
    assert [code for code in codes if code.isdecimal()] == ["0", "1", "2", "64", "130"]


def test_a_first_word_shows_the_commands_that_begin_with_it(capsys: Captured) -> None:
    assert run("link", "--help") == 0
    shown = capsys.readouterr().out
    assert "touchplate link COMMAND" in shown
    assert "link check  check links" in shown
    assert run("builder") == 64
    assert "builder probe" in capsys.readouterr().out


def test_the_help_of_a_command_names_those_that_share_its_word(capsys: Captured) -> None:
    with pytest.raises(SystemExit):
        run("vsa", "check", "--help")
    assert "see also" not in capsys.readouterr().out
    assert "touchplate log serve (" in format_also("log")
    assert format_also("verify") == ""


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("verfy", "verify"), ("rebuid", "rebuild"), ("builder wrok", "builder work"), ("link", None)],
)
def test_a_mistyped_command_is_answered_with_the_nearest(
    typed: str, meant: str | None, capsys: Captured
) -> None:
    assert run(*typed.split(), *(["xyzzy"] if meant is None else [])) == 64
    said = capsys.readouterr().err
    assert f"did you mean {meant or 'link check'!r}?" in said


def test_help_of_a_sub_command_begins_with_what_it_does(capsys: Captured) -> None:
    with pytest.raises(SystemExit) as ended:
        run("trust", "init", "--help")
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "\n\nwrite a commented trust file" in shown
    assert max(len(line) for line in shown.splitlines()) <= 80


def test_tells_its_version(capsys: Captured) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("touchplate ")


@pytest.mark.parametrize(
    "arguments",
    [
        ("frobnicate",),
        ("verify",),
        ("verify", "x", "--trust"),
        ("verify", "x", "--trust", "t", "--color"),
        ("verify", "x", "--trust", "t", "--require", "signed"),
        ("verify", "x", "--trust", "t", "--require", ""),
        ("verify", "x", "--trust", "t", "--package", "lib@1.0"),
        ("inspect", "lib"),
        ("inspect", "sha256:00", "--server", "http://127.0.0.1:1"),
        ("keygen", "--out", "x"),
        ("keygen", "--for", "log", "--out", "x"),
        ("keygen", "--for", "rebuilder", "--out", "x.pem"),
        ("keygen", "--for", "rebuilder", "--out", "x", "--name", "y"),
        ("trust",),
        ("trust", "export", "--trust", "t"),
    ],
)
def test_usage_errors_are_one_line_and_64(arguments: Sequence[str], capsys: Captured) -> None:
    assert run(*arguments) == 64
    captured = capsys.readouterr()
    assert captured.err.startswith("touchplate: ")
    assert captured.err.count("\n") == 1
    assert captured.out == ""


def test_a_missing_part_names_what_to_install(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "serve", Command("touchplate.no_such_part.cli", "all", ""))
    assert run("serve") == 2
    assert capsys.readouterr().err.strip().endswith("pip install 'touchplate[all]'")


def test_errors_are_json_when_asked(capsys: Captured) -> None:
    assert run("verify", "no-such-file", "--trust", "no-such-trust", "--json") == 2
    captured = capsys.readouterr()
    answer = json.loads(captured.out)
    assert answer["reason"] == "system"
    assert "no-such-trust" in answer["error"]
    assert captured.err.count("\n") == 1


def test_exit_codes_follow_the_kind_of_error() -> None:
    assert cli.exit_code(UsageError("x")) == 64
    assert cli.exit_code(RefusedError(3, "x", "x")) == 1
    assert cli.exit_code(TransportError("x")) == 2
    assert cli.exit_code(FileNotFoundError(2, "x")) == 2


def test_untrusted_text_writes_no_escape_sequences() -> None:
    assert printable("a\x1b[31mb\nc\u202ed") == "a\ufffd[31mb\ufffdc\ufffdd"
    assert printable("pkg:maven/ü@1 – ok") == "pkg:maven/ü@1 – ok"


def test_the_module_runs_as_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "touchplate.verify", "--version"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert done.stdout.startswith("touchplate ")


def test_a_reader_that_goes_away_is_no_traceback(tmp_path: Path) -> None:
    program = f"{sys.executable} -m touchplate.verify --help | true"
    done = subprocess.run(["/bin/sh", "-c", program], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr
