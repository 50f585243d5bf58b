"""Reading a log over HTTP from servers that answer in every odd way."""

import gzip
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from touchplate.verify.errors import NotFoundError, TransportError
from touchplate.verify.http_source import HTTPSource
from touchplate.verify.sources import AnswerError, open_source

LIMIT = 1000


def answer(body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> bytes:
    """A raw HTTP answer, with a Content-Length that may lie."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body


PROBLEM = answer(
    b'{"reason":"unknown-key","detail":"no key of the admission list signed this","status":403}',
    "Content-Type: application/problem+json",
    status="403 Forbidden",
)
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
BOMB = gzip.compress(b"\x00" * 10_000_000)

ANSWERS = {
    "/log/good": answer(b"x" * LIMIT),
    "/log/empty": answer(b""),
    "/log/chunked": CHUNKED + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
    "/log/chunks-cut": CHUNKED + b"9\r\nab",
    "/log/without-length": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc",
    "/log/large": answer(b"x" * (LIMIT + 1)),
    "/log/cut": answer(b"x" * 10, length=11),
    "/log/junk": b"junk\r\n\r\n",
    "/log/nothing": b"",
    "/log/gzip": answer(gzip.compress(b"y" * LIMIT), "Content-Encoding: gzip"),
    "/log/gzip-cut": answer(gzip.compress(b"y" * LIMIT)[:-1], "Content-Encoding: gzip"),
    "/log/gzip-more": answer(gzip.compress(b"y") + b"z", "Content-Encoding: gzip"),
    "/log/gzip-not": answer(b"plain", "Content-Encoding: gzip"),
    "/log/gzip-bomb": answer(BOMB, "Content-Encoding: gzip"),
    "/log/brotli": answer(b"z", "Content-Encoding: br"),
    "/log/missing": answer(b"<html>no</html>", status="404 Not Found"),
    "/log/missing-tile": answer(
        b'{"reason":"no-such-tile","detail":"beyond the tree"}', status="404 Not Found"
    ),
    "/log/broken": answer(b"oh", status="500 Internal Server Error"),
    "/log/busy": answer(b"", "Retry-After: 7", status="503 Service Unavailable"),
    "/log/too-many": answer(
        b"", "Retry-After: Wed, 21 Oct 2026 07:28:00 GMT", status="429 Too Many Requests"
    ),
    "/log/odd-problem": answer(b'{"reason":"Not Kebab","detail":7}', status="409 Conflict"),
    "/log/list-problem": answer(b"[]", status="400 Bad Request"),
    "/log/huge-problem": answer(b"[" * 100_000, status="400 Bad Request"),
    "/log/refused": PROBLEM,
    "/log/here": answer(b"", "Location: /log/good", status="302 Found"),
    "/log/elsewhere": answer(b"", "Location: http://log.example.org/good", status="302 Found"),
    "/log/file": answer(b"", "Location: file:///etc/passwd", status="302 Found"),
    "/log/loop": answer(b"", "Location: /log/loop", status="302 Found"),
    "http://log.example.org/log/good": answer(b"by proxy"),
}


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.close_connection = True
        self.wfile.write(ANSWERS[self.path])

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def source(port: int) -> HTTPSource:
    return HTTPSource(f"http://127.0.0.1:{port}/log", idle_seconds=10)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("good", b"x" * LIMIT),
        ("empty", b""),
        ("chunked", b"abc"),
        ("without-length", b"abc"),
        ("gzip", b"y" * LIMIT),
        ("here", b"x" * LIMIT),
    ],
)
def test_reads_a_body_whole(source: HTTPSource, path: str, body: bytes) -> None:
    assert source.read(path, LIMIT) == body


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("large", "too-large"),
        ("cut", "cut-off"),
        ("chunks-cut", "unreachable"),
        ("junk", "unreachable"),
        ("nothing", "unreachable"),
        ("gzip-cut", "cut-off"),
        ("gzip-more", "cut-off"),
        ("gzip-not", "content-encoding"),
        ("gzip-bomb", "too-large"),
        ("brotli", "content-encoding"),
        ("missing", "not-found"),
        ("missing-tile", "no-such-tile"),
        ("broken", "unexpected-status"),
        ("odd-problem", "unexpected-status"),
        ("list-problem", "unexpected-status"),
        ("huge-problem", "unexpected-status"),
        ("elsewhere", "redirect"),
        ("file", "redirect"),
        ("loop", "redirect"),
        ("busy", "busy"),
        ("too-many", "busy"),
    ],
)
def test_refuses_every_odd_answer(source: HTTPSource, path: str, reason: str) -> None:
    with pytest.raises(TransportError) as caught:
        source.read(path, len(BOMB) if path == "gzip-bomb" else LIMIT)
    assert caught.value.reason == reason
    assert isinstance(caught.value, NotFoundError) == path.startswith("missing")


def test_tells_how_long_to_wait(source: HTTPSource) -> None:
    for path, seconds in (("busy", 7), ("too-many", None)):
        with pytest.raises(AnswerError) as caught:
            source.read(path, LIMIT)
        assert caught.value.retry_after == seconds


def test_repeats_the_reason_that_the_log_gave(source: HTTPSource) -> None:
    with pytest.raises(AnswerError, match="no key of the admission list") as caught:
        source.post("refused", b"{}", {}, LIMIT)
    assert (caught.value.status, caught.value.reason) == (403, "unknown-key")


def test_a_post_is_never_redirected(source: HTTPSource) -> None:
    with pytest.raises(TransportError) as caught:
        source.post("here", b"{}", {}, LIMIT)
    assert caught.value.reason == "redirect"


def test_an_answer_must_come_to_an_end_in_time(port: int) -> None:
    with pytest.raises(TransportError) as caught:
        HTTPSource(f"http://127.0.0.1:{port}/log", total_seconds=-1).read("good", LIMIT)
    assert caught.value.reason == "too-slow"


def test_a_silent_server_is_unreachable() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(TransportError, match="timed out"):
            HTTPSource(url, idle_seconds=0.05).read("good", LIMIT)
    with pytest.raises(TransportError, match="cannot be reached"):
        HTTPSource(url).read("good", LIMIT)


def test_no_single_wait_is_longer_than_the_time_for_an_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(TransportError, match="timed out"):
            HTTPSource(url, idle_seconds=3600, total_seconds=0.05).read("good", LIMIT)


def test_loopback_is_never_proxied(port: int, source: HTTPSource, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    assert HTTPSource(f"http://127.0.0.1:{port}/log").read("empty", LIMIT) == b""


def test_another_host_is_read_through_the_proxy_of_the_environment(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert HTTPSource("http://log.example.org/log").read("good", LIMIT) == b"by proxy"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://log.example.org",
        "file:///etc",
        "http://",
        "https:///log",
        "http://user:secret@log.example.org",
        "http://log.example.org/?a=b",
        "http://log.example.org/#top",
        "http://log.example.org/?",
        "http://log.example.org/#",
        "http://log.example.org:99999/",
        "http://[::1",
        "http://log.example.org/a b",
        "http://log.example.org/\r\nX: y",
    ],
)
def test_refuses_what_is_no_url_of_a_log(url: str) -> None:
    with pytest.raises(TransportError) as caught:
        open_source(url)
    assert caught.value.reason == "bad-url"
    assert "secret" not in str(caught.value)
