"""Logs with raw trees that speak HTTP, for tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.log.support import write_settings
from tests.simkeys import note_signer, solo_policy, verifier_key

from touchplate.base.config import Secret
from touchplate.base.sql import sqlite_engine
from touchplate.log.raw.config import RawConfig
from touchplate.log.service import LogConfig, LogService, database_path, open_address, open_log
from touchplate.log.storage.raw_trees import RawTrees
from touchplate.log.trillian.config import TrillianConfig
from touchplate.verify.notes import NoteSigner
from touchplate.verify.policy import Policy

RAW_ORIGIN = "raw.example.org"
SIGNER = note_signer(RAW_ORIGIN, "log")
KEY = verifier_key(SIGNER)
"""Public key of the raw trees made here."""

TOKEN = "a-token-of-the-tests"


def policy() -> Policy:
    return solo_policy(SIGNER)


def write_key(folder: Path, signer: NoteSigner = SIGNER) -> Secret:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{signer.key.name}.key"
    path.write_text(signer.format() + "\n")
    path.chmod(0o600)
    return Secret.parse(f"file:{path}", folder)


def write_token(folder: Path) -> Secret:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "raw.token"
    path.write_text(TOKEN + "\n")
    path.chmod(0o600)
    return Secret.parse(f"file:{path}", folder)


def raw_trees(folder: Path, storage: str = "sqlite") -> RawTrees:
    """The raw trees of the log in `folder`, by the way of the command line."""
    if storage == "sqlite":
        return RawTrees(sqlite_engine(database_path(folder)))
    return RawTrees(open_address(storage, None))


def make_tree(folder: Path, storage: str = "sqlite") -> int:
    trees = raw_trees(folder, storage)
    try:
        return trees.create("of a test").fields.public_id
    finally:
        trees.engine.dispose()


def raw_config(folder: Path, tree: int, **changes: Any) -> RawConfig:
    return replace(RawConfig(tree, RAW_ORIGIN, write_key(folder), write="everybody"), **changes)


def log_config(folder: Path, *raw: RawConfig, storage: str = "sqlite", grpc: bool = False) -> LogConfig:
    trillian = TrillianConfig(listen="127.0.0.1:0") if grpc else None
    settings = write_settings(folder / "settings")
    return replace(settings, raw=raw, storage=storage, trillian=trillian)


@contextmanager
def running(
    folder: Path, storage: str = "sqlite", *, grpc: bool = False, **changes: Any
) -> Iterator[LogService]:
    """A log with one raw tree, its data in `folder`. Made anew at the first time."""
    data = folder / "data"
    marker = folder / "tree"
    if not marker.exists():
        folder.mkdir(parents=True, exist_ok=True)
        marker.write_text(str(make_tree(data, storage)))
    raw = raw_config(folder / "settings", int(marker.read_text()), **changes)
    service = open_log(log_config(folder, raw, storage=storage, grpc=grpc), data)
    try:
        service.start()
        yield service
    finally:
        service.stop()
