"""A log in memory for the index, and a whole node in this process for everything that speaks HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.base.support import Handler, Server, running
from tests.simkeys import ORIGIN, log_signer, verifier_key
from tests.verify.cases import default_blocks
from tests.verify.support import RECORDER, statement_signer

from touchplate.node.app import ASGI, make_app
from touchplate.node.config import NodeConfig, load_config
from touchplate.node.wiring import Node
from touchplate.verify.entry import Entry, pack_entry
from touchplate.verify.keys import format_private_pem

GROUP = "org/example/lib"
JAR = f"{GROUP}/1.0/lib-1.0.jar"


class ListLog:
    """An `EntrySource` over a list."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        self.packed = [pack_entry(entry) for entry in entries]

    def entries_after(self, count: int) -> list[tuple[int, bytes]]:
        """Two at a time, so that followers have to ask again."""
        return list(enumerate(self.packed))[count : count + 2]

    def wait_for_growth(self, size: int, timeout_seconds: float) -> int:
        """Never waits."""
        return len(self.packed)


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()


def call(
    app: ASGI, path: str, *, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Answer:
    """One request to an ASGI application, without a server."""
    path, _, query = path.partition("?")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 80),
        "extensions": {},
    }
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))  # type: ignore[arg-type]
    start = next(message for message in sent if message["type"] == "http.response.start")
    named = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    return Answer(start["status"], named, b"".join(message.get("body", b"") for message in sent))


@dataclass
class Upstream:
    """A real server on loopback with files that tests may change; `asked` counts GETs by path."""

    server: Server
    files: dict[str, bytes] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Its root."""
        return self.server.url("/repository")

    def put(self, path: str, body: bytes) -> None:
        """Serve `body` at `path` from now on."""
        self.act(path, lambda handler: handler.reply(200, body))

    def act(self, path: str, action: Callable[[Handler], None]) -> None:
        """Answer `path` by `action` from now on."""
        self.server.actions[f"/repository/{path}"] = action

    def asked(self, path: str) -> int:
        """How often `path` was fetched."""
        return self.server.requests.count(("GET", f"/repository/{path}"))


@dataclass
class World:
    """A node that runs in this process, over an upstream on loopback."""

    folder: Path
    upstream: Upstream
    node: Node
    app: ASGI

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """A request; header names are written with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return call(self.app, path, method=method, headers=named)

    def append(self, *entries: Entry) -> None:
        """Put entries into the node's log, and let the index take them in."""
        self.node.log.append([entry.envelope for entry in entries])
        self.node.index.catch_up()

    def size(self) -> int:
        """Entries of the log."""
        return self.node.log.reader.size()


DEFAULT_RULES = """
[[gate.rule]]
package = "pkg:maven/org.example/lib@*"
need = ["reproduced"]

[[gate.rule]]
need = ["recorded"]
"""


def write_node(
    folder: Path,
    upstream_url: str,
    *,
    rules: str = DEFAULT_RULES,
    top: str = "",
    record: bool = True,
    blocks: Sequence[str] | None = None,
    levels: str = "",
    listen: str = "127.0.0.1:0",
) -> Path:
    """Keys, lists and the configuration of a node; returns the path of the TOML file."""
    folder.mkdir(parents=True, exist_ok=True)
    _private(folder / "log.key", log_signer().format() + "\n")
    _private(folder / "recorder.pem", format_private_pem(statement_signer("recorder")).decode())
    _private(folder / "worker.token", "a-token-of-tests\n")
    listed = "\n".join(default_blocks() if blocks is None else blocks)
    (folder / "admission.toml").write_text("\n".join(default_blocks()))
    policy = f"log {verifier_key(log_signer())}\\nquorum none\\n"
    (folder / "trust.toml").write_text(f'[log]\npolicy = "{policy}"\n[levels.reproduced]\n{levels}\n{listed}')
    config = folder / "node.toml"
    config.write_text(
        f"""
data = "data"
{top}
[http]
listen = "{listen}"
[log]
origin = "{ORIGIN}"
key = "file:log.key"
admission = "admission.toml"
[recorder]
operator = "{RECORDER}"
key = "file:recorder.pem"
[evidence]
token = "file:worker.token"
[[upstream]]
name = "central"
ecosystem = "maven"
identity = "central"
url = "{upstream_url}"
record = {str(record).lower()}
allow_private = true
[gate]
trust = "trust.toml"
{rules}
"""
    )
    return config


def _private(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


@contextlib.contextmanager
def running_upstream() -> Iterator[Upstream]:
    """An upstream without files."""
    with running() as server:
        yield Upstream(server)


@contextlib.contextmanager
def running_node(config: NodeConfig) -> Iterator[tuple[Node, ASGI]]:
    """A started node and its application; stopped at the end."""
    node = Node(config)
    node.start()
    try:
        yield node, make_app(node)
    finally:
        node.stop()


@contextlib.contextmanager
def world(folder: Path, **options: Any) -> Iterator[World]:
    """A node with one upstream; `options` as for `write_node`."""
    with running_upstream() as upstream:
        config = load_config(write_node(folder, upstream.url, **options))
        with running_node(config) as (node, app):
            yield World(folder, upstream, node, app)
