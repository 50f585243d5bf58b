"""The oracle of the crash series finds what is lost, and an observer finds a fork: else it proves nothing."""

import hashlib
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from tests.api.support import world
from tests.simlog import SimLog, serving
from tests.torture.customer import Observer
from tests.torture.oracle import Promises, check_node
from tests.verify.cases import provenance, record, second

JAR = "org/example/tool/2.0/tool-2.0.jar"
BODY = b"the bytes of a tool"
BLOB = hashlib.sha256(BODY).hexdigest()
EVIDENCE = b"a build log"
LOG = hashlib.sha256(EVIDENCE).hexdigest()
ENTRIES = [entry.envelope for entry in (provenance(), second(), record(b"other"))]


def live(folder: Path, entries: Sequence[bytes] = ENTRIES) -> Promises:
    """A node's life in `folder`: one file served, one stored, these entries appended."""
    promises = Promises()
    with world(folder) as one:
        one.upstream.put(JAR, BODY)
        assert one.get(f"/maven/central/{JAR}").body == BODY
        promises.served[JAR] = BODY
        one.node.evidence.put(EVIDENCE)
        promises.evidence[LOG] = EVIDENCE
        for envelope in entries:
            (answer,) = one.node.log.append([envelope])
            promises.answered(envelope, answer.index)
            promises.checkpoints.add(one.node.log.checkpoint())
        one.node.index.catch_up()
    return promises


def found(folder: Path, promises: Promises) -> list[str]:
    return [str(finding) for finding in check_node(folder / "data", folder / "trust.toml", promises)]


@pytest.fixture
def life(tmp_path: Path) -> tuple[Path, Promises]:
    folder = tmp_path / "node"
    return folder, live(folder)


def test_a_life_without_accidents_has_no_findings(life: tuple[Path, Promises]) -> None:
    assert found(*life) == []


def test_an_acknowledged_entry_that_was_dropped_is_found(tmp_path: Path, life: tuple[Path, Promises]) -> None:
    _, promises = life
    live(tmp_path / "dropping", ENTRIES[:-1])
    promises.checkpoints.clear()  # the two records of the file differ by their times
    assert found(tmp_path / "dropping", promises) == [
        "lost: the entry that was answered with index 3 is not there"
    ]


def test_a_log_that_forgot_what_it_has_signed_is_found(tmp_path: Path, life: tuple[Path, Promises]) -> None:
    _, promises = life
    live(tmp_path / "older", [])
    assert any("showed a checkpoint of 4" in one for one in found(tmp_path / "older", promises))


def test_a_log_that_forked_is_found(tmp_path: Path, life: tuple[Path, Promises]) -> None:
    _, promises = life
    promises.entries.clear()
    live(tmp_path / "forking", [ENTRIES[1], ENTRIES[0], ENTRIES[2]])
    assert any(
        "inconsistent: fsck: an older checkpoint" in one for one in found(tmp_path / "forking", promises)
    )


def test_a_fork_is_found_by_the_observer_while_it_happens(tmp_path: Path) -> None:
    log = SimLog(tmp_path / "log")
    log.grow(5)
    log.publish()
    other = log.fork(tmp_path / "other", 3)
    other.grow(4, "other")
    other.publish()
    promises = Promises()
    for one in (log, other):
        with serving(one) as served:
            Observer(served.url.rstrip("/").removesuffix("/log"), tmp_path / "state", promises).look()
    assert [str(one) for one in promises.broken if "fork" in str(one)]
    assert len(promises.checkpoints) == 1


def test_a_flipped_byte_in_a_blob_is_found(life: tuple[Path, Promises]) -> None:
    folder, promises = life
    path = folder / "data" / "blobs" / BLOB[:2] / BLOB
    path.write_bytes(bytes([BODY[0] ^ 1]) + BODY[1:])
    (finding,) = found(folder, promises)
    assert finding.startswith(f"lost: blobs: {BLOB} holds bytes of sha256")


def test_a_missing_file_of_evidence_is_found(life: tuple[Path, Promises]) -> None:
    folder, promises = life
    (folder / "data" / "evidence" / LOG[:2] / LOG).unlink()
    assert found(folder, promises) == [f"lost: evidence {LOG} was stored, and is not held"]


def test_a_file_that_was_served_without_a_record_is_found(life: tuple[Path, Promises]) -> None:
    folder, promises = life
    promises.served["org/example/secret/1/secret-1.jar"] = b"secret"
    assert [one.partition(",")[0] for one in found(folder, promises)] == [
        "lost: org/example/secret/1/secret-1.jar was served"
    ] * 2


def test_a_file_that_is_linked_before_it_is_recorded_is_found(life: tuple[Path, Promises]) -> None:
    folder, promises = life
    with closing(sqlite3.connect(folder / "data" / "links.sqlite")) as links:
        links.execute("UPDATE links SET sha256 = ?", (LOG,))
        links.commit()
    (finding, _) = found(folder, promises)
    assert finding == f"inconsistent: {JAR} is linked to {LOG}, which no record names"


def test_a_link_to_what_is_not_held_is_found(life: tuple[Path, Promises]) -> None:
    folder, promises = life
    (folder / "data" / "blobs" / BLOB[:2] / BLOB).unlink()
    assert found(folder, promises) == [f"lost: {JAR} is linked to {BLOB}, which is not held"]


@pytest.mark.parametrize("table", ["entries", "evidence", "kinds"])
def test_an_index_that_differs_from_the_log_is_found(life: tuple[Path, Promises], table: str) -> None:
    folder, promises = life
    with closing(sqlite3.connect(folder / "data" / "index.sqlite")) as index:
        index.execute(f"DELETE FROM {table} WHERE rowid = 1")
        index.commit()
    assert [one.partition(" and")[0] for one in found(folder, promises)] == [
        f"inconsistent: index: {table} lacks 1 rows"
    ]


@pytest.mark.parametrize("name", ["blobs/tmp/ab.tmp", "log/.newest.checkpoint.ab.tmp", "log/log.sqlite-wal"])
def test_a_file_that_is_left_over_is_found(life: tuple[Path, Promises], name: str) -> None:
    folder, promises = life
    (folder / "data" / name).write_bytes(b"")
    assert f"lost: room: {name} is left over" in found(folder, promises)


def test_another_answer_for_the_same_entry_is_found() -> None:
    promises = Promises()
    promises.answered(b"entry", 4)
    promises.answered(b"entry", 5)
    assert [str(one) for one in promises.broken] == ["inconsistent: an entry was at index 4, now at 5"]
