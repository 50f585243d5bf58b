"""What the worlds of `make e2e-docker` and `make e2e-conan` share: processes, HTTP, and a node's files.

Everything lies in a temporary folder and listens on loopback; each process that is started here is ended
here, by its own id.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.simkeys import ORIGIN, log_signer, verifier_key
from tests.verify.support import RECORDER, statement_signer

from touchplate.verify.keys import format_private_pem

ROOT = Path(__file__).resolve().parents[2]
TOUCHPLATE = ROOT / ".venv" / "bin" / "touchplate"
START_SECONDS = 60
COMMAND_SECONDS = 180


class StepFailedError(Exception):
    """What was to be shown did not happen."""


class MissingToolError(Exception):
    """A client is not installed."""


def expect(condition: bool, message: str) -> None:
    """Fail the step with `message` unless `condition` holds."""
    if not condition:
        raise StepFailedError(message)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass(frozen=True)
class Output:
    """What a command printed, both streams together, and its exit code."""

    code: int
    text: str


@dataclass(frozen=True)
class Reply:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Upstream:
    """Where packages come from; it listens on loopback."""

    port: int


def request(
    port: int, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> Reply:
    """One HTTP exchange with loopback."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        named = {name.lower(): value for name, value in response.getheaders()}
        return Reply(response.status, named, response.read())
    finally:
        connection.close()


@dataclass
class World:
    """One run. `node` is the port of touchplate."""

    folder: Path
    upstream: Upstream
    node: int
    endings: list[Callable[[], None]] = field(default_factory=list)

    def get(self, path: str, method: str = "GET", **headers: str) -> Reply:
        """Ask the node; header names with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return request(self.node, method, path, None, named)

    def append(self, envelope: bytes) -> None:
        """Add a signed statement to the node's log, which has to take it."""
        reply = request(self.node, "POST", "/log/add", envelope)
        expect(reply.status == 200, f"the log took no entry: {reply.status} {reply.body[:300]!r}")

    def start_node(self, config: Path, path: str) -> None:
        """Start touchplate; it is up when it answers 200 for `path`."""
        self.start("node", [TOUCHPLATE, "serve", "--config", config], lambda: self.get(path).status == 200)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """At the end all processes end, the last first, and the folder goes."""
        try:
            yield
        finally:
            for ending in reversed(self.endings):
                ending()
            shutil.rmtree(self.folder, ignore_errors=True)

    def run(
        self, *command: str | Path, env: dict[str, str] | None = None, seconds: float = COMMAND_SECONDS
    ) -> Output:
        """A command to its end."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8", **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds,
            check=False,
        )
        return Output(done.returncode, done.stdout.decode("utf-8", "replace"))

    def start(
        self,
        name: str,
        command: Sequence[str | Path],
        is_up: Callable[[], bool],
        env: dict[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """A process that runs until the end; returns when `is_up`. Its output is in `<name>.log`."""
        with (self.folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(part) for part in command],
                cwd=self.folder,
                env={"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8", **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.endings.append(lambda: end(process))
        for _ in range(START_SECONDS * 10):
            if process.poll() is not None:
                raise StepFailedError(f"{name} ended with {process.returncode}:\n{self.told(name)}")
            with contextlib.suppress(OSError, http.client.HTTPException):
                if is_up():
                    return process
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
        raise StepFailedError(f"{name} is not up after {START_SECONDS} s:\n{self.told(name)}")

    def told(self, name: str) -> str:
        """The last lines of a process."""
        text = (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-15:])


def end(process: subprocess.Popen[bytes]) -> None:
    """Ask one process to end, then make it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def tool(name: str) -> str:
    """The path of a program. Raises MissingToolError."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if found is None:
        raise MissingToolError(name)
    return found


def new_folder(ecosystem: str) -> Path:
    """A temporary folder. Builds run below it as other users, who must pass."""
    folder = Path(tempfile.mkdtemp(prefix=f"touchplate-{ecosystem}-", dir="/var/tmp"))
    folder.chmod(0o711)
    return folder


def write_keys(folder: Path, token: str, blocks: Sequence[str], reproduced: str = "") -> None:
    """The node's keys, its admission list and its trust file, both with these `blocks` of operators.
    `reproduced`: more lines for that level."""
    private = {
        "log.key": log_signer().format() + "\n",
        "recorder.pem": format_private_pem(statement_signer("recorder")).decode(),
        "worker.token": token,
    }
    for name, text in private.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    (folder / "admission.toml").write_text("\n".join(blocks))
    policy = f"log {verifier_key(log_signer())}\\nquorum none\\n"
    trust = f'[log]\npolicy = "{policy}"\n[levels.reproduced]\noperators = 2\n{reproduced}'
    (folder / "trust.toml").write_text(trust + "\n".join(blocks))


def write_config(folder: Path, node: int, rules: str) -> Path:
    """The node's configuration. `rules`: the gate's rules and the upstreams, as TOML."""
    config = folder / "node.toml"
    config.write_text(
        f"""
data = "data"
[http]
listen = "127.0.0.1:{node}"
public_url = "http://127.0.0.1:{node}"
[log]
origin = "{ORIGIN}"
key = "file:log.key"
admission = "admission.toml"
[recorder]
operator = "{RECORDER}"
key = "file:recorder.pem"
[evidence]
token = "file:worker.token"
[gate]
trust = "trust.toml"
{rules}
"""
    )
    return config
