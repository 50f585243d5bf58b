"""Keys that cannot be used to sign: each is told at once, by the name of its file, and never by its bytes."""

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.verify.support import statement_signer

from touchplate.base.errors import ConfigError
from touchplate.builder.attestation.keys import read_signer
from touchplate.builder.errors import HostLack
from touchplate.verify.errors import MalformedError
from touchplate.verify.keys import format_private_pem, format_public_pem

SIGNER = statement_signer("rebuilder-a")
PEM = format_private_pem(SIGNER)


def write(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def other_key(private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | x25519.X25519PrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_a_key_is_read_from_a_file_of_its_owner(tmp_path: Path) -> None:
    assert read_signer(write(tmp_path / "a.key", PEM)).key == SIGNER.key


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(ConfigError, match=r"a\.key.*lets others read it; run chmod 600"):
        read_signer(write(tmp_path / "a.key", PEM, mode))


@pytest.mark.parametrize("kind", ["nothing", "folder", "pipe", "loop"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.key"
    match kind:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path, 0o600)
        case "loop":
            path.symlink_to(path)
    with pytest.raises(ConfigError, match=r"a\.key"):
        read_signer(path)


@pytest.mark.parametrize(
    "pem",
    [
        other_key(rsa.generate_private_key(65537, 2048)),
        other_key(ec.generate_private_key(ec.SECP384R1())),
        other_key(x25519.X25519PrivateKey.generate()),
        format_private_pem(SIGNER, b"a password"),
        format_public_pem(SIGNER.key).encode(),
        PEM[:60],
    ],
    ids=["rsa", "p384", "x25519", "encrypted", "public", "cut"],
)
def test_another_kind_of_key_is_refused_by_the_name_of_its_file(tmp_path: Path, pem: bytes) -> None:
    path = write(tmp_path / "a.key", pem)
    with pytest.raises(MalformedError) as caught:
        read_signer(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert caught.value.reason == "bad-key"


def test_a_wrong_password_is_told_and_the_right_one_opens_the_key(tmp_path: Path) -> None:
    path = write(tmp_path / "a.key", format_private_pem(SIGNER, b"a password"))
    right, wrong = (write(tmp_path / text, f"{text}\n".encode()) for text in ("a password", "no password"))
    assert read_signer(path, right).key == SIGNER.key
    with pytest.raises(MalformedError, match="with this password"):
        read_signer(path, wrong)
    right.chmod(0o644)
    with pytest.raises(ConfigError, match="lets others read it"):
        read_signer(path, right)


def test_a_key_that_lies_where_every_build_looks_is_refused_before_it_is_read(tmp_path: Path) -> None:
    link = tmp_path / "a.key"
    link.symlink_to("/usr/share/no-such-folder/a.key")
    for key, password in ((link, None), (write(tmp_path / "b.key", PEM), link)):
        with pytest.raises(HostLack, match="keep keys outside /usr"):
            read_signer(key, password)
