"""Servers whose answers have no end, in every place where HTTP allows one: none keeps or fills a reader."""

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from touchplate.verify import cli
from touchplate.verify.errors import TransportError
from touchplate.verify.http_source import HTTPSource

LIMIT = 1000
ENOUGH = 1 << 27
"""Bytes after which a test server gives up on a reader that takes them all."""

START = b"HTTP/1.1 200 OK\r\n"
CHUNKED = START + b"Transfer-Encoding: chunked\r\n\r\n"
PIECE = b"x" * 65_536

FLOODS: dict[str, tuple[bytes, bytes]] = {
    "body": (START + b"\r\n", PIECE),
    "chunks": (CHUNKED, b"10000\r\n" + PIECE + b"\r\n"),
    "status-line": (b"HTTP/1.1 200 ", PIECE),
    "header": (START + b"X-Long: ", PIECE),
    "headers": (START, b"X: y\r\n" * 8192),
    "chunk-size": (CHUNKED, b"1" * 65_536),
    "chunk-extension": (CHUNKED + b"1;", PIECE),
    "problem": (b"HTTP/1.1 500 Oh\r\n\r\n", PIECE),
    "problem-chunks": (b"HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\n", b"1" * 65_536),
    "redirect": (b"HTTP/1.1 302 Found\r\nLocation: /redirect\r\n\r\n", PIECE),
    "redirect-to-file": (b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n", PIECE),
    "redirect-elsewhere": (b"HTTP/1.1 302 Found\r\nLocation: http://h.example.org/\r\n\r\n", PIECE),
    "gzip": (
        START + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03",
        b"\x00" * 65_536,
    ),
}
"""What is sent first, and then again and again."""

TRICKLES: dict[str, tuple[bytes, bytes]] = {
    "slow-status": (b"HTTP/1.1 ", b"1"),
    "slow-header": (START + b"X: ", b"y"),
    "slow-headers": (START, b"X: y\r\n"),
    "slow-body": (START + b"Content-Length: 900\r\n\r\n", b"z"),
    "slow-chunk-size": (CHUNKED, b"0"),
    "slow-problem": (b"HTTP/1.1 500 Oh\r\nContent-Length: 900\r\n\r\n", b"{"),
    "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "trailers": (CHUNKED + b"0\r\n", b"X: y\r\n"),
}

CUT = {
    "cut-problem": b"HTTP/1.1 500 Oh\r\nContent-Length: 9\r\n\r\n{",
    "cut-problem-chunk": b"HTTP/1.1 500 Oh\r\nTransfer-Encoding: chunked\r\n\r\nff\r\n{",
    "odd-problem-chunk": b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "usage": b'HTTP/1.1 500 Oh\r\nContent-Length: 18\r\n\r\n{"reason":"usage"}',
    "two-lengths": START + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "negative-length": START + b"Content-Length: -1\r\n\r\nab",
    "no-colon": START + b"header\r\n\r\n",
    "other-protocol": b"SSH-2.0-OpenSSH_9.0\r\n",
    "redirect-no-host": b"HTTP/1.1 302 Found\r\nLocation: http://\r\n\r\n",
    "redirect-bad-host": b"HTTP/1.1 302 Found\r\nLocation: http://[::1/\r\n\r\n",
    "redirect-bad-port": b"HTTP/1.1 302 Found\r\nLocation: //127.0.0.1:x/\r\n\r\n",
    "redirect-user": b"HTTP/1.1 302 Found\r\nLocation: http://u@127.0.0.1/\r\n\r\n",
    "redirect-binary": b"HTTP/1.1 302 Found\r\nLocation: /\xff\xfe\x01\r\n\r\n",
    "redirect-scheme": b"HTTP/1.1 302 Found\r\nLocation: https://127.0.0.1:PORT/x\r\n\r\n",
    "redirect-nowhere": b"HTTP/1.1 302 Found\r\n\r\n",
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    stop: threading.Event

    def do_GET(self) -> None:
        self.close_connection = True
        name = self.path.split("/")[1]
        endless = FLOODS.get(name) or TRICKLES.get(name)
        if endless is None:
            cut = CUT.get(name, b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
            self.wfile.write(cut.replace(b"PORT", self.headers["Host"].rpartition(":")[2].encode()))
            return
        first, again = endless
        self.wfile.write(first)
        sent = 0
        try:
            while sent < ENOUGH and not self.stop.is_set():
                sent += self.wfile.write(again)
                if name in TRICKLES:
                    self.stop.wait(0.01)
        except OSError:  # the reader went away, as it should
            return

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    stop = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"stop": stop}))
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    stop.set()
    server.shutdown()
    thread.join()
    server.server_close()


def received(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of bytes that readers took from their connections, from now on."""
    counts: list[int] = []
    original = socket.SocketIO.readinto

    def readinto(self: socket.SocketIO, buffer: bytearray) -> int | None:
        count = original(self, buffer)
        counts.append(count or 0)
        return count

    monkeypatch.setattr(socket.SocketIO, "readinto", readinto)
    return counts


@pytest.mark.parametrize("path", FLOODS)
def test_a_flood_is_not_taken(path: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = received(monkeypatch)
    with pytest.raises(TransportError):
        HTTPSource(url).read(path, LIMIT)
    # The server side reads requests through the same class; both together stay far below what was offered.
    assert sum(counts) < 4 << 20


@pytest.mark.parametrize("path", TRICKLES)
def test_a_trickle_ends_with_the_time_for_an_answer(path: str, url: str) -> None:
    # No single wait is long: only the time for the whole answer can end this.
    with pytest.raises(TransportError) as caught:
        HTTPSource(url, idle_seconds=60, total_seconds=0.2).read(path, LIMIT)
    assert caught.value.reason in ("too-slow", "unexpected-status", "unreachable")


@pytest.mark.parametrize("path", CUT)
def test_a_broken_answer_is_a_transport_error(
    path: str, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with suppress(TransportError):
        HTTPSource(url).read(path, LIMIT)
    assert cli.main(["inspect", f"sha256:{'0' * 64}", "--server", f"{url}/{path}"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "path", [name for name in CUT if name.startswith("redirect-") and name != "redirect-nowhere"]
)
def test_no_redirect_leaves_scheme_host_and_port(path: str, url: str) -> None:
    with pytest.raises(TransportError) as caught:
        HTTPSource(url).read(path, LIMIT)
    assert caught.value.reason in ("redirect", "unreachable", "not-found")
    assert path != "redirect-scheme" or caught.value.reason == "redirect"
