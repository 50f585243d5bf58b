"""A real HTTP(S) server on a loopback port, whose paths behave well or badly, for the tests of the HTTP
client.
"""

from __future__ import annotations

import contextlib
import datetime
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from touchplate.base.addresses import AddressRules
from touchplate.base.environment import Environment
from touchplate.base.http import HTTPClient, HTTPLimits

Action = Callable[["Handler"], None]
LOOPBACK = AddressRules.parse(["127.0.0.0/8", "::1/128"])
# Short, since the stalls of these tests are waited for; long enough for a busy machine to answer.
LIMITS = HTTPLimits(connect=5, read=5, total=20)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers by the action that the test gave for the path."""

    protocol_version = "HTTP/1.1"
    server: Server

    def answer(self) -> None:
        """Note the request, read its body, run the action."""
        self.body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.server.requests.append((self.command, self.path))
        self.server.seen_headers.append({name.lower(): value for name, value in self.headers.items()})
        self.server.clients.add(self.client_address)
        action = self.server.actions.get(self.path)
        if action is None:
            self.reply(404, b"no such path")
        else:
            action(self)

    def do_GET(self) -> None:
        self.answer()

    def do_HEAD(self) -> None:
        self.answer()

    def do_PUT(self) -> None:
        self.answer()

    def do_POST(self) -> None:
        self.answer()

    def do_CONNECT(self) -> None:
        self.answer()

    def reply(self, status: int, body: bytes, **headers: str) -> None:
        """A whole answer."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def raw(self, data: bytes) -> None:
        """Bytes as they are, then the end of the connection."""
        self.wfile.write(data)
        self.close_connection = True

    def wait_for_release(self) -> None:
        """Say nothing until the test is over."""
        self.server.released.wait(60)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""


class Server(http.server.ThreadingHTTPServer):
    """Actions by path; what was asked, with which headers, from which client sockets."""

    daemon_threads = True

    def __init__(self, certificate: Path | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.actions: dict[str, Action] = {}
        self.requests: list[tuple[str, str]] = []
        self.seen_headers: list[dict[str, str]] = []
        self.clients: set[tuple[str, int]] = set()
        self.released = threading.Event()
        self.scheme = "http" if certificate is None else "https"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """The URL of a path."""
        return f"{self.scheme}://{host}:{self.server_address[1]}{path}"

    def handle_error(self, *_: object) -> None:
        """Clients that hang up are part of the tests."""


@contextlib.contextmanager
def running(certificate: Path | None = None) -> Iterator[Server]:
    """A server in its own thread, stopped at the end."""
    server = Server(certificate)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def client(
    rules: AddressRules = LOOPBACK,
    limits: HTTPLimits = LIMITS,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[HTTPClient]:
    """A client that may reach loopback and sees only the given environment variables."""
    with HTTPClient(rules, limits, environment=Environment(variables)) as made:
        yield made


def make_certificate(path: Path) -> Path:
    """A self-signed certificate with its key in one PEM file, for the names of these tests."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "touchplate test")])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    names.append(x509.DNSName("tunnel.test"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    return path
