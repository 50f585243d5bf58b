"""Durations, sizes and references to secrets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from touchplate.base.environment import Environment
from touchplate.base.errors import ConfigError
from touchplate.base.values import MAX_SECRET_BYTES, ByteSize, Duration, Secret


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("5s", 5), ("30m", 1800), ("24h", 86400), ("7d", 604800)]
)
def test_reads_durations(text: str, seconds: int) -> None:
    assert Duration.parse(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "5 s", "-5s", "1.5h", "1h30m", "5S", "５s", "5s\n", "9" * 16 + "s"]
)
def test_refuses_other_durations_with_the_remedy(text: str) -> None:
    with pytest.raises(ValueError, match='such as "24h"'):
        Duration.parse(text)


@pytest.mark.parametrize(
    ("text", "size"), [("7B", 7), ("64KiB", 65536), ("4MiB", 1 << 22), ("10GiB", 10 << 30)]
)
def test_reads_sizes(text: str, size: int) -> None:
    assert ByteSize.parse(text) == size


@pytest.mark.parametrize("text", ["", "5", "4MB", "4 MiB", "4mib", "-1B", "1.5MiB"])
def test_refuses_other_sizes_with_the_remedy(text: str) -> None:
    with pytest.raises(ValueError, match='such as "4MiB"'):
        ByteSize.parse(text)


def secret_file(folder: Path, data: bytes, mode: int = 0o600) -> Secret:
    (folder / "secret").write_bytes(data)
    (folder / "secret").chmod(mode)
    return Secret.parse("file:secret", folder)


def test_reads_a_secret_from_a_private_file_beside_the_configuration(tmp_path: Path) -> None:
    assert secret_file(tmp_path, b"s3cret\n").resolve() == "s3cret"
    assert secret_file(tmp_path, b"-----BEGIN\nPEM\n-----END\r\n").resolve() == "-----BEGIN\nPEM\n-----END"


def test_reads_a_secret_from_a_variable() -> None:
    secret = Secret.parse("env:TOKEN", Path())
    assert secret.resolve(Environment({"TOKEN": "s3cret"})) == "s3cret"
    with pytest.raises(ConfigError, match="TOKEN is not set"):
        secret.resolve(Environment({}))


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o601])
def test_refuses_a_secret_that_others_can_read(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match="chmod 600"):
        secret_file(tmp_path, b"s3cret", mode).resolve()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_tells_who_would_have_to_own_a_secret_that_is_somebody_elses(tmp_path: Path) -> None:
    secret = secret_file(tmp_path, b"s3cret")
    child = os.fork()
    if child == 0:  # the folders of pytest are closed, too: what is refused is the same
        os.seteuid(65534)
        try:
            secret.resolve()
        except ConfigError as error:
            os._exit(0 if "runs as uid 65534: chown" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "empty"), (b"\n", "empty"), (b"\xff", "UTF-8"), (b"x" * (MAX_SECRET_BYTES + 1), "wrong file")],
)
def test_refuses_a_file_that_holds_no_secret(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        secret_file(tmp_path, data).resolve()


def test_refuses_what_is_not_a_file_without_waiting_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name, message in (("pipe", "regular file"), ("none", "No such file"), (".", "regular file")):
        with pytest.raises(ConfigError, match=message):
            Secret.parse(f"file:{name}", tmp_path).resolve()


@pytest.mark.parametrize("text", ["hunter2", "", "file:", "env:", "env:A B", "FILE:x", "vault:x", "file:a\0"])
def test_refuses_a_secret_in_place_of_a_reference_and_does_not_repeat_it(text: str) -> None:
    with pytest.raises(ValueError, match="file:PATH") as caught:
        Secret.parse(text, Path())
    assert "hunter2" not in str(caught.value)


def test_shows_the_reference_never_the_value(tmp_path: Path) -> None:
    secret = secret_file(tmp_path, b"s3cret")
    assert secret.resolve() == "s3cret"
    assert str(secret) == "file:secret"
    assert "s3cret" not in repr(secret)
