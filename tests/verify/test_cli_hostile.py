"""The command with names, files and streams that nobody should give it: one line, never a traceback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.simkeys import log_signer, verifier_key, witness_signer
from tests.verify.bundles import make_bundle
from tests.verify.cases import good_bundle, provenance, second, trust_text
from tests.verify.support import LIB, LIB_OTHER_VERSION, PUBLISHED

from touchplate.verify import cli
from touchplate.verify.keys import load_signer

Captured = pytest.CaptureFixture[str]
NOT_UTF8 = os.fsdecode(b"l\xffb")
WITNESS = witness_signer("witness.example.org")
WITNESSED = f"log {verifier_key(log_signer())}\nwitness w {verifier_key(WITNESS)}\nquorum w\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A file, its bundle and a trust file."""
    (tmp_path / "lib.jar").write_bytes(PUBLISHED)
    (tmp_path / "lib.jar.touchplate.json").write_bytes(good_bundle())
    (tmp_path / "trust.toml").write_text(trust_text())
    return tmp_path


def verify(folder: Path, *arguments: str, file: str = "lib.jar", package: object = LIB) -> int:
    words = [str(folder / file), "--trust", str(folder / "trust.toml"), "--package", str(package)]
    return cli.main(["verify", *words, *arguments])


def shell(folder: Path, redirection: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """`touchplate verify` in a shell, with its streams as `redirection` says."""
    command = f'"$0" -m touchplate.verify verify lib.jar --trust trust.toml --package "$1" {redirection}'
    return subprocess.run(
        ["/bin/sh", "-c", command, sys.executable, str(LIB)],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        timeout=60,
    )


def test_a_name_that_is_no_utf8_has_a_json_form(folder: Path, capsys: Captured) -> None:
    assert verify(folder, "--json", file=NOT_UTF8) == 2
    captured = capsys.readouterr()
    assert NOT_UTF8 in json.loads(captured.out)["error"]
    assert captured.err.count("\n") == 1


def test_keygen_tells_a_name_that_is_no_utf8(tmp_path: Path, capsys: Captured) -> None:
    out = str(tmp_path / NOT_UTF8)
    assert cli.main(["keygen", "--for", "rebuilder", "--out", out, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["private"] == out


def test_json_writes_no_escape_sequences(tmp_path: Path, capsys: Captured) -> None:
    name = "a\x9b31m\u202eb\x7f"
    assert cli.main(["trust", "show", "--trust", str(tmp_path / name), "--json"]) == 2
    out = capsys.readouterr().out
    assert all(" " <= one <= "~" for one in out.removesuffix("\n"))
    assert name in json.loads(out)["error"]


@pytest.mark.parametrize("out", [".", "", "/"])
@pytest.mark.parametrize("command", [("keygen", "--for", "rebuilder"), ("trust", "init", "--log", "a+b+c")])
def test_a_folder_is_no_name_of_a_new_file(command: tuple[str, ...], out: str, capsys: Captured) -> None:
    assert cli.main([*command, "--out", out]) == 64
    assert "name a file in it" in capsys.readouterr().err


def test_a_password_is_as_long_as_openssl_takes(tmp_path: Path, capsys: Captured) -> None:
    for length, code in ((1024, 64), (1023, 0)):
        (tmp_path / "password").write_bytes(b"p" * length)
        words = ["--out", str(tmp_path / "x.key"), "--password-file", str(tmp_path / "password")]
        assert cli.main(["keygen", "--for", "rebuilder", *words]) == code
    assert load_signer((tmp_path / "x.key").read_bytes(), b"p" * 1023)
    assert "holds no password of 1 to 1023 bytes" in capsys.readouterr().err


@pytest.mark.parametrize("argument", ["--bundle=/dev/zero", "--trust=/dev/zero"])
def test_a_device_is_no_file(argument: str, folder: Path, capsys: Captured) -> None:
    assert verify(folder, argument) == 2
    assert capsys.readouterr().err == "touchplate: /dev/zero: is a device, not a file\n"


def test_an_endless_device_is_not_hashed(folder: Path) -> None:
    words = ["--bundle", str(folder / "lib.jar.touchplate.json"), "--trust", str(folder / "trust.toml")]
    assert cli.main(["verify", "/dev/zero", *words, "--package", str(LIB)]) == 2


def test_a_pipe_may_stand_for_a_file(folder: Path) -> None:
    done = shell(folder, "< lib.jar.touchplate.json --bundle /dev/stdin")
    assert done.returncode == 0


@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"\xff\xfe", b"\x89PNG\r\n", b"[" * 100_000, b"a." * 200_000 + b"b=1"]
)
@pytest.mark.parametrize("name", ["lib.jar", "lib.jar.touchplate.json", "trust.toml"])
def test_any_bytes_are_refused_in_words(name: str, content: bytes, folder: Path, capsys: Captured) -> None:
    (folder / name).write_bytes(content)
    assert verify(folder) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("refused: ")


def test_a_file_from_somebody_else_adds_one_key_to_a_policy(tmp_path: Path, capsys: Captured) -> None:
    keys = tmp_path / "log.pub"
    own, other = verifier_key(log_signer()), verifier_key(log_signer("other"))
    for text in (f"{own}\nlog {other}\n", f"{own} http://log.example.org", f"{own}\r\n", f"{own}\n\n"):
        keys.write_text(text, newline="")
        words = ["--log", str(keys), "--out", str(tmp_path / "trust.toml")]
        assert cli.main(["trust", "init", *words]) == 2
        assert not (tmp_path / "trust.toml").exists()
    assert "base64" in capsys.readouterr().err


def test_a_cosigner_beyond_the_calendar_changes_no_exit_code(folder: Path, capsys: Captured) -> None:
    # A clock in milliseconds: the signature is good, and its time is no moment of the calendar.
    entries, time = [provenance(), second()], 1_800_000_000_000
    bundle = make_bundle(entries, signers=(log_signer(), WITNESS), time=time)
    (folder / "lib.jar.touchplate.json").write_bytes(bundle)
    (folder / "trust.toml").write_text(trust_text(policy=WITNESSED))
    assert verify(folder) == 0
    assert f"w (@{time})" in capsys.readouterr().out
    assert verify(folder, "--json") == 0
    assert json.loads(capsys.readouterr().out)["checkpoint"]["cosigners"] == [
        {"name": "w", "time": f"@{time}"}
    ]
    assert verify(folder, package=LIB_OTHER_VERSION) == 1


@pytest.mark.parametrize("redirection", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_change_no_exit_code(redirection: str, folder: Path) -> None:
    done = shell(folder, redirection)
    assert (done.returncode, done.stderr) == (0, b"")


def test_an_answer_that_cannot_be_written_is_no_answer(folder: Path) -> None:
    done = shell(folder, "> /dev/full", PYTHONUNBUFFERED="")
    assert (done.returncode, done.stderr) == (2, b"touchplate: no space left on device\n")


def test_a_terminal_of_another_encoding_gets_escapes(folder: Path) -> None:
    (folder / "lüb.jar").write_bytes(PUBLISHED)
    words = "--bundle lib.jar.touchplate.json"
    done = shell(folder, f"{words} lüb.jar".replace(" lüb.jar", ""), PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    program = f"'{sys.executable}' -m touchplate.verify"
    for command in (
        f"{program} --help",
        f"{program} verify lüb.jar {words} --trust trust.toml --package '{LIB}'",
    ):
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=folder,
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            timeout=60,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"\\u2026" in done.stdout or b"l\\xfcb.jar" in done.stdout
