"""The bridge by itself, outside a sandbox: it must never leave a client waiting."""

import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.builder.sandboxes import Rig

from touchplate.builder.errors import PhaseFailed
from touchplate.builder.sandbox import bridge

SECONDS = 10.0

GLIBC_OWN = 0b11 << 31
"""Signals 32 and 33: posix_spawn leaves them ignored, and the C library that uses them sets them itself."""


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """A bridge to `tmp_path/socket`, served by a thread that ends with the test."""
    with bridge.listen(0) as listener:

        def serve_two() -> None:
            for _ in range(2):
                try:
                    client, _ = listener.accept()
                except OSError:
                    return  # the test has ended
                bridge.serve_client(client, str(tmp_path / "socket"))

        thread = threading.Thread(target=serve_two)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(SECONDS)
    assert not thread.is_alive()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=SECONDS)


def test_client_is_closed_when_the_socket_is_not_there(port: int) -> None:
    with connect(port) as client:
        assert client.recv(1) == b""


def test_client_is_closed_when_the_mirror_dies_in_the_middle(port: int, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as mirror:
        mirror.bind(str(tmp_path / "socket"))
        mirror.listen()
        with connect(port) as client:
            inner, _ = mirror.accept()
            client.sendall(b"GET")
            assert inner.recv(3) == b"GET"
            inner.sendall(b"HTTP/1.1 2")
            inner.close()
            assert client.makefile("rb").read() == b"HTTP/1.1 2"


def test_client_that_hangs_up_is_told_to_the_mirror(port: int, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as mirror:
        mirror.bind(str(tmp_path / "socket"))
        mirror.listen()
        client = connect(port)
        inner, _ = mirror.accept()
        client.close()
        with inner:
            assert inner.recv(1) == b""


def test_does_not_start_the_command_when_the_way_does_not_work(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with bridge.listen(0) as taken:
        free = taken.getsockname()[1]
    arguments = [bridge.__file__, str(free), str(tmp_path / "socket"), "/usr/bin/touch", str(marker)]
    done = subprocess.run(
        [sys.executable, "-I", *arguments], capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == bridge.BROKEN
    assert "bridge:" in done.stderr
    assert not marker.exists()


def test_command_gets_the_signals_and_gives_the_code_that_it_would_have_without_a_bridge(rig: Rig) -> None:
    # As under nohup and in a script's background: what the supervisor ignores is no business of a build.
    usual = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGHUP, signal.SIGINT)}
    try:
        with pytest.raises(PhaseFailed) as caught:
            rig.build(rig.plan("grep SigIgn /proc/self/status; kill -TERM $$"))
        rig.fetch(rig.plan("grep SigIgn /proc/self/status; sh -c 'kill -TERM $$' 2>/dev/null || echo $?"))
    finally:
        for number, action in usual.items():
            signal.signal(number, action)
    without, through, code = (line.split()[-1] for line in rig.heard.lines if line != "Terminated")
    assert int(without, 16) & ~GLIBC_OWN == int(through, 16) & ~GLIBC_OWN == 0
    assert code == "143"
    assert "exit code 143" in caught.value.detail


def test_listening_twice_is_an_error_and_not_a_silent_nothing() -> None:
    with bridge.listen(0) as listener, pytest.raises(OSError, match="in use"):
        bridge.listen(listener.getsockname()[1])
