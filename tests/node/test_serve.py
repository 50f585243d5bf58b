"""The real process: started on a free port, asked, stopped by SIGTERM."""

import contextlib
import hashlib
import http.client
import json
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.api.support import JAR, Upstream, running_upstream, write_node
from tests.base.support import Handler
from tests.verify.cases import default_blocks, provenance, recorder_block, second
from tests.verify.support import PUBLISHED, RECORDER, make_record, sign, statement_signer

from touchplate.base.errors import ConfigError, StorageError
from touchplate.node.config import load_config
from touchplate.node.serve import choose_port, format_url
from touchplate.node.wiring import Node
from touchplate.verify.cli import main

WAIT_SECONDS = 60
TOOL = "org/example/tool/2.0/tool-2.0.jar"
TOOL_BYTES = bytes(range(256)) * 8192


class Process:
    """`touchplate serve`, and a way to ask it."""

    command: tuple[str, ...] = ("serve",)

    def __init__(self, config: Path) -> None:
        command = [sys.executable, "-W", "error", "-m", "touchplate.verify", *self.command]
        command += ["--config", str(config)]
        self.child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines: list[str] = []
        assert self.child.stderr is not None
        self._reader = threading.Thread(
            target=lambda: self.lines.extend(self.child.stderr or ()), daemon=True
        )
        self._reader.start()

    def url(self) -> str:
        """What it prints when it is ready."""
        assert self.child.stdout is not None
        line = self.child.stdout.readline()
        assert line.startswith("touchplate: ready at http://"), (line, self.lines)
        return line.split()[-1]

    def request(
        self, url: str, path: str, method: str = "GET", body: bytes | None = None
    ) -> tuple[int, bytes]:
        """One request on a connection of its own."""
        address = urlsplit(url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=WAIT_SECONDS)
        with contextlib.closing(connection):
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()

    def stop(self) -> int:
        """SIGTERM, and the exit code that follows."""
        self.child.send_signal(signal.SIGTERM)
        code = self.child.wait(WAIT_SECONDS)
        self._reader.join(WAIT_SECONDS)
        return code

    def close(self) -> None:
        """Never leave a process behind."""
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait(WAIT_SECONDS)
        self._reader.join(WAIT_SECONDS)
        for pipe in (self.child.stdout, self.child.stderr):
            assert pipe is not None
            pipe.close()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running_upstream() as made:
        made.put(TOOL, TOOL_BYTES)
        made.put(JAR, PUBLISHED)
        yield made


@contextlib.contextmanager
def serving(config: Path) -> Iterator[Process]:
    process = Process(config)
    try:
        yield process
    finally:
        process.close()


def test_serves_on_a_free_port_and_ends_in_order(tmp_path: Path, upstream: Upstream) -> None:
    with serving(write_node(tmp_path, upstream.url)) as process:
        url = process.url()
        assert process.request(url, f"/maven/central/{TOOL}") == (200, TOOL_BYTES)
        status, body = process.request(url, f"/maven/central/{JAR}")
        assert (status, json.loads(body)["reason"]) == (403, "not-reproduced")
        # Through the log's own face, as operators do it: the hot path and everything else on one port.
        for entry in (provenance(), second()):
            assert process.request(url, "/log/add", "POST", entry.envelope)[0] == 200
        assert process.request(url, f"/maven/central/{JAR}") == (200, PUBLISHED)
        assert process.request(url, "/")[0] == 200
        assert process.request(url, "/log/checkpoint")[0] == 200
        assert process.request(url, "/log/proof/inclusion?index=0&size=1")[0] == 200
        assert process.stop() == 0
        assert not [line for line in process.lines if "ERROR" in line or "Traceback" in line]


