"""Supervision with real processes: started again when they end, stopped when told, one per validator on a
host."""

import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from touchplate.base.environment import Environment
from touchplate.base.errors import StorageError
from touchplate.log.peers import engine
from touchplate.log.peers.engine import (
    EngineMissingError,
    HostLock,
    Supervised,
    check_engine,
    install_engine,
    installed_path,
)

SECONDS = 30
SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]


def wait_for(condition: object, what: str) -> None:
    ended = threading.Event()
    for _ in range(SECONDS * 50):
        if condition():  # type: ignore[operator]
            return
        ended.wait(0.02)
    raise AssertionError(what)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1].startswith("Z")
    except FileNotFoundError:
        return True


def test_a_killed_process_is_started_again_until_it_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "FIRST_PAUSE_SECONDS", 0.01)
    supervised = Supervised(SLEEPER, tmp_path, tmp_path / "log")
    supervised.start()
    wait_for(lambda: supervised.pid, "never started")
    first = supervised.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: supervised.pid not in (None, first), "not started again")
    second = supervised.pid
    assert second is not None
    supervised.stop()
    supervised.stop()
    assert is_gone(second)
    assert supervised.starts == 2


def test_an_engine_that_hangs_when_it_should_end_is_killed_and_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(engine, "STOP_SECONDS", 0.2)
    supervised = Supervised(SLEEPER, tmp_path, tmp_path / "log")
    supervised.start()
    wait_for(lambda: supervised.pid, "never started")
    first = supervised.pid
    supervised.kick()
    supervised.kick()
    wait_for(lambda: supervised.pid not in (None, first), "not started again")
    supervised.stop()
    assert supervised.starts == 2


def test_a_program_that_cannot_start_does_not_spin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "FIRST_PAUSE_SECONDS", 600.0)
    supervised = Supervised(["/nonexistent/program"], tmp_path, tmp_path / "log")
    supervised.start()
    wait_for(lambda: (tmp_path / "log").exists(), "never tried")
    supervised.stop()
    assert supervised.starts <= 1


def test_output_is_kept_and_begun_anew_when_it_is_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "MAX_LOG_BYTES", 10)
    log = tmp_path / "engine.log"
    log.write_text("x" * 50)
    supervised = Supervised(SLEEPER, tmp_path, log)
    supervised.start()
    wait_for(lambda: log.exists() and log.read_text() == "up\n", "no output")
    supervised.stop()
    assert (tmp_path / "engine.old.log").read_text() == "x" * 50


def test_one_validator_runs_once_on_a_host_also_from_a_copied_folder(tmp_path: Path) -> None:
    lock = HostLock("ABCDEF-of-this-test", tmp_path / "one")
    for folder in ("one", "copy"):
        with pytest.raises(StorageError) as caught:
            HostLock("ABCDEF-of-this-test", tmp_path / folder)
        assert caught.value.reason == "locked"
    HostLock("ANOTHER-of-this-test", tmp_path / "copy").close()
    lock.close()
    HostLock("ABCDEF-of-this-test", tmp_path / "one").close()


def test_another_version_is_not_used(tmp_path: Path) -> None:
    program = tmp_path / "cometbft"
    program.write_text("#!/bin/sh\necho 0.39.0\n")
    program.chmod(0o755)
    with pytest.raises(EngineMissingError, match=r"0\.39\.0"):
        check_engine(program)
    with pytest.raises(EngineMissingError, match="no engine"):
        check_engine(tmp_path / "missing")
    program.write_text(f"#!/bin/sh\necho {engine.VERSION}\n")
    check_engine(program)


def test_says_what_to_do_without_an_engine_and_without_go(tmp_path: Path) -> None:
    with pytest.raises(EngineMissingError, match="install Go"):
        install_engine(Environment({"HOME": str(tmp_path), "PATH": str(tmp_path)}))
    with pytest.raises(EngineMissingError, match="engine = "):
        installed_path(Environment({}))


def test_a_build_that_fails_is_told(tmp_path: Path) -> None:
    go = tmp_path / "go"
    go.write_text("#!/bin/sh\necho 'no such module' >&2; exit 1\n")
    go.chmod(0o755)
    with pytest.raises(EngineMissingError, match="no such module"):
        install_engine(Environment({"HOME": str(tmp_path), "PATH": str(tmp_path)}))
