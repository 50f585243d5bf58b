"""The rows of the index, written by the follower and read by the gate, the pages and the auditors' JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, MetaData, Select, insert
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import DatabaseError

from touchplate.api.index import queries
from touchplate.api.index.queries import LISTED_ROWS
from touchplate.api.index.tables import (
    ENTRIES,
    EVIDENCE,
    INPUTS,
    KINDS,
    LOST,
    METADATA,
    STATE,
    VERSION,
)
from touchplate.base.sql import begin_read, begin_write, database_errors

Query = Select[tuple[Any, ...]]

CACHE_KIB = 16 * 1024
"""Memory for pages, of each connection to the index: with a million facts the inner nodes of its trees. With
less, a look-up now and then reads them all again."""

LOOKED_UP_AT_ONCE = 500
"""Identities in one query: SQLite takes 32,766 parameters (Debian's 250,000), and bytes that very many
comparisons speak of name as many."""

_DETAIL = list(EVIDENCE.c).index(EVIDENCE.c.detail)


@dataclass(frozen=True)
class EvidenceRow:
    """What one good entry says about one file. `detail`: what levels need of this kind (see facts)."""

    entry: int
    sha256: str
    file: str
    package: str
    kind: str
    operator: str
    identity: str
    detail: Mapping[str, object]
    seen: int | None = None


@dataclass(frozen=True)
class LostRow:
    """An entry about a file that counts for nothing, with the step of the check that cost it."""

    entry: int
    sha256: str
    file: str
    step: int
    reason: str
    message: str


@dataclass(frozen=True)
class InputRow:
    """A package file, with its bytes, from which the good provenance at `entry` says that it built."""

    entry: int
    sha256: str
    file: str


@dataclass(frozen=True)
class EntryRow:
    """One entry of the log as the pages list it."""

    entry: int
    packed: bytes
    kind: str
    operator: str


@dataclass(frozen=True)
class Batch:
    """What the follower made of the next entries of the log, in order."""

    entries: Sequence[EntryRow]
    evidence: Sequence[EvidenceRow]
    lost: Sequence[LostRow]
    inputs: Sequence[InputRow] = ()


@dataclass(frozen=True)
class FileRows:
    """What bears on some bytes as one package file. Lists are by entry, `cited` in no order.

    `of_digest`: evidence about these bytes under whatever package, the first of very many; `mine`: all of
    it as this package file; `of_file`: about this file with whatever bytes, the first of very many;
    `cited`: of the provenances that the comparisons among `mine` name; `lost`: what counts for nothing, the
    first of very many; `first`: the earliest record of this file.
    """

    of_digest: Sequence[EvidenceRow]
    mine: Sequence[EvidenceRow]
    of_file: Sequence[EvidenceRow]
    cited: Sequence[EvidenceRow]
    lost: Sequence[LostRow]
    first: EvidenceRow | None


class IndexStore:
    """The database of the index. Any thread may read; one at a time writes. What the database refuses is a
    StorageError."""

    def __init__(self, engine: Engine, trust: str) -> None:
        """Open the index; it is emptied when it was built by other code or with another trust file.

        `trust`: a digest of the trust file, since what counts depends on it.
        """
        self._engine = engine
        self._trust = trust
        state = {"version": str(VERSION), "trust": trust}
        held = self._held_state()
        if any(held.get(name) != value for name, value in state.items()):
            self.clear()

    def close(self) -> None:
        """Let go of the database. Safe to call twice."""
        self._engine.dispose()

    def clear(self) -> None:
        """Forget everything, also tables that other code made: the follower begins again."""
        state = {"version": str(VERSION), "trust": self._trust, "followed": "0"}
        with self._writing() as transaction:
            found = MetaData()
            found.reflect(transaction)
            found.drop_all(transaction)
            METADATA.create_all(transaction)
            transaction.execute(
                insert(STATE), [{"name": name, "value": value} for name, value in state.items()]
            )

    def _held_state(self) -> dict[str, str]:
        try:
            with begin_read(self._engine) as transaction:
                return {row.name: row.value for row in transaction.execute(queries.HELD_STATE)}
        except DatabaseError:
            return {}  # a new file, or one whose tables other code made

    def followed(self) -> int:
        """How many entries of the log are in the index: all below this number."""
        with self._reading() as connection:
            return int(connection.execute(queries.FOLLOWED).scalar_one())

    def add(self, batch: Batch) -> None:
        """Store a batch and its position in one transaction: a crash leaves neither or both."""
        followed = batch.entries[-1].entry + 1
        with self._writing() as transaction:
            transaction.execute(insert(ENTRIES), [vars(row) for row in batch.entries])
            evidence = {(row.entry, row.sha256, row.file): row for row in batch.evidence}
            if evidence:
                rows = [{**vars(row), "detail": json.dumps(row.detail)} for row in evidence.values()]
                transaction.execute(insert(EVIDENCE), rows)
            lost = {(row.entry, row.sha256, row.file): row for row in batch.lost}
            if lost:
                transaction.execute(insert(LOST), [vars(row) for row in lost.values()])
            if inputs := {(row.entry, row.sha256, row.file): row for row in batch.inputs}:
                transaction.execute(insert(INPUTS), [vars(row) for row in inputs.values()])
            _count(transaction, batch)
            update = STATE.update().where(STATE.c.name == "followed").values(value=str(followed))
            transaction.execute(update)

    def evidence_of_digest(self, sha256: str) -> list[EvidenceRow]:
        """Good evidence about these bytes, under whatever package, by entry; the first of very many."""
        return self._evidence(queries.OF_DIGEST, sha256=sha256)

    def evidence_of(self, sha256: str, file: str) -> list[EvidenceRow]:
        """All good evidence about these bytes as this package file, by entry."""
        return self._evidence(queries.OF_BOTH, sha256=sha256, file=file)

    def evidence_of_file(self, file: str) -> list[EvidenceRow]:
        """Good evidence about this package file, for whatever bytes, by entry; the first of very many."""
        return self._evidence(queries.OF_FILE, file=file)

    def rows_about(self, sha256: str, file: str) -> FileRows:
        """All that a decision about these bytes as this package file needs, as of one moment."""
        with database_errors("reading the index"), begin_read(self._engine) as connection:
            of_digest = _evidence_rows(connection, queries.OF_DIGEST, sha256=sha256)
            mine = [row for row in of_digest if row.file == file]
            if len(of_digest) == LISTED_ROWS:  # there may be more, and none of these may be left out
                mine = _evidence_rows(connection, queries.OF_BOTH, sha256=sha256, file=file)
            named = {str(row.detail["provenance"]) for row in mine if row.detail.get("provenance")}
            return FileRows(
                of_digest=of_digest,
                mine=mine,
                of_file=_evidence_rows(connection, queries.OF_FILE, file=file),
                cited=_identity_rows(connection, sorted(named)),
                lost=_lost_rows(connection, sha256),
                first=_first_record(connection, file),
            )

    def evidence_of_package(self, package: str, limit: int = LISTED_ROWS) -> list[EvidenceRow]:
        """Good evidence about the files of one package version, the newest first; not more than `limit`."""
        return self._evidence(queries.OF_PACKAGE, package=package, rows=limit)

    def files_of_package(self, package: str) -> list[tuple[str, str]]:
        """(package file, sha256) of what there is good evidence about in one package version, in order."""
        with self._reading() as connection:
            found = connection.execute(queries.FILES_OF_PACKAGE, {"package": package})
            return [(row.file, row.sha256) for row in found]

    def packages_between(self, first: str, end: str) -> set[str]:
        """The package versions with good evidence whose package URLs are at least `first` and below `end`."""
        with self._reading() as connection:
            return set(connection.execute(queries.PACKAGES_BETWEEN, {"first": first, "end": end}).scalars())

    def evidence_of_identities(self, identities: Iterable[str]) -> list[EvidenceRow]:
        """The evidence that comes from entries of these identities (hex)."""
        with database_errors("reading the index"), begin_read(self._engine) as connection:
            return _identity_rows(connection, sorted(set(identities)))

    def entries_with_input(self, sha256: str, file: str) -> set[int]:
        """The entries whose good provenance names these bytes, as this package file, as an input."""
        with self._reading() as connection:
            return set(connection.execute(queries.WITH_INPUT, {"sha256": sha256, "file": file}).scalars())

    def files_built_from(self, inputs: Iterable[tuple[str, str]]) -> list[str]:
        """The package files, in order, with a good provenance that names all these inputs (sha256, package
        file); the first of very many."""
        with self._reading() as connection:
            return list(connection.execute(queries.built_from(inputs)).scalars())

    def first_record(self, file: str) -> EvidenceRow | None:
        """The earliest good record of this package file: what everybody is to get."""
        with self._reading() as connection:
            return _first_record(connection, file)

    def lost_of_digest(self, sha256: str) -> list[LostRow]:
        """The entries about these bytes that count for nothing, by entry; the first of very many."""
        with self._reading() as connection:
            return _lost_rows(connection, sha256)

    def is_about(self, number: int, sha256: str) -> bool:
        """Whether an entry, good or not, is about these bytes."""
        asked = {"number": number, "sha256": sha256}
        with self._reading() as connection:
            return any(connection.execute(query, asked).first() is not None for query in queries.ABOUT)

    def entry(self, number: int) -> EntryRow | None:
        """One entry of the log, or None when the index does not know it yet."""
        with self._reading() as connection:
            row = connection.execute(queries.ENTRY, {"number": number}).one_or_none()
        return None if row is None else EntryRow(*row)

    def rebuilt_packages(self, limit: int) -> list[str]:
        """Package versions about which there is a provenance or a comparison, the newest evidence first."""
        with self._reading() as connection:
            return list(connection.execute(queries.REBUILT_PACKAGES, {"rows": limit}).scalars())

    def contradicted(self, limit: int) -> list[tuple[str, str]]:
        """(sha256, package file) of published files of which somebody built other bytes, the newest first."""
        with self._reading() as connection:
            found = connection.execute(queries.CONTRADICTED_FILES, {"rows": limit})
            return [(row.sha256, row.file) for row in found]

    def counts(self) -> dict[str, int]:
        """Number of entries by kind."""
        with self._reading() as connection:
            return {row.kind: row.number for row in connection.execute(queries.COUNTS)}

    def _evidence(self, query: Query, **asked: object) -> list[EvidenceRow]:
        with self._reading() as connection:
            return _evidence_rows(connection, query, **asked)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        with database_errors("reading the index"), self._engine.connect() as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with database_errors("writing the index"), begin_write(self._engine) as connection:
            yield connection


def _count(transaction: Connection, batch: Batch) -> None:
    for kind, number in Counter(row.kind for row in batch.entries).items():
        added = upsert(KINDS).values(kind=kind, number=number)
        transaction.execute(
            added.on_conflict_do_update(index_elements=["kind"], set_={"number": KINDS.c.number + number})
        )
    newest = {row.package: row.entry for row in batch.evidence if row.kind != "record"}
    if newest:
        rows = [{"package": package, "newest": entry} for package, entry in newest.items()]
        transaction.execute(queries.PUT_REBUILT, rows)
    told = {
        (row.file, row.sha256): row.entry
        for row in batch.evidence
        if row.kind == "comparison" and row.detail["result"] == "different"
    }
    if told:
        rows = [{"file": file, "sha256": sha256, "newest": entry} for (file, sha256), entry in told.items()]
        transaction.execute(queries.PUT_CONTRADICTED, rows)


def _evidence_rows(connection: Connection, query: Query, **asked: object) -> list[EvidenceRow]:
    found = []
    for row in connection.execute(query, asked):
        values: list[Any] = list(row)  # in the order of the fields; only `detail` is stored in another form
        values[_DETAIL] = json.loads(values[_DETAIL])
        found.append(EvidenceRow(*values))
    return found


def _identity_rows(connection: Connection, wanted: Sequence[str]) -> list[EvidenceRow]:
    found: list[EvidenceRow] = []
    for start in range(0, len(wanted), LOOKED_UP_AT_ONCE):
        part = wanted[start : start + LOOKED_UP_AT_ONCE]
        found += _evidence_rows(connection, queries.OF_IDENTITIES, wanted=part)
    return found


def _first_record(connection: Connection, file: str) -> EvidenceRow | None:
    return next(iter(_evidence_rows(connection, queries.FIRST_RECORD, file=file)), None)


def _lost_rows(connection: Connection, sha256: str) -> list[LostRow]:
    return [LostRow(*row) for row in connection.execute(queries.LOST_OF_DIGEST, {"sha256": sha256})]
