"""ABCI's socket: framing, order, limits, and garbage."""

import io
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from touchplate.log.errors import RequestError
from touchplate.log.peers import transport
from touchplate.log.peers.transport import (
    MAX_CONNECTIONS,
    MAX_MESSAGE_BYTES,
    Listener,
    SocketStream,
    encode_message,
    read_message,
)
from touchplate.proto.abci import abci_pb2 as abci

FLUSH = encode_message(abci.Request(flush=abci.Empty()))
SECONDS = 20


def echo(text: str) -> bytes:
    return encode_message(abci.Request(echo=abci.Echo(message=text)))


def answer(request: abci.Request) -> abci.Response:
    if request.WhichOneof("value") == "echo":
        return abci.Response(echo=request.echo)
    return abci.Response(exception=abci.ExceptionResponse(error="no"))


def reader(data: bytes) -> io.BufferedReader:
    return io.BufferedReader(io.BytesIO(data))


@contextmanager
def listening(folder: Path) -> Iterator[Path]:
    path = folder / "run" / "app.sock"
    listener = Listener(path, answer)
    listener.start()
    try:
        yield path
    finally:
        listener.stop()
        listener.stop()


def connect(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.settimeout(SECONDS)
    made.connect(str(path))
    return made


def answers(connection: socket.socket, count: int) -> list[abci.Response]:
    with connection.makefile("rb") as stream:
        return [abci.Response.FromString(read_message(stream) or b"") for _ in range(count)]


@pytest.mark.parametrize("size", [0, 1, 127, 128, 300, 16_383, 16_384, 2_000_000])
def test_messages_of_any_length_come_through(size: int) -> None:
    data = echo("a" * size)
    read = read_message(reader(data))
    assert read is not None
    assert abci.Request.FromString(read).echo.message == "a" * size


def test_answers_in_order_after_the_flush(tmp_path: Path) -> None:
    with listening(tmp_path) as path, closing(connect(path)) as connection:
        connection.sendall(b"".join(echo(str(number)) for number in range(50)) + FLUSH)
        got = answers(connection, 51)
        assert [one.echo.message for one in got[:50]] == [str(number) for number in range(50)]
        assert got[50].WhichOneof("value") == "flush"


def test_an_exception_is_sent_without_a_flush(tmp_path: Path) -> None:
    with listening(tmp_path) as path, closing(connect(path)) as connection:
        connection.sendall(encode_message(abci.Request(commit=abci.Empty())))
        assert answers(connection, 1)[0].exception.error == "no"


def test_each_connection_has_its_own_order(tmp_path: Path) -> None:
    with listening(tmp_path) as path:

        def talk(name: str) -> None:
            with closing(connect(path)) as connection:
                for number in range(30):
                    connection.sendall(echo(f"{name}{number}") + FLUSH)
                    seen.append(answers(connection, 2)[0].echo.message == f"{name}{number}")

        seen: list[bool] = []
        threads = [threading.Thread(target=talk, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS)
        assert seen == [True] * 120


@pytest.mark.parametrize(
    "data",
    [
        b"\x80",
        b"\xff" * 6,
        b"\x05abc",
        b"\x80\x80\x80\x80\x80\x01",
        encode_message(abci.Request(echo=abci.Echo(message="x")))[:-1],
    ],
)
def test_refuses_what_is_cut_or_too_long(data: bytes) -> None:
    with pytest.raises(RequestError):
        read_message(reader(data))


def test_a_length_beyond_the_limit_is_refused_before_anything_is_read() -> None:
    length = MAX_MESSAGE_BYTES + 1
    head = bytes([length & 0x7F | 0x80, length >> 7 & 0x7F | 0x80, length >> 14 & 0x7F | 0x80, length >> 21])
    with pytest.raises(RequestError, match="more than"):
        read_message(reader(head))


def test_garbage_costs_its_own_connection_only(tmp_path: Path) -> None:
    print("seed 3")
    chooser = random.Random(3)
    with listening(tmp_path) as path:
        for _ in range(120):
            with closing(connect(path)) as connection:
                connection.sendall(chooser.randbytes(chooser.randint(1, 300)))
                connection.shutdown(socket.SHUT_WR)
                with connection.makefile("rb") as stream:
                    stream.read()  # ends: nobody waits for ever
        with closing(connect(path)) as connection:
            connection.sendall(echo("still here") + FLUSH)
            assert answers(connection, 2)[0].echo.message == "still here"


def test_more_connections_than_an_engine_needs_are_refused(tmp_path: Path) -> None:
    with listening(tmp_path) as path:
        kept = [connect(path) for _ in range(MAX_CONNECTIONS)]
        for connection in kept:  # each is served, so all are counted
            connection.sendall(echo("x") + FLUSH)
            answers(connection, 2)
        with closing(connect(path)) as extra:
            assert extra.recv(1) == b""
        for connection in kept:
            connection.close()


def test_the_socket_is_its_owners_and_its_name_may_be_long(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 40)
    with listening(folder) as path:
        assert path.stat().st_mode & 0o777 == 0o600
        assert path.parent.stat().st_mode & 0o777 == 0o700


def test_stopping_ends_open_connections(tmp_path: Path) -> None:
    with listening(tmp_path) as path:
        connection = connect(path)
        connection.sendall(echo("x") + FLUSH)
        answers(connection, 2)
    with closing(connection):
        assert connection.recv(1) == b""


class Slow:
    """An application that answers only when the test says so."""

    def __init__(self) -> None:
        self.gate = threading.Event()

    def answer(self, request: abci.Request) -> abci.Response:
        assert self.gate.wait(SECONDS)
        return answer(request)


def test_questions_are_taken_from_an_engine_while_one_is_being_answered(tmp_path: Path) -> None:
    slow = Slow()
    listener = Listener(tmp_path / "app.sock", slow.answer)
    listener.start()
    try:
        with closing(connect(tmp_path / "app.sock")) as connection:
            # Far more than the socket holds: this would block, and time out, if nobody read.
            texts = [str(number) * 300_000 for number in range(8)]
            connection.sendall(b"".join(map(echo, texts)) + FLUSH)
            slow.gate.set()
            assert [one.echo.message for one in answers(connection, 8)] == texts
    finally:
        listener.stop()


def test_no_more_is_read_ahead_than_may_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_AHEAD_BYTES", 500_000)
    slow = Slow()
    listener = Listener(tmp_path / "app.sock", slow.answer)
    listener.start()
    try:
        with closing(connect(tmp_path / "app.sock")) as connection:
            connection.settimeout(1)
            with pytest.raises(TimeoutError):
                connection.sendall(echo("a" * 300_000) * 40)
    finally:
        slow.gate.set()
        listener.stop()


@pytest.mark.parametrize("pieces", [1, 7, 4096, 70_000, 1_000_000])
def test_a_message_may_come_in_pieces_of_any_length(pieces: int) -> None:
    texts = ["", "a", "b" * 200, "c" * 70_000, "d" * 200_000, "e"]
    data = b"".join(map(echo, texts))
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):

        def send() -> None:
            for start in range(0, len(data), pieces):
                theirs.sendall(data[start : start + pieces])
            theirs.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        stream = SocketStream(ours)
        found = [abci.Request.FromString(read_message(stream) or b"").echo.message for _ in texts]
        assert found == texts
        assert read_message(stream) is None
        sender.join(SECONDS)


def test_a_long_message_that_is_cut_off_is_refused() -> None:
    ours, theirs = socket.socketpair()
    with closing(ours), closing(theirs):
        theirs.sendall(echo("a" * 100_000)[:-1])
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(RequestError, match="ends after"):
            read_message(SocketStream(ours))
