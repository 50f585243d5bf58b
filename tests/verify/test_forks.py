"""Reports of forks: a file that proves two histories to anybody, and is written once."""

import json
import os
import stat
from pathlib import Path

import pytest
from tests.simkeys import log_signer, solo_policy
from tests.simlog import SimLog

from touchplate.verify.checkpoints import open_checkpoint
from touchplate.verify.client import LogClient
from touchplate.verify.encoding import encode_base64
from touchplate.verify.errors import ForkError, MalformedError, ProofError, SignatureError, VerifyError
from touchplate.verify.forks import (
    MAX_REPORT_BYTES,
    damage_report,
    fork_report,
    keep_report,
    open_report,
)
from touchplate.verify.jcs import JSONValue, format_json
from touchplate.verify.notes import MAX_NOTE_BYTES

SIZE = 7


@pytest.fixture
def log(tmp_path: Path) -> SimLog:
    made = SimLog(tmp_path / "log")
    made.grow(SIZE)
    made.publish()
    return made


def forked(log: SimLog, at: int, size: int) -> SimLog:
    other = log.fork(log.folder.with_name(f"other-{at}-{size}"), at)
    other.grow(size - at, "other ")
    other.publish()
    return other


def reported(log: SimLog, other: SimLog) -> ForkError:
    """What a client says that saw `log` and then `other`; its report is beside the state."""
    state = log.folder.with_name("state") / "head"
    LogClient(log.folder, log.policy, state).checkpoint()
    with pytest.raises(ForkError) as caught:
        LogClient(other.folder, log.policy, state).checkpoint()
    return caught.value


@pytest.mark.parametrize("at", [0, 1, 3, 4, 6])
@pytest.mark.parametrize("size", [SIZE, SIZE + 1, SIZE + 2, 16, 300])
def test_the_report_of_a_fork_is_kept_and_proves_it(log: SimLog, at: int, size: int) -> None:
    error = reported(log, forked(log, at, size))
    assert error.kept is not None
    assert error.kept in str(error)
    path = Path(error.kept)
    assert path.name.startswith(f"fork-log.example.org-{size}-")
    report = open_report(path.read_bytes(), log.policy)
    assert report.old is not None
    assert (report.finding, report.old.size, report.new.size) == ("fork", SIZE, size)
    assert report.old.root == log.root()


def test_the_first_report_of_a_fork_stays(log: SimLog) -> None:
    other = forked(log, 3, 9)
    kept = Path(reported(log, other).kept or "")
    before = kept.read_bytes(), kept.stat().st_ino
    assert reported(log, other).kept == str(kept)
    assert (kept.read_bytes(), kept.stat().st_ino) == before
    third = forked(log, 2, 9)
    assert reported(log, third).kept != str(kept)
    assert sorted(path.name for path in kept.parent.glob("*.json*")) == sorted(
        path.name for path in kept.parent.glob("fork-log.example.org-9-????????.json")
    )


