"""What an operator does to a log: backup while it is written, freeze, a new key, numbers."""

import os
import shutil
import signal
import sqlite3
import threading
import time
import tomllib
from contextlib import closing
from pathlib import Path

import pytest
from tests.log.face import Face
from tests.log.frontends.support import until as until_true
from tests.log.mirrors import follow, wrong_with
from tests.log.operated import Operated, note_in
from tests.log.support import record_envelope
from tests.simkeys import ORIGIN, log_signer, solo_policy

from touchplate.base.errors import ConfigError
from touchplate.base.sql import copy_sqlite, sqlite_engine
from touchplate.log.errors import CheckpointError, FrozenError
from touchplate.log.keys import LogKeys
from touchplate.verify.checkpoints import open_checkpoint
from touchplate.verify.client import LogClient
from touchplate.verify.encoding import format_time
from touchplate.verify.errors import MalformedError, SignatureError, TrustError
from touchplate.verify.notes import format_verifier_key, parse_signer_key
from touchplate.verify.policy import Policy, parse_policy

# --- backup -----------------------------------------------------------------------------------------------


def test_a_backup_of_a_log_that_is_written_is_a_whole_log_of_that_moment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, file = Operated(tmp_path / "log"), tmp_path / "copy.sqlite"
    with log.running() as service:
        service.append([record_envelope(number) for number in range(500)])
        stop = threading.Event()

        def write() -> None:
            number = 500
            while not stop.is_set():
                service.append([record_envelope(number)])
                number += 1

        writer = threading.Thread(target=write)
        writer.start()
        try:
            told = log.told(capsys, "backup", str(file))
        finally:
            stop.set()
            writer.join()
        size = int(told["size"])
        assert 500 <= size <= service.reader.size()
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".copy")]
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT tree_size FROM heads").fetchone() == (size,)
        assert connection.execute("SELECT count(*) FROM leaves").fetchone() == (size,)


def test_each_step_of_a_backup_sees_the_same_state(tmp_path: Path) -> None:
    """Commits between its steps, which would be in a copy that begins again, are not in this one."""
    engine = sqlite_engine(tmp_path / "one.sqlite")
    with closing(sqlite3.connect(tmp_path / "one.sqlite")) as other:
        other.execute("CREATE TABLE t (x)")
        other.executemany("INSERT INTO t VALUES (zeroblob(100000))", [()] * 400)
        other.commit()
        steps: list[int] = []

        def write(done: int, pages: int) -> None:
            steps.append(done)
            other.execute("INSERT INTO t VALUES (zeroblob(100000))")
            other.commit()

        copy_sqlite(engine, tmp_path / "copy.sqlite", write)
    assert len(steps) > 1
    assert steps == sorted(steps)
    with closing(sqlite3.connect(tmp_path / "copy.sqlite")) as copy:
        assert copy.execute("SELECT count(*) FROM t").fetchone() == (400,)
    engine.dispose()


def test_a_damaged_database_makes_no_backup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, file = Operated(tmp_path / "log"), tmp_path / "copy.sqlite"
    log.append(0, 3)
    with closing(sqlite3.connect(log.database)) as connection, connection:
        connection.execute("UPDATE leaves SET packed = x'00' WHERE leaf_index = 1")
    assert log.run("backup", str(file)) == 2
    assert "fsck has 1 findings in the copy (envelope 1" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [log.folder]
    file.write_bytes(b"kept")
    assert log.run("backup", str(file)) == 2
    assert file.read_bytes() == b"kept"


