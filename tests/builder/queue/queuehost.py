"""A real node with a queue, a repository of small packages, and workers: all processes of their own."""

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.api.support import write_node
from tests.builder.mavenparts import publish
from tests.builder.rebuildparts import CONTENT, PACKAGE, Scene, scene, scripted
from tests.simkeys import solo_policy
from tests.verify.support import OPERATOR_A, statement_signer

from touchplate.base.http import AddressRules, HTTPClient
from touchplate.builder.attestation.evidence import EvidenceServer
from touchplate.builder.definitions.definition import make_definition
from touchplate.builder.definitions.path import definition_path
from touchplate.builder.queue.client import QueueClient
from touchplate.verify.client import LogClient
from touchplate.verify.entry import pack_entry
from touchplate.verify.jcs import parse_json
from touchplate.verify.keys import format_private_pem
from touchplate.verify.purl import parse_purl

LIB = "org/example/lib/1/lib-1.txt"
WORKER, ADMIN = "a-worker's-token-of-tests", "an-admin's-token-of-tests"
WAIT_SECONDS = 180

QUEUE = """
[queue]
lease = "2s"
max_lost = 100
retry = "1s"
[[queue.token]]
name = "shed"
token = "file:shed.token"
scopes = ["work"]
[[queue.token]]
name = "boss"
token = "file:boss.token"
scopes = ["admin"]
"""


@dataclass
class Process:
    """`touchplate ARGV`, ended by its own pid at the latest when the test ends."""

    argv: list[str]
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        command = [sys.executable, "-W", "error", "-m", "touchplate.verify", *self.argv]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self._reader = threading.Thread(
            target=lambda: self.lines.extend(self.child.stderr or ()), daemon=True
        )
        self._reader.start()

    def jobs(self) -> list[int]:
        """Process ids of the jobs that it runs."""
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{self.child.pid}/task").iterdir()
            return [int(pid) for task in text for pid in (task / "children").read_text().split()]
        return []

    def wait_ready(self) -> None:
        """Return once it said that it works: signals do nothing orderly before."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not any("working for" in line for line in self.lines):
            assert self.child.poll() is None, self.lines
            assert time.monotonic() < deadline, self.lines
            time.sleep(0.05)

    def end(self, how: signal.Signals) -> int:
        """Its exit code after the signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child.pid, how)
        return self.wait()

    def wait(self) -> int:
        """Its exit code once it ends."""
        code = self.child.wait(WAIT_SECONDS)
        self._reader.join(WAIT_SECONDS)
        for stream in (self.child.stdout, self.child.stderr):
            assert stream is not None
            stream.close()
        return code


@dataclass
class Host:
    """The node's address, and what workers are given."""

    url: str
    folder: Path
    open_folder: Path
    """Where builds may run: other uids can enter it, unlike pytest's folders."""
    upstream: str
    queue: QueueClient
    evidence: EvidenceServer
    script: bytes

    def log(self) -> list[bytes]:
        """The envelopes in the log, in order."""
        client = LogClient(f"{self.url}/log", solo_policy(), self.folder / "observer" / "head")
        return [entry.envelope for _, entry in client.entries(0)]

    def packed(self) -> list[bytes]:
        """The same, packed with their keys."""
        client = LogClient(f"{self.url}/log", solo_policy(), self.folder / "observer" / "head")
        return [pack_entry(entry) for _, entry in client.entries(0)]

    def make_definition(self, name: str) -> bytes:
        """A definition of its own of the one package, told apart by its name."""
        value = parse_json(self.script, max_bytes=1 << 20)
        assert isinstance(value, dict)
        return make_definition({**value, "name": name}).data

    def definition(self, name: str) -> bytes:
        """The same, stored as evidence."""
        data = self.make_definition(name)
        self.evidence.store(hashlib.sha256(data).hexdigest(), data)
        return data

    def worker_argv(self, number: int, *, slots: int = 2, log: str | None = None) -> list[str]:
        """The command of one worker with a data folder of its own."""
        return [
            "builder", "work", "--server", self.url, "--token-file", str(self.folder / "shed.token"),
            "--slots", str(slots), "--name", f"w{number}", "--key", str(self.folder / "rebuilder.pem"),
            "--operator", OPERATOR_A, "--upstream", self.upstream,
            "--data", str(self.data(number)),
            *(("--log", log) if log is not None else ()),
        ]  # fmt: skip

    def data(self, number: int) -> Path:
        """The data folder of a worker."""
        return self.open_folder / f"data{number}"

    def worker(self, number: int, *, slots: int = 2, log: str | None = None, twice: bool = False) -> Process:
        """One worker, until it is ended."""
        return Process([*self.worker_argv(number, slots=slots, log=log), *(("--twice",) if twice else ())])


@contextlib.contextmanager
def queue_host(folder: Path, *, rules: str | None = None, queue: str = QUEUE) -> Iterator[Host]:
    """A node on a free port; ended by SIGTERM, and in order.

    With `rules` for its gate, it serves the repository, one operator is enough for `reproduced`, and the
    definition of the one package is in its folder of definitions.
    """
    with scene() as one:
        config, script = write_host(folder, one, rules=rules, queue=queue)
        node = Process(["serve", "--config", str(config)])
        try:
            assert node.child.stdout is not None
            line = node.child.stdout.readline()
            found = re.search(r"ready at (http\S+)", line)
            assert found is not None, (line, node.lines)
            with opened_host(found[1], config, one, script) as host:
                yield host
        finally:
            code = node.end(signal.SIGTERM)
        assert code == 0, node.lines


def write_host(
    folder: Path, one: Scene, *, rules: str | None = None, queue: str = QUEUE, listen: str = "127.0.0.1:0"
) -> tuple[Path, bytes]:
    """The node's configuration with all that stands beside it, and a definition of the one package."""
    if rules is None:
        config = write_node(folder / "node", "http://127.0.0.1:1/repository", listen=listen)
        config.write_text(config.read_text() + queue)
    else:
        more = queue.replace("[queue]", '[queue]\ndefinitions = "definitions"', 1)
        config = write_node(folder / "node", one.url, rules=rules + more, levels="operators = 1")
    publish(one.repository, LIB, CONTENT)
    for name, text in (
        ("shed.token", WORKER),
        ("boss.token", ADMIN),
        ("rebuilder.pem", format_private_pem(statement_signer("rebuilder-a")).decode()),
    ):
        (config.parent / name).write_text(text)
        (config.parent / name).chmod(0o600)
    script = scripted(one, f"print('a line of the build')\njar(get({LIB!r}))").data
    if rules is not None:
        place = config.parent / "definitions" / definition_path(parse_purl(PACKAGE))
        place.parent.mkdir(parents=True)
        place.with_suffix(".json").write_bytes(script)
    return config, script


@contextlib.contextmanager
def opened_host(url: str, config: Path, one: Scene, script: bytes) -> Iterator[Host]:
    """The node at `url`, as an administrator sees it."""
    with HTTPClient(AddressRules(anything=True)) as client:
        queue = QueueClient(f"{url}/builder/jobs", client, ADMIN)
        evidence = EvidenceServer(f"{url}/builder/evidence", client, ADMIN)
        yield Host(url, config.parent, one.repository.parent, one.url, queue, evidence, script)
