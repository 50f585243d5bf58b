"""Following logs that lie, fall back or break: the mirror stays as it was, and a report says why."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.log.mirrors import follow, publish, reports_in, wrong_with
from tests.simkeys import ORIGIN, witness_signer
from tests.simlog import SimLog, serving
from tests.verify.cases import badly_signed

from touchplate.verify.checkpoints import sign_checkpoint
from touchplate.verify.errors import (
    DamageError,
    ForkError,
    MalformedError,
    PolicyError,
    SignatureError,
    TransportError,
    VerifyError,
)
from touchplate.verify.forks import open_report

OLD, NEW = 300, 600


@pytest.fixture
def log(tmp_path: Path) -> SimLog:
    return SimLog(tmp_path / "log")


@pytest.fixture
def mirror(log: SimLog, tmp_path: Path) -> Path:
    """A mirror of the log's first 300 entries."""
    publish(log, OLD)
    follow(log.folder, tmp_path / "mirror", log.policy)
    return tmp_path / "mirror"


def unchanged(mirror: Path, log: SimLog, size: int = OLD) -> bool:
    """Whether the mirror still is the log of that size, whole."""
    return (mirror / "checkpoint").read_bytes() == log.note(size) and wrong_with(mirror, log.policy) == []


# --- forks ---


@pytest.mark.parametrize("at", [0, 1, 255, 256, 257, 299])
@pytest.mark.parametrize("size", [300, 301, 511, 512, 600])
def test_a_fork_is_reported_and_not_followed(
    log: SimLog, mirror: Path, tmp_path: Path, at: int, size: int
) -> None:
    other = publish(log.fork(tmp_path / "other", at), size - at, "other ")
    for _ in range(2):
        with pytest.raises(ForkError, match="the report is in ") as caught:
            follow(other.folder, mirror, log.policy)
        assert caught.value.kept is not None
        report = open_report(Path(caught.value.kept).read_bytes(), log.policy)
        assert report.old is not None
        assert (report.finding, report.old.size, report.new.size) == ("fork", OLD, size)
    assert reports_in(mirror) == [f"fork-log.example.org-{size}"]
    assert unchanged(mirror, log)
    # The honest log is followed on.
    publish(log, 10)
    follow(log.folder, mirror, log.policy)
    assert unchanged(mirror, log, OLD + 10)


@pytest.mark.parametrize(("at", "size"), [(0, 1), (0, 299), (100, 101), (255, 256), (256, 299)])
def test_a_shorter_fork_is_proven_by_the_mirrors_own_tiles(
    log: SimLog, mirror: Path, tmp_path: Path, at: int, size: int
) -> None:
    other = publish(log.fork(tmp_path / "other", at), size - at, "other ")
    with pytest.raises(ForkError) as caught:
        follow(other.folder, mirror, log.policy)
    report = open_report(Path(caught.value.kept or "").read_bytes(), log.policy)
    assert report.old is not None
    assert (report.old.size, report.new.size) == (size, OLD)
    assert unchanged(mirror, log)


