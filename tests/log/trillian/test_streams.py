"""Streams that last: of health and reflection, from clients that show no token."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.log.trillian.support import SECONDS, Client, connected, refused, running
from tests.log.trillian.test_access import TOKENS, with_tokens

from touchplate.log.errors import OverloadedError
from touchplate.log.trillian.beside import MAX_REFLECTIONS, MAX_WATCHERS, Slots
from touchplate.log.trillian.calls import LOG_SERVICE
from touchplate.log.trillian.server import MAX_CALLS

Code = grpc.StatusCode
ASKED = reflection_pb2.ServerReflectionRequest(list_services="")


@pytest.fixture
def strangers(tmp_path: Path) -> Iterator[tuple[Client, Client, Client]]:
    """A client with a token, and two without, each with a connection of its own."""
    with running(tmp_path, with_tokens(tmp_path)) as service, ExitStack() as stack:
        assert service.trillian is not None
        address = "{}:{}".format(*service.trillian.address)
        channels = [
            stack.enter_context(grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]))
            for _ in range(3)
        ]
        known, one, two = channels
        yield Client(known, address, TOKENS["admin"]), Client(one, address), Client(two, address)


def watch(client: Client, name: str = "") -> Any:
    stub = health_pb2_grpc.HealthStub(client.channel)
    call = stub.Watch(health_pb2.HealthCheckRequest(service=name))
    next(call)
    return call


def is_watching(client: Client) -> bool:
    """Whether it was let in."""
    try:
        watch(client).cancel()
    except grpc.RpcError:
        return False
    return True


@contextmanager
def reflecting(client: Client) -> Iterator[None]:
    """A stream that has been answered and stays open."""
    end = Event()

    def asked() -> Iterator[reflection_pb2.ServerReflectionRequest]:
        yield ASKED
        end.wait()

    call = reflection_pb2_grpc.ServerReflectionStub(client.channel).ServerReflectionInfo(asked())
    try:
        next(call)
        yield
    finally:
        end.set()
        call.cancel()


def test_whoever_watches_health_takes_no_call_from_others(strangers: tuple[Client, Client, Client]) -> None:
    known, one, two = strangers
    tree = known.make()
    calls = [watch(one) for _ in range(MAX_WATCHERS)]
    assert known.queue(tree, b"a").status.code == 0
    with refused(Code.RESOURCE_EXHAUSTED, f"{MAX_WATCHERS} watchers of health"):
        watch(two)
    for call in calls:
        call.cancel()
    while not is_watching(two):  # the server hears of it some time
        pass


def test_whoever_reflects_takes_no_call_from_others(strangers: tuple[Client, Client, Client]) -> None:
    known, one, _ = strangers
    with ExitStack() as stack:
        for _ in range(MAX_REFLECTIONS):
            stack.enter_context(reflecting(one))
        with refused(Code.RESOURCE_EXHAUSTED, f"{MAX_REFLECTIONS} reflections"), reflecting(one):
            pass
        assert known.root(known.make()).size == 0


def frame(kind: int, flags: int, stream: int, data: bytes) -> bytes:
    """One of HTTP/2 (RFC 9113 section 4.1)."""
    return len(data).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + data


@contextmanager
def greedy_watcher(address: tuple[str, int]) -> Iterator[None]:
    """Watches health over a connection on which nothing may be sent to it."""

    def header(name: bytes, value: bytes) -> bytes:
        return b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value

    headers = b"".join(
        header(*one)
        for one in (
            (b":method", b"POST"),
            (b":scheme", b"http"),
            (b":path", b"/grpc.health.v1.Health/Watch"),
            (b":authority", b"x"),
            (b"te", b"trailers"),
            (b"content-type", b"application/grpc"),
        )
    )
    with socket.create_connection(address, timeout=SECONDS) as connection:
        no_window = frame(4, 0, 0, b"\0\x04" + bytes(4))
        call = frame(1, 4, 1, headers) + frame(0, 1, 1, bytes(5))
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + no_window + call)
        received = b""
        while frame(1, 4, 1, b"")[3:] not in received:  # headers of the answer, which need no window
            received += connection.recv(65536)
        yield


def test_a_watcher_who_takes_nothing_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with running(tmp_path, with_tokens(tmp_path)) as service:
        assert service.trillian is not None
        with greedy_watcher(service.trillian.address):
            stopping = Thread(target=service.trillian.stop, daemon=True)
            stopping.start()
            stopping.join(SECONDS)
            is_stopped = not stopping.is_alive()
        stopping.join()  # now it can, however it is made
        assert is_stopped


def test_watchers_are_told_of_the_end_and_let_go(tmp_path: Path) -> None:
    with running(tmp_path) as service, connected(service) as client:
        assert service.trillian is not None
        calls = [watch(client), watch(client, LOG_SERVICE)]
        service.trillian.stop()
        for call in calls:
            assert [one.status for one in call] == [health_pb2.HealthCheckResponse.NOT_SERVING]
            assert call.code() is Code.OK


def test_a_service_that_is_not_here_is_unknown_to_health(strangers: tuple[Client, Client, Client]) -> None:
    _, one, _ = strangers
    stub = health_pb2_grpc.HealthStub(one.channel)
    with refused(Code.NOT_FOUND, "no.such"):
        stub.Check(health_pb2.HealthCheckRequest(service="no.such"), timeout=SECONDS)
    call = stub.Watch(health_pb2.HealthCheckRequest(service="no.such"))
    assert next(call).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
    call.cancel()


def test_a_service_that_is_watched_has_a_short_name(strangers: tuple[Client, Client, Client]) -> None:
    _, one, _ = strangers
    watch(one, "x" * 200).cancel()
    with refused(Code.INVALID_ARGUMENT, "201 characters"):
        watch(one, "x" * 201)


def test_calls_whose_message_never_comes_take_no_call_from_others(
    strangers: tuple[Client, Client, Client],
) -> None:
    known, one, _ = strangers
    end = Event()
    method: Any = one.channel.stream_unary("/trillian.TrillianLog/QueueLeaf")

    def nothing() -> Iterator[bytes]:
        end.wait()
        return
        yield b""

    tree = known.make()
    calls = [method.future(nothing()) for _ in range(MAX_CALLS - 1)]
    calls.append(watch(one))  # comes after them on the same connection
    assert known.root(tree).size == 0
    end.set()
    for call in calls:
        call.cancel()


def test_a_slot_is_free_again_after_it_was_used_and_after_a_failure() -> None:
    slots = Slots("things", 1)
    for _ in range(3):
        with (
            slots.take(),
            pytest.raises(OverloadedError, match="1 things at the same time"),
            slots.take(),
        ):
            pass
        with pytest.raises(ValueError, match="x"), slots.take():
            raise ValueError("x")
