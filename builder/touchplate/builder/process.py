"""Starting and ending processes: the only module that does.

A contained process is held at a gate until its limits are set, its output is read to the end but kept only
up to a cap, and when it ends or is stopped, everything that it started is dead and reaped before `run`
returns. The caller's thread does all the work: the kernel's parent-death signal follows the *thread* that
started the process, so that thread has to stay until the end.
"""

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from touchplate.base.environment import read_environment
from touchplate.builder.errors import HostLack
from touchplate.builder.limits import ControlGroups, set_resource_limits
from touchplate.builder.plan import Limits

TICK_SECONDS = 0.1
"""How often limits, the watcher and the clock are looked at while the process is silent."""

ENDING_SECONDS = 20.0
"""How long killed processes may take to disappear: a full disk or a frozen group shows as more than that."""

LINE_CHARS = 500
"""Longest line handed to the progress callback, in characters."""

LINES = 100_000
"""Lines handed to the progress callback in one run: real builds print up to 50,000, and a flood of empty ones
would keep the supervisor busier than the build."""

TAIL_BYTES = 4096
"""End of the output that is kept beside the capped log: a failing tool says why in its last lines."""

_READ_BYTES = 256 * 1024
_STATUS_BYTES = 64 * 1024
_PR_SET_CHILD_SUBREAPER = 36

# Waits for a line, then becomes the command. End of file instead means that the supervisor died.
# Standard error is opened anew: gVisor makes each of them non-blocking for itself, and with one description
# for both it would take that for the command's own wish, whose writes then fail when we are slow to read.
_GATE = 'read -r go && [ "$go" = go ] && exec "$@" </dev/null 2>/proc/self/fd/1'

# No variable of the supervisor reaches a sandbox, not even by /proc/1/environ.
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}


@dataclass(frozen=True)
class Contained:
    """A process to run under limits. `argv` is asked with the descriptor for `bwrap --json-status-fd`."""

    argv: Callable[[int], Sequence[str]]
    limits: Limits
    groups: ControlGroups
    umask: int
    own_uid: bool
    pass_fds: Sequence[int] = ()
    cpus: frozenset[int] = frozenset()
    """Processors that it may use; empty: all that the supervisor may."""


@dataclass(frozen=True)
class Outcome:
    """How it ended. `stopped` is the watcher's word, "timeout", or "" when the process ended by itself."""

    exit_code: int
    stopped: str
    log: bytes
    tail: bytes
    dropped_bytes: int
    seconds: float
    out_of_memory: bool
    status: dict[str, Any] = field(default_factory=dict)
    """What bubblewrap reported: `child-pid`, namespaces; `exit-code` if the command had been started."""
    full: Path | None = None
    """The folder whose disk was full, when it was stopped for that."""

    def but_stopped(self, word: str) -> "Outcome":
        """The same, but found too late to have been stopped for `word`."""
        return replace(self, stopped=word)


Watch = Callable[[], str]
"""Asked every tick; a non-empty word stops the process and becomes `Outcome.stopped`."""

OnLine = Callable[[str], None]


def run(contained: Contained, watch: Watch, on_line: OnLine) -> Outcome:
    """Run to the end, by itself or by force. Raises HostLack when it cannot be started or will not die."""
    _become_subreaper()
    status_read, status_write = os.pipe2(os.O_CLOEXEC)
    try:
        process = _start(contained, status_write)
    except OSError as error:
        os.close(status_read)
        raise HostLack(f"cannot start a sandbox: {error}", reason="cannot-start") from error
    finally:
        os.close(status_write)
    with process, os.fdopen(status_read, "rb", buffering=0) as status:
        watcher = _Watcher(process, status.fileno(), contained, on_line)
        try:
            _open_gate(process, contained)
            watcher.follow(watch)
        finally:
            watcher.end()
        return watcher.outcome()


