"""The database, the keys and the folders of the log in a node's configuration, for the commands of its
operator.

Only what these commands need is read, so the same file serves for a node with gate and adapters and for a log
alone; the node checks the rest of it.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from touchplate.base.config import Secret, load_table
from touchplate.base.errors import ConfigError
from touchplate.log.errors import RequestError
from touchplate.verify.notes import is_origin

if TYPE_CHECKING:
    from touchplate.base.sql import Engine
    from touchplate.log.bucket.config import BucketConfig
    from touchplate.log.keys import LogKeys
    from touchplate.log.storage.rows import TreeRows
    from touchplate.log.trillian.store.config import TrillianStoreConfig
    from touchplate.verify.policy import Policy


@dataclass(frozen=True)
class Store:
    """Where a log is kept. `database`: its SQLite file, None on PostgreSQL; of a log on a Trillian
    (`trillian`) it holds what follows from the entries there."""

    origin: str
    keys: LogKeys
    folder: Path
    address: str
    password: Secret | None
    database: Path | None
    peers: bool
    witnesses: bool
    """Whether its checkpoints are published when witnesses have cosigned them."""
    bucket: BucketConfig | None
    """Where it is kept as objects, if it is."""
    trillian: TrillianStoreConfig | None = None
    raw: Mapping[str, tuple[int, Secret]] = field(default_factory=dict)
    """Id and key of the raw trees that are served over HTTP, by their origins."""

    def choose(self, name: str | None) -> tuple[str, Policy | None]:
        """Name in the database, and who signs its checkpoints, of the tree called `name`: an origin, or
        "trillian/ID". None: the log itself. Raises VerifyError (key)."""
        from touchplate.log.keys import load_keys
        from touchplate.log.storage.registry import is_raw_name, raw_name

        for origin, (tree, key) in self.raw.items():
            if name in (origin, raw_name(tree)):
                return raw_name(tree), load_keys(key).policy()
        if name is not None and is_raw_name(name):
            return name, None
        return name or self.origin, self.keys.policy()

    def open_engine(self, *, make: bool = False) -> Engine:
        """The database; `make`: also when the file is not there yet. Raises RequestError, StorageError."""
        if self.database is not None:
            if make:
                from touchplate.base.sql import sqlite_engine

                return sqlite_engine(self.database)
            return open_file(self.database)
        from touchplate.log.service import open_address

        # Silence in its transaction is no sign of death: it recomputes between two questions.
        return open_address(self.address, self.password, idle_seconds=0)

    def open_rows(self, origin: str | None = None) -> tuple[TreeRows, Callable[[], None]]:
        """The stored rows of the log as they are now, and what ends looking at them. `origin`: another tree
        of its database."""
        engine, name = self.open_engine(), origin or self.origin
        if self.trillian is None:
            return open_rows(engine, name)
        from touchplate.log.trillian.store.rows import open_trillian_rows

        return open_trillian_rows(engine, name, self.trillian, self.folder)

    def refuse_trillian(self, what: str, instead: str) -> None:
        """Raises RequestError when the log's entries are kept in a Trillian."""
        if self.trillian is not None:
            raise RequestError(f"log {what}: the entries of this log are in a Trillian: {instead}")

    def refuse_peers(self, what: str) -> None:
        """Raises RequestError when the log is one that several peers agree on."""
        if self.peers:
            raise RequestError(
                f"log {what}: not for a log of several peers, where nobody decides or signs alone (for a"
                " folder of its files: log follow)"
            )


def read_store(path: Path) -> Store:
    """The log in the configuration `path`. Raises ConfigError."""
    # On use: an auditor's installation has no SQLAlchemy.
    from touchplate.base.postgresql import parse_address
    from touchplate.log.bucket.config import BucketConfig
    from touchplate.log.keys import RetiringConfig, load_keys
    from touchplate.log.service import SQLITE, TRILLIAN, database_path, log_folder

    folder = path.absolute().parent
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        log = document["log"]
        data = log_folder(folder / document["data"])
        key, origin = Secret.parse(log["key"], folder), str(log["origin"])
        storage, password = str(log.get("storage", SQLITE)), log.get("storage_password")
        secret = None if password is None else Secret.parse(password, folder)
        retiring = None
        if (old := log.get("retiring")) is not None:
            retiring = RetiringConfig(Secret.parse(old["key"], folder), str(old["until"]))
        bucket = None
        if (table := log.get("bucket")) is not None:
            bucket = load_table(BucketConfig, table, where=path, name="log.bucket")
        raw = {
            str(one["origin"]): (int(one["tree"]), Secret.parse(one["key"], folder))
            for one in log.get("raw", [])
        }
        if storage not in (SQLITE, TRILLIAN):
            parse_address(storage)
        place = _read_trillian(log, path) if storage == TRILLIAN else None
        # A tree of any bytes has a name that is none, and neither a key nor envelopes.
        if not is_origin(origin):
            raise ValueError(f"origin {origin!r} is not a bare lower-case host name")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        what = f"no usable `data`, [log] `origin`, `key` and `storage`: {error}"
        raise ConfigError(path.name, (what,)) from error
    if place is None:
        database = database_path(data) if storage == SQLITE else None
    else:
        from touchplate.log.trillian.store.config import DATABASE_NAME

        database = data / DATABASE_NAME
    return Store(
        origin=origin,
        keys=load_keys(key, retiring),
        folder=data,
        address=storage,
        password=secret,
        database=database,
        peers=log.get("mode") == "peers",
        witnesses="witness" in log,
        raw=raw,
        trillian=place,
        bucket=bucket,
    )


def _read_trillian(log: dict[str, Any], path: Path) -> TrillianStoreConfig:
    from touchplate.log.trillian.store.config import TrillianStoreConfig

    return load_table(TrillianStoreConfig, log["trillian_store"], where=path, name="log.trillian_store")


def open_file(database: Path) -> Engine:
    """A log's SQLite database that is there. Raises RequestError, StorageError."""
    # On use: an auditor's installation has no SQLAlchemy, and needs none for --url.
    from touchplate.base.sql import sqlite_engine

    if not database.is_file():
        raise RequestError(f"there is no database {str(database)!r}; give the file, not its folder")
    return sqlite_engine(database)


def open_rows(engine: Engine, origin: str | None) -> tuple[TreeRows, Callable[[], None]]:
    """The stored rows of a tree as they are now, and what ends looking at them. Raises what `TreeRows`
    raises."""
    from touchplate.log.storage.rows import TreeRows

    try:
        rows = TreeRows(engine, origin)
    except BaseException:
        engine.dispose()
        raise

    def close() -> None:
        rows.close()
        engine.dispose()

    return rows, close