def test_a_restored_backup_is_refused_until_it_is_brought_forward(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The whole of OPERATING.md's "After a loss": backup, loss, restore, import, go on."""
    log, file, folder = Operated(tmp_path / "log"), tmp_path / "copy.sqlite", tmp_path / "export"
    log.append(0, 300)
    assert log.run("backup", str(file)) == 0
    note = log.append(300, 310)
    assert log.run("export", str(folder)) == 0
    for path in log.data.glob("log.sqlite*"):
        path.unlink()
    shutil.copy(file, log.database)
    with pytest.raises(
        CheckpointError, match="has 300 entries, but this log has published a checkpoint of 310"
    ):
        log.append(310, 311)
    assert log.run("import", str(folder)) == 0
    with log.running() as service:
        assert service.checkpoint() == note
    log.append(310, 311)
    assert log.findings() == []


# --- freeze -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_running_log_that_is_frozen_takes_nothing_new_and_answers_the_rest(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Operated(tmp_path, "sqlite" if kind == "sqlite" else request.getfixturevalue("database"))
    with log.running() as service:
        service.append([record_envelope(number) for number in range(3)])
        note = service.checkpoint()
        assert log.told(capsys, "freeze") == {"frozen": True, "origin": ORIGIN, "size": "3"}
        for number in (3, 4, 5):
            with pytest.raises(FrozenError):
                service.append([record_envelope(number)])
        face = Face(service)
        refused = face("POST", "add", content=record_envelope(6))
        assert (refused.status_code, refused.json()["reason"]) == (403, "frozen")
        known = face("POST", "add", content=record_envelope(1))
        assert (known.status_code, known.text) == (200, "1")
        assert face.get("proof/consistency?old=1&new=3").status_code == 200
        face.close()
        assert service.checkpoint() == note
    assert log.run("freeze") == 0
    with log.running() as service, pytest.raises(FrozenError):
        service.append([record_envelope(3)])
    assert log.told(capsys, "stats")["state"] == "frozen"
    assert log.told(capsys, "freeze", "--undo")["frozen"] is False
    assert log.append(3, 4).splitlines()[1] == b"4"
    assert log.run("freeze", "--undo") == 2
    assert log.findings() == []


@pytest.mark.parametrize(
    "command",
    [("freeze",), ("import", "folder"), ("export", "folder"), ("rotate-key", "--new-key", "new.key")],
)
def test_nobody_decides_alone_about_a_log_of_peers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: tuple[str, ...]
) -> None:
    log = Operated(tmp_path)
    log.append(0, 1)
    log.write(more='mode = "peers"\n')
    assert log.run(*command) == 2
    assert "not for a log of several peers" in capsys.readouterr().err
    assert not Path("new.key").exists()


def test_a_database_without_a_log_is_not_frozen(tmp_path: Path) -> None:
    assert Operated(tmp_path).run("freeze") == 2


# --- stats ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_stats_say_size_state_and_signers(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    log = Operated(tmp_path, "sqlite" if kind == "sqlite" else request.getfixturevalue("database"))
    log.append(0, 300)
    told = log.told(capsys, "stats")
    assert (told["size"], told["checkpointSize"], told["state"]) == ("300", "300", "active")
    assert told["signedBy"] == [format_verifier_key(log_signer().key)]
    # Each entry is there once as leaf data and once packed.
    assert int(told["bytes"]) > 300 * len(record_envelope(0))
    assert log.run("stats") == 0
    assert "signed by" in capsys.readouterr().out


