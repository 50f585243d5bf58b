"""A real log and evidence store behind a loopback URL, as a node mounts them, and the files for it."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI
from tests.simkeys import ORIGIN, log_signer, verifier_key

from touchplate.base.config import Secret
from touchplate.base.durable import DigestFolder
from touchplate.builder.attestation.http import evidence_routes
from touchplate.log.service import LogConfig, LogService
from touchplate.verify.keys import format_private_pem, format_public_pem, generate_signer

OPERATOR = "https://rebuild.example.org"
TOKEN = "worker-token"
STABILIZERS = ("gzip-header@1", "tar-owners@1", "tar-times@1")
"""By whom and when a published archive was packed, and with which header."""


@dataclass(frozen=True)
class LogHost:
    """URL prefixes, and the files that `touchplate rebuild` is given."""

    url: str
    service: LogService
    evidence: DigestFolder
    key: Path
    trust: Path
    token: Path
    reader: Path
    """Trust file of a reader whom one operator satisfies, any kind of source, and `STABILIZERS`."""

    @property
    def signing(self) -> list[str]:
        """Options for signing and sending."""
        return [
            *("--key", str(self.key), "--operator", OPERATOR, "--log", f"{self.url}/log"),
            *("--evidence", f"{self.url}/builder/evidence", "--token", f"file:{self.token}"),
        ]

    @property
    def reading(self) -> list[str]:
        """Options for repeating."""
        return [
            *("--log", f"{self.url}/log", "--evidence", f"{self.url}/builder/evidence"),
            *("--trust", str(self.trust)),
        ]


@contextmanager
def log_host(folder: Path) -> Iterator[LogHost]:
    """A log that admits one rebuilder, of all ecosystems and under every backend."""
    folder.mkdir()
    signer = generate_signer()
    rebuilder = "".join(
        f'[[rebuilder]]\noperator = "{OPERATOR}"\nbuilder = "{OPERATOR}/touchplate/{backend}/v1"\n'
        f'ecosystems = ["maven", "conan", "oci"]\nkey = """\n{format_public_pem(signer.key)}"""\n'
        for backend in ("bubblewrap", "gvisor", "runc")
    )
    policy = f"log {verifier_key(log_signer())}\\nquorum none\\n"
    listed = ", ".join(f'"{name}"' for name in STABILIZERS)
    level = (
        "[levels.reproduced]\noperators = 1\n"
        f'sources = ["vcs", "source-release", "sources-jar"]\nstabilizers = [{listed}]\n'
    )
    files = {
        "log.key": log_signer().format() + "\n",
        "admission.toml": rebuilder,
        "trust.toml": f'[log]\npolicy = "{policy}"\n{rebuilder}',
        "reader.toml": f'[log]\npolicy = "{policy}"\n{level}{rebuilder}',
        "worker.token": TOKEN + "\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o600)
    key = folder / "rebuilder.key"
    key.write_bytes(format_private_pem(signer))
    key.chmod(0o600)
    evidence = DigestFolder(folder / "evidence")
    names = ("trust.toml", "worker.token", "reader.toml")
    config = LogConfig(ORIGIN, Secret.parse(f"file:{folder / 'log.key'}", folder), folder / "admission.toml")
    service = LogService(config, folder / "log")
    service.start()
    try:
        with _listening(_mounted(service, evidence)) as url:
            yield LogHost(url, service, evidence, key, *(folder / name for name in names))
    finally:
        service.stop()


def _mounted(service: LogService, evidence: DigestFolder) -> Any:
    behind = FastAPI()
    behind.include_router(service.routes())
    behind.include_router(evidence_routes(evidence, TOKEN), prefix="/builder")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        face = service.asgi if service.asgi.handles(scope) else behind
        await face(scope, receive, send)

    return app


@contextmanager
def _listening(app: Any) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(app))
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(app: Any) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Passes each request to the app, and its answer back."""

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = asyncio.run(_ask(app, self.command, self.path, dict(self.headers), body))
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content if self.command != "HEAD" else b"")

        def do_GET(self) -> None:
            self._pass_on()

        def do_HEAD(self) -> None:
            self._pass_on()

        def do_PUT(self) -> None:
            self._pass_on()

        def do_POST(self) -> None:
            self._pass_on()

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


async def _ask(app: Any, method: str, path: str, headers: dict[str, str], body: bytes) -> httpx.Response:
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://node.test") as client:
        return await client.request(method, path, headers=headers, content=body or None)
