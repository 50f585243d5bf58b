"""The bounded HTTP client against a real server that behaves well, badly, or not at all."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.base.support import LIMITS, LOOPBACK, Handler, Server, client, make_certificate, running

from touchplate.base import errors
from touchplate.base.addresses import AddressRules
from touchplate.base.environment import Environment
from touchplate.base.http import HTTPClient, HTTPLimits, Response

BODY = bytes(range(256)) * 1000


@pytest.fixture
def server() -> Iterator[Server]:
    with running() as made:
        yield made


def whole(handler: Handler) -> None:
    handler.reply(200, BODY, X_Kind="test")


def chunked(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for start in range(0, len(BODY), 10_000):
        piece = BODY[start : start + 10_000]
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
    handler.wfile.write(b"0\r\n\r\n")


@pytest.mark.parametrize("action", [whole, chunked])
def test_gets_the_whole_body_however_it_is_framed(server: Server, action: object) -> None:
    server.actions["/a"] = action  # type: ignore[assignment]  # both are actions
    with client() as http:
        response = http.get(server.url("/a"), max_bytes=len(BODY))
    assert (response.status, response.body) == (200, BODY)


def test_gives_status_and_lower_case_headers_of_any_answer(server: Server) -> None:
    server.actions["/gone"] = lambda handler: handler.reply(410, b"gone", X_Reason="old")
    with client() as http:
        response = http.get(server.url("/gone"), max_bytes=10)
    assert (response.status, response.body, response.headers["x-reason"]) == (410, b"gone", "old")


def test_head_has_headers_and_no_body(server: Server) -> None:
    server.actions["/a"] = whole
    with client() as http:
        response = http.head(server.url("/a"))
        assert http.get(server.url("/a"), max_bytes=len(BODY)).body == BODY
    assert response.headers["content-length"] == str(len(BODY))
    assert response.body == b""
    assert len(server.clients) == 1


def test_sends_bytes_and_files_with_their_length(server: Server) -> None:
    server.actions["/in"] = lambda handler: handler.reply(200, handler.body)
    file = io.BytesIO(b"skipped" + BODY)
    file.seek(7)
    with client() as http:
        assert http.post(server.url("/in"), b"text").body == b"text"
        assert http.put(server.url("/in"), file, headers={"Authorization": "Bearer t"}).body == BODY
    assert [method for method, _ in server.requests] == ["POST", "PUT"]
    assert server.seen_headers[1]["authorization"] == "Bearer t"


def test_streams_to_a_sink_and_tells_the_headers_first(server: Server) -> None:
    server.actions["/a"] = whole
    events: list[object] = []

    def started(response: Response) -> None:
        events.append(response.headers["x-kind"])

    with client() as http:
        response = http.stream(server.url("/a"), events.append, max_bytes=len(BODY), started=started)
    assert response.body == b""
    assert events[0] == "test"
    assert b"".join(events[1:]) == BODY  # type: ignore[arg-type]  # the rest are pieces of the body


def test_a_refusal_goes_into_the_response_and_never_into_the_sink(server: Server) -> None:
    server.actions["/no"] = lambda handler: handler.reply(403, b"x" * 100_000)
    pieces: list[bytes] = []
    with client() as http:
        response = http.stream(server.url("/no"), pieces.append, max_bytes=200_000)
    assert (response.status, len(response.body), pieces) == (403, 64 * 1024, [])


def test_what_a_sink_raises_comes_through(server: Server) -> None:
    server.actions["/a"] = whole

    def full(_: bytes) -> None:
        raise OSError("disk full")

    with client() as http, pytest.raises(OSError, match="disk full"):
        http.stream(server.url("/a"), full, max_bytes=len(BODY))


def test_keeps_the_connection_for_the_next_request(server: Server) -> None:
    server.actions["/a"] = whole
    server.actions["/c"] = chunked
    with client() as http:
        for path in ("/a", "/c", "/missing", "/a"):
            http.get(server.url(path), max_bytes=len(BODY))
    assert len(server.clients) == 1


def test_a_connection_whose_body_was_not_read_is_not_used_again(server: Server) -> None:
    server.actions["/a"] = whole
    with client() as http:
        with pytest.raises(errors.ResponseTooLargeError):
            http.get(server.url("/a"), max_bytes=10)
        assert http.get(server.url("/a"), max_bytes=len(BODY)).body == BODY
    assert len(server.clients) == 2


def test_takes_a_new_connection_when_the_server_closed_the_kept_one(server: Server) -> None:
    closed = threading.Event()

    def then_close(handler: Handler) -> None:
        handler.reply(200, b"first")
        handler.close_connection = True
        handler.connection.shutdown(socket.SHUT_WR)
        closed.set()

    server.actions["/once"] = then_close
    server.actions["/a"] = whole
    with client() as http:
        assert http.get(server.url("/once"), max_bytes=10).body == b"first"
        assert closed.wait(10)
        assert http.post(server.url("/a"), b"").body == BODY
    assert server.requests == [("GET", "/once"), ("POST", "/a")]


def test_threads_share_one_client(server: Server) -> None:
    server.actions["/a"] = whole
    bodies: list[bytes] = []
    with client() as http:

        def fetch() -> None:
            bodies.extend(http.get(server.url("/a"), max_bytes=len(BODY)).body for _ in range(5))

        threads = [threading.Thread(target=fetch) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert bodies == [BODY] * 20
    assert len(server.clients) <= 4


@pytest.mark.parametrize(
    "head",
    [b"Content-Length: 100\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n64\r\n"],
    ids=["length", "chunked"],
)
def test_notices_a_body_that_ends_early(server: Server, head: bytes) -> None:
    server.actions["/cut"] = lambda handler: handler.raw(b"HTTP/1.1 200 OK\r\n" + head + b"only this")
    with client() as http, pytest.raises(errors.TruncatedResponseError, match="ended") as caught:
        http.get(server.url("/cut"), max_bytes=1000)
    assert caught.value.reason == "truncated-response"


def test_refuses_a_body_without_a_knowable_end(server: Server) -> None:
    server.actions["/open"] = lambda handler: handler.raw(b"HTTP/1.1 200 OK\r\n\r\nuntil I close")
    with client() as http, pytest.raises(errors.BadResponseError, match="neither a length nor chunks"):
        http.get(server.url("/open"), max_bytes=1000)


@pytest.mark.parametrize("action", [whole, chunked])
def test_refuses_a_body_over_the_limit(server: Server, action: object) -> None:
    server.actions["/big"] = action  # type: ignore[assignment]  # both are actions
    with client() as http, pytest.raises(errors.ResponseTooLargeError, match=str(len(BODY) - 1)):
        http.get(server.url("/big"), max_bytes=len(BODY) - 1)


def test_refuses_a_coded_body(server: Server) -> None:
    server.actions["/gz"] = lambda handler: handler.reply(200, b"\x1f\x8b", Content_Encoding="gzip")
    with client() as http, pytest.raises(errors.BadResponseError, match="'gzip'"):
        http.get(server.url("/gz"), max_bytes=10)
    assert server.seen_headers[0]["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "answer",
    [
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/1.1 many OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\nabcdefghij",
        b"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nabcde",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: gzip\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: gzip, chunked\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Encoding: br\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /a\r\nLocation: /b\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_an_answer_that_is_not_http_is_one_of_our_errors(server: Server, answer: bytes) -> None:
    server.actions["/odd"] = lambda handler: handler.raw(answer)
    with client() as http, pytest.raises(errors.FetchError):
        http.get(server.url("/odd"), max_bytes=1000)


def test_an_early_answer_is_not_followed_by_the_answer_of_another_request(server: Server) -> None:
    late = threading.Event()

    def early(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
        late.wait(20)
        handler.reply(200, b"the answer of the first")

    server.actions["/early"] = early
    server.actions["/second"] = lambda handler: handler.reply(200, b"second")
    with client() as http:
        with pytest.raises(errors.BadResponseError, match="status 103"):
            http.get(server.url("/early"), max_bytes=100)
        late.set()
        assert http.get(server.url("/second"), max_bytes=100).body == b"second"
    assert len(server.clients) == 2


def test_an_interim_continue_is_passed_over(server: Server) -> None:
    answer = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
    server.actions["/continue"] = lambda handler: handler.raw(answer)
    with client() as http:
        assert http.get(server.url("/continue"), max_bytes=3).body == b"abc"


@pytest.mark.parametrize(
    "start",
    [
        b"",  # 100 Continue without end
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",  # trailers without end
    ],
)
def test_gives_up_on_a_flood_that_is_no_body(server: Server, start: bytes) -> None:
    def flood(handler: Handler) -> None:
        piece = (b"X: y\r\n" if start else b"HTTP/1.1 100 Continue\r\n\r\n") * 1000
        handler.wfile.write(start)
        while not handler.server.released.is_set():
            handler.wfile.write(piece)

    server.actions["/flood"] = flood
    limits = HTTPLimits(connect=5, read=5, total=0.5)
    with client(limits=limits) as http, pytest.raises(errors.FetchTimeoutError, match=r"longer than 0\.5 s"):
        http.get(server.url("/flood"), max_bytes=10)


def test_follows_redirects_on_the_same_host(server: Server) -> None:
    server.actions["/old"] = lambda handler: handler.reply(302, b"", Location="/new#part")
    server.actions["/new"] = whole
    with client() as http:
        response = http.get(server.url("/old"), max_bytes=len(BODY))
    assert (response.url, response.body) == (server.url("/new"), BODY)


@pytest.mark.parametrize(
    "location", ["http://localhost:1/", "//127.0.0.2/", "https://127.0.0.1/", "ftp://x/"]
)
def test_refuses_redirects_to_another_host(server: Server, location: str) -> None:
    server.actions["/away"] = lambda handler: handler.reply(301, b"", Location=location)
    with client() as http, pytest.raises((errors.RedirectRefusedError, errors.BadURLError)):
        http.get(server.url("/away"), max_bytes=10)
    assert len(server.requests) == 1


def test_follows_redirects_to_another_host_when_told_so_and_leaves_credentials_behind(server: Server) -> None:
    with running() as other:
        other.actions["/blob"] = whole
        server.actions["/away"] = lambda handler: handler.reply(307, b"", Location=other.url("/blob"))
        sent = {"Authorization": "Bearer secret", "Cookie": "a=b", "X-Kept": "1"}
        with HTTPClient(LOOPBACK, LIMITS, environment=Environment({}), foreign_redirects=True) as http:
            assert http.get(server.url("/away"), max_bytes=len(BODY), headers=sent).body == BODY
        assert server.seen_headers[0]["authorization"] == "Bearer secret"
        (seen,) = other.seen_headers
        assert seen["x-kept"] == "1"
        assert not {"authorization", "cookie"} & seen.keys()


def test_a_redirect_to_another_host_is_judged_by_its_own_address(server: Server) -> None:
    server.actions["/away"] = lambda handler: handler.reply(307, b"", Location="http://127.0.0.2:9/")
    rules = AddressRules.parse(hosts=["127.0.0.1"])
    with (
        HTTPClient(rules, LIMITS, environment=Environment({}), foreign_redirects=True) as http,
        pytest.raises(errors.AddressRefusedError),
    ):
        http.get(server.url("/away"), max_bytes=10)


def test_https_never_becomes_http_on_the_way_to_another_host(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "server.pem")
    with running() as plain, running(certificate) as secure:
        secure.actions["/away"] = lambda handler: handler.reply(307, b"", Location=plain.url("/"))
        environment = Environment({"SSL_CERT_FILE": str(certificate)})
        with (
            HTTPClient(LOOPBACK, LIMITS, environment=environment, foreign_redirects=True) as http,
            pytest.raises(errors.RedirectRefusedError),
        ):
            http.get(secure.url("/away"), max_bytes=10)
        assert plain.requests == []


def test_refuses_endless_redirects_and_redirected_uploads(server: Server) -> None:
    server.actions["/loop"] = lambda handler: handler.reply(307, b"", Location="/loop")
    with client() as http:
        with pytest.raises(errors.RedirectRefusedError, match="more than 3"):
            http.get(server.url("/loop"), max_bytes=10)
        with pytest.raises(errors.RedirectRefusedError, match="POST"):
            http.post(server.url("/loop"), b"x")


def test_a_redirect_without_location_is_refused(server: Server) -> None:
    server.actions["/nowhere"] = lambda handler: handler.reply(302, b"")
    with client() as http, pytest.raises(errors.BadResponseError, match="without a Location"):
        http.get(server.url("/nowhere"), max_bytes=10)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_refuses_private_addresses_unless_allowed(server: Server, host: str) -> None:
    server.actions["/a"] = whole
    with client(AddressRules()) as http, pytest.raises(errors.AddressRefusedError, match="not public"):
        http.get(server.url("/a", host), max_bytes=len(BODY))
    assert server.requests == []
    with client(AddressRules.parse(hosts=[host])) as http:
        assert http.get(server.url("/a", host), max_bytes=len(BODY)).status == 200


def silent(handler: Handler) -> None:
    handler.wait_for_release()


def silent_in_the_body(handler: Handler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegin")
    handler.wait_for_release()


@pytest.mark.parametrize("action", [silent, silent_in_the_body])
def test_gives_up_on_a_server_that_stalls(server: Server, action: object) -> None:
    server.actions["/stall"] = action  # type: ignore[assignment]  # both are actions
    limits = HTTPLimits(connect=5, read=0.2, total=20)
    with (
        client(limits=limits) as http,
        pytest.raises(errors.FetchTimeoutError, match=r"nothing came for 0\.2 s"),
    ):
        http.get(server.url("/stall"), max_bytes=10)


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"])
def test_gives_up_on_a_server_that_drips(server: Server, start: bytes) -> None:
    def drip(handler: Handler) -> None:
        handler.wfile.write(start or b"HTTP/1.1 200 OK\r\nX: ")
        while not handler.server.released.wait(0.02):
            handler.wfile.write(b"y")

    server.actions["/drip"] = drip
    limits = HTTPLimits(connect=5, read=5, total=0.5)
    with client(limits=limits) as http, pytest.raises(errors.FetchTimeoutError, match=r"longer than 0\.5 s"):
        http.get(server.url("/drip"), max_bytes=100_000)


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 404 Not Found\r\nContent-Length: 100000\r\n\r\n"])
def test_a_head_that_drips_does_not_get_the_time_of_a_body(server: Server, start: bytes) -> None:
    def drip(handler: Handler) -> None:
        handler.wfile.write(start or b"HTTP/1.1 200 OK\r\nX: ")
        while not handler.server.released.wait(0.02):
            handler.wfile.write(b"y")

    def slow(handler: Handler) -> None:
        handler.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n")
        for _ in range(50):
            handler.wfile.write(b"y")
            handler.server.released.wait(0.02)

    server.actions["/drip"], server.actions["/slow"] = drip, slow
    limits = HTTPLimits(connect=5, read=5, head=0.5, total=60)
    with client(limits=limits) as http:
        with pytest.raises(errors.FetchTimeoutError, match=r"longer than 0\.5 s before a good answer"):
            http.stream(server.url("/drip"), lambda _: None, max_bytes=100_000)
        assert http.get(server.url("/slow"), max_bytes=100).body == b"y" * 50


def test_says_so_when_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/"
        with client() as http, pytest.raises(errors.UnreachableError, match="refused"):
            http.get(url, max_bytes=10)


def test_never_sends_a_post_twice(server: Server) -> None:
    server.actions["/a"] = whole
    server.actions["/drop"] = lambda handler: handler.raw(b"")
    with client() as http:
        http.get(server.url("/a"), max_bytes=len(BODY))
        with pytest.raises(errors.UnreachableError, match="broke"):
            http.post(server.url("/drop"), b"once")
    assert server.requests.count(("POST", "/drop")) == 1


def test_speaks_tls_to_a_server_whose_authority_the_environment_names(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "server.pem")
    with running(certificate) as server:
        server.actions["/a"] = whole
        with client(variables={"SSL_CERT_FILE": str(certificate)}) as http:
            for host in ("127.0.0.1", "localhost", "127.0.0.1"):
                assert http.get(server.url("/a", host), max_bytes=len(BODY)).body == BODY
            assert http.describe() == [
                f"certificate authorities from the file {certificate} (SSL_CERT_FILE)",
            ]
        assert len(server.clients) == 2


def test_refuses_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    with running(make_certificate(tmp_path / "server.pem")) as server:
        server.actions["/a"] = whole
        other = make_certificate(tmp_path / "other.pem")
        with (
            client(variables={"SSL_CERT_FILE": str(other)}) as http,
            pytest.raises(errors.UnreachableError) as caught,
        ):
            http.get(server.url("/a"), max_bytes=10)
    assert caught.value.reason == "untrusted-certificate"


def test_names_a_certificate_file_that_is_missing(tmp_path: Path) -> None:
    missing = str(tmp_path / "none.pem")
    with (
        client(variables={"SSL_CERT_FILE": missing}) as http,
        pytest.raises(errors.ConfigError, match=r"SSL_CERT_FILE.*none\.pem"),
    ):
        http.get("https://127.0.0.1:1/", max_bytes=10)


def test_uses_a_closed_client_without_keeping_connections(server: Server) -> None:
    server.actions["/a"] = whole
    with client(LOOPBACK, LIMITS) as http:
        pass
    assert http.get(server.url("/a"), max_bytes=len(BODY)).body == BODY
    assert http.get(server.url("/a"), max_bytes=len(BODY)).body == BODY
    assert len(server.clients) == 2


def test_a_redirect_whose_body_was_not_read_ends_the_connection(server: Server) -> None:
    server.actions["/old"] = lambda handler: handler.reply(302, b"a page about it", Location="/new")
    server.actions["/new"] = whole
    with client() as http:
        assert http.get(server.url("/old"), max_bytes=len(BODY)).body == BODY
    assert len(server.clients) == 2


def test_an_announced_body_over_the_limit_is_not_begun(server: Server) -> None:
    server.actions["/big"] = whole
    pieces: list[bytes] = []
    with client() as http, pytest.raises(errors.ResponseTooLargeError):
        http.stream(server.url("/big"), pieces.append, max_bytes=len(BODY) - 1)
    assert pieces == []


@pytest.mark.parametrize("action", [silent, silent_in_the_body])
def test_the_total_time_ends_a_single_wait_too(server: Server, action: object) -> None:
    server.actions["/stall"] = action  # type: ignore[assignment]  # both are actions
    limits = HTTPLimits(connect=5, read=30, total=0.3)
    with client(limits=limits) as http, pytest.raises(errors.FetchTimeoutError, match=r"longer than 0\.3 s"):
        http.get(server.url("/stall"), max_bytes=10)


def test_a_caller_cannot_ask_in_the_name_of_another_host_or_for_coded_bodies(server: Server) -> None:
    server.actions["/a"] = whole
    with client() as http:
        given = {"Host": "other.example.org", "Accept-Encoding": "gzip", "User-Agent": "mine"}
        http.get(server.url("/a"), max_bytes=len(BODY), headers=given)
    seen = server.seen_headers[0]
    assert (seen["host"], seen["accept-encoding"], seen["user-agent"]) == (
        f"127.0.0.1:{server.server_address[1]}",
        "identity",
        "mine",
    )


class Resolver:
    """Gives one list of addresses per question, in order, in place of the system's resolver."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> None:
        self.left = list(answers)
        monkeypatch.setattr(socket, "getaddrinfo", self.resolve)

    def resolve(self, host: str, port: int, **_: object) -> list[object]:
        kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [(*kind, (address, port)) for address in self.left.pop(0)]


def test_resolves_once_and_connects_to_an_allowed_address_only(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.actions["/a"] = whole
    resolver = Resolver(monkeypatch, ["10.0.0.1", "127.0.0.1"], ["10.0.0.1"])
    with client(AddressRules.parse(["127.0.0.1/32"])) as http:
        assert http.get(server.url("/a", "name.test"), max_bytes=len(BODY)).status == 200
        assert http.get(server.url("/a", "name.test"), max_bytes=len(BODY)).status == 200
        assert len(resolver.left) == 1  # the kept connection is to the address that was judged
    with client(AddressRules.parse(["127.0.0.1/32"])) as http, pytest.raises(errors.AddressRefusedError):
        http.get(server.url("/a", "name.test"), max_bytes=len(BODY))


def test_refuses_a_trusted_certificate_of_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = make_certificate(tmp_path / "server.pem")
    Resolver(monkeypatch, ["127.0.0.1"])
    variables = {"SSL_CERT_FILE": str(certificate)}
    with (
        running(certificate) as tls,
        client(variables=variables) as http,
        pytest.raises(errors.UnreachableError, match="not trusted") as caught,
    ):
        http.get(tls.url("/a", "other.test"), max_bytes=10)
    assert caught.value.reason == "untrusted-certificate"
