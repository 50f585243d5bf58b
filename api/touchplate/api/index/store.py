"""The rows of the index, written by the follower and read by the gate, the pages and the auditors' JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Engine, Row, Select, delete, desc, func, insert, select

from touchplate.api.index.tables import ENTRIES, EVIDENCE, LOST, METADATA, STATE, VERSION
from touchplate.base.sql import begin_read, begin_write


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


class IndexStore:
    """The database of the index. Any thread may read; one at a time writes."""

    def __init__(self, engine: Engine, trust: str) -> None:
        """Open the index; it is emptied when it was built by other code or with another trust file.

        `trust`: a digest of the trust file, since what counts depends on it.
        """
        self._engine = engine
        self._trust = trust
        METADATA.create_all(engine)
        state = {"version": str(VERSION), "trust": trust}
        with begin_read(engine) as transaction:
            held = {row.name: row.value for row in transaction.execute(select(STATE))}
        if any(held.get(name) != value for name, value in state.items()):
            self.clear()

    def clear(self) -> None:
        """Forget everything: the follower begins again."""
        state = {"version": str(VERSION), "trust": self._trust, "followed": "0"}
        with begin_write(self._engine) as transaction:
            for table in (STATE, ENTRIES, EVIDENCE, LOST):
                transaction.execute(delete(table))
            transaction.execute(
                insert(STATE), [{"name": name, "value": value} for name, value in state.items()]
            )

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
            update = STATE.update().where(STATE.c.name == "followed").values(value=str(followed))
            transaction.execute(update)

    def evidence_of_digest(self, sha256: str) -> list[EvidenceRow]:
        """All good evidence about these bytes, under whatever package, by entry."""
        return self._evidence(select(EVIDENCE).where(EVIDENCE.c.sha256 == sha256).order_by(EVIDENCE.c.entry))

    def evidence_of_file(self, file: str) -> list[EvidenceRow]:
        """All good evidence about this package file, for whatever bytes, by entry."""
        return self._evidence(select(EVIDENCE).where(EVIDENCE.c.file == file).order_by(EVIDENCE.c.entry))

    def evidence_of_package(self, package: str) -> list[EvidenceRow]:
        """All good evidence about the files of one package version, by entry."""
        return self._evidence(
            select(EVIDENCE).where(EVIDENCE.c.package == package).order_by(EVIDENCE.c.entry)
        )

    def evidence_of_identities(self, identities: Iterable[str]) -> list[EvidenceRow]:
        """The evidence that comes from entries of these identities (hex)."""
        wanted = sorted(set(identities))
        return self._evidence(select(EVIDENCE).where(EVIDENCE.c.identity.in_(wanted))) if wanted else []

    def first_record(self, file: str) -> EvidenceRow | None:
        """The earliest good record of this package file: what everybody is to get."""
        query = select(EVIDENCE).where(EVIDENCE.c.file == file, EVIDENCE.c.kind == "record")
        return next(iter(self._evidence(query.order_by(EVIDENCE.c.entry).limit(1))), None)

    def lost_of_digest(self, sha256: str) -> list[LostRow]:
        """The entries about these bytes that count for nothing, by entry."""
        query = select(LOST).where(LOST.c.sha256 == sha256).order_by(LOST.c.entry)
        with self._engine.connect() as connection:
            return [LostRow(**row._asdict()) for row in connection.execute(query)]

    def entry(self, number: int) -> EntryRow | None:
        """One entry of the log, or None when the index does not know it yet."""
        with self._engine.connect() as connection:
            row = connection.execute(select(ENTRIES).where(ENTRIES.c.entry == number)).one_or_none()
        return None if row is None else EntryRow(**row._asdict())

    def rebuilt_packages(self, limit: int) -> list[str]:
        """Package versions about which there is a provenance or a comparison, the newest evidence first."""
        newest = func.max(EVIDENCE.c.entry).label("newest")
        query = (
            select(EVIDENCE.c.package, newest)
            .where(EVIDENCE.c.kind != "record")
            .group_by(EVIDENCE.c.package)
            .order_by(desc(newest))
            .limit(limit)
        )
        with self._engine.connect() as connection:
            return [row.package for row in connection.execute(query)]

    def counts(self) -> dict[str, int]:
        """Number of entries by kind."""
        query = select(ENTRIES.c.kind, func.count()).group_by(ENTRIES.c.kind)
        with self._engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def _evidence(self, query: Select[tuple[object, ...]]) -> list[EvidenceRow]:
        with self._engine.connect() as connection:
            return [_evidence_row(row) for row in connection.execute(query)]


def _evidence_row(row: Row[tuple[object, ...]]) -> EvidenceRow:
    values = row._asdict()
    return EvidenceRow(**{**values, "detail": json.loads(values["detail"])})
