"""The real server sends layers that are still being fetched: cut, resumed, left and stopped on the way."""

import contextlib
import hashlib
import http.client
import json
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.api.docker.support import FakeRegistry, running_registry, upstream_text, write_image_node
from tests.base.support import Handler
from tests.images import OCI_INDEX, Image, make_image, make_index
from tests.node.test_serve import WAIT_SECONDS, serving

IMAGE = make_image("big", layers=[{"big": random.Random(3).randbytes(2_000_000)}])
DATA = IMAGE.blobs[IMAGE.layer]
MANIFEST = "/v2/hub/team/free/manifests/1"
LAYER = f"/v2/hub/team/free/blobs/sha256:{IMAGE.layer}"
UPSTREAM_LAYER = f"/v2/team/free/blobs/sha256:{IMAGE.layer}"


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with running_registry() as made:
        made.push("team/free", "1", IMAGE)
        yield made


def config(folder: Path, registry: FakeRegistry) -> Path:
    return write_image_node(folder, upstream_text("hub", registry.url))


@contextlib.contextmanager
def asked(url: str, path: str) -> Iterator[http.client.HTTPResponse]:
    """An answer whose body is still to be read."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=WAIT_SECONDS)
    with contextlib.closing(connection):
        connection.request("GET", path)
        yield connection.getresponse()


class Gated:
    """An upstream that sends the first half of the layer, and the rest when it is told to."""

    def __init__(self, registry: FakeRegistry, data: bytes = DATA) -> None:
        self.go_on = threading.Event()
        self._data = data
        self._registry = registry
        registry.acts[UPSTREAM_LAYER] = self

    def __call__(self, handler: Handler) -> None:
        half = len(self._data) // 2
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(self._data)))
        handler.end_headers()
        handler.wfile.write(self._data[:half])
        while not self.go_on.wait(0.05) and not self._registry.server.released.is_set():
            pass
        handler.wfile.write(self._data[half:])


def test_a_layer_arrives_while_it_is_still_being_fetched(tmp_path: Path, registry: FakeRegistry) -> None:
    gate = Gated(registry)
    with serving(config(tmp_path, registry)) as process:
        url = process.url()
        assert process.request(url, MANIFEST)[0] == 200
        with asked(url, LAYER) as response:
            assert response.headers["Content-Length"] == str(len(DATA))
            first = response.read(len(DATA) // 4)
            assert not gate.go_on.is_set()
            gate.go_on.set()
            assert first + response.read() == DATA
        assert process.stop() == 0
        assert not [line for line in process.lines if "ERROR" in line or "Traceback" in line]


def test_a_wrong_layer_is_cut_before_its_end(tmp_path: Path, registry: FakeRegistry) -> None:
    gate = Gated(registry, DATA[:-1] + bytes([DATA[-1] ^ 1]))
    with serving(config(tmp_path, registry)) as process:
        url = process.url()
        assert process.request(url, MANIFEST)[0] == 200
        with asked(url, LAYER) as response:
            assert response.status == 200
            assert response.read(1000) == DATA[:1000]
            gate.go_on.set()
            with pytest.raises((http.client.IncompleteRead, ConnectionError)) as caught:
                response.read()
            got = getattr(caught.value, "partial", b"")
            assert len(got) <= len(DATA) - 64 * 1024
        # The same connection pool serves on, and the right bytes come once the upstream has them.
        del registry.acts[UPSTREAM_LAYER]
        assert process.request(url, LAYER) == (200, DATA)


def test_the_fetch_goes_on_when_its_client_leaves(tmp_path: Path, registry: FakeRegistry) -> None:
    gate = Gated(registry)
    with serving(config(tmp_path, registry)) as process:
        url = process.url()
        assert process.request(url, MANIFEST)[0] == 200
        with asked(url, LAYER) as response:
            assert response.read(1000) == DATA[:1000]
        gate.go_on.set()
        assert process.request(url, LAYER) == (200, DATA)
        assert registry.count(UPSTREAM_LAYER) == 1


def test_a_node_stops_in_the_middle_of_a_layer(tmp_path: Path, registry: FakeRegistry) -> None:
    def trickle(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(DATA)))
        handler.end_headers()
        for start in range(0, len(DATA), 1000):
            handler.wfile.write(DATA[start : start + 1000])
            if registry.server.released.wait(0.02):
                return

    registry.acts[UPSTREAM_LAYER] = trickle
    with serving(config(tmp_path, registry)) as process:
        url = process.url()
        assert process.request(url, MANIFEST)[0] == 200
        with asked(url, LAYER) as response:
            assert response.read(1000) == DATA[:1000]
            assert process.stop() == 0
    blobs = tmp_path / "data" / "blobs"
    for path in blobs.rglob("*"):
        if path.is_file() and path.parent.name != "tmp":
            assert path.name == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_connection_is_kept_over_a_refusal_by_head(tmp_path: Path, registry: FakeRegistry) -> None:
    registry.push("team/bad", "1", make_image("bad"))
    with serving(config(tmp_path, registry)) as process:
        address = urlsplit(process.url())
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=WAIT_SECONDS)
        with contextlib.closing(connection):
            for method in ("HEAD", "GET", "HEAD", "GET"):
                connection.request(method, "/v2/hub/team/bad/manifests/1")
                response = connection.getresponse()
                body = response.read()
                assert response.status == 403
                assert (method == "HEAD") == (body == b"")
            assert json.loads(body)["errors"][0]["code"] == "DENIED"


def test_a_refusal_arrives_whatever_the_publisher_wrote(tmp_path: Path, registry: FakeRegistry) -> None:
    """A header with a control character would be answered by a reset connection."""
    index = json.loads(make_index({"amd64": make_image("bad"), "arm64": make_image("arm")}).manifest)
    index["manifests"][0]["platform"] |= {"os": "li\0nux\x1b[2J", "variant": "\u0131"}
    registry.push("team/bad", "1", Image(OCI_INDEX, json.dumps(index).encode()))
    path = "/v2/hub/team/bad/manifests/1"
    with serving(config(tmp_path, registry)) as process, asked(process.url(), path) as response:
        assert response.status == 403
        assert json.loads(response.read())["errors"][0]["code"] == "DENIED"
        warning = response.headers["Warning"]
        assert "not reproduced" in warning
        assert warning.isprintable()


def test_accept_may_come_as_several_header_lines(tmp_path: Path, registry: FakeRegistry) -> None:
    """As Docker's classic store sends it."""
    kinds = ("application/json", "application/vnd.docker.distribution.manifest.v2+json", IMAGE.media_type)
    lines = "".join(f"Accept: {kind}\r\n" for kind in kinds)
    with serving(config(tmp_path, registry)) as process:
        address = urlsplit(process.url())
        with socket.create_connection((str(address.hostname), address.port or 80), WAIT_SECONDS) as client:
            client.sendall(
                f"HEAD {MANIFEST} HTTP/1.1\r\nHost: x\r\n{lines}Connection: close\r\n\r\n".encode()
            )
            answer = b""
            while piece := client.recv(65536):
                answer += piece
    head = answer.decode().lower()
    assert head.startswith("http/1.1 200")
    assert f"docker-content-digest: {IMAGE.digest}" in head
    assert f"content-type: {IMAGE.media_type}" in head
    assert f"content-length: {len(IMAGE.manifest)}" in head
