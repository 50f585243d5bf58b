"""The index: it follows the log, can be deleted, and then holds the same facts again."""

import io
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from tests.api.support import ListLog
from tests.verify.cases import (
    STABILIZER,
    badly_signed,
    comparison,
    equivalent_by_b,
    make_trust,
    provenance,
    record,
    second,
)
from tests.verify.support import LIB, OTHER, PUBLISHED, SEEN

from touchplate.api.errors import NotReadyError
from touchplate.api.index.facts import FactIndex
from touchplate.api.index.observe import Observer
from touchplate.api.index.queries import LISTED_ROWS
from touchplate.api.index.store import Batch, EntryRow, EvidenceRow, IndexStore
from touchplate.base.sql import sqlite_engine
from touchplate.verify.entry import Entry
from touchplate.verify.files import digest_file
from touchplate.verify.judge import judge
from touchplate.verify.levels import judge_levels
from touchplate.verify.purl import maven_purl

ENTRIES = [
    record(),
    provenance(),
    *equivalent_by_b(),
    comparison("rebuilder-c", "different"),
    comparison("rebuilder-c", "not-built"),
    badly_signed(),
    second(data=OTHER, note="2"),
]
DIGESTS = digest_file(io.BytesIO(PUBLISHED))


def open_index(folder: Path, log: ListLog, *rules: str, trust: str = "one") -> FactIndex:
    store = IndexStore(sqlite_engine(folder / "index.sqlite"), trust)
    return FactIndex(store, log, Observer(make_trust(*rules)))


def followed(folder: Path, entries: list[Entry]) -> FactIndex:
    index = open_index(folder, ListLog(entries))
    index.catch_up()
    return index


def test_a_deleted_index_comes_back_with_the_same_facts(tmp_path: Path) -> None:
    first = followed(tmp_path / "first", ENTRIES)
    again = followed(tmp_path / "again", ENTRIES)
    assert first.facts(DIGESTS, LIB) == again.facts(DIGESTS, LIB)
    assert first.store.counts() == again.store.counts()
    assert first.facts(DIGESTS, LIB).first_seen == SEEN
    assert len(first.facts(DIGESTS, LIB).evidence) == 5


def test_contradicted_files_are_listed_the_newest_first_and_once(tmp_path: Path) -> None:
    other = maven_purl("org.example", "other", "1")
    index = followed(
        tmp_path,
        [
            comparison("rebuilder-c", "not-built"),
            comparison("rebuilder-c", "different"),
            comparison("rebuilder-c", "different", uri=other),
            comparison("rebuilder-b", "different"),
            comparison("rebuilder-b", "identical", uri=other),
        ],
    )
    sha256 = DIGESTS.sha256
    assert index.store.contradicted(10) == [(sha256, str(LIB)), (sha256, str(other))]
    assert index.store.contradicted(1) == [(sha256, str(LIB))]
    assert [row.entry for row in index.store.evidence_of_package(str(LIB.package), 2)] == [3, 1]


@pytest.mark.parametrize("more", [(b"third content",), (PUBLISHED,), (b"third content", PUBLISHED)])
def test_a_provenance_that_gives_further_contents_counts_as_verify_counts_it(
    tmp_path: Path, more: tuple[bytes, ...]
) -> None:
    entries = [provenance(), *equivalent_by_b(more=more)]
    trust = make_trust(f'stabilizers = ["{STABILIZER}"]')
    judged = judge(enumerate(entries), DIGESTS, LIB, trust)
    facts = followed(tmp_path, entries).facts(DIGESTS, LIB)
    levels = judge_levels(facts.evidence, trust.reproduced)
    assert levels.reproduced
    assert judged.levels.reproduced
    assert [one.operator for one in levels.operators] == [one.operator for one in judged.levels.operators]
    assert facts.warnings == judged.warnings == ()


def test_following_in_steps_gives_the_same_facts(tmp_path: Path) -> None:
    log = ListLog()
    index = open_index(tmp_path / "steps", log)
    for number in range(1, len(ENTRIES) + 1):
        log.packed = ListLog(ENTRIES[:number]).packed
        index.catch_up(number)
    assert index.facts(DIGESTS, LIB) == followed(tmp_path / "once", ENTRIES).facts(DIGESTS, LIB)


def test_goes_on_where_it_stopped(tmp_path: Path) -> None:
    followed(tmp_path, ENTRIES[:3])
    index = open_index(tmp_path, ListLog(ENTRIES))
    assert index.followed == 3
    index.start()
    index.stop()
    assert index.followed == len(ENTRIES)


