"""The world of `make e2e-docker`: an upstream registry, a node, keys of two operators, and images.

Everything lies in a temporary folder and listens on loopback; each process that is started here is ended
here, by its own id.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.images import Image
from tests.simkeys import ORIGIN, log_signer, verifier_key
from tests.verify.cases import rebuilder_block, recorder_block
from tests.verify.support import (
    OPERATOR_A,
    OPERATOR_B,
    RECORDER,
    make_provenance,
    sign,
    statement_signer,
)

from touchplate.api.docker.layout import image_purl
from touchplate.verify.keys import format_private_pem

ROOT = Path(__file__).resolve().parents[2]
TOUCHPLATE = ROOT / ".venv" / "bin" / "touchplate"
IDENTITY = "registry.example.org"
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
class Registry:
    """A registry on loopback that is pushed to."""

    port: int

    def push(self, name: str, tag: str, image: Image) -> None:
        """Blobs, children, then the manifest under its tag."""
        for child in image.children:
            self.push(name, child.digest, child)
        for hexdigest, data in image.blobs.items():
            self.blob(name, hexdigest, data)
        reply = request(
            self.port,
            "PUT",
            f"/v2/{name}/manifests/{tag}",
            image.manifest,
            {"Content-Type": image.media_type},
        )
        expect(reply.status == 201, f"the registry took no manifest: {reply.status} {reply.body[:300]!r}")

    def blob(self, name: str, hexdigest: str, data: bytes) -> None:
        """One blob: a session, then all at once."""
        begun = request(self.port, "POST", f"/v2/{name}/blobs/uploads/")
        expect(begun.status == 202, f"the registry begins no upload: {begun.status}")
        location = begun.headers["location"]
        path = location[location.index("/v2/") :]
        mark = "&" if "?" in path else "?"
        reply = request(self.port, "PUT", f"{path}{mark}digest=sha256:{hexdigest}", data)
        expect(reply.status == 201, f"the registry took no blob: {reply.status} {reply.body[:300]!r}")


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
    upstream: Registry
    node: int
    endings: list[Callable[[], None]] = field(default_factory=list)

    @property
    def host(self) -> str:
        """What stands before an image's name."""
        return f"127.0.0.1:{self.node}"

    def get(self, path: str, method: str = "GET", **headers: str) -> Reply:
        """Ask the node; header names with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return request(self.node, method, path, None, named)

    def rebuild(self, name: str, image: Image) -> None:
        """Both operators say in the log that they built this very manifest."""
        uri = image_purl(IDENTITY, name, image.hex)
        for operator, key in ((OPERATOR_A, "rebuilder-a"), (OPERATOR_B, "rebuilder-b")):
            payload = make_provenance(image.manifest, uri, operator=operator)
            entry = sign(payload, statement_signer(key))
            reply = request(self.node, "POST", "/log/add", entry.envelope)
            expect(reply.status == 200, f"the log took no entry: {reply.status} {reply.body[:300]!r}")

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


def write_node(folder: Path, node: int, upstream: int) -> Path:
    """Keys, lists and the node's configuration: images must be reproduced, tags of `pinned` stay."""
    both = ("oci",)
    blocks = [
        rebuilder_block(OPERATOR_A, "rebuilder-a", ecosystems=both),
        rebuilder_block(OPERATOR_B, "rebuilder-b", ecosystems=both),
        # Those who really rebuild, in another sandbox, under keys of their own.
        rebuilder_block(OPERATOR_A, "image-rebuilder-a", ecosystems=both).replace("bubblewrap", "runc"),
        rebuilder_block(OPERATOR_B, "image-rebuilder-b", ecosystems=both).replace("bubblewrap", "runc"),
        recorder_block(RECORDER, "recorder", ecosystems=both),
    ]
    private = {
        "log.key": log_signer().format() + "\n",
        "recorder.pem": format_private_pem(statement_signer("recorder")).decode(),
        "worker.token": "a worker's token for this run only\n",
    }
    for name, text in private.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    (folder / "admission.toml").write_text("\n".join(blocks))
    policy = f"log {verifier_key(log_signer())}\\nquorum none\\n"
    trust = f'[log]\npolicy = "{policy}"\n[levels.reproduced]\noperators = 2\n'
    (folder / "trust.toml").write_text(trust + "\n".join(blocks))
    upstreams = "\n".join(
        f"""
[[upstream]]
name = "{name}"
ecosystem = "oci"
identity = "{IDENTITY}"
url = "http://127.0.0.1:{upstream}"
record = true
allow_private = true
tags = "{tags}"
default = {default}
"""
        for name, tags, default in (("hub", "follow", "true"), ("pinned", "pin", "false"))
    )
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
[[gate.rule]]
ecosystem = "oci"
package = "pkg:oci/*?repository_url={IDENTITY}/team/free"
need = ["recorded"]
[[gate.rule]]
ecosystem = "oci"
need = ["reproduced"]
[[gate.rule]]
need = ["recorded"]
{upstreams}
"""
    )
    return config


@contextlib.contextmanager
def new_world() -> Iterator[World]:
    """A running upstream and a running node; both end at the end, and the folder goes."""
    program = tool("docker-registry")
    folder = Path(tempfile.mkdtemp(prefix="touchplate-oci-", dir="/var/tmp"))
    folder.chmod(0o711)  # builds run below it, as nobody that the host knows
    world = World(folder, Registry(free_port()), free_port())
    try:
        (folder / "registry.yml").write_text(
            "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
            f"storage: {{filesystem: {{rootdirectory: {folder}/registry}}, delete: {{enabled: true}}}}\n"
            f'http: {{addr: "127.0.0.1:{world.upstream.port}"}}\n'
        )
        world.start(
            "registry",
            [program, "serve", folder / "registry.yml"],
            lambda: request(world.upstream.port, "GET", "/v2/").status == 200,
        )
        config = write_node(folder, world.node, world.upstream.port)
        world.start(
            "node", [TOUCHPLATE, "serve", "--config", config], lambda: world.get("/v2/").status == 200
        )
        yield world
    finally:
        for ending in reversed(world.endings):
            ending()
        shutil.rmtree(folder, ignore_errors=True)


def errors_of(reply: Reply) -> dict[str, object]:
    """The first error of a registry's answer."""
    value = json.loads(reply.body)
    expect(isinstance(value, dict) and len(value.get("errors", [])) == 1, f"no error: {reply.body[:300]!r}")
    first: dict[str, object] = value["errors"][0]
    return first
