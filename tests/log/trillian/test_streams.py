"""Streams that last: of health and reflection, from clients that show no token."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.log.trillian.support import Client, refused, running
from tests.log.trillian.test_access import TOKENS, with_tokens

from touchplate.log.errors import OverloadedError
from touchplate.log.trillian.beside import MAX_REFLECTIONS, MAX_WATCHERS, Slots
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


def test_a_service_that_is_watched_has_a_short_name(strangers: tuple[Client, Client, Client]) -> None:
    _, one, _ = strangers
    watch(one, "no.such.service").cancel()
    with refused(Code.INVALID_ARGUMENT, "service"):
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
