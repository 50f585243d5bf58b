"""The consensus engine as a process: the right version of CometBFT, kept running beside its application.

The only place beside builder/process that starts processes. The engine ends by itself when the
application's socket closes, and dies with the process that started it, so it never outlives the peer; it is
started again whenever it ends while it should run.
"""

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from logging import getLogger
from pathlib import Path
from threading import Condition, Thread
from typing import BinaryIO

from touchplate.base.durable import FileLock, make_folder
from touchplate.base.environment import Environment, read_environment
from touchplate.base.errors import StorageError
from touchplate.log.errors import LogError

VERSION = "0.38.26"
"""The one version that this application was tried with."""

MODULE = f"github.com/cometbft/cometbft/cmd/cometbft@v{VERSION}"

FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 15.0
"""Pauses before the engine is started again: doubled each time, so that a broken one does not fill the
log."""

STEADY_SECONDS = 30.0
"""An engine that ran this long is started again at once when it ends."""

STOP_SECONDS = 10.0
"""After SIGTERM, before SIGKILL. What it votes is on disk before it is sent, so a kill costs nothing but a
replay."""

INSTALL_SECONDS = 1800.0
"""A cold build took three and a half minutes on a busy machine of two cores."""

MAX_LOG_BYTES = 8 * 1024 * 1024
"""Beyond it the engine's output is begun anew at its next start; the one before is kept beside it."""

logger = getLogger(__name__)


class EngineMissingError(LogError):
    """The engine is not installed, or is another version."""

    default_reason = "engine-missing"


def installed_path(environment: Environment | None = None) -> Path:
    """Where the engine is installed for this user. Raises EngineMissingError when there is no home folder."""
    cache = (environment or read_environment()).cache_folder
    if cache is None:
        raise EngineMissingError("there is no home folder to keep the engine in: name one with `engine = …`")
    return cache / "touchplate" / "cometbft" / f"v{VERSION}" / "cometbft"


def install_engine(
    environment: Environment | None = None, progress: Callable[[str], None] | None = None
) -> Path:
    """The engine's path, after building it from the Go module proxy if it is not there. Takes minutes, once.

    Raises EngineMissingError.
    """
    environment = environment or read_environment()
    path = installed_path(environment)
    if not path.exists():
        go = environment.find_program("go")
        if go is None:
            raise EngineMissingError(
                f"CometBFT {VERSION} is not installed and there is no go to build it: install Go 1.22 or"
                f" newer, or put the program at {path}"
            )
        if progress is not None:
            progress(f"building CometBFT {VERSION} (once; some minutes)")
        make_folder(path.parent)
        settings = [f"GOBIN={path.parent}", "GOTOOLCHAIN=local", "GOFLAGS=", "CGO_ENABLED=0"]
        command = [str(go), "install", "-trimpath", "-ldflags=-s -w", MODULE]
        _run(["/usr/bin/env", *settings, *command], INSTALL_SECONDS, cwd=path.parent)
    check_engine(path)
    return path


def check_engine(path: Path) -> None:
    """Raise EngineMissingError unless the program at `path` is there and of the right version."""
    if not path.is_file():
        raise EngineMissingError(f"there is no engine at {path}; `touchplate peer init` builds it")
    found = _run([str(path), "version"], 30.0, cwd=path.parent).strip()
    if found != VERSION:
        raise EngineMissingError(f"{path} is version {found[:40]!r}; this peer needs CometBFT {VERSION}")


def _run(argv: Sequence[str], seconds: float, *, cwd: Path) -> str:
    try:
        done = subprocess.run(
            argv,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineMissingError(f"{argv[0]} did not run: {error}") from error
    if done.returncode:
        raise EngineMissingError(f"{' '.join(argv)[:200]} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


class HostLock:
    """One engine per validator key on this host: a key that votes in two places votes twice.

    By a name in the kernel's abstract namespace, so that a copied folder is noticed as well, and nothing is
    left after a crash. It ends with the process.
    """

    def __init__(self, address: str, home: Path) -> None:
        """Raises StorageError `locked`."""
        self._file = FileLock(home / "validator.lock")
        self._name = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._name.bind(f"\0touchplate-validator-{address}")
        except OSError:
            self.close()
            raise StorageError(
                f"another process on this host runs the validator {address}: stop that one first",
                reason="locked",
            ) from None

    def close(self) -> None:
        """Let go. Safe to call twice."""
        self._name.close()
        self._file.close()


class Supervised:
    """A process that is started again when it ends, until `stop`."""

    def __init__(self, argv: Sequence[str], cwd: Path, log: Path) -> None:
        """`log`: file that its output goes to."""
        # An engine waits for ever for an application that was gone before they met, and may hang in its own
        # stopping when one vanishes: it has to die with us, and KILL costs it nothing but a replay.
        # The kernel watches the thread that starts it, and that one stays until its end.
        keeper = read_environment().find_program("setpriv")
        self._argv = [*([str(keeper), "--pdeathsig", "KILL"] if keeper else []), *argv]
        self._cwd = cwd
        self._log = log
        self._changed = Condition()
        self._stopping = False  # under _changed
        self._process: subprocess.Popen[bytes] | None = None  # under _changed
        self._kicked: subprocess.Popen[bytes] | None = None  # under _changed
        self._thread: Thread | None = None
        self.starts = 0

    @property
    def pid(self) -> int | None:
        """The process that runs now."""
        with self._changed:
            return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Start, and keep it running."""
        self._thread = Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def kick(self) -> None:
        """It should end by itself now; if it does not within `STOP_SECONDS`, it is killed. Does not wait."""
        with self._changed:
            process = self._process
            if process is None or process is self._kicked:
                return
            self._kicked = process
        Thread(target=self._kill_later, args=(process,), name="engine-kick", daemon=True).start()

    def _kill_later(self, process: "subprocess.Popen[bytes]") -> None:
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            logger.warning("the engine should have ended and did not; it is killed")
            process.kill()

    def stop(self) -> None:
        """End it, for good. Safe to call twice."""
        with self._changed:
            self._stopping = True
            if self._process is not None:
                self._process.terminate()
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        while True:
            began = time.monotonic()
            code = self._run_once()
            with self._changed:
                if self._stopping:
                    return
                if time.monotonic() - began > STEADY_SECONDS:
                    pause = FIRST_PAUSE_SECONDS
                logger.warning(
                    "the engine ended with %s; it is started again in %g s (%s)", code, pause, self._log
                )
                self._changed.wait_for(lambda: self._stopping, pause)
                if self._stopping:
                    return
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _run_once(self) -> int | str:
        try:
            output = self._open_log()
        except OSError as error:
            return f"no log file: {error.strerror}"
        with output:
            with self._changed:
                if self._stopping:
                    return 0
                try:
                    # A session of its own: Ctrl-C is for the peer, which then ends its engine in order.
                    self._process = subprocess.Popen(
                        self._argv,
                        cwd=self._cwd,
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=subprocess.STDOUT,
                        start_new_session=True,
                    )
                except OSError as error:
                    return f"no start: {error.strerror}"
                self.starts += 1
                process = self._process
            code = self._wait(process)
        with self._changed:
            self._process = None
        return code

    def _wait(self, process: "subprocess.Popen[bytes]") -> int:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(STOP_SECONDS)
            with self._changed:
                if self._stopping:
                    process.kill()

    def _open_log(self) -> BinaryIO:
        if self._log.exists() and self._log.stat().st_size > MAX_LOG_BYTES:
            self._log.replace(self._log.with_suffix(".old.log"))
        return self._log.open("ab")
