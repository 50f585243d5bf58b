"""`touchplate inspect`: what a node says, asked over a real connection and shown as it is."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import pytest
from tests.verify.support import LIB

from touchplate.verify import cli
from touchplate.verify.cli_inspect import api_path
from touchplate.verify.usage import UsageError

Captured = pytest.CaptureFixture[str]
SHA256 = "ab" * 32
ANSWER = {
    "package": "pkg:maven/org.example/lib@1.0",
    "files": [
        {
            "package": str(LIB),
            "sha256": SHA256,
            "levels": ["recorded"],
            "explanations": {"reproduced": "1 of 2 operators"},
            "operators": [{"operator": "https://a.example.org", "index": "7", "toolsPinned": True}],
            "equivalent": [],
            "ignored": [{"index": "9", "step": 4, "reason": "unknown-key", "message": "\x1b[2Jx"}],
        }
    ],
    "served": ["/maven/central/lib-1.0.jar"],
}


class Node(BaseHTTPRequestHandler):
    """Answers about one package and one digest; remembers what it was asked."""

    asked: list[str]

    def do_GET(self) -> None:
        self.asked.append(unquote(self.path))
        known = self.path.startswith("/api/v1/packages/") or self.path.endswith(SHA256)
        problem = {"status": 404, "reason": "not-found", "detail": "nothing is known about it here"}
        body = json.dumps(ANSWER if known else problem).encode()
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def node() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    handler = type("AskedNode", (Node,), {"asked": asked})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_shows_a_package(node: tuple[str, list[str]], capsys: Captured) -> None:
    url, asked = node
    assert cli.main(["inspect", "pkg:maven/org.example/lib@1.0", "--server", url]) == 0
    assert asked == [f"/api/v1/packages/{LIB}"]
    captured = capsys.readouterr()
    for part in (str(LIB), SHA256, "1 of 2 operators", "https://a.example.org, index 7, toolsPinned yes"):
        assert part in captured.out
    assert "\x1b" not in captured.out
    assert "no evidence" in captured.err


def test_shows_a_digest_as_json(node: tuple[str, list[str]], capsys: Captured) -> None:
    url, asked = node
    assert cli.main(["inspect", f"sha256:{SHA256}", "--server", url, "--json"]) == 0
    assert asked == [f"/api/v1/artifacts/{SHA256}"]
    assert json.loads(capsys.readouterr().out) == ANSWER


def test_what_a_node_does_not_know_cannot_be_determined(
    node: tuple[str, list[str]], capsys: Captured
) -> None:
    url, _ = node
    assert cli.main(["inspect", f"sha256:{'0' * 64}", "--server", url]) == 2
    assert "nothing is known" in capsys.readouterr().err


def test_a_purl_arrives_as_it_was() -> None:
    path = api_path("pkg:maven/a/b%2Bc@1.0?type=tar.gz&classifier=src")
    assert "?" not in path
    assert unquote(path) == "api/v1/packages/pkg:maven/a/b%2Bc@1.0?classifier=src&type=tar.gz"


@pytest.mark.parametrize("name", ["lib", "sha256:xyz", f"sha256:{'A' * 64}", "pkg:npm/x@1"])
def test_refuses_other_names(name: str) -> None:
    with pytest.raises(UsageError, match="write a package URL or sha256:HEX"):
        api_path(name)
