"""Which repository refers to which blob: a blob can be read only through a repository that refers to it.

One row per (repository, path). The rows are a cache of what upstreams answered: losing them costs fetches,
and nothing else, since what was seen first stands in the log. They never move to another digest: see `add`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Row,
    String,
    Table,
    bindparam,
    insert,
    select,
)
from sqlalchemy.exc import IntegrityError

from touchplate.api.blobs import DIGESTS
from touchplate.base.sql import begin_write, database_errors
from touchplate.verify.files import FileDigests

_METADATA = MetaData()
_LINKS = Table(
    "links",
    _METADATA,
    Column("repository", String, primary_key=True),
    Column("path", String, primary_key=True),
    Column("sha256", String(64), nullable=False, index=True),
    Column("size", Integer, nullable=False),
    Column("by", String, nullable=False),
    Column("seen", Integer, nullable=False),
    Column("sha512", String(128), nullable=False),
    Column("sha384", String(96), nullable=False),
    Column("sha1", String(40), nullable=False),
    Column("md5", String(32), nullable=False),
)

# Built once: every request runs it, and building it costs as much as running it.
_OF_PATH = select(_LINKS).where(
    _LINKS.c.repository == bindparam("repository"), _LINKS.c.path == bindparam("path")
)


@dataclass(frozen=True)
class Link:
    """One file as one repository serves it. Digests in lower-case hex; `by`: what made the row; `seen`:
    unix seconds."""

    repository: str
    path: str
    sha256: str
    size: int
    by: str
    seen: int
    sha512: str
    sha384: str
    sha1: str
    md5: str

    @property
    def digests(self) -> dict[str, str]:
        """All digests, by algorithm, in hex."""
        return {name: str(getattr(self, name)) for name in DIGESTS}

    @property
    def served(self) -> str:
        """The path of the request that it answers. Upstreams of images and of Conan are called `oci:NAME`
        and `conan:NAME` here."""
        kind, _, name = self.repository.rpartition(":")
        return f"/{'v2' if kind == 'oci' else kind or 'maven'}/{name}/{self.path}"

    @property
    def file(self) -> FileDigests:
        """What the check compares statements with."""
        return FileDigests(self.size, self.digests)


class Links:
    """The rows, in a database of their own. Safe to use from several threads. What the database refuses is a
    StorageError."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        with database_errors("opening the links"):
            _METADATA.create_all(engine)

    def close(self) -> None:
        """Let go of the database. Safe to call twice."""
        self._engine.dispose()

    def find(self, repository: str, path: str) -> Link | None:
        """The row of this path, or None."""
        with self._reading() as connection:
            row = connection.execute(_OF_PATH, {"repository": repository, "path": path}).one_or_none()
        return None if row is None else _link(row)

    def add(self, link: Link) -> Link:
        """Store the row, or return the one that stands there already: the first one wins, for ever."""
        with database_errors("storing a link"):
            try:
                with begin_write(self._engine) as connection:
                    connection.execute(insert(_LINKS).values(**vars(link)))
            except IntegrityError:
                known = self.find(link.repository, link.path)
                if known is None:
                    raise
                return known
        return link

    def refers(self, repository: str, sha256: str) -> bool:
        """Whether this repository refers to the blob by any path."""
        query = (
            select(_LINKS.c.path).where(_LINKS.c.repository == repository, _LINKS.c.sha256 == sha256).limit(1)
        )
        with self._reading() as connection:
            return connection.execute(query).first() is not None

    def of_blob(self, sha256: str, limit: int = 100) -> list[Link]:
        """The rows that refer to a blob, by repository and path."""
        query = select(_LINKS).where(_LINKS.c.sha256 == sha256).order_by(_LINKS.c.repository, _LINKS.c.path)
        with self._reading() as connection:
            return [_link(row) for row in connection.execute(query.limit(limit))]

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with database_errors("reading links"), self._engine.connect() as connection:
            yield connection


def _link(row: Row[tuple[object, ...]]) -> Link:
    return Link(**row._asdict())