def test_a_slow_upstream_does_not_hold_up_the_end(tmp_path: Path, upstream: Upstream) -> None:
    def trickle(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        started.set()
        while not upstream.server.released.wait(0.05):
            handler.wfile.write(b"x")

    started = threading.Event()
    upstream.act(TOOL, trickle)
    with serving(write_node(tmp_path, upstream.url)) as process:
        url = process.url()
        asking = threading.Thread(target=lambda: ask_in_vain(process, url))
        asking.start()
        assert started.wait(WAIT_SECONDS)
        assert process.stop() == 0
        asking.join(WAIT_SECONDS)
        assert not [line for line in process.lines if "Traceback" in line]


def ask_in_vain(process: Process, url: str) -> None:
    with contextlib.suppress(OSError, http.client.HTTPException):
        process.request(url, f"/maven/central/{TOOL}")


def test_goes_on_where_it_stopped(tmp_path: Path, upstream: Upstream) -> None:
    config = write_node(tmp_path, upstream.url)
    with serving(config) as process:
        assert process.request(process.url(), f"/maven/central/{TOOL}")[0] == 200
        assert process.stop() == 0
    with serving(config) as process:
        assert process.request(process.url(), f"/maven/central/{TOOL}") == (200, TOOL_BYTES)
        assert process.stop() == 0
    assert upstream.asked(TOOL) == 1


def test_keeps_evidence_for_workers_with_the_token(tmp_path: Path, upstream: Upstream) -> None:
    data = b"a build log"
    path = f"/builder/evidence/{hashlib.sha256(data).hexdigest()}"
    with serving(write_node(tmp_path, upstream.url)) as process:
        url = process.url()
        assert process.request(url, path, "PUT", data)[0] == 401
        address = urlsplit(url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=WAIT_SECONDS)
        with contextlib.closing(connection):
            connection.request("PUT", path, data, {"Authorization": "Bearer a-token-of-tests"})
            assert connection.getresponse().status == 201
        assert process.request(url, path) == (200, data)
        assert process.stop() == 0


def test_a_mistake_in_the_configuration_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    config = write_node(tmp_path, "http://127.0.0.1:1/repository", top="colour = 1")
    with serving(config) as process:
        assert process.child.wait(WAIT_SECONDS) == 2
        process.close()
        assert len(process.lines) == 1
        assert "colour" in process.lines[0]


def test_a_second_node_on_one_data_folder_is_refused(tmp_path: Path) -> None:
    config = load_config(write_node(tmp_path, "http://127.0.0.1:1/repository"))
    first = Node(config)
    first.start()
    try:
        with pytest.raises(ConfigError, match="another node runs on"):
            Node(config)
        with serving(tmp_path / "node.toml") as process:
            assert process.child.wait(WAIT_SECONDS) == 2
            process.close()
            assert "another node runs on" in process.lines[-1]
    finally:
        first.stop()
    second = Node(config)
    second.start()
    second.stop()


def test_a_node_that_cannot_be_opened_lets_go_of_its_folder(tmp_path: Path) -> None:
    config = load_config(write_node(tmp_path, "http://127.0.0.1:1/repository"))
    config.data.mkdir()
    (config.data / "links.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(StorageError, match=r"links\.sqlite"):
        Node(config)
    (config.data / "links.sqlite").unlink()
    Node(config).stop()


def test_a_damaged_index_is_made_again(tmp_path: Path) -> None:
    config = load_config(write_node(tmp_path, "http://127.0.0.1:1/repository"))
    config.data.mkdir()
    damaged = config.data / "index.sqlite"
    damaged.write_bytes(b"no database" * 1000)
    node = Node(config)
    node.start()
    node.index.catch_up()
    assert node.index.followed == len(node.log.entries_after(0)) == 0
    node.stop()
    assert damaged.read_bytes().startswith(b"SQLite format 3\x00")


@pytest.mark.parametrize("options", [[], ["--check"]])
def test_everything_that_is_wrong_with_keys_and_lists_is_said_at_once(
    tmp_path: Path, options: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_node(tmp_path, "http://127.0.0.1:1/repository")
    (tmp_path / "trust.toml").unlink()
    (tmp_path / "admission.toml").write_text("[[recorder]]")
    (tmp_path / "log.key").write_text("PRIVATE+KEY+hunter2")
    (tmp_path / "recorder.pem").chmod(0o644)
    (tmp_path / "worker.token").unlink()
    assert main(["serve", "--config", str(config), *options]) == 2
    said = capsys.readouterr().err
    assert "5 mistakes" in said
    for where in ("gate.trust", "log.admission", "log.key", "recorder.key", "evidence.token", "chmod 600"):
        assert where in said
    assert "hunter2" not in said
    assert not (tmp_path / "data").exists()


def test_a_configuration_that_is_right_is_called_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = write_node(tmp_path, "http://127.0.0.1:1/repository")
    assert main(["serve", "--config", str(config), "--check"]) == 0
    assert "is right" in capsys.readouterr().out


@pytest.mark.parametrize("ecosystems", [("conan",), ("oci",)])
def test_a_recorder_of_another_ecosystem_is_a_mistake(tmp_path: Path, ecosystems: tuple[str, ...]) -> None:
    blocks = [*default_blocks()[:-1], recorder_block(RECORDER, "recorder", ecosystems=ecosystems)]
    config = load_config(write_node(tmp_path, "http://127.0.0.1:1/repository", blocks=blocks))
    with pytest.raises(ConfigError, match="the ecosystem 'maven'"):
        Node(config)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port: int = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"127.0.0.1:{port}"):
            choose_port("127.0.0.1", port)


def test_an_address_is_shown_as_it_can_be_reached() -> None:
    assert format_url("127.0.0.1", 80) == "http://127.0.0.1:80"
    assert format_url("0.0.0.0", 80) == "http://127.0.0.1:80"
    assert format_url("::", 80) == "http://[::1]:80"


def test_a_recorder_that_nobody_trusts_is_a_mistake(tmp_path: Path) -> None:
    """Else the node would fill the log with records that its own gate does not count."""
    config = load_config(write_node(tmp_path, "http://127.0.0.1:1/repository", blocks=[]))
    with pytest.raises(ConfigError, match=r"gate\.trust"):
        Node(config)


def test_an_index_of_another_log_is_built_again(tmp_path: Path, upstream: Upstream) -> None:
    config = load_config(write_node(tmp_path, upstream.url))
    first = Node(config)
    first.start()
    first.log.append([provenance().envelope])
    first.stop()
    for path in (config.data / "log").iterdir():
        path.unlink()
    again = Node(config)
    again.start()
    try:
        assert again.index.followed == 0
        entry = sign(make_record(), statement_signer("recorder"))
        again.log.append([entry.envelope])
        again.index.catch_up(1)
        assert again.index.store.counts() == {"record": 1}
    finally:
        again.stop()


def test_a_part_that_cannot_start_is_one_line_and_lets_go_of_the_folder(
    tmp_path: Path, upstream: Upstream
) -> None:
    config = load_config(write_node(tmp_path, upstream.url))
    first = Node(config)
    first.start()
    first.log.append([provenance().envelope])
    first.stop()
    # An index that is behind, on a disk that takes nothing more.
    index = sqlite3.connect(config.data / "index.sqlite")
    index.executescript(
        "DELETE FROM entries; DELETE FROM evidence; UPDATE state SET value = 0 WHERE name = 'followed';"
        "CREATE TRIGGER full BEFORE INSERT ON entries BEGIN SELECT RAISE(ABORT, 'disk is full'); END;"
    )
    index.close()
    with serving(tmp_path / "node.toml") as process:
        assert process.child.wait(WAIT_SECONDS) == 2
        process.close()
        assert process.lines[-1] == "touchplate: writing the index: the database failed: disk is full\n"
    (config.data / "index.sqlite").unlink()
    again = Node(config)
    again.start()
    assert again.index.followed == 1
    again.stop()
