"""The series of faults sees what strace says, and finds what was acknowledged before it was synced."""

from contextlib import closing
from pathlib import Path

import pytest
from tests.log.support import open_sqlite, sign, signed_entries
from tests.simkeys import solo_policy
from tests.torture.faults.__main__ import Results
from tests.torture.faults.serving import cut_power
from tests.torture.faults.tracing import Call, parse_trace, synced_bytes
from tests.torture.kills.promises import Acknowledged, check

from touchplate.base.sql import sqlite_engine
from touchplate.log.storage.rows import TreeRows

TRACE = """\
7 openat(AT_FDCWD</home/x>, "/d/log.sqlite-wal", O_RDWR|O_CREAT, 0644) = 9</d/log.sqlite-wal>
7 pwrite64(9</d/log.sqlite-wal>, ""..., 4096, 0) = 4096
8 fsync(5</d/a.tmp>) = -1 EIO (Input/output error) (INJECTED)
7 pwrite64(9</d/log.sqlite-wal>, ""..., 24, 4096 <unfinished ...>
8 rename("/d/a.tmp", "/d/a") = 0
7 <... pwrite64 resumed>) = 24
7 fdatasync(9</d/log.sqlite-wal>) = 0
8 openat(5</d/mirror>, "b.tmp", O_WRONLY|O_CREAT, 0600) = -1 ENOSPC (No space left on device) (INJECTED)
7 pwrite64(9</d/log.sqlite-wal>, ""..., 4096, 4120) = 4096
7 fdatasync(9</d/log.sqlite-wal>) = -1 EIO (Input/output error) (INJECTED)
7 write(12<anon_inode:[eventfd]>, ""..., 8) = 8
7 +++ exited with 0 +++
"""
WAL = "/d/log.sqlite-wal"


def test_a_trace_is_read_thread_by_thread() -> None:
    calls = list(parse_trace(TRACE.splitlines()))
    assert [(one.name, one.number, one.path) for one in calls] == [
        ("openat", 1, WAL),
        ("pwrite64", 1, WAL),
        ("fsync", 1, "/d/a.tmp"),
        ("rename", 1, "/d/a"),
        ("pwrite64", 2, WAL),
        ("fdatasync", 1, WAL),
        ("openat", 1, "/d/mirror/b.tmp"),
        ("pwrite64", 3, WAL),
        ("fdatasync", 2, WAL),
        ("write", 1, ""),
    ]
    assert [one.number for one in calls if one.is_injected] == [1, 1, 2]
    assert [one.name for one in calls if not one.is_good] == ["fsync", "openat", "fdatasync"]
    assert [one.end for one in calls if one.name == "pwrite64"] == [4096, 4120, 8216]
    assert [one.is_below(Path("/d/mirror")) for one in calls].count(True) == 1


def test_a_sync_that_failed_has_put_nothing_on_disk() -> None:
    calls = list(parse_trace(TRACE.splitlines()))
    assert synced_bytes(calls, WAL) == 4120
    assert synced_bytes(calls[:5], WAL) == 0


@pytest.mark.parametrize("synced", ["all", "all but the last batch"])
def test_what_was_acknowledged_before_it_was_synced_is_found(tmp_path: Path, synced: str) -> None:
    wal = tmp_path / "log.sqlite-wal"
    tree, told = open_sqlite(tmp_path), Acknowledged()
    lengths = []
    for entry in signed_entries(6):
        (placed,) = tree.apply([entry], sign)
        told.told(entry.packed, placed.index)
        lengths.append(wal.stat().st_size)
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for path in (tmp_path / "log.sqlite", wal):  # as a kill leaves them: the connection is still open
        (crashed / path.name).write_bytes(path.read_bytes())
    tree.close()
    length = lengths[-1 if synced == "all" else -2]
    left = crashed / wal.name
    calls = [
        Call("pwrite64", 1, str(left), length, False, True),
        Call("fdatasync", 1, str(left), 0, False, True),
    ]
    calls.append(Call("pwrite64", 2, str(left), lengths[-1], False, True))
    cut_power(left, calls)
    engine = sqlite_engine(crashed / "log.sqlite")
    with closing(TreeRows(engine)) as rows:
        found = [str(each) for each in check(rows, solo_policy(), told)]
    engine.dispose()
    assert found == (
        [] if synced == "all" else ["lost: the entry that was acknowledged at index 5 is nowhere"]
    )


def test_a_call_that_never_failed_fails_the_series() -> None:
    results = Results(passed={("serve", "fsync"): {1, 2}})
    assert results.missed(1) == ["fsync of serve with EIO, ENOSPC, EINTR"]
    results.hits["serve", "fsync", "EIO"] += 1
    assert results.missed(1) == []
    assert results.missed(3) == ["fsync of serve with ENOSPC, EINTR"]
