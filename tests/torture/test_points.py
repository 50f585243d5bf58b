"""The table of points, and the hooks that come to them: nothing that is durable may pass unseen."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.torture.points import COMMIT, CREATE, POINTS, REMOVE, RENAME, SYNC, Table
from tests.torture.process import Kill, Launcher, launching
from tests.torture.results import SIDES, Results

LOCK = "reader's head: lock file made"


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    with launching(tmp_path / "runs") as one:
        yield one


def keygen(launcher: Launcher, out: Path, kill: Kill | None = None) -> tuple[int, list[str]]:
    """A short real command that makes two files."""
    argv = ["keygen", "--for", "log", "--name", "log.example.org", "--out", str(out)]
    run = launcher.start(argv, {"state": out.parent}, kill)
    return run.wait(), run.hits()


def test_points_have_names_of_their_own() -> None:
    names = [point.name for point in POINTS]
    assert sorted(set(names)) == sorted(names)


def test_no_call_is_of_two_points() -> None:
    both = [
        (one.name, other.name)
        for number, one in enumerate(POINTS)
        for other in POINTS[number + 1 :]
        if (one.call, one.pattern) == (other.call, other.pattern)
    ]
    assert both == []


@pytest.mark.parametrize(
    ("call", "path", "tables", "name"),
    [
        (CREATE, "/data/blobs/tmp/" + "a" * 32 + ".tmp", "", "blobs: temporary file made"),
        (RENAME, f"/data/evidence/ab/{'ab' * 32}", "", "evidence: renamed"),
        (SYNC, "/data/blobs/ab", "", "blobs: name of the file synced"),
        (SYNC, "/", "", "node: names of its folders synced"),
        (COMMIT, "/data/log/log.sqlite", "heads identities leaves tiles", "log: batch committed"),
    ],
)
def test_a_call_is_found_by_what_it_does_to_which_file(call: str, path: str, tables: str, name: str) -> None:
    point = Table({"node": "/data"}).find(call, path, tables)
    assert point is not None
    assert point.name == name


@pytest.mark.parametrize(
    ("call", "path", "tables"),
    [
        (CREATE, "/data/new-store/file", ""),
        (REMOVE, "/data/log/log.sqlite", ""),
        (RENAME, f"/data/blobs/cd/{'ab' * 31}", ""),
        (COMMIT, "/data/log/log.sqlite", "heads identities leaves tiles witnesses"),
        (SYNC, "/elsewhere/file", ""),
    ],
)
def test_a_call_that_nobody_listed_is_refused(call: str, path: str, tables: str) -> None:
    with pytest.raises(LookupError, match=re.escape(f"{call} ")):
        Table({"node": "/data"}).find(call, path, tables)


def test_a_durable_call_that_is_not_in_the_table_fails_the_series(launcher: Launcher, tmp_path: Path) -> None:
    code, hits = keygen(launcher, tmp_path / "log.key")
    assert code == 0
    results = Results(())
    assert results.is_good
    results.note(hits, None)
    assert results.unlisted == {
        f"{call} state/log.{kind}" for call in (CREATE, SYNC) for kind in ("key", "pub")
    }
    assert not results.is_good


def test_a_point_that_was_never_hit_fails_the_series() -> None:
    point = POINTS[0]
    results = Results((point,))
    assert results.missed() == [f"{side} {point.name}" for side in SIDES]
    assert not results.is_good
    for side in SIDES:
        results.note([f"! {side} {point.name}"], Kill(point.name, side))
    assert results.is_good
    assert re.search(r"node +folders made +1 +1 +0 +0$", results.table())


def test_a_call_of_sqlite_that_was_never_hit_fails_the_series() -> None:
    results = Results((), (("fdatasync x (1)", "EIO"),))
    assert results.missed() == ["kill at fdatasync x (1)", "EIO at fdatasync x (1)"]
    for action in ("kill", "EIO"):
        results.note(["! before fdatasync x (1)"], Kill("fdatasync x (1)", "before", action=action))
    assert results.is_good
    assert re.search(r"fdatasync x \(1\) +1 +1$", results.table())


def test_a_power_cut_takes_what_was_not_synced(launcher: Launcher, tmp_path: Path) -> None:
    out = tmp_path / ".head-x.lock"
    code, hits = keygen(launcher, out, Kill(LOCK, "after", action="cut"))
    assert code == -9
    assert f"undone: create {out}" in hits
    assert not out.exists()


@pytest.mark.parametrize(("side", "is_there"), [("before", False), ("after", True)])
def test_a_process_dies_on_the_planned_side_of_a_step(
    launcher: Launcher, tmp_path: Path, side: str, is_there: bool
) -> None:
    out = tmp_path / ".head-x.lock"
    code, hits = keygen(launcher, out, Kill(LOCK, side))
    assert code == -9
    assert hits[-1] == f"! {side} {LOCK}"
    assert out.exists() == is_there


def test_an_error_is_raised_in_the_place_of_a_step(launcher: Launcher, tmp_path: Path) -> None:
    out = tmp_path / ".head-x.lock"
    code, hits = keygen(launcher, out, Kill(LOCK, "before", action="ENOSPC"))
    assert code == 2
    assert f"! before {LOCK}" in hits
    assert not out.exists()


def test_no_process_outlives_its_launcher(tmp_path: Path) -> None:
    with launching(tmp_path / "runs") as one:
        run = one.fork(["keygen"], tmp_path / "never")
        assert not run.ended(0)
    assert run.ended(0)
