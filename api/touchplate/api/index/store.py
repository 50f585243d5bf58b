"""The rows of the index, written by the follower and read by the gate, the pages and the auditors' JSON."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Engine, MetaData, Row, Select, desc, insert, select
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import DatabaseError

from touchplate.api.index.tables import (
    ENTRIES,
    EVIDENCE,
    INPUTS,
    KINDS,
    LOST,
    METADATA,
    REBUILT,
    STATE,
    VERSION,
)
from touchplate.base.sql import begin_read, begin_write

LISTED_ROWS = 1_000
"""Rows of one answer about some bytes or some package: one page of a listing (ARCHITECTURE, limits)."""


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


class IndexStore:
    """The database of the index. Any thread may read; one at a time writes."""

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
        with begin_write(self._engine) as transaction:
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
                return {row.name: row.value for row in transaction.execute(select(STATE))}
        except DatabaseError:
            return {}  # a new file, or one whose tables other code made

    def followed(self) -> int:
        """How many entries of the log are in the index: all below this number."""
        with self._engine.connect() as connection:
            return int(
                connection.execute(select(STATE.c.value).where(STATE.c.name == "followed")).scalar_one()
            )

    def add(self, batch: Batch) -> None:
        """Store a batch and its position in one transaction: a crash leaves neither or both."""
        followed = batch.entries[-1].entry + 1
        with begin_write(self._engine) as transaction:
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
        query = select(EVIDENCE).where(EVIDENCE.c.sha256 == sha256)
        return self._evidence(query.order_by(EVIDENCE.c.entry).limit(LISTED_ROWS))

    def evidence_of(self, sha256: str, file: str) -> list[EvidenceRow]:
        """All good evidence about these bytes as this package file, by entry."""
        query = select(EVIDENCE).where(EVIDENCE.c.sha256 == sha256, EVIDENCE.c.file == file)
        return self._evidence(query.order_by(EVIDENCE.c.entry))

    def evidence_of_file(self, file: str) -> list[EvidenceRow]:
        """Good evidence about this package file, for whatever bytes, by entry; the first of very many."""
        query = select(EVIDENCE).where(EVIDENCE.c.file == file)
        return self._evidence(query.order_by(EVIDENCE.c.entry).limit(LISTED_ROWS))

    def files_of_package(self, package: str) -> list[tuple[str, str]]:
        """(package file, sha256) of what there is good evidence about in one package version, in order."""
        query = select(EVIDENCE.c.file, EVIDENCE.c.sha256).where(EVIDENCE.c.package == package).distinct()
        query = query.order_by(EVIDENCE.c.file, EVIDENCE.c.sha256).limit(LISTED_ROWS)
        with self._engine.connect() as connection:
            return [(row.file, row.sha256) for row in connection.execute(query)]

    def packages_between(self, first: str, end: str) -> set[str]:
        """The package versions with good evidence whose package URLs are at least `first` and below `end`."""
        query = select(EVIDENCE.c.package).where(EVIDENCE.c.package >= first, EVIDENCE.c.package < end)
        with self._engine.connect() as connection:
            return {row.package for row in connection.execute(query.distinct())}

    def evidence_of_identities(self, identities: Iterable[str]) -> list[EvidenceRow]:
        """The evidence that comes from entries of these identities (hex)."""
        wanted = sorted(set(identities))
        return self._evidence(select(EVIDENCE).where(EVIDENCE.c.identity.in_(wanted))) if wanted else []

    def entries_with_input(self, sha256: str, file: str) -> set[int]:
        """The entries whose good provenance names these bytes, as this package file, as an input."""
        query = select(INPUTS.c.entry).where(INPUTS.c.sha256 == sha256, INPUTS.c.file == file)
        with self._engine.connect() as connection:
            return {row.entry for row in connection.execute(query)}

    def files_built_from(self, inputs: Iterable[tuple[str, str]]) -> list[str]:
        """The package files, in order, with a good provenance that names all these inputs (sha256, package
        file); the first of very many."""
        query = select(EVIDENCE.c.file).distinct()
        for sha256, file in inputs:
            naming = select(INPUTS.c.entry).where(INPUTS.c.sha256 == sha256, INPUTS.c.file == file)
            query = query.where(EVIDENCE.c.entry.in_(naming))
        with self._engine.connect() as connection:
            return [
                row.file for row in connection.execute(query.order_by(EVIDENCE.c.file).limit(LISTED_ROWS))
            ]

    def first_record(self, file: str) -> EvidenceRow | None:
        """The earliest good record of this package file: what everybody is to get."""
        query = select(EVIDENCE).where(EVIDENCE.c.file == file, EVIDENCE.c.kind == "record")
        return next(iter(self._evidence(query.order_by(EVIDENCE.c.entry).limit(1))), None)

    def lost_of_digest(self, sha256: str) -> list[LostRow]:
        """The entries about these bytes that count for nothing, by entry; the first of very many."""
        query = select(LOST).where(LOST.c.sha256 == sha256).order_by(LOST.c.entry).limit(LISTED_ROWS)
        with self._engine.connect() as connection:
            return [LostRow(**row._asdict()) for row in connection.execute(query)]

    def is_about(self, number: int, sha256: str) -> bool:
        """Whether an entry, good or not, is about these bytes."""
        queries = (
            select(table.c.entry).where(table.c.entry == number, table.c.sha256 == sha256).limit(1)
            for table in (EVIDENCE, LOST)
        )
        with self._engine.connect() as connection:
            return any(connection.execute(query).first() is not None for query in queries)

    def entry(self, number: int) -> EntryRow | None:
        """One entry of the log, or None when the index does not know it yet."""
        with self._engine.connect() as connection:
            row = connection.execute(select(ENTRIES).where(ENTRIES.c.entry == number)).one_or_none()
        return None if row is None else EntryRow(**row._asdict())

    def rebuilt_packages(self, limit: int) -> list[str]:
        """Package versions about which there is a provenance or a comparison, the newest evidence first."""
        query = select(REBUILT.c.package).order_by(desc(REBUILT.c.newest)).limit(limit)
        with self._engine.connect() as connection:
            return [row.package for row in connection.execute(query)]

    def counts(self) -> dict[str, int]:
        """Number of entries by kind."""
        with self._engine.connect() as connection:
            return {row.kind: row.number for row in connection.execute(select(KINDS))}

    def _evidence(self, query: Select[tuple[object, ...]]) -> list[EvidenceRow]:
        with self._engine.connect() as connection:
            return [_evidence_row(row) for row in connection.execute(query)]


def _count(transaction: Connection, batch: Batch) -> None:
    for kind, number in Counter(row.kind for row in batch.entries).items():
        added = upsert(KINDS).values(kind=kind, number=number)
        transaction.execute(
            added.on_conflict_do_update(index_elements=["kind"], set_={"number": KINDS.c.number + number})
        )
    for row in batch.evidence:
        if row.kind != "record":
            newest = upsert(REBUILT).values(package=row.package, newest=row.entry)
            transaction.execute(
                newest.on_conflict_do_update(index_elements=["package"], set_={"newest": row.entry})
            )


def _evidence_row(row: Row[tuple[object, ...]]) -> EvidenceRow:
    values = row._asdict()
    return EvidenceRow(**{**values, "detail": json.loads(values["detail"])})
