"""A PostgreSQL server of the tests' own: Debian's programs, a cluster in a temporary folder, ended by pid.

It runs as the unprivileged user of the package (PostgreSQL refuses root) and keeps fsync on, as real ones do.
It listens on a socket in its folder, where it lets everybody in, and on 127.0.0.1, where it wants a password.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

OLDEST = 15
"""What touchplate asks for."""

START_SECONDS = 60
STOP_SECONDS = 60
USER = "postgres"
"""Who it runs as when the tests run as root, and the name of its superuser in any case."""

PASSWORD = "a-password-of-tests"

HOW = "PostgreSQL 15 or newer is not here; `make setup` installs Debian's package `postgresql`"


class MissingError(Exception):
    """There is no PostgreSQL on this machine; the text says how to get it."""


def programs() -> Path:
    """The folder with `initdb` and `postgres`. Raises MissingError."""
    found = []
    for path in Path("/usr/lib/postgresql").glob("*/bin/postgres"):
        version = path.parent.parent.name
        if version.isdecimal() and int(version) >= OLDEST and (path.parent / "initdb").exists():
            found.append((int(version), path.parent))
    if not found:
        raise MissingError(HOW)
    return max(found)[1]


class Server:
    """One cluster. `start` and `stop` as often as wanted; `close` removes it."""

    def __init__(self) -> None:
        self._programs = programs()
        # Not below pytest's folders: those are closed to other users, and too long for a socket's name.
        self.folder = Path(tempfile.mkdtemp(prefix="touchplate-pg-"))
        self._data = self.folder / "data"
        self._user = USER if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        if os.getuid() == 0:
            shutil.chown(self.folder, USER, USER)
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        try:
            secret = self.folder / "password"
            secret.write_text(PASSWORD)
            secret.chmod(0o644)
            options = ["--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={secret}"]
            self._run("initdb", "-D", str(self._data), "-U", USER, "-E", "UTF8", "--locale=C", *options)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The first process of the server."""
        assert self._process is not None
        return self._process.pid

    def children(self) -> list[int]:
        """The server's other processes: one for each session, and its own helpers."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [int(word) for word in text.split()]

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            user=self._user if os.getuid() == 0 else None,
            group=USER if os.getuid() == 0 else None,
            extra_groups=[] if os.getuid() == 0 else None,
            cwd="/",
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{program} failed: {done.stdout}{done.stderr}")

    def start(self) -> None:
        """Start it and return when it answers."""
        settings = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "max_connections": "200",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        log = (self.folder / "server.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [str(self._programs / "postgres"), "-D", str(self._data), *options],
                user=self._user if os.getuid() == 0 else None,
                group=USER if os.getuid() == 0 else None,
                extra_groups=[] if os.getuid() == 0 else None,
                cwd="/",
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL did not start: {self.log()[-2000:]}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        command = [str(self._programs / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT: fast, in order. SIGQUIT: at once, as in a crash."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(STOP_SECONDS)
            self._process = None

    def kill(self) -> None:
        """SIGKILL to all its processes at once; returns when they are gone. Then `start` again."""
        # Stopped first: it would start another one between the look and the kill.
        os.kill(self.pid, signal.SIGSTOP)
        pids = self.children()
        for pid in (self.pid, *pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        assert self._process is not None
        self._process.wait(STOP_SECONDS)
        self._process = None
        deadline = time.monotonic() + STOP_SECONDS
        while any(map(_is_alive, pids)):
            if time.monotonic() > deadline:
                raise RuntimeError(f"processes {pids} of PostgreSQL do not end")
            time.sleep(0.01)

    def close(self) -> None:
        """Stop it and remove all of it."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    def log(self) -> str:
        """What the server wrote."""
        return (self.folder / "server.log").read_text(errors="replace")

    def url(self, database: str) -> str:
        """What stands in a configuration for a server on the same machine."""
        return f"postgresql+psycopg://{USER}@/{database}?host={self.folder}&port={self.port}"

    def remote_url(self, database: str) -> str:
        """The same for one elsewhere; it wants PASSWORD."""
        return f"postgresql+psycopg://{USER}@127.0.0.1:{self.port}/{database}"

    def make_database(self) -> str:
        """A new, empty database; its URL."""
        self._databases += 1
        name = f"test{self._databases}"
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    @staticmethod
    def name_of(url: str) -> str:
        """The database of such a URL."""
        return url.partition("?")[0].rpartition("/")[2]

    def sql(self, statement: str, database: str = USER) -> str:
        """What psql prints for a statement."""
        command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        command += ["-h", str(self.folder), "-p", str(self.port), "-U", USER, "-d", database, "-c", statement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{statement}: {done.stderr}")
        return done.stdout.strip()


def _is_alive(pid: int) -> bool:
    """Whether a process that is no child of ours still runs; a dead one may wait for its new parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