def run_tool(argv: Sequence[str], *, seconds: float = 10.0) -> str:
    """Output of a short trusted tool (a version question); empty when it fails. Never for build commands."""
    try:
        done = subprocess.run(
            argv,
            env=_ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else ""


def run_installer(argv: Sequence[str], *, seconds: float) -> str:
    """Run a trusted tool that fetches by this machine's own settings (pip), to its end.

    Empty when all went well, else its last line of output. Never for build commands: it has the supervisor's
    environment, with its proxies and certificates.
    """
    try:
        done = subprocess.run(
            argv,
            env=dict(read_environment().variables),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
    except OSError as error:
        return f"{argv[0]}: {error.strerror}"
    except subprocess.TimeoutExpired:
        return f"{argv[0]} was not done after {seconds:g} seconds"
    return _last_words(done.stdout, done.returncode) if done.returncode else ""


def ask_tool(argv: Sequence[str], *, seconds: float) -> str:
    """What a trusted tool that fetches by this machine's own settings (apt) writes to standard output.

    Never for build commands: it has the supervisor's environment, with its proxies and certificates, but the
    C locale. Raises HostLack with its last line of errors.
    """
    name = argv[0].rpartition("/")[2]
    try:
        done = subprocess.run(
            argv,
            env={**read_environment().variables, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except OSError as error:
        raise HostLack(f"{name}: {error.strerror}", reason="tool-failed") from error
    except subprocess.TimeoutExpired as error:
        raise HostLack(f"{name} was not done after {seconds:g} seconds", reason="tool-failed") from error
    if done.returncode:
        raise HostLack(f"{name}: {_last_words(done.stderr, done.returncode)}", reason="tool-failed")
    return done.stdout.decode(errors="replace")


def _last_words(output: bytes, code: int) -> str:
    """Why a tool failed: the last line that it wrote, else its exit code."""
    lines = [line for line in output.splitlines() if line.strip()]
    return printable(lines[-1]) if lines else f"exit code {code}"


class Program:
    """Another part of touchplate as a process of its own: it reads `message`, and dies when its input ends.

    In a session of its own, so that a terminal's Ctrl-C reaches only us. Standard output and error are one.
    """

    def __init__(self, module: str, message: bytes) -> None:
        """Raises HostLack when it cannot be started."""
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                env=dict(read_environment().variables),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            raise HostLack(f"cannot start a process: {error.strerror}") from error
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it died already; `wait` says how
            self._process.stdin.write(message)
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def read(self) -> bytes:
        """The next output; empty at its end."""
        assert self._process.stdout is not None
        return os.read(self._process.stdout.fileno(), _READ_BYTES)

    @property
    def is_alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL; what it runs in sandboxes dies with it."""
        self._process.kill()

    def wait(self) -> int:
        """Its exit code, negative for a signal; lets go of its pipes."""
        with contextlib.suppress(BrokenPipeError), self._process:  # what it never read is nobody's now
            self._process.wait()
        return self._process.wait()


def _start(contained: Contained, status_write: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        # Signals as at boot: a supervisor under nohup or in a shell's background ignores some, and every
        # command below it would, too.
        ["/usr/bin/env", "--default-signal", "/bin/sh", "-c", _GATE, "sh", *contained.argv(status_write)],
        env=_ENVIRONMENT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        pass_fds=(*contained.pass_fds, status_write),
        cwd="/",
        umask=contained.umask,
        start_new_session=True,  # Ctrl-C is for the supervisor, which then ends the build in order
        bufsize=0,
    )


def _open_gate(process: "subprocess.Popen[bytes]", contained: Contained) -> None:
    try:
        if contained.cpus:
            os.sched_setaffinity(process.pid, contained.cpus)
        set_resource_limits(process.pid, contained.limits, contained.groups, own_uid=contained.own_uid)
        contained.groups.add(process.pid)
    except OSError as error:
        raise HostLack(f"cannot set the limits of a build: {error}", reason="no-limits") from error
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(b"go\n")
        process.stdin.close()


class _Watcher:
    """Reads output and status of one process, and ends it. Used by one thread."""

    def __init__(
        self, process: "subprocess.Popen[bytes]", status_fd: int, contained: Contained, on_line: OnLine
    ) -> None:
        assert process.stdout is not None
        self._process = process
        self._contained = contained
        self._output_fd = process.stdout.fileno()
        self._status_fd = status_fd
        self._log = _Log(contained.limits.log_bytes, on_line)
        self._status = bytearray()
        self._stopped = ""
        self._out_of_memory = False
        self._started = time.monotonic()
        self._inner: int | None = None  # pidfd of bubblewrap's process 1, open until it is gone
        self._inner_pid = 0
        self._exit_fd = os.pidfd_open(process.pid)
        self._selector = selectors.DefaultSelector()
        for descriptor in (self._output_fd, self._status_fd):
            os.set_blocking(descriptor, False)
            self._selector.register(descriptor, selectors.EVENT_READ)
        self._selector.register(self._exit_fd, selectors.EVENT_READ)

    def follow(self, watch: Watch) -> None:
        """Until the process ends by itself or has to be stopped."""
        deadline = self._started + self._contained.limits.wall_seconds
        while not self._stopped:
            ready = self._turn(TICK_SECONDS)
            if self._exit_fd in ready:
                return
            self._stopped = "timeout" if time.monotonic() >= deadline else watch()

    def end(self) -> None:
        """Kill what is left, wait until it is gone, read the rest of the output."""
        try:
            self._kill()
            self._drain()
        finally:
            self._selector.close()
            os.close(self._exit_fd)
            if self._inner is not None:
                os.close(self._inner)
            self._process.wait()
            self._out_of_memory = self._contained.groups.was_out_of_memory()

    def outcome(self) -> Outcome:
        return Outcome(
            exit_code=_shell_code(self._process.returncode),
            stopped=self._stopped,
            log=self._log.text(),
            tail=bytes(self._log.tail),
            dropped_bytes=self._log.dropped,
            seconds=time.monotonic() - self._started,
            out_of_memory=self._out_of_memory,
            status=_parse_status(bytes(self._status)),
        )

    def _turn(self, seconds: float) -> set[int]:
        ready = {key.fd for key, _ in self._selector.select(seconds)}
        if self._output_fd in ready:
            self._read_output()
        if self._status_fd in ready:
            self._read_status()
        return ready

    def _read_output(self) -> bool:
        with contextlib.suppress(BlockingIOError):
            if data := os.read(self._output_fd, _READ_BYTES):
                self._log.add(data)
                return True
            self._forget(self._output_fd)
        return False

    def _read_status(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._status_fd, _STATUS_BYTES)
            if not data or len(self._status) > _STATUS_BYTES:
                self._forget(self._status_fd)
            self._status += data
        child = _parse_status(bytes(self._status)).get("child-pid")
        if self._inner is None and isinstance(child, int):
            with contextlib.suppress(ProcessLookupError):
                self._inner = os.pidfd_open(child)
                self._inner_pid = child

    def _forget(self, descriptor: int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(descriptor)

    def _kill(self) -> None:
        self._read_status()
        deadline = time.monotonic() + ENDING_SECONDS
        while True:
            # The outer bubblewrap's death kills process 1 of the namespace (die-with-parent), and that one's
            # death everything inside; the groups catch what is killed before bubblewrap has got that far.
            self._process.kill()
            self._contained.groups.kill()
            self._process.wait()
            self._read_status()  # it may have said what it started just before it died
            if self._is_inner_gone() and self._is_rest_gone() and not self._contained.groups.members():
                return
            if time.monotonic() >= deadline:
                raise HostLack("processes of a killed build do not end", reason="processes-left")
            time.sleep(0.002)

    def _is_inner_gone(self) -> bool:
        if self._inner is None:
            return True
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._inner, signal.SIGKILL)
        gone = _is_readable(self._inner)
        if gone:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._inner_pid, os.WNOHANG)  # we are its reaper, see _become_subreaper
        return gone

    def _is_rest_gone(self) -> bool:
        """Reap what bubblewrap had started and not named yet, when it was killed while it started: that is
        still in its process group, and ours since it is dead. Else its uid would count as taken."""
        with contextlib.suppress(ChildProcessError):  # there is none
            while os.waitpid(-self._process.pid, os.WNOHANG)[0]:
                pass
            os.killpg(self._process.pid, signal.SIGKILL)  # a living child holds the group's number
            return False
        return True

    def _drain(self) -> None:
        # Every writer is dead, so this ends: the pipe holds 64 KiB and then end of file.
        while self._read_output():
            pass
        self._read_status()


class _Log:
    """Keeps the first `cap` bytes and a short tail, and hands on lines while below the cap."""

    def __init__(self, cap: int, on_line: OnLine) -> None:
        self._kept = bytearray()
        self._cap = cap
        self._on_line = on_line
        self._line = bytearray()
        self._lines_left = LINES
        self.tail = bytearray()
        self.dropped = 0

    def add(self, data: bytes) -> None:
        room = max(self._cap - len(self._kept), 0)
        self._kept += data[:room]
        self.dropped += max(len(data) - room, 0)
        self.tail = (self.tail + data)[-TAIL_BYTES:]
        if room and self._lines_left:
            self._lines(data[:room])

    def text(self) -> bytes:
        """The log; for once, at the end. The pieces are given up for it: a log is not held twice for longer
        than it takes to copy it."""
        kept, self._kept = self._kept, bytearray()
        if self.dropped:
            kept += f"\n[cut after {self._cap} bytes; {self.dropped} more were not kept]\n".encode()
        return bytes(kept)

    def _lines(self, data: bytes) -> None:
        *whole, rest = data.split(b"\n", self._lines_left)
        self._lines_left -= len(whole)
        for part in whole:
            self._on_line(printable(bytes(self._line) + part))
            self._line.clear()
        # A line may be as long as the log: keep what is shown of it, no more.
        self._line = (self._line + rest)[: 4 * LINE_CHARS]


def printable(line: bytes) -> str:
    """One line of a build's output as safe text: no control characters or escapes, cut to LINE_CHARS."""
    text = line[: 4 * LINE_CHARS].decode(errors="replace").rstrip("\r").replace("\t", "    ")
    return "".join(one if one.isprintable() else "·" for one in text)[:LINE_CHARS]


def _parse_status(data: bytes) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for line in data.splitlines():
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                merged.update(value)
    return merged


def _is_readable(descriptor: int) -> bool:
    with selectors.DefaultSelector() as selector:
        selector.register(descriptor, selectors.EVENT_READ)
        return bool(selector.select(0))


def _shell_code(code: int) -> int:
    return 128 - code if code < 0 else code


def _become_subreaper() -> None:
    # Process 1 of the namespace outlives the outer bubblewrap by a moment and would be left to the host's
    # init; as sub-reaper we get it, can wait for it, and leave no zombie (prctl(2)).
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
