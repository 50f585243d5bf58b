"""Entries, keys and logs for the tests of the log."""

import hashlib
from pathlib import Path

from touchplate.base.sql import sqlite_engine
from touchplate.log.ports import PackedEntry
from touchplate.log.storage.sql import SQLTree, open_tree
from touchplate.verify.rfc6962 import leaf_hash

ORIGIN = "log.example.org"


def raw_entry(text: str) -> PackedEntry:
    """An entry of arbitrary bytes: enough for storage and sequencing, which never look inside."""
    data = text.encode()
    packed = len(data).to_bytes(4, "big") + data + b"\0\0"
    return PackedEntry(data, leaf_hash(data), hashlib.sha256(data).digest(), packed)


def raw_entries(count: int, start: int = 0) -> list[PackedEntry]:
    return [raw_entry(f"entry {number}") for number in range(start, start + count)]


def open_sqlite(folder: Path, name: str = ORIGIN) -> SQLTree:
    return open_tree(sqlite_engine(folder / "log.sqlite"), name)
