"""The outbox: stored before sent, exactly the same bytes again after a crash."""

from pathlib import Path

import pytest

from touchplate.builder.attestation.outbox import Outbox
from touchplate.builder.errors import OutboxError


def test_a_parcel_survives_a_crash_byte_for_byte(tmp_path: Path) -> None:
    parcel = Outbox(tmp_path).put("pkg:x", [b"one", b"\x00two"], ["ab" * 32], "https://log.example.org")
    assert Outbox(tmp_path).waiting() == [parcel]


def test_done_parcels_wait_no_longer_and_keep_their_indexes(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    first, second = outbox.put("pkg:a", [b"a"], []), outbox.put("pkg:b", [b"b"], [])
    assert outbox.waiting() == [first, second]
    outbox.mark_done(first, [17])
    assert outbox.waiting() == [second]
    assert b'"indexes":["17"]' in (tmp_path / "done" / first.name).read_bytes()


def test_marking_twice_does_no_harm(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    parcel = outbox.put("pkg:a", [b"a"], [])
    outbox.mark_done(parcel, [1])
    outbox.mark_done(parcel, [1])
    assert outbox.waiting() == []


def test_refused_parcels_are_set_aside_with_the_reason(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    parcel = outbox.put("pkg:a", [b"a"], [])
    outbox.mark_refused(parcel, "unknown-key: not admitted")
    assert outbox.waiting() == []
    assert b"unknown-key" in (tmp_path / "refused" / parcel.name).read_bytes()


def test_signed_envelopes_are_for_their_owner_only(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    assert outbox.path(outbox.put("pkg:a", [b"a"], [])).stat().st_mode & 0o777 == 0o600


def test_a_damaged_parcel_is_named_never_skipped(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    path = outbox.path(outbox.put("pkg:a", [b"a"], ["ab" * 32]))
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(OutboxError, match=path.name):
            outbox.waiting()


def test_parcel_that_another_process_has_sent_is_known_by_its_indexes(tmp_path: Path) -> None:
    here, there = Outbox(tmp_path), Outbox(tmp_path)
    parcel = here.put("pkg:a", [b"a", b"b"], [])
    there.mark_done(parcel, [4, 5])
    assert here.waiting() == []
    assert here.indexes(parcel) == (4, 5)
    refused = here.put("pkg:b", [b"c"], [])
    there.mark_refused(refused, "no")
    with pytest.raises(OutboxError, match="refused"):
        here.indexes(refused)


def test_a_crash_between_noting_and_removing_sends_again(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    parcel = outbox.put("pkg:a", [b"a"], [])
    stored = outbox.path(parcel).read_bytes()
    outbox.mark_done(parcel, [4])
    outbox.path(parcel).write_bytes(stored)  # as if the process had died before it was removed
    assert Outbox(tmp_path).waiting() == [parcel]
    outbox.mark_done(parcel, [4])
    assert (outbox.waiting(), outbox.indexes(parcel)) == ([], (4,))


def test_opening_removes_what_crashed_writers_left(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    outbox.mark_refused(outbox.put("pkg:a", [b"a"], []), "no")
    waiting = outbox.put("pkg:b", [b"b"], [])
    for folder in (tmp_path, tmp_path / "done", tmp_path / "refused"):
        (folder / f".{waiting.name}.{'ab' * 8}.tmp").write_bytes(b"half")
    assert Outbox(tmp_path).waiting() == [waiting]
    assert list(tmp_path.rglob("*.tmp")) == []