# --- a new key --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_readers_go_on_through_a_change_of_keys(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """The three readers: one who never heard of it, one who has both lines, one who has only the new line."""
    log = Operated(tmp_path / "log", "sqlite" if kind == "sqlite" else request.getfixturevalue("database"))
    folder, mirror = tmp_path / "export", tmp_path / "mirror"
    log.append(0, 3)
    assert log.run("export", str(folder)) == 0
    told = log.told(capsys, "rotate-key", "--new-key", str(log.folder / "new.key"))
    assert (log.folder / "new.key").stat().st_mode & 0o777 == 0o600
    new = parse_signer_key((log.folder / "new.key").read_text())
    old_only, both = solo_policy(), parse_policy("\n".join([*told["policy"], "quorum none", ""]))
    new_only = solo_policy(new)
    assert [each.key for each in both.logs] == [new.key, log_signer().key]
    states = {name: tmp_path / name for name in ("old", "both")}
    _read(folder, old_only, states["old"], 3)
    _read(folder, both, states["both"], 3)
    follow(folder, mirror, both)

    until = format_time(int(time.time()) + 3600)
    log.write("new.key", f'[log.retiring]\nkey = "file:log.key"\nuntil = "{until}"\n')
    with log.running() as service:
        # Also without an entry: an idle log tells its readers.
        until_true(lambda: _signers(service.checkpoint(), both) == 2)
        service.append([record_envelope(3)])
    assert log.run("export", str(folder)) == 0
    _read(folder, old_only, states["old"], 4)
    _read(folder, both, states["both"], 4)
    _read(folder, new_only, tmp_path / "new", 4)
    follow(folder, mirror, both)

    log.write("new.key")
    log.append(4, 5)
    assert log.run("export", str(folder)) == 0
    assert _signers(note_in(folder), both) == 1
    # What both remember is signed by both keys.
    _read(folder, new_only, states["both"], 5)
    assert follow(folder, mirror, new_only).since == 4
    assert wrong_with(mirror, new_only) == []
    with pytest.raises(SignatureError, match="not signed by a log of the policy"):
        _read(folder, old_only, states["old"], 5)
    assert log.findings() == []


def test_a_reader_who_changes_too_late_is_told_and_keeps_its_memory(tmp_path: Path) -> None:
    log, folder = Operated(tmp_path / "log"), tmp_path / "export"
    log.append(0, 3)
    assert log.run("export", str(folder)) == 0
    _read(folder, solo_policy(), tmp_path / "state", 3)
    assert log.run("rotate-key", "--new-key", str(log.folder / "new.key")) == 0
    until = format_time(int(time.time()) + 3600)
    log.write("new.key", f'[log.retiring]\nkey = "file:log.key"\nuntil = "{until}"\n')
    log.append(3, 4)
    assert log.run("export", str(folder)) == 0
    log.write("new.key")
    log.append(4, 5)
    assert log.run("export", str(folder)) == 0
    new = parse_signer_key((log.folder / "new.key").read_text())
    with pytest.raises(TrustError, match="does not satisfy the policy"):
        _read(folder, solo_policy(new), tmp_path / "state", 5)
    lines = [f"log {format_verifier_key(key)}" for key in (new.key, log_signer().key)]
    _read(folder, parse_policy("\n".join([*lines, "quorum none", ""])), tmp_path / "state", 5)


def test_the_old_key_signs_until_its_time_is_over(tmp_path: Path) -> None:
    now = [100.0]
    keys = LogKeys(log_signer("new"), log_signer(), 200, lambda: now[0])
    assert [signer.key for signer in keys.signers] == [log_signer("new").key, log_signer().key]
    now[0] = 200.0
    assert [signer.key for signer in keys.signers] == [log_signer("new").key]
    assert len(keys.known) == 2
    log = Operated(tmp_path)
    log.append(0, 3)
    (tmp_path / "new.key").write_text(log_signer("new").format() + "\n")
    (tmp_path / "new.key").chmod(0o600)
    log.write("new.key", '[log.retiring]\nkey = "file:log.key"\nuntil = "2020-01-01T00:00:00Z"\n')
    with log.running() as service:  # what the old one signed is still this log's own
        open_checkpoint(service.checkpoint(), solo_policy(log_signer("new")))
        with pytest.raises(SignatureError):
            open_checkpoint(service.checkpoint(), solo_policy())


