"""Ten thousand clients at once, and clients that are slow on purpose: everybody else is served."""

import http.client
import resource
import selectors
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.log.support import record_envelope, write_settings
from tests.node.test_log_serve import LogProcess
from tests.simkeys import ORIGIN

from touchplate.base.environment import read_environment
from touchplate.verify.cli import main

CLIENTS = 10_000
SPARE = 500
"""Descriptors beside one for each client."""

SLOW = 1500
"""More than wait to be accepted."""

SECONDS = 120.0
"""Only a bound: nothing here takes that long."""


@pytest.fixture
def process(tmp_path: Path) -> Iterator[LogProcess]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = hard if 0 <= hard < CLIENTS + SPARE else CLIENTS + SPARE
    if most < 2 * SLOW:
        text = f"a process may open {hard} files here, {2 * SLOW} are needed at least (ulimit -Hn)"
        if read_environment().is_ci:
            pytest.fail(text)
        pytest.skip(text)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    write_settings(tmp_path)
    config = tmp_path / "log.toml"
    config.write_text(
        f'data = "data"\n[http]\nlisten = "127.0.0.1:0"\n[log]\norigin = "{ORIGIN}"\n'
        'key = "file:log.key"\nadmission = "admission.toml"\n'
    )
    made = LogProcess(config)  # with this limit
    try:
        yield made
    finally:
        made.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@contextmanager
def connected(url: str, count: int) -> Iterator[list[socket.socket]]:
    """So many clients, all connected."""
    address = urlsplit(url)
    place = (str(address.hostname), address.port or 0)
    with ExitStack() as stack:
        yield [stack.enter_context(socket.create_connection(place, SECONDS)) for _ in range(count)]


def request(number: int) -> bytes:
    body = record_envelope(number)
    return b"POST /log/add HTTP/1.1\r\nHost: log\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


def answers(clients: list[socket.socket]) -> list[bytes]:
    """What each of them receives, as far as the end of the body."""
    received = dict.fromkeys(clients, b"")
    with selectors.DefaultSelector() as waiting:
        for client in clients:
            waiting.register(client, selectors.EVENT_READ)
        while waiting.get_map():
            ready = waiting.select(SECONDS)
            assert ready, f"{len(waiting.get_map())} clients got no answer"
            for key, _ in ready:
                one = key.fileobj
                assert isinstance(one, socket.socket)
                data = one.recv(65536)
                received[one] += data
                if not data or is_whole(received[one]):
                    waiting.unregister(one)
    return list(received.values())


def is_whole(answer: bytes) -> bool:
    head, separator, body = answer.partition(b"\r\n\r\n")
    lengths = [line.partition(b":")[2] for line in head.lower().split(b"\r\n") if b"content-length" in line]
    return bool(separator) and len(body) == int(lengths[0])


def test_ten_thousand_clients_at_once_each_get_an_answer(process: LogProcess, tmp_path: Path) -> None:
    url = process.url()
    # Fewer where a process may not open so many files.
    count = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE
    requests = [request(number) for number in range(count)]
    with connected(url, count) as clients:
        for client, data in zip(clients, requests, strict=True):
            client.sendall(data)
        told = answers(clients)
    statuses = [int(answer[9:12]) for answer in told]
    assert set(statuses) <= {200, 503}
    indexes = [int(answer.partition(b"\r\n\r\n")[2]) for answer in told if answer[9:12] == b"200"]
    # More than may wait at once were turned away at most, and told when to come again.
    assert sorted(indexes) == list(range(len(indexes)))
    assert len(indexes) > count / 2
    assert all(b"retry-after" in answer.lower() for answer in told if answer[9:12] == b"503")
    assert process.request(url, "/log/add", "POST", record_envelope(count)) == (200, b"%d" % len(indexes))
    assert process.stop() == 0
    assert not [line for line in process.lines if "Traceback" in line]
    assert main(["log", "fsck", "--config", str(tmp_path / "log.toml")]) == 0


@pytest.mark.parametrize("part", [0.02, 0.5, 0.99])
def test_clients_that_never_finish_disturb_nobody(process: LogProcess, part: float) -> None:
    url = process.url()
    address = urlsplit(url)
    quick = http.client.HTTPConnection(str(address.hostname), address.port, timeout=SECONDS)
    with connected(url, SLOW) as slow, closing(quick):
        for number, client in enumerate(slow):
            data = request(number)
            client.sendall(data[: int(len(data) * part)])
        for number in range(50):
            quick.request("POST", "/log/add", record_envelope(SLOW + number))
            assert quick.getresponse().read() == b"%d" % number
