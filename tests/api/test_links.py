"""Links: a blob is read through a repository that refers to it, and a row never moves."""

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.verify.support import PUBLISHED, digests_of

from touchplate.api.links import Link, Links
from touchplate.base.errors import StorageError
from touchplate.base.sql import sqlite_engine

LINK = Link(
    repository="central",
    path="org/example/lib/1.0/lib-1.0.jar",
    size=len(PUBLISHED),
    by="upstream",
    seen=1,
    sha384="0" * 96,
    **digests_of(PUBLISHED),
)


def test_the_first_row_of_a_path_stays(tmp_path: Path) -> None:
    links = Links(sqlite_engine(tmp_path / "links.sqlite"))
    assert links.add(LINK) == LINK
    other = replace(LINK, sha256="f" * 64)
    assert links.add(other) == LINK
    assert links.find("central", LINK.path) == LINK


def test_a_blob_belongs_to_the_repositories_that_refer_to_it(tmp_path: Path) -> None:
    links = Links(sqlite_engine(tmp_path / "links.sqlite"))
    links.add(LINK)
    assert links.refers("central", LINK.sha256)
    assert not links.refers("mirror", LINK.sha256)
    assert links.find("mirror", LINK.path) is None
    links.add(replace(LINK, repository="mirror"))
    assert [link.repository for link in links.of_blob(LINK.sha256)] == ["central", "mirror"]


def test_rows_survive_a_restart(tmp_path: Path) -> None:
    Links(sqlite_engine(tmp_path / "links.sqlite")).add(LINK)
    assert Links(sqlite_engine(tmp_path / "links.sqlite")).find("central", LINK.path) == LINK


@pytest.mark.parametrize("ask", ["add", "find", "refers", "of_blob", "open"])
def test_a_database_that_fails_is_a_storage_error(tmp_path: Path, ask: str) -> None:
    links = Links(sqlite_engine(tmp_path / "links.sqlite"))
    with sqlite3.connect(tmp_path / "links.sqlite") as other:
        other.execute("ALTER TABLE links RENAME TO lost")
        other.execute("CREATE VIEW links AS SELECT * FROM gone")
    other.close()
    asking: dict[str, Callable[[], object]] = {
        "add": lambda: links.add(LINK),
        "find": lambda: links.find("central", LINK.path),
        "refers": lambda: links.refers("central", LINK.sha256),
        "of_blob": lambda: links.of_blob(LINK.sha256),
        "open": lambda: Links(sqlite_engine(tmp_path / "links.sqlite")),
    }
    with pytest.raises(StorageError, match=r"links?: the database failed"):
        asking[ask]()
    links.close()
