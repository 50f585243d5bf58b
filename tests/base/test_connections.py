"""URLs, proxies and exemptions, and a real proxy in between."""

from __future__ import annotations

import base64
import socket
import threading
from pathlib import Path

import pytest
from tests.base.support import Handler, client, make_certificate, running

from touchplate.base import errors
from touchplate.base.addresses import AddressRules
from touchplate.base.connections import Origin, parse_origin, proxy_for
from touchplate.base.environment import Environment

# A host that the tests never resolve: only the proxy sees its name.
HOST = "packages.example.org"


def test_splits_a_url() -> None:
    assert parse_origin("http://Example.org") == (Origin("http", "example.org", 80), "/")
    assert parse_origin("https://[::1]:8443/a/b?c=d") == (Origin("https", "::1", 8443), "/a/b?c=d")
    assert Origin("https", "::1", 8443).authority == "[::1]:8443"
    assert Origin("https", "example.org", 443).authority == "example.org"


@pytest.mark.parametrize(
    "url",
    [
        "", "/path", "example.org", "ftp://example.org/", "file:///etc/passwd", "http://", "http:///x",
        "http://h:0/", "http://h:99999/", "http://h:x/", "http://u@h/", "http://user:hunter2@h/",
        "http://h/#part", "http://h/a b", "http://h/\n", "http://h/\x7f", "http://h/é", "http://[::1", "gopher://h/",
        "http://me:hunter2/x@h/", "http://me:hunter2#x@h/", "http://me:hunter2?x@h/", "http://me:hunter2 @h/",
        "http://me:hunter2é@h/", "http:/me:hunter2@h/", "me:hunter2@h", "http://[me:hunter2@h/",
    ],
)  # fmt: skip
def test_refuses_urls_that_are_not_plain_web_addresses(url: str) -> None:
    with pytest.raises(errors.BadURLError) as caught:
        parse_origin(url)
    assert "hunter2" not in str(caught.value)


def proxied(host: str, **variables: str) -> bool:
    return (
        proxy_for(Origin("https", host, 443), Environment({"https_proxy": "p:3128", **variables})) is not None
    )


def test_goes_by_the_proxy_unless_the_host_is_exempt() -> None:
    assert proxied("example.org")
    assert not proxied("localhost")
    assert not proxied("127.0.0.1")
    for exemption in ("*", "example.org", ".example.org", "*.example.org", "repo.example.org:443"):
        assert not proxied("repo.example.org", no_proxy=f"other.test,{exemption}")
    for exemption in ("ample.org", "repo.example.org:80", "10.0.0.0/8", ""):
        assert proxied("repo.example.org", no_proxy=exemption)
    assert not proxied("10.1.2.3", no_proxy="10.0.0.0/8")
    assert not proxied("fd00::1", no_proxy="fd00::/8")
    assert proxied("10.1.2.3", no_proxy="10.2.0.0/16,example.org")


@pytest.mark.parametrize("value", ["https://p:1", "socks5://p:1", "http://", "http://p:x"])
def test_refuses_proxies_of_other_kinds_by_the_name_of_the_variable(value: str) -> None:
    with pytest.raises(errors.ConfigError, match="https_proxy"):
        proxied("example.org", https_proxy=value)


def test_sends_http_by_the_proxy_with_its_credentials_and_reports_it_without_them() -> None:
    with running() as proxy:
        proxy.actions[f"http://{HOST}/a?b=c"] = lambda handler: handler.reply(200, b"by proxy")
        address = f"http://user:p%40ss@127.0.0.1:{proxy.server_address[1]}"
        with client(AddressRules(), variables={"http_proxy": address}) as http:
            assert http.get(f"http://{HOST}/a?b=c", max_bytes=10).body == b"by proxy"
            lines = http.describe()
    assert lines == [f"http by the proxy 127.0.0.1:{proxy.server_address[1]} (http_proxy)"]
    sent = proxy.seen_headers[0]
    assert sent["host"] == HOST
    assert base64.b64decode(sent["proxy-authorization"].removeprefix("Basic ")) == b"user:p@ss"


def test_asks_the_proxy_for_a_tunnel_to_a_tls_server(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path / "server.pem")
    with running(certificate) as origin, running() as proxy:
        origin.actions["/a"] = lambda handler: handler.reply(200, b"through a tunnel")
        port = origin.server_address[1]

        def connect(handler: Handler) -> None:
            handler.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with socket.create_connection(("127.0.0.1", port)) as upstream:
                join(handler.connection, upstream)
            handler.close_connection = True

        # No resolver knows this name; the proxy knows where it is.
        proxy.actions[f"tunnel.test:{port}"] = connect
        variables = {
            "https_proxy": f"127.0.0.1:{proxy.server_address[1]}",
            "SSL_CERT_FILE": str(certificate),
        }
        with client(AddressRules(), variables=variables) as http:
            for _ in range(2):
                response = http.get(f"https://tunnel.test:{port}/a", max_bytes=100)
                assert response.body == b"through a tunnel"
        assert proxy.requests == [("CONNECT", f"tunnel.test:{port}")]


def test_says_so_when_the_proxy_refuses_a_tunnel() -> None:
    with running() as proxy:
        proxy.actions[f"{HOST}:443"] = lambda handler: handler.reply(403, b"no")
        with (
            client(AddressRules(), variables={"https_proxy": f"127.0.0.1:{proxy.server_address[1]}"}) as http,
            pytest.raises(errors.BadResponseError, match="status 403"),
        ):
            http.get(f"https://{HOST}/", max_bytes=10)


def test_never_asks_a_proxy_for_a_private_address() -> None:
    with running() as proxy:
        variables = {"http_proxy": f"127.0.0.1:{proxy.server_address[1]}"}
        with client(AddressRules(), variables=variables) as http, pytest.raises(errors.AddressRefusedError):
            http.get("http://169.254.169.254/latest", max_bytes=10)
    assert proxy.requests == []


def join(left: socket.socket, right: socket.socket) -> None:
    """Copy both ways until both sides ended."""

    def copy(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    thread = threading.Thread(target=copy, args=(left, right), daemon=True)
    thread.start()
    copy(right, left)
    thread.join(10)