def test_a_fork_of_what_others_remember_is_reported_beside_the_mirror(
    log: SimLog, mirror: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state" / "head"
    follow(log.folder, mirror, log.policy, state=state)
    other = publish(log.fork(tmp_path / "other", 5), NEW, "other ")
    with pytest.raises(ForkError):
        follow(other.folder, tmp_path / "new mirror", log.policy, state=state)
    assert reports_in(tmp_path / "new mirror") == [f"fork-log.example.org-{NEW + 5}"]
    assert not (tmp_path / "new mirror/checkpoint").exists()


def test_a_third_history_has_a_report_of_its_own(log: SimLog, mirror: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        other = publish(log.fork(tmp_path / name, 5), NEW, name)
        with pytest.raises(ForkError):
            follow(other.folder, mirror, log.policy)
    assert reports_in(mirror) == [f"fork-log.example.org-{NEW + 5}"] * 2


# --- damage ---

FILES = (
    "tile/0/001",
    "tile/0/002.p/88",
    "tile/1/000.p/2",
    "tile/entries/001",
    "tile/entries/002.p/88",
    "tile/envelopes/001",
    "tile/envelopes/002.p/88",
)
"""What a log of 600 entries has and one of 300 has not."""


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


CHANGES: dict[str, Callable[[bytes], bytes]] = {
    "flipped": flip,
    "first byte": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "last byte": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "cut": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "empty": lambda data: b"",
    "twice": lambda data: data[: len(data) // 2] * 2,
}


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("change", CHANGES)
def test_damage_is_reported_and_not_mirrored(log: SimLog, mirror: Path, path: str, change: str) -> None:
    publish(log, NEW - OLD)
    log.write(path, CHANGES[change]((log.folder / path).read_bytes()))
    with pytest.raises((DamageError, TransportError)) as caught:
        follow(log.folder, mirror, log.policy)
    if isinstance(caught.value, DamageError):
        report = open_report(Path(caught.value.kept or "").read_bytes(), log.policy)
        assert report.old is not None
        assert (report.finding, report.old.size, report.new.size) == ("damage", OLD, NEW)
        assert reports_in(mirror) == [f"damage-log.example.org-{NEW}"]
    else:  # longer than such a file can be: not even read
        assert (caught.value.reason, change, path) == ("too-large", "longer", "tile/0/001")
    assert unchanged(mirror, log)
    # Once the log serves what it signed, the mirror goes on.
    log.publish()
    follow(log.folder, mirror, log.policy)
    assert unchanged(mirror, log, NEW)


@pytest.mark.parametrize("path", ["tile/0/000", "tile/0/001", "tile/0/002.p/88", "tile/1/000.p/2"])
def test_every_tile_is_compared_also_those_that_no_proof_needs(
    log: SimLog, tmp_path: Path, path: str
) -> None:
    publish(log, NEW)
    for at in (0, len((log.folder / path).read_bytes()) - 1):
        log.damage(path, at)
        with pytest.raises(DamageError):
            follow(log.folder, tmp_path / f"mirror-{at}", log.policy)
        assert not (tmp_path / f"mirror-{at}" / "checkpoint").exists()
        log.damage(path, at)
    follow(log.folder, tmp_path / "mirror", log.policy)


def test_a_whole_other_tree_under_the_signed_head_is_refused_at_its_first_bundle(
    log: SimLog, mirror: Path, tmp_path: Path
) -> None:
    other = publish(log.fork(tmp_path / "other", OLD), 2000, "other ")
    publish(log, 2000)
    other.write("checkpoint", log.note())
    with pytest.raises(DamageError):
        follow(other.folder, mirror, log.policy)
    assert unchanged(mirror, log)
    assert not (mirror / "tile/entries/002").exists()


def test_an_entry_that_its_key_did_not_sign_is_not_mirrored(log: SimLog, mirror: Path) -> None:
    log.add(badly_signed())
    log.publish()
    with pytest.raises(DamageError, match="the entry at index 300 is not signed by its key"):
        follow(log.folder, mirror, log.policy)
    assert unchanged(mirror, log)


def test_a_report_is_written_once_for_each_head(log: SimLog, mirror: Path) -> None:
    publish(log, NEW - OLD)
    log.damage("tile/entries/001")
    kept = set()
    for _ in range(3):
        with pytest.raises(DamageError) as caught:
            follow(log.folder, mirror, log.policy)
        kept.add((caught.value.kept, Path(caught.value.kept or "").stat().st_ino))
    assert len(kept) == 1


# --- what may be better next time ---


@pytest.mark.parametrize("path", FILES)
def test_a_head_that_is_ahead_of_its_files_is_waited_for(log: SimLog, mirror: Path, path: str) -> None:
    publish(log, NEW - OLD)
    data = (log.folder / path).read_bytes()
    (log.folder / path).unlink()
    with pytest.raises(TransportError):
        follow(log.folder, mirror, log.policy)
    assert unchanged(mirror, log)
    assert reports_in(mirror) == []
    log.write(path, data)
    follow(log.folder, mirror, log.policy)
    assert unchanged(mirror, log, NEW)


def test_a_head_far_ahead_of_everything_costs_nothing(log: SimLog, mirror: Path) -> None:
    log.write("checkpoint", sign_checkpoint(ORIGIN, 2**62, b"\1" * 32, log.signer))
    with pytest.raises(TransportError):
        follow(log.folder, mirror, log.policy)
    assert unchanged(mirror, log)


def test_a_log_that_grows_and_then_shrinks_takes_nothing_back(log: SimLog, mirror: Path) -> None:
    publish(log, 300)
    follow(log.folder, mirror, log.policy)
    for size in (599, 300, 1, 0):
        log.truncate(size)
        done = follow(log.folder, mirror, log.policy)
        assert done.head is not None
        assert done.head.size == NEW
    assert wrong_with(mirror, log.policy) == []


@pytest.mark.parametrize("note", [b"", b"nonsense\n", b"log.example.org\n1\n", b"x" * (2 << 20)])
def test_a_checkpoint_that_is_none_changes_nothing(log: SimLog, mirror: Path, note: bytes) -> None:
    log.write("checkpoint", note)
    with pytest.raises((MalformedError, TransportError)):
        follow(log.folder, mirror, log.policy)
    assert unchanged(mirror, log)


def test_a_checkpoint_that_nobody_vouches_for_changes_nothing(log: SimLog, mirror: Path) -> None:
    publish(log, 5)
    good = log.note()
    log.write("checkpoint", flip(good))
    with pytest.raises((SignatureError, MalformedError)):
        follow(log.folder, mirror, log.policy)
    witnessed = SimLog(log.folder, witnesses=(witness_signer("w.example.org"),))
    log.write("checkpoint", good)
    with pytest.raises(PolicyError):
        follow(log.folder, mirror.with_name("other"), witnessed.policy)
    assert unchanged(mirror, log)
    assert reports_in(mirror) == []


# --- over HTTP ---


@contextmanager
def flooding(log: SimLog, endless: str) -> Iterator[str]:
    """Serve a log, one path of which has no end."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.removeprefix("/")
            self.send_response(200)
            self.end_headers()
            try:
                if path != endless:
                    self.wfile.write((log.folder / path).read_bytes())
                    return
                while True:
                    self.wfile.write(b"x" * 65_536)
            except OSError:  # the reader went away, as it should
                return

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize("path", ["checkpoint", *FILES])
def test_a_file_without_end_is_not_taken(log: SimLog, mirror: Path, path: str) -> None:
    publish(log, NEW - OLD)
    with flooding(log, path) as url, pytest.raises(TransportError) as caught:
        follow(url, mirror, log.policy)
    assert caught.value.reason == "too-large"
    assert unchanged(mirror, log)


def test_damage_is_found_over_http_too(log: SimLog, mirror: Path) -> None:
    publish(log, NEW - OLD)
    log.damage("tile/envelopes/001", at=1000)
    with serving(log) as served, pytest.raises(VerifyError):
        follow(served.url, mirror, log.policy)
    assert unchanged(mirror, log)


def test_what_stands_where_a_file_should_be_is_no_trap(log: SimLog, mirror: Path) -> None:
    """A folder that is followed is as foreign as a server."""
    publish(log, NEW - OLD)
    path = log.folder / "tile/entries/001"
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(TransportError, match="no regular file"):
        follow(log.folder, mirror, log.policy)
    assert unchanged(mirror, log)
