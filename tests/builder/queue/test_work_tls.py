"""A worker over HTTPS, by a proxy that ends TLS as operators have one; and one that does not trust it."""

import contextlib
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.base.support import make_certificate
from tests.builder.queue.queuehost import Host, Process, queue_host
from tests.builder.queue.test_work import add, check_log, wait_for_all
from tests.builder.sandboxes import require_sandbox

from touchplate.base.environment import CA_FILE_VARIABLES
from touchplate.verify.cli import main

PIECE = 65_536


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Bytes from one end to the other until one of them ends."""
    with contextlib.suppress(OSError):
        while data := source.recv(PIECE):
            sink.sendall(data)
    for one in (source, sink):
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def tls_before(port: int, certificate: Path) -> Iterator[int]:
    """The port of a proxy that ends TLS and passes everything on to `port`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    raw, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=pass_on, args=(raw,), daemon=True).start()

        def pass_on(raw: socket.socket) -> None:
            try:
                inside = context.wrap_socket(raw, server_side=True)
            except OSError:  # who does not trust the certificate hangs up
                raw.close()
                return
            outside = socket.create_connection(("127.0.0.1", port))
            back = threading.Thread(target=pump, args=(outside, inside), daemon=True)
            back.start()
            pump(inside, outside)
            back.join()
            inside.close()
            outside.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.fixture
def secured(tmp_path: Path) -> Iterator[tuple[Host, Host, Path]]:
    """A node as it is, and behind TLS: its address is that of the proxy. And who vouches for that."""
    require_sandbox()
    certificate = make_certificate(tmp_path / "proxy.pem")
    with (
        queue_host(tmp_path / "host") as host,
        tls_before(int(host.url.rpartition(":")[2]), certificate) as port,
    ):
        yield host, replace(host, url=f"https://127.0.0.1:{port}"), certificate


@pytest.mark.parametrize("variable", CA_FILE_VARIABLES)
def test_a_worker_takes_builds_and_logs_a_job_over_https(
    secured: tuple[Host, Host, Path],
    variable: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain, host, certificate = secured
    for name in CA_FILE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(certificate))
    number, definition = add(host, "secured")
    worker = host.worker(0, slots=1)
    try:
        wait_for_all(host, [worker])
    finally:
        assert worker.end(signal.SIGTERM) == 0
    options = ["--server", host.url, "--token-file", str(host.folder / "boss.token")]
    assert main(["jobs", "log", *options, "--follow", str(number)]) == 0
    assert "job: result: identical" in capsys.readouterr().out
    check_log(plain, [definition])


def test_a_worker_that_trusts_nobody_for_the_server_sends_no_token(secured: tuple[Host, Host, Path]) -> None:
    _, host, _ = secured
    number, _ = add(host, "waits")
    worker: Process = host.worker(0, slots=1)
    try:
        worker.wait_ready()
        while not any("certificate" in line for line in worker.lines):
            assert worker.child.poll() is None, worker.lines
    finally:
        assert worker.end(signal.SIGTERM) == 0
    assert host.queue.find(number).attempts == 0
