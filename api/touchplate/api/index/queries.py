"""Statements that run again and again, built once: building one costs as much as running it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Select, bindparam, desc, select
from sqlalchemy.dialects.sqlite import insert as upsert

from touchplate.api.index.tables import CONTRADICTED, ENTRIES, EVIDENCE, INPUTS, KINDS, LOST, REBUILT, STATE

LISTED_ROWS = 1_000
"""Rows of one answer about some bytes or some package: one page of a listing (ARCHITECTURE, limits)."""

_SHA256 = EVIDENCE.c.sha256 == bindparam("sha256")
_FILE = EVIDENCE.c.file == bindparam("file")
_BY_ENTRY = EVIDENCE.c.entry

HELD_STATE = select(STATE)
FOLLOWED = select(STATE.c.value).where(STATE.c.name == "followed")
ENTRY = select(ENTRIES).where(ENTRIES.c.entry == bindparam("number"))
COUNTS = select(KINDS)
REBUILT_PACKAGES = select(REBUILT.c.package).order_by(desc(REBUILT.c.newest)).limit(bindparam("rows"))

_REBUILT = upsert(REBUILT)
PUT_REBUILT = _REBUILT.on_conflict_do_update(
    index_elements=["package"], set_={"newest": _REBUILT.excluded.newest}
)

_CONTRADICTED = upsert(CONTRADICTED)
PUT_CONTRADICTED = _CONTRADICTED.on_conflict_do_update(
    index_elements=["file", "sha256"], set_={"newest": _CONTRADICTED.excluded.newest}
)
CONTRADICTED_FILES = select(CONTRADICTED).order_by(desc(CONTRADICTED.c.newest)).limit(bindparam("rows"))

OF_DIGEST = select(EVIDENCE).where(_SHA256).order_by(_BY_ENTRY).limit(LISTED_ROWS)
OF_FILE = select(EVIDENCE).where(_FILE).order_by(_BY_ENTRY).limit(LISTED_ROWS)
OF_BOTH = select(EVIDENCE).where(_SHA256, _FILE).order_by(_BY_ENTRY)
OF_PACKAGE = (
    select(EVIDENCE)
    .where(EVIDENCE.c.package == bindparam("package"))
    .order_by(desc(EVIDENCE.c.entry))
    .limit(bindparam("rows"))
)
OF_IDENTITIES = select(EVIDENCE).where(EVIDENCE.c.identity.in_(bindparam("wanted", expanding=True)))
FIRST_RECORD = select(EVIDENCE).where(_FILE, EVIDENCE.c.kind == "record").order_by(_BY_ENTRY).limit(1)
LOST_OF_DIGEST = (
    select(LOST).where(LOST.c.sha256 == bindparam("sha256")).order_by(LOST.c.entry).limit(LISTED_ROWS)
)
FILES_OF_PACKAGE = (
    select(EVIDENCE.c.file, EVIDENCE.c.sha256)
    .where(EVIDENCE.c.package == bindparam("package"))
    .distinct()
    .order_by(EVIDENCE.c.file, EVIDENCE.c.sha256)
    .limit(LISTED_ROWS)
)
PACKAGES_BETWEEN = (
    select(EVIDENCE.c.package)
    .where(EVIDENCE.c.package >= bindparam("first"), EVIDENCE.c.package < bindparam("end"))
    .distinct()
)
ABOUT = tuple(
    select(table.c.entry)
    .where(table.c.entry == bindparam("number"), table.c.sha256 == bindparam("sha256"))
    .limit(1)
    for table in (EVIDENCE, LOST)
)
"""Whether an entry, good or not, is about some bytes: two queries, either may find it."""

WITH_INPUT = select(INPUTS.c.entry).where(
    INPUTS.c.sha256 == bindparam("sha256"), INPUTS.c.file == bindparam("file")
)


def built_from(inputs: Iterable[tuple[str, str]]) -> Select[Any]:
    """The package files with a good provenance that names all these inputs (sha256, package file)."""
    query = select(EVIDENCE.c.file).distinct().order_by(EVIDENCE.c.file).limit(LISTED_ROWS)
    for sha256, file in inputs:
        naming = select(INPUTS.c.entry).where(INPUTS.c.sha256 == sha256, INPUTS.c.file == file)
        query = query.where(EVIDENCE.c.entry.in_(naming))
    return query