def test_a_key_is_not_changed_without_an_overlap(tmp_path: Path) -> None:
    log = Operated(tmp_path)
    log.append(0, 3)
    (tmp_path / "new.key").write_text(log_signer("new").format() + "\n")
    (tmp_path / "new.key").chmod(0o600)
    log.write("new.key")
    with pytest.raises(CheckpointError, match="not signed by the configured key"):
        log.append(3, 4)
    log.write("log.key", '[log.retiring]\nkey = "file:log.key"\nuntil = "2030-01-01T00:00:00Z"\n')
    with pytest.raises(MalformedError, match="is to retire and to go on"):
        log.append(3, 4)
    log.write("log.key", '[log.retiring]\nkey = "file:new.key"\nuntil = "tomorrow"\n')
    with pytest.raises(ConfigError, match="until"):
        log.append(3, 4)


def test_rotate_key_touches_no_file_that_is_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = Operated(tmp_path)
    key = (tmp_path / "log.key").read_bytes()
    assert log.told(capsys, "rotate-key", "--new-key", str(tmp_path / "log.key"), code=2)["error"] == (
        f"{tmp_path / 'log.key'} exists; choose another name"
    )
    assert (tmp_path / "log.key").read_bytes() == key
    late = ("--until", "2020-01-01T00:00:00Z")
    assert log.run("rotate-key", "--new-key", str(tmp_path / "new.key"), *late) == 64
    assert not (tmp_path / "new.key").exists()


@pytest.mark.parametrize("where", ["new.key", "keys/new.key", "../elsewhere/new.key"])
def test_rotate_key_prints_settings_that_lead_to_the_key_wherever_it_was_called(
    where: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Operated(tmp_path / "here")
    log.append(0, 1)
    (log.folder / where).parent.mkdir(exist_ok=True)
    monkeypatch.chdir((log.folder / where).parent)
    capsys.readouterr()
    assert log.run("rotate-key", "--new-key", "new.key") == 0
    printed = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("log ")]
    settings = "\n".join(printed).replace("…the old key…", "file:log.key")
    _, table, retiring = settings.partition("[log.retiring]")
    log.write(tomllib.loads(settings)["log"]["key"].removeprefix("file:"), table + retiring)
    assert _signers(log.append(1, 2), parse_policy(_lines(capsys, log))) == 2


def _lines(capsys: pytest.CaptureFixture[str], log: Operated) -> str:
    """A policy with the keys that signed the newest checkpoint."""
    keys = log.told(capsys, "stats")["signedBy"]
    return "".join(f"log {key}\n" for key in keys) + "quorum none\n"


def _read(folder: Path, policy: Policy, state: Path, size: int) -> None:
    """What a client does that remembers heads in `state`."""
    client = LogClient(folder, policy, state)
    assert client.checkpoint().size == size


def _signers(note: bytes, policy: Policy) -> int:
    return len(open_checkpoint(note, policy).log_keys)


# --- [log.export] -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_log_that_exports_itself_is_in_its_folder_when_it_stops(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    log = Operated(tmp_path, "sqlite" if kind == "sqlite" else request.getfixturevalue("database"))
    log.write(more='[log.export]\nfolder = "public"\ninterval = "1s"\n')
    for start, end in ((0, 300), (300, 301)):
        note = log.append(start, end)
        assert note_in(tmp_path / "public") == note
        assert wrong_with(tmp_path / "public", solo_policy()) == []
    with log.running() as service:
        assert log.run("export", str(tmp_path / "public")) == 2  # it is being written
        service.append([record_envelope(301)])


def test_an_export_that_follows_ends_when_waiting_cannot_help(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log, other = Operated(tmp_path / "one"), Operated(tmp_path / "other")
    log.append(0, 3)
    other.append(1, 4)
    assert other.run("export", str(tmp_path / "public")) == 0
    # Else it would be stopped by this, in an orderly way and with code 0.
    guard = threading.Timer(60, os.kill, (os.getpid(), signal.SIGTERM))
    guard.start()
    try:
        code = log.run("export", str(tmp_path / "public"), "--follow", "--interval", "1s")
    finally:
        guard.cancel()
    assert code == 2
    assert "another history" in capsys.readouterr().err
