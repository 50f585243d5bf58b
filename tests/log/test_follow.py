"""Following honest logs: a mirror is at every moment a whole log of some size, and goes on from there."""

import os
import shutil
from pathlib import Path

import pytest
from tests.log.mirrors import entries_in, files_in, follow, publish, reports_in, wrong_with
from tests.simkeys import log_signer, witness_signer
from tests.simlog import SimLog, serving

from touchplate.base.errors import StorageError
from touchplate.log.follow import Follower
from touchplate.log.mirror import Mirror, MirrorFirst
from touchplate.verify.client import LogClient
from touchplate.verify.errors import TransportError, TrustError
from touchplate.verify.sources import open_source

GROWTH = (0, 1, 1, 3, 250, 1, 1, 254, 2, 600, 0)
"""Entries added before each look: empty, partial, exactly full, one more, several bundles, nothing new."""


@pytest.fixture
def log(tmp_path: Path) -> SimLog:
    return SimLog(tmp_path / "log")


def test_a_mirror_follows_a_log_as_it_grows(log: SimLog, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    size = 0
    for count in GROWTH:
        publish(log, count)
        done = follow(log.folder, mirror, log.policy)
        assert done.head is not None
        assert (done.since, done.head.size, done.head.root) == (size, size + count, log.root())
        assert (done.complete, done.healed) == (True, False)
        size += count
        assert wrong_with(mirror, log.policy) == []
        assert entries_in(mirror, log.policy) == log.entries
    # All that the mirror has is what the log published, byte for byte.
    published = files_in(log.folder)
    assert all(published[path] == data for path, data in files_in(mirror).items())


def test_partials_are_kept_until_the_full_tile_is_there_and_no_longer(log: SimLog, tmp_path: Path) -> None:
    mirror = tmp_path / "mirror"
    for count in (100, 100, 55):
        publish(log, count)
        follow(log.folder, mirror, log.policy)
    partials = {path for path in files_in(mirror) if ".p/" in path}
    kinds = ("tile/0", "tile/entries", "tile/envelopes")
    assert partials == {f"{kind}/000.p/{width}" for kind in kinds for width in (100, 200, 255)}
    publish(log, 1)
    follow(log.folder, mirror, log.policy)
    assert {path for path in files_in(mirror) if ".p/" in path} == {"tile/1/000.p/1"}
    # A reader with an older head still finds everything: in the full tile, as tlog-tiles has it.
    (mirror / "checkpoint").write_bytes(log.note(200))
    assert len(entries_in(mirror, log.policy)) == 200


def test_a_log_is_followed_by_url_and_a_mirror_of_a_mirror_is_the_same_log(
    log: SimLog, tmp_path: Path
) -> None:
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    publish(log, 300)
    with serving(log) as served:
        follow(served.url, first, log.policy)
        publish(log, 300)
        follow(served.url, first, log.policy)
    copy = SimLog(first)  # only its folder is used: the mirror is served as it is
    with serving(copy) as served:
        follow(served.url, second, log.policy)
    follow(second, third, log.policy)
    for mirror in (first, second, third):
        assert wrong_with(mirror, log.policy) == []
        assert entries_in(mirror, log.policy) == log.entries


def test_newer_cosignatures_of_the_same_tree_are_taken(tmp_path: Path) -> None:
    log = publish(SimLog(tmp_path / "log", witnesses=(witness_signer("w.example.org"),)), 3)
    mirror = tmp_path / "mirror"
    follow(log.folder, mirror, log.policy)
    log.publish(time=1_800_000_500)
    done = follow(log.folder, mirror, log.policy)
    assert done.since == 3
    assert (mirror / "checkpoint").read_bytes() == log.note(time=1_800_000_500)


def test_a_log_whose_partials_are_gone_is_followed_by_its_full_tiles(log: SimLog, tmp_path: Path) -> None:
    publish(log, 70)
    note = log.note()
    publish(log, 230)
    log.remove_partials()
    log.write("checkpoint", note)
    mirror = tmp_path / "mirror"
    follow(log.folder, mirror, log.policy)
    assert wrong_with(mirror, log.policy) == []
    assert len(entries_in(mirror, log.policy)) == 70


def test_work_that_was_stopped_goes_on_where_it_was(log: SimLog, tmp_path: Path) -> None:
    publish(log, 1000)
    folder = tmp_path / "mirror"
    asked = 0

    def stopping() -> bool:
        nonlocal asked
        asked += 1
        return asked == 3

    with Mirror(folder, log.policy) as mirror:
        first = MirrorFirst(open_source(log.folder), folder)
        done = Follower(mirror, first, LogClient(first, log.policy)).update(stopping=stopping)
    assert (done.complete, done.head) == (False, None)
    assert "checkpoint" not in files_in(folder)
    assert "tile/entries/001" in files_in(folder)
    # What is there already is not asked for again: without it in the log, the mirror is still finished.
    for name in ("000", "001"):
        (log.folder / "tile/entries" / name).unlink()
        (log.folder / "tile/envelopes" / name).unlink()
    assert follow(log.folder, folder, log.policy).complete
    assert wrong_with(folder, log.policy) == []


# --- the mirror's own files ---


@pytest.mark.parametrize("path", ["tile/0/001.p/44", "tile/1/000.p/1"])
@pytest.mark.parametrize("how", ["flipped", "cut", "missing"])
def test_a_mirror_whose_edge_is_damaged_is_checked_again_and_mended(
    log: SimLog, tmp_path: Path, path: str, how: str
) -> None:
    mirror = SimLog(tmp_path / "mirror")
    publish(log, 300)
    follow(log.folder, mirror.folder, log.policy)
    if how == "flipped":
        mirror.damage(path)
    elif how == "cut":
        mirror.write(path, (mirror.folder / path).read_bytes()[:-1])
    else:
        (mirror.folder / path).unlink()
    mirror.damage("tile/envelopes/000", at=100)
    publish(log, 10)
    done = follow(log.folder, mirror.folder, log.policy)
    assert done.healed
    assert wrong_with(mirror.folder, log.policy) == []
    assert reports_in(mirror.folder) == []


@pytest.mark.parametrize("path", ["tile/0/000", "tile/entries/000", "tile/envelopes/001", "tile/0/002.p/88"])
def test_a_recheck_mends_any_file_and_blames_nobody(log: SimLog, tmp_path: Path, path: str) -> None:
    mirror = SimLog(tmp_path / "mirror")
    publish(log, 600)
    follow(log.folder, mirror.folder, log.policy)
    mirror.damage(path, at=50)
    assert wrong_with(mirror.folder, log.policy) != []
    follow(log.folder, mirror.folder, log.policy, recheck=True)
    assert wrong_with(mirror.folder, log.policy) == []
    assert reports_in(mirror.folder) == []


def test_leftovers_of_a_crash_are_used_only_when_they_hold(log: SimLog, tmp_path: Path) -> None:
    mirror = SimLog(tmp_path / "mirror")
    publish(log, 600)
    for path in ("tile/entries/000", "tile/envelopes/001", "tile/0/001", "tile/1/000.p/2"):
        mirror.write(path, b"torn")
    mirror.write("tile/0/.000.0123456789abcdef.tmp", b"half")
    mirror.write(".checkpoint.0123456789abcdef.tmp", b"half")
    follow(log.folder, mirror.folder, log.policy)
    assert wrong_with(mirror.folder, log.policy) == []
    assert not [path for path in files_in(mirror.folder) if path.endswith(".tmp")]


def test_names_that_a_killed_run_gave_are_on_disk_before_the_checkpoint_needs_them(
    log: SimLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = tmp_path / "mirror"
    publish(log, 300)
    shutil.copytree(log.folder, mirror)
    (mirror / "checkpoint").unlink()
    fsync, synced = os.fsync, []

    def noting_fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    follow(log.folder, mirror, log.policy)
    head = next(at for at, path in enumerate(synced) if path.name.startswith(".checkpoint."))
    needed = {(mirror / path).parent for path in files_in(mirror) if path != "checkpoint"}
    assert needed <= set(synced[:head])


# --- one at a time, one log ---


def test_a_second_follower_of_the_same_folder_is_refused(log: SimLog, tmp_path: Path) -> None:
    folder = tmp_path / "mirror"
    publish(log, 3)
    with Mirror(folder, log.policy):
        with pytest.raises(StorageError, match="is locked by another process; stop that one first") as caught:
            follow(log.folder, folder, log.policy)
        assert caught.value.reason == "locked"
    assert follow(log.folder, folder, log.policy).complete


def test_a_folder_of_another_log_is_refused_and_left_alone(log: SimLog, tmp_path: Path) -> None:
    folder = tmp_path / "mirror"
    publish(log, 3)
    other = publish(SimLog(tmp_path / "other", log_signer("another")), 5)
    follow(other.folder, folder, other.policy)
    before = files_in(folder)
    with pytest.raises(TrustError, match="does not satisfy the policy"):
        follow(log.folder, folder, log.policy)
    assert files_in(folder) == before


def test_an_older_copy_changes_nothing(log: SimLog, tmp_path: Path) -> None:
    folder = tmp_path / "mirror"
    publish(log, 300)
    shutil.copytree(log.folder, tmp_path / "old")
    publish(log, 100)
    follow(log.folder, folder, log.policy)
    before = files_in(folder)
    # Comparing heads needs the tiles between; the mirror has them itself.
    done = follow(tmp_path / "old", folder, log.policy)
    assert done.head is not None
    assert (done.head.size, done.since) == (400, 400)
    assert files_in(folder) == before


@pytest.mark.parametrize("size", [0, 1, 256, 300])
@pytest.mark.parametrize("damaged", [False, True])
def test_a_mirror_is_checked_again_while_the_log_shows_an_older_copy(
    log: SimLog, tmp_path: Path, size: int, damaged: bool
) -> None:
    folder = tmp_path / "mirror"
    publish(log, size)
    shutil.copytree(log.folder, tmp_path / "old")
    publish(log, 600 - size)
    follow(log.folder, folder, log.policy)
    before = files_in(folder)
    state = tmp_path / "state" / "head"
    if damaged:
        SimLog(folder).damage("tile/envelopes/001", at=100)
        # Nobody has what is damaged: it is asked for again later, and the log is not blamed.
        with pytest.raises(TransportError):
            follow(tmp_path / "old", folder, log.policy, recheck=True, state=state)
        assert reports_in(folder) == []
        follow(log.folder, folder, log.policy, recheck=True, state=state)
    else:
        done = follow(tmp_path / "old", folder, log.policy, recheck=True, state=state)
        assert done.head is not None
        assert (done.head.size, done.complete) == (600, True)
    assert files_in(folder) == before
    # What the mirror knows is remembered for the next look, with or without the mirror.
    assert state.read_bytes() == log.note(600)


def test_what_others_remember_of_the_log_holds_for_the_mirror(log: SimLog, tmp_path: Path) -> None:
    state = tmp_path / "state" / "head"
    publish(log, 300)
    shutil.copytree(log.folder, tmp_path / "old")
    publish(log, 100)
    follow(log.folder, tmp_path / "one", log.policy, state=state)
    with pytest.raises(TransportError, match="an old copy, or a log that was rolled back") as caught:
        follow(tmp_path / "old", tmp_path / "two", log.policy, state=state)
    assert caught.value.reason == "stale"
    assert files_in(tmp_path / "two") == {}
