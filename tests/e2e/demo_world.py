"""The demo's world: folders, keys, processes and requests. No step and no verdict is in here."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import textwrap
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path.home() / ".cache" / "touchplate"  # tools of the demo's Maven client; may be deleted at any time
ORIGIN = "log.demo.example"
GROUP_PATH = "org/apache/commons/commons-lang3"
PACKAGE = "pkg:maven/org.apache.commons/commons-lang3@3.17.0?type=jar"
OTHER_VERSION = "pkg:maven/org.apache.commons/commons-lang3@3.18.0?type=jar"
JAR = "commons-lang3-3.17.0.jar"
OPERATORS = ("https://one.example", "https://two.example")
START_SECONDS = 60  # a cold start of the node on a busy machine
COMMAND_SECONDS = 600  # one rebuild on a busy machine, five times what it takes on an idle one


class StepFailedError(Exception):
    """What the demo wanted to show did not happen."""


def expect(condition: bool, message: str) -> None:
    """Fail the step with `message` unless `condition` holds."""
    if not condition:
        raise StepFailedError(message)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True)
class Answer:
    """What a command or a request gave back: its result, and what it told people beside it (stderr)."""

    code: int
    text: str
    told: str = ""

    @property
    def last_words(self) -> str:
        """The end of what it said, for a message about why a step failed."""
        return (self.text.strip() + "\n" + self.told.strip()).strip()[-800:]

    def shows(self, needle: str) -> bool:
        return needle in self.text


@dataclass
class World:
    """One run of the demo. `sabotage` names the one thing that is broken on purpose, or is empty."""

    folder: Path
    operators: Path
    sabotage: str = ""
    storage: str = "sqlite"
    """Where the service keeps its log."""
    store: str = ""
    """A further line of the table [log] of the service."""
    node: subprocess.Popen[bytes] | None = None
    facts: dict[str, object] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    endings: list[Callable[[], None]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def evidence(self) -> Path:
        return self.folder / "evidence"

    @property
    def touchplate(self) -> Path:
        """The full installation: operators and the service."""
        return ROOT / ".venv" / "bin" / "touchplate"

    @property
    def auditor(self) -> Path:
        """The base install: the wheel and `cryptography`, nothing else."""
        return ROOT / "build" / "auditor" / "venv" / "bin" / "touchplate"

    def on_exit(self, ending: Callable[[], None]) -> None:
        """Call `ending` when the demo is over, whatever its outcome."""
        self.endings.append(ending)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text).lstrip(), encoding="utf-8")
        return path

    def run(self, *command: str | Path, live: bool = False, cwd: Path | None = None) -> Answer:
        """Run a command to its end; `live` lets its progress through to the terminal."""
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd or self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if live else subprocess.PIPE,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        told = (done.stderr or b"").decode("utf-8", "replace")
        return Answer(done.returncode, done.stdout.decode("utf-8", "replace"), told)

    def get(self, path: str) -> Answer:
        return self.request(urllib.request.Request(self.url + path))

    def post(self, path: str, body: bytes) -> Answer:
        return self.request(urllib.request.Request(self.url + path, data=body, method="POST"))

    @staticmethod
    def request(request: urllib.request.Request) -> Answer:
        direct = urllib.request.build_opener(
            urllib.request.ProxyHandler({})
        )  # loopback, whatever the environment says
        try:
            with direct.open(request, timeout=60) as response:
                return Answer(response.status, response.read().decode("utf-8", "replace"))
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.read().decode("utf-8", "replace"))

    def download(self, path: str, target: Path) -> Path:
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        target.parent.mkdir(parents=True, exist_ok=True)
        with direct.open(self.url + path, timeout=60) as response:
            target.write_bytes(response.read())
        return target

    def start_node(self) -> None:
        log = (self.folder / "node.log").open("ab")
        with log:
            self.node = subprocess.Popen(
                [str(self.touchplate), "serve", "--config", str(self.folder / "node.toml")],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        waited = 0.0
        while waited < START_SECONDS:
            if self.node.poll() is not None:
                raise StepFailedError(f"the service ended with {self.node.returncode}:\n{self.node_log()}")
            try:
                if self.get("/log/checkpoint").code == 200:
                    return
            except (urllib.error.URLError, OSError):
                pass
            try:
                self.node.wait(0.1)
            except subprocess.TimeoutExpired:
                waited += 0.1
        raise StepFailedError(f"the service did not answer within {START_SECONDS} s:\n{self.node_log()}")

    def node_log(self) -> str:
        path = self.folder / "node.log"
        return (
            "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-15:])
            if path.exists()
            else ""
        )

    def stop_node(self) -> int:
        """Ask the service to stop; its exit code. 0 when it was not running."""
        if self.node is None:
            return 0
        node, self.node = self.node, None
        node.send_signal(signal.SIGTERM)
        try:
            return node.wait(30)
        except subprocess.TimeoutExpired:
            node.kill()
            return node.wait()

    def offline(self, *command: str | Path) -> list[str]:
        """The command inside an empty network namespace, where this user may make one."""
        prefix = ["unshare", "--net"] if os.geteuid() == 0 else []
        return [*prefix, *(str(part) for part in command)]


@contextmanager
def new_world(folder: Path, sabotage: str = "") -> Iterator[World]:
    """An empty folder at the start, no process left behind at the end.

    The operators' folders lie elsewhere: builds run under uids of their own, which may not be able to enter
    the place where this checkout lies.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    operators = Path(tempfile.mkdtemp(prefix="touchplate-demo-", dir="/var/tmp"))
    operators.chmod(0o755)
    world = World(folder, operators, sabotage)
    world.on_exit(lambda: shutil.rmtree(operators, ignore_errors=True))
    try:
        yield world
    finally:
        world.stop_node()
        for ending in world.endings:
            ending()


def commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def say(text: str) -> None:
    print(text, flush=True)


def as_json(answer: Answer) -> dict[str, object]:
    try:
        value = json.loads(answer.text)
    except json.JSONDecodeError:
        value = None
    expect(isinstance(value, dict), f"not a JSON object: {answer.text[:300]} {answer.told[-300:]}")
    assert isinstance(value, dict)
    return value


def table(rows: list[tuple[str, str]]) -> str:
    width = max(len(left) for left, _ in rows)
    return "\n".join(f"  {left:<{width}}  {right}" for left, right in rows)
