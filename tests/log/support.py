"""Entries, keys and logs for the tests of the log."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.simkeys import ORIGIN, log_signer

from touchplate.base.config import Secret
from touchplate.base.sql import sqlite_engine
from touchplate.log.ports import PackedEntry, pack
from touchplate.log.service import LogConfig, LogService
from touchplate.log.storage.sql import SQLTree, open_tree
from touchplate.verify.checkpoints import sign_checkpoint
from touchplate.verify.dsse import sign_envelope
from touchplate.verify.entry import make_entry, pack_entry
from touchplate.verify.keys import StatementSigner, format_public_pem, generate_signer
from touchplate.verify.notes import NoteSigner
from touchplate.verify.predicates.record import format_record
from touchplate.verify.purl import maven_purl
from touchplate.verify.rfc6962 import leaf_hash
from touchplate.verify.statements import RECORD_TYPE, Record, make_statement, make_subject
from touchplate.verify.trust import AdmissionList, TrustedKey
from touchplate.verify.values import replace


def raw_entry(text: str) -> PackedEntry:
    """An entry of arbitrary bytes: enough for storage and sequencing, which never look inside."""
    data = text.encode()
    packed = len(data).to_bytes(4, "big") + data + b"\0\0"
    return PackedEntry(data, leaf_hash(data), hashlib.sha256(data).digest(), packed)


def raw_entries(count: int, start: int = 0) -> list[PackedEntry]:
    return [raw_entry(f"entry {number}") for number in range(start, start + count)]


def open_sqlite(folder: Path, name: str = ORIGIN) -> SQLTree:
    return open_tree(sqlite_engine(folder / "log.sqlite"), name)


# --- signed entries ---------------------------------------------------------------------------------------

OPERATOR = "https://rebuild.example.org"
BUILDER = f"{OPERATOR}/touchplate/bubblewrap/v1"
RECORDER = generate_signer()
REBUILDER = generate_signer("ed25519")
STRANGER = generate_signer()


def listed(signer: StatementSigner, kind: str = "recorder", **changes: Any) -> TrustedKey:
    """A block of an admission list for `signer`."""
    builder = BUILDER if kind == "rebuilder" else None
    return replace(TrustedKey(kind, OPERATOR, builder, signer.key, ("maven",)), **changes)


def admission_list(*blocks: TrustedKey) -> AdmissionList:
    return AdmissionList(blocks or (listed(REBUILDER, "rebuilder"), listed(RECORDER)))


def record_payload(number: int) -> bytes:
    """A statement of first sight: small, valid, different for each number."""
    digests = {
        name: hashlib.new(name, b"%d" % number).hexdigest() for name in ("sha256", "sha512", "sha1", "md5")
    }
    purl = maven_purl("org.example", "thing", f"1.0.{number}", "jar")
    record = Record(purl, f"upstream:central/org/example/thing-{number}.jar", number, 1_700_000_000, digests)
    return make_statement([make_subject(purl, digests)], RECORD_TYPE, format_record(record))


def record_envelope(number: int, signer: StatementSigner = RECORDER) -> bytes:
    return sign_envelope(record_payload(number), signer)


def signed_entry(number: int, signer: StatementSigner = RECORDER) -> PackedEntry:
    entry = make_entry(record_envelope(number, signer), signer.key.spki)
    return pack(entry, pack_entry(entry))


def signed_entries(count: int, start: int = 0) -> list[PackedEntry]:
    return [signed_entry(number) for number in range(start, start + count)]


def sign(size: int, root: bytes) -> bytes:
    """A checkpoint by the key of ORIGIN."""
    return sign_checkpoint(ORIGIN, size, root, log_signer())


# --- a whole log ------------------------------------------------------------------------------------------


def write_settings(folder: Path, origin: str = ORIGIN, signer: NoteSigner | None = None) -> LogConfig:
    """Key file, admission list and the configuration that names them."""
    folder.mkdir(parents=True, exist_ok=True)
    key = folder / "log.key"
    key.write_text((signer or log_signer()).format() + "\n")
    key.chmod(0o600)
    admission = folder / "admission.toml"
    pem = format_public_pem(RECORDER.key)
    admission.write_text(
        f'[[recorder]]\noperator = "{OPERATOR}"\necosystems = ["maven"]\nkey = """\n{pem}"""\n'
    )
    return LogConfig(origin, Secret.parse(f"file:{key}", folder), admission)


@contextmanager
def running_log(folder: Path) -> Iterator[LogService]:
    service = LogService(write_settings(folder / "settings"), folder / "data")
    service.start()
    try:
        yield service
    finally:
        service.stop()
