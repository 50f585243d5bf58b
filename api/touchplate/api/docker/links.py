"""What this node knows about repositories of images: which manifest names which blob, what is held through
which repository, where tags point, and what was made here.

The rows are a cache, as those of api/links: losing them costs fetches, and the memory of pinned tags.
`repository` is `<upstream>/<path>`. A blob can be read through a repository only while one of the manifests
in its rows (`by`) is allowed there.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    desc,
    insert,
    select,
)
from sqlalchemy.dialects.sqlite import insert as upsert

from touchplate.base.sql import begin_write, database_errors

MOST_NAMING = 5_000
"""Manifests of one repository that are listed as naming a blob, the newest first: a base layer may be in very
many."""

LISTED_MOVES = 100
"""Moves of a tag that are listed."""

_METADATA = MetaData()
_MANIFESTS = Table(
    "oci_manifests",
    _METADATA,
    Column("repository", String, primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("media_type", String, nullable=False),
    Column("kind", String, nullable=False),  # of ManifestKind, or `own`
    Column("seen", Integer, nullable=False),
)
_NAMED = Table(
    "oci_named",
    _METADATA,
    Column("repository", String, primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("by", String(64), primary_key=True),
    Column("size", Integer, nullable=False),
    Column("seen", Integer, nullable=False),
)
_HELD = Table(
    "oci_held",
    _METADATA,
    Column("repository", String, primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Index("oci_held_sha256", "sha256"),
)
_TAGS = Table(
    "oci_tags",
    _METADATA,
    Column("repository", String, primary_key=True),
    Column("tag", String, primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("seen", Integer, nullable=False),
)
_MOVES = Table(
    "oci_moves",
    _METADATA,
    Column("number", Integer, primary_key=True),
    Column("repository", String, nullable=False),
    Column("tag", String, nullable=False),
    Column("before", String(64), nullable=False),
    Column("after", String(64), nullable=False),
    Column("seen", Integer, nullable=False),
    Index("oci_moves_tag", "repository", "tag"),
)
_REFERRERS = Table(
    "oci_referrers",
    _METADATA,
    Column("repository", String, primary_key=True),
    Column("subject", String(64), primary_key=True),
    Column("entry", Integer, primary_key=True),
    Column("manifest", String(64), nullable=False),
    Column("bundle", String(64), nullable=False),
    Column("size", Integer, nullable=False),
    Column("predicate_type", String, nullable=False),
)


@dataclass(frozen=True)
class KnownManifest:
    """A manifest that a repository gave. `kind`: `image`, `index` or `evidence`, or `own` for what this node
    made itself."""

    sha256: str
    media_type: str
    kind: str


@dataclass(frozen=True)
class Named:
    """A blob that the manifest `by` names, with its size there. Digests in hex."""

    sha256: str
    by: str
    size: int


@dataclass(frozen=True)
class Move:
    """A tag that pointed to another manifest than before. `seen`: unix seconds."""

    tag: str
    before: str
    after: str
    seen: int


@dataclass(frozen=True)
class OwnReferrer:
    """An attestation that this node gives out as a referrer of `subject`: the entry's index, the manifest
    that was made for it (with its `size`), and the bundle in it."""

    subject: str
    entry: int
    manifest: str
    bundle: str
    size: int
    predicate_type: str


class ImageLinks:
    """The rows, beside those of `Links`. Safe to use from several threads. What the database refuses is a
    StorageError."""

    def __init__(self, engine: Engine) -> None:
        """`engine` is closed by its owner."""
        self._engine = engine
        with database_errors("opening the links of images"):
            _METADATA.create_all(engine)

    def add_manifest(self, repository: str, known: KnownManifest, named: list[Named], seen: int) -> None:
        """A manifest, and everything that it names, in one transaction: a crash leaves neither or both."""
        rows = {one.sha256: {"repository": repository, "seen": seen, **vars(one)} for one in named}
        with self._writing() as transaction:
            if rows:
                transaction.execute(upsert(_NAMED).on_conflict_do_nothing(), list(rows.values()))
            row = {"repository": repository, "seen": seen, **vars(known)}
            transaction.execute(upsert(_MANIFESTS).on_conflict_do_nothing(), [row])

    def manifest(self, repository: str, sha256: str) -> KnownManifest | None:
        """A manifest of this repository; None when it was not seen there."""
        query = select(_MANIFESTS.c.sha256, _MANIFESTS.c.media_type, _MANIFESTS.c.kind)
        query = query.where(_MANIFESTS.c.repository == repository, _MANIFESTS.c.sha256 == sha256)
        with self._reading() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else KnownManifest(**row._asdict())

    def naming(self, repository: str, sha256: str) -> list[Named]:
        """Who names this blob in this repository, the newest first."""
        query = select(_NAMED.c.sha256, _NAMED.c.by, _NAMED.c.size)
        query = query.where(_NAMED.c.repository == repository, _NAMED.c.sha256 == sha256)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(desc(_NAMED.c.seen)).limit(MOST_NAMING))
            return [Named(**row._asdict()) for row in rows]

    def add_held(self, repository: str, sha256: str) -> None:
        """This repository really gave the blob: others that only name it do not get it from the store."""
        with self._writing() as transaction:
            row = {"repository": repository, "sha256": sha256}
            transaction.execute(upsert(_HELD).on_conflict_do_nothing(), [row])

    def is_held(self, repository: str, sha256: str) -> bool:
        """Whether this repository gave the blob before."""
        query = select(_HELD.c.sha256).where(_HELD.c.repository == repository, _HELD.c.sha256 == sha256)
        with self._reading() as connection:
            return connection.execute(query).first() is not None

    def is_held_from(self, upstream: str, sha256: str) -> bool:
        """Whether any repository of this upstream gave the blob before."""
        query = select(_HELD.c.repository).where(_HELD.c.sha256 == sha256)
        with self._reading() as connection:
            found = connection.execute(query).scalars()
            return any(repository.startswith(f"{upstream}/") for repository in found)

    def tag(self, repository: str, tag: str) -> str | None:
        """Where a tag pointed when it was asked for last; None when it never was."""
        query = select(_TAGS.c.sha256).where(_TAGS.c.repository == repository, _TAGS.c.tag == tag)
        with self._reading() as connection:
            return connection.execute(query).scalar_one_or_none()

    def tags(self, repository: str) -> list[str]:
        """The tags that were asked for here, sorted."""
        query = select(_TAGS.c.tag).where(_TAGS.c.repository == repository).order_by(_TAGS.c.tag)
        with self._reading() as connection:
            return list(connection.execute(query).scalars())

    def add_tag(self, repository: str, tag: str, sha256: str, seen: int) -> str:
        """Where a new tag points, or where it pointed already: of two at once the first one wins."""
        with self._writing() as transaction:
            row = {"repository": repository, "tag": tag, "sha256": sha256, "seen": seen}
            transaction.execute(upsert(_TAGS).on_conflict_do_nothing(), [row])
            query = select(_TAGS.c.sha256).where(_TAGS.c.repository == repository, _TAGS.c.tag == tag)
            return str(transaction.execute(query).scalar_one())

    def move_tag(self, repository: str, move: Move) -> bool:
        """Let a tag point elsewhere, and remember it. False when somebody else moved it already."""
        where = (
            _TAGS.c.repository == repository, _TAGS.c.tag == move.tag, _TAGS.c.sha256 == move.before
        )  # fmt: skip
        with self._writing() as transaction:
            update = _TAGS.update().where(*where).values(sha256=move.after, seen=move.seen)
            if not transaction.execute(update).rowcount:
                return False
            transaction.execute(insert(_MOVES), [{"repository": repository, **vars(move)}])
        return True

    def moves(self, repository: str, tag: str) -> list[Move]:
        """The moves of a tag, the newest first."""
        query = select(_MOVES.c.tag, _MOVES.c.before, _MOVES.c.after, _MOVES.c.seen)
        query = query.where(_MOVES.c.repository == repository, _MOVES.c.tag == tag)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(desc(_MOVES.c.number)).limit(LISTED_MOVES))
            return [Move(**row._asdict()) for row in rows]

    def add_referrer(self, repository: str, referrer: OwnReferrer) -> None:
        """Remember the manifest that was made for an entry, in place of one whose files were lost."""
        row = upsert(_REFERRERS).values(repository=repository, **vars(referrer))
        with self._writing() as transaction:
            transaction.execute(
                row.on_conflict_do_update(
                    index_elements=["repository", "subject", "entry"], set_=vars(referrer)
                )
            )

    def referrers(self, repository: str, subject: str) -> list[OwnReferrer]:
        """The manifests that were made for entries about `subject`, by entry."""
        columns = [column for column in _REFERRERS.c if column.name != "repository"]
        query = select(*columns).where(_REFERRERS.c.repository == repository, _REFERRERS.c.subject == subject)
        with self._reading() as connection:
            rows = connection.execute(query.order_by(_REFERRERS.c.entry))
            return [OwnReferrer(**row._asdict()) for row in rows]

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with database_errors("reading links of images"), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with database_errors("storing links of images"), begin_write(self._engine) as transaction:
            yield transaction