def test_a_report_is_on_disk_with_its_folders_before_it_is_named(
    log: SimLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, synced = os.fsync, []

    def noting_fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        synced.append("report" if path.suffix == ".tmp" else path.name)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    head = open_checkpoint(log.note(), log.policy)
    keep_report(tmp_path / "new" / "reports", damage_report(None, head, "x"))
    assert synced == [tmp_path.name, "new", "report", "reports"]


def test_a_report_that_cannot_be_kept_does_not_hide_the_fork(log: SimLog) -> None:
    other = forked(log, 3, 9)
    blocked = log.folder.with_name("blocked")
    blocked.write_bytes(b"a file where a folder should be")
    client = LogClient(log.folder, log.policy, reports=blocked)
    client.checkpoint()
    log.write("checkpoint", other.note())
    for path in other.folder.rglob("*"):
        if path.is_file():
            log.write(str(path.relative_to(other.folder)), path.read_bytes())
    with pytest.raises(ForkError, match=r"the report could not be kept: .*blocked") as caught:
        client.checkpoint()
    assert caught.value.kept is None


def test_without_a_folder_the_evidence_is_only_raised(log: SimLog) -> None:
    other = forked(log, 3, 9)
    client = LogClient(other.folder, log.policy)
    old, new = (open_checkpoint(each.note(), log.policy) for each in (log, other))
    with pytest.raises(ForkError) as caught:
        client.check_prefix(old, new)
    assert (caught.value.kept, caught.value.not_kept) == (None, None)
    assert open_report(format_json(caught.value.evidence), log.policy).finding == "fork"


def test_reports_can_be_read_by_others(log: SimLog) -> None:
    previous = os.umask(0o022)
    try:
        kept = Path(reported(log, forked(log, 3, 9)).kept or "")
    finally:
        os.umask(previous)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o644


def test_damage_is_reported_and_proves_nothing(log: SimLog, tmp_path: Path) -> None:
    head = open_checkpoint(log.note(), log.policy)
    for old in (None, open_checkpoint(log.note(3), log.policy)):
        path = keep_report(tmp_path / "reports", damage_report(old, head, "tile/0/000.p/7 has a wrong hash"))
        report = open_report(path.read_bytes(), log.policy)
        assert (report.finding, report.old, report.new) == ("damage", None, head)  # the first one stays
        assert report.what == "tile/0/000.p/7 has a wrong hash"


def test_honest_heads_make_no_fork(log: SimLog) -> None:
    new = open_checkpoint(log.note(), log.policy)
    for size in (0, 1, 3, 4, SIZE):
        old = open_checkpoint(log.note(size), log.policy)
        for derived in (None, old.root, new.root, b"\0" * 32):
            with pytest.raises(VerifyError):
                open_report(format_json(fork_report(old, new, derived)), log.policy)
            with pytest.raises(VerifyError):
                open_report(format_json(fork_report(new, old, derived)), log.policy)


def report_of(log: SimLog) -> dict[str, JSONValue]:
    value: dict[str, JSONValue] = json.loads(Path(reported(log, forked(log, 3, 9)).kept or "").read_bytes())
    return value


@pytest.mark.parametrize(
    "change",
    [
        {"mediaType": "text/plain"},
        {"finding": "perhaps"},
        {"finding": "damage"},
        {"origin": "other.example.org"},
        {"proof": []},
        {"proof": ["AAAA"]},
        {"proof": "AAAA"},
        {"derivedRoot": "AAAA"},
        {"what": 1},
        {"new": {}},
        {"more": 1},
    ],
)
def test_a_changed_report_is_refused(log: SimLog, change: dict[str, JSONValue]) -> None:
    with pytest.raises((MalformedError, ProofError)):
        open_report(format_json({**report_of(log), **change}), log.policy)


@pytest.mark.parametrize(
    "change", [{"proof": [encode_base64(b"\1" * 32)]}, {"derivedRoot": encode_base64(b"\1" * 32)}]
)
def test_two_roots_of_one_size_need_no_proof_and_take_none(log: SimLog, change: dict[str, JSONValue]) -> None:
    report = json.loads(Path(reported(log, forked(log, 3, SIZE)).kept or "").read_bytes())
    assert open_report(format_json(report), log.policy).finding == "fork"
    with pytest.raises(ProofError) as caught:
        open_report(format_json({**report, **change}), log.policy)
    assert caught.value.reason == "no-fork"


@pytest.mark.parametrize(
    "missing", ["mediaType", "finding", "origin", "what", "new", "old", "proof", "derivedRoot"]
)
def test_an_incomplete_report_is_refused(log: SimLog, missing: str) -> None:
    report = report_of(log)
    del report[missing]
    with pytest.raises(MalformedError):
        open_report(format_json(report), log.policy)


def test_sizes_and_roots_beside_the_notes_say_the_same(log: SimLog) -> None:
    for part in ("old", "new"):
        report = report_of(log)
        head = report[part]
        assert isinstance(head, dict)
        report[part] = {**head, "size": "8"}
        with pytest.raises(MalformedError, match="another size or root"):
            open_report(format_json(report), log.policy)


def test_a_report_about_another_log_is_refused(log: SimLog) -> None:
    data = format_json(report_of(log))
    with pytest.raises(SignatureError):
        open_report(data, solo_policy(log_signer("another")))


def test_the_largest_notes_fit_into_a_report() -> None:
    assert MAX_REPORT_BYTES > 2 * MAX_NOTE_BYTES
    with pytest.raises(MalformedError):
        open_report(b" " * (MAX_REPORT_BYTES + 1), solo_policy())