def test_another_trust_file_means_another_index(tmp_path: Path) -> None:
    followed(tmp_path, ENTRIES)
    assert open_index(tmp_path, ListLog(ENTRIES), trust="two").followed == 0


def test_an_index_of_another_log_is_built_again(tmp_path: Path) -> None:
    followed(tmp_path, ENTRIES)
    index = open_index(tmp_path, ListLog([second(), *ENTRIES]))
    index.start()
    index.stop()
    assert index.store.counts()["provenance"] == 4
    assert index.followed == len(ENTRIES) + 1


def test_an_index_that_is_ahead_of_its_log_is_built_again(tmp_path: Path) -> None:
    followed(tmp_path, ENTRIES)
    index = open_index(tmp_path, ListLog(ENTRIES[:2]))
    index.start()
    index.stop()
    assert index.followed == 2


def test_an_index_with_other_tables_is_made_again(tmp_path: Path) -> None:
    followed(tmp_path, ENTRIES)
    with sqlite3.connect(tmp_path / "index.sqlite") as database:
        database.execute("update state set value = '1' where name = 'version'")
        database.execute("drop table evidence")
        database.execute("create table evidence (entry integer primary key, colour text)")
        database.execute("drop table kinds")
        database.execute("create table older (number integer)")
    database.close()
    index = followed(tmp_path, ENTRIES)
    assert len(index.facts(DIGESTS, LIB).evidence) == 5
    assert sum(index.store.counts().values()) == len(ENTRIES)


def test_very_many_other_files_of_the_same_bytes_hide_nothing(tmp_path: Path) -> None:
    """An empty javadoc jar is published under thousands of names, and somebody may say so on purpose."""
    index = open_index(tmp_path, ListLog())
    rows = [
        EvidenceRow(
            entry=number,
            sha256=DIGESTS.sha256,
            file=f"pkg:maven/org.example/other@{number}?type=jar",
            package=f"pkg:maven/org.example/other@{number}",
            kind="record",
            operator="https://r.example.org",
            identity="0" * 64,
            detail={"digests": {}},
            seen=SEEN,
        )
        for number in range(LISTED_ROWS + 50)
    ]
    mine = replace(rows[-1], entry=len(rows), file=str(LIB), package=str(LIB.package))
    entries = [EntryRow(number, b"", "record", "") for number in range(len(rows) + 1)]
    index.store.add(Batch(entries, [*rows, mine], []))
    facts = index.facts(DIGESTS, LIB)
    assert [piece.index for piece in facts.evidence] == [len(rows)]
    assert len(facts.warnings) == LISTED_ROWS
    assert index.store.counts() == {"record": len(rows) + 1}
    assert index.store.is_about(len(rows), DIGESTS.sha256)
    assert not index.store.is_about(len(rows), "0" * 64)


def test_counts_go_on_where_they_stood(tmp_path: Path) -> None:
    log = ListLog(ENTRIES[:2])
    open_index(tmp_path, log).catch_up()
    log.packed = ListLog(ENTRIES).packed
    again = open_index(tmp_path, log)
    again.catch_up()
    assert again.store.counts() == followed(tmp_path / "other", ENTRIES).store.counts()
    assert again.store.rebuilt_packages(5) == [str(LIB.package)]
    assert again.versions_of(LIB) == {str(LIB.package)}


def test_says_so_when_the_log_is_not_that_long(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="9 are needed"):
        open_index(tmp_path, ListLog(ENTRIES)).catch_up(9)


def test_bytes_that_are_no_entry_are_taken_as_such(tmp_path: Path) -> None:
    log = ListLog([record()])
    log.packed += [b"", b"\0\0\0\1x\0\0", bytes(70)]
    index = open_index(tmp_path, log)
    index.catch_up(4)
    assert index.followed == 4
    assert index.store.counts()["record"] == 1
    assert sum(index.store.counts().values()) == 4


def test_knows_the_first_record_of_a_file(tmp_path: Path) -> None:
    index = followed(tmp_path, [record(OTHER), record()])
    first = index.first_record(LIB)
    assert first is not None
    assert first.entry == 0
    assert first.sha256 == digest_file(io.BytesIO(OTHER)).sha256


def test_more_identities_than_one_query_takes_are_looked_up_in_parts(tmp_path: Path) -> None:
    index = followed(tmp_path, ENTRIES)
    strangers = [f"{number:064x}" for number in range(250_001)]  # more than any SQLite takes parameters
    wanted = [provenance().identity.hex(), *strangers, record().identity.hex()]
    found = index.store.evidence_of_identities(wanted)
    assert sorted(row.kind for row in found) == ["provenance", "record"]
    assert index.store.evidence_of_identities([]) == []
