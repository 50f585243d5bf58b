"""`touchplate keygen`: a key for one role. The private file is its owner's only; no file is overwritten."""

import argparse
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from touchplate.verify.errors import VerifyError
from touchplate.verify.folders import sync_folder
from touchplate.verify.keys import format_private_pem, format_public_pem, generate_signer
from touchplate.verify.notes import format_signer_key, format_verifier_key, generate_note_signer
from touchplate.verify.output import print_json, print_pairs
from touchplate.verify.usage import UsageError

STATEMENT_ROLES = ("rebuilder", "recorder", "administrator", "verifier")
NOTE_ROLES = ("log", "cosigner")

PRIVATE_MODE = 0o600
PUBLIC_MODE = 0o644

MAX_PASSWORD_BYTES = 1023
"""Bytes of a password: OpenSSL takes no longer passphrase."""


def register(parser: argparse.ArgumentParser) -> None:
    """The options of `touchplate keygen`."""
    parser.add_argument(
        "--for",
        dest="role",
        required=True,
        choices=(*STATEMENT_ROLES, *NOTE_ROLES),
        metavar="ROLE",
        help=f"who signs with it: {', '.join((*STATEMENT_ROLES, *NOTE_ROLES))}; no key serves two roles",
    )
    parser.add_argument("--out", required=True, type=Path, metavar="FILE", help="file of the private key")
    parser.add_argument("--name", help="log: its origin, a bare host name; cosigner: host[/path]")
    parser.add_argument(
        "--ed25519", action="store_true", help="statement keys: Ed25519 instead of ECDSA P-256"
    )
    parser.add_argument(
        "--algorithm",
        choices=("ed25519", "mldsa44"),
        default="ed25519",
        help="cosigner keys: Ed25519 (type 0x04, what most verifiers know) or ML-DSA-44 (type 0x06)",
    )
    parser.add_argument(
        "--password-file",
        type=Path,
        metavar="FILE",
        help="statement keys: encrypt with the first line of FILE",
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(args: argparse.Namespace) -> int:
    """Make the key. Raises VerifyError or OSError; an existing file is never touched."""
    public = public_path(args.out, args.role)
    refuse_existing(args.out, public)
    made = _make_note_key(args) if args.role in NOTE_ROLES else _make_statement_key(args)
    private_text, public_text, name, value = made
    write_all_new([(args.out, private_text, PRIVATE_MODE), (public, public_text, PUBLIC_MODE)])
    if args.json:
        print_json({"role": args.role, "private": str(args.out), "public": str(public), name: value})
    else:
        print_pairs(
            [
                ("role", args.role),
                ("private", f"{args.out} (keep it)"),
                ("public", str(public)),
                (name, value),
            ]
        )
    return 0


def public_path(private: Path, role: str) -> Path:
    """Where the public key goes: beside the private one, `.pub` for note keys and `.pem` for statement keys.

    Raises UsageError when the private key has that name already, or none.
    """
    require_name(private)
    public = private.with_suffix(".pub" if role in NOTE_ROLES else ".pem")
    if public == private:
        raise UsageError(
            f"the public key will be written to {public.name}; give the private key another name, such as "
            f"{private.with_suffix('.key').name}"
        )
    return public


def require_name(path: Path) -> None:
    """That a file can have this path at all: `.` and `/` are folders. Raises UsageError."""
    if not path.name:
        raise UsageError(f"{path} is a folder; name a file in it")


def refuse_existing(*paths: Path) -> None:
    """Before the first of several files is written: none of them is there. Raises VerifyError (`exists`)."""
    for path in paths:
        if path.exists() or path.is_symlink():
            raise VerifyError(f"{path} exists; choose another name", reason="exists")


def write_new(path: Path, data: bytes, mode: int) -> None:
    """Write a file that must not exist yet, with `mode` from its first moment, durably. Raises OSError; then
    there is no such file."""
    write_all_new([(path, data, mode)])


def write_all_new(files: Sequence[tuple[Path, bytes, int]]) -> None:
    """`write_new` of several (path, data, mode) that belong together: all of them, or none."""
    made: list[Path] = []
    at = files[0][0]
    try:
        for path, data, mode in files:
            at = path
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
            made.append(path)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        for folder in {path.parent for path, _, _ in files}:
            with contextlib.suppress(PermissionError):  # a folder in which we may write, and not read
                sync_folder(folder)
    except BaseException as error:
        # A full disk: what is left would be a part, and in the way of the next try.
        for path in made:
            path.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # a write or a sync knows no name
            error.filename = str(at)
        raise


def _make_statement_key(args: argparse.Namespace) -> tuple[bytes, bytes, str, str]:
    if args.name:
        raise UsageError("a statement key has no name: its operator stands in trust files; leave --name out")
    if args.algorithm != "ed25519":
        raise UsageError(
            "--algorithm mldsa44 is for cosigner keys; a statement key is P-256, or Ed25519 by --ed25519"
        )
    password = _read_password(args.password_file) if args.password_file else None
    signer = generate_signer("ed25519" if args.ed25519 else "p256")
    public = format_public_pem(signer.key).encode("ascii")
    return format_private_pem(signer, password), public, "spkiSha256", signer.key.spki_sha256.hex()


def _make_note_key(args: argparse.Namespace) -> tuple[bytes, bytes, str, str]:
    if not args.name:
        raise UsageError(f"a {args.role} key needs --name: it stands in every signature line")
    if args.password_file:
        raise UsageError("note keys have no encrypted form; leave --password-file out")
    signer = generate_note_signer(args.name, args.role, args.algorithm)
    verifier = format_verifier_key(signer.key)
    private = format_signer_key(signer) + "\n"
    return private.encode("utf-8"), (verifier + "\n").encode("utf-8"), "verifierKey", verifier


def _read_password(path: Path) -> bytes:
    with path.open("rb") as file:
        line = file.readline(MAX_PASSWORD_BYTES + 1).rstrip(b"\r\n")
    if not line or len(line) > MAX_PASSWORD_BYTES:
        raise UsageError(f"{path} holds no password of 1 to {MAX_PASSWORD_BYTES} bytes in its first line")
    return line
