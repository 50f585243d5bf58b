"""Blobs of other peers: in which order they are asked, how long, and what is kept of it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from touchplate.api import peers
from touchplate.api.alarms import Alarms
from touchplate.api.blobs import BlobStore
from touchplate.api.errors import BusyError, NotFoundError, UpstreamError
from touchplate.api.peers import (
    ABSENT_SECONDS,
    GRACE_SECONDS,
    LAST_SECONDS,
    MIN_BYTES_PER_SECOND,
    GivenBlobs,
    PeerBlobs,
)
from touchplate.base.durable import DigestFolder

DATA = bytes(range(256)) * 1024
SHA256 = hashlib.sha256(DATA).hexdigest()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Holder:
    """A peer in memory: what it holds; `act` is done before each piece of 64 KiB; `fails`: it does not
    answer."""

    name: str
    held: dict[str, bytes] = field(default_factory=dict)
    act: Callable[[], None] = lambda: None
    fails: bool = False
    asked: int = 0

    def fetch(self, sha256: str, sink: Callable[[bytes], object], max_bytes: int) -> bool:
        """See `BlobHolder.fetch`."""
        self.asked += 1
        if self.fails:
            raise UpstreamError(f"{self.name} is down")
        data = self.held.get(sha256)
        for start in range(0, len(data or b""), 65_536):
            self.act()
            sink((data or b"")[start : start + 65_536])
        return data is not None


def store(folder: Path, holders: Sequence[Holder], clock: Clock | None = None) -> tuple[PeerBlobs, BlobStore]:
    blobs = BlobStore(DigestFolder(folder))
    return PeerBlobs(holders, blobs, Alarms(), clock=clock or Clock()), blobs


def test_a_blob_comes_with_all_its_digests_and_is_in_the_store(tmp_path: Path) -> None:
    made, blobs = store(tmp_path, [Holder("a"), Holder("b", {SHA256: DATA})])
    blob = made.obtain(SHA256)
    assert blob is not None
    assert (blob.size, blob.sha256, blob.sha1) == (len(DATA), SHA256, hashlib.sha1(DATA).hexdigest())
    assert blobs.path(SHA256).read_bytes() == DATA


def test_the_empty_blob_is_a_blob(tmp_path: Path) -> None:
    empty = hashlib.sha256(b"").hexdigest()
    made, blobs = store(tmp_path, [Holder("a", {empty: b""})])
    assert made.obtain(empty) is not None
    assert blobs.path(empty).read_bytes() == b""


def test_that_nobody_has_it_is_believed_for_a_while(tmp_path: Path) -> None:
    clock, holder = Clock(), Holder("a")
    made, _ = store(tmp_path, [holder], clock)
    assert made.obtain(SHA256) is None
    holder.held[SHA256] = DATA
    assert made.obtain(SHA256) is None
    assert holder.asked == 1
    clock.now += ABSENT_SECONDS
    assert made.obtain(SHA256) is not None


def test_a_peer_that_failed_is_asked_last_for_a_while(tmp_path: Path) -> None:
    clock, dead, good = Clock(), Holder("a", fails=True), Holder("b", {SHA256: DATA})
    made, _ = store(tmp_path, [dead, good], clock)
    for expected in (1, 1):
        assert made.obtain(SHA256) is not None
        assert dead.asked == expected
    clock.now += LAST_SECONDS
    assert made.obtain(SHA256) is not None
    assert (dead.asked, good.asked) == (2, 3)


def test_a_peer_that_is_too_slow_is_given_up(tmp_path: Path) -> None:
    clock = Clock()

    def drip() -> None:
        clock.now += 65_536 / MIN_BYTES_PER_SECOND * 2

    long = DATA * 16
    sha256 = hashlib.sha256(long).hexdigest()
    slow, quick = Holder("a", {sha256: long}, drip), Holder("b", {sha256: long})
    made, blobs = store(tmp_path, [slow, quick], clock)
    assert made.obtain(sha256) is not None
    assert (slow.asked, quick.asked) == (1, 1)
    assert blobs.path(sha256).read_bytes() == long


def test_a_peer_may_take_its_time_to_begin(tmp_path: Path) -> None:
    clock, waited = Clock(), [GRACE_SECONDS]

    def begin() -> None:
        clock.now += waited.pop() if waited else 0.0

    made, _ = store(tmp_path, [Holder("a", {SHA256: DATA}, begin)], clock)
    assert made.obtain(SHA256) is not None


def test_more_bytes_than_were_recorded_are_not_taken(tmp_path: Path) -> None:
    made, blobs = store(tmp_path, [Holder("a", {SHA256: DATA})])
    assert made.obtain(SHA256, len(DATA) - 1) is None
    assert not blobs.has(SHA256)
    # Whoever recorded a wrong size keeps the blob from nobody else.
    assert made.obtain(SHA256) is not None


def test_a_stop_breaks_off_what_is_being_fetched(tmp_path: Path) -> None:
    holder = Holder("a", {SHA256: DATA})
    made, blobs = store(tmp_path, [holder, Holder("b", {SHA256: DATA})])
    holder.act = made.stop
    assert made.obtain(SHA256) is None
    assert not blobs.has(SHA256)


def test_those_who_want_one_blob_share_one_fetch(tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def wait() -> None:
        begun.set()
        go_on.wait(30)

    holder = Holder("a", {SHA256: DATA}, wait)
    made, _ = store(tmp_path, [holder])
    found: list[object] = []
    first = threading.Thread(target=lambda: found.append(made.obtain(SHA256)))
    first.start()
    begun.wait(30)
    second = threading.Thread(target=lambda: found.append(made.obtain(SHA256)))
    second.start()
    go_on.set()
    first.join(30)
    second.join(30)
    assert found[0] is not None
    assert found[0] == found[1]
    assert holder.asked <= 2  # one, unless the second came after the end of the first


def test_nothing_is_given_that_no_recording_upstream_gave(tmp_path: Path) -> None:
    blobs = BlobStore(DigestFolder(tmp_path))
    with blobs.writer() as writer:
        writer.write(DATA)
        writer.commit()
    allowed: set[str] = set()
    given = GivenBlobs(blobs, allowed.__contains__)
    with pytest.raises(NotFoundError):
        given.file("a", SHA256)
    allowed.add(SHA256)
    path, size = given.file("a", SHA256)
    assert (path.read_bytes(), size) == (DATA, len(DATA))
    blobs.path(SHA256).write_bytes(DATA[:-1])
    with pytest.raises(NotFoundError):
        given.file("a", SHA256)


def test_each_peer_has_a_budget_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "REQUESTS_PER_MINUTE", 1)
    given = GivenBlobs(BlobStore(DigestFolder(tmp_path)), lambda sha256: False)
    for peer, error in (("a", NotFoundError), ("a", BusyError), ("b", NotFoundError)):
        with pytest.raises(error):
            given.file(peer, SHA256)
