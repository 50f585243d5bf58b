"""Malformed and oversized messages, clients that go away, and calls that fail in the middle."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.log.trillian.support import SECONDS, Client, refused

from touchplate.log.trillian.calls import ADMIN_SERVICE, LOG_SERVICE
from touchplate.log.trillian.server import MAX_MESSAGE
from touchplate.proto.trillian.trillian_log_api_pb2 import LogLeaf, QueueLeafRequest

Code = grpc.StatusCode
METHODS = [
    f"/{LOG_SERVICE}/{name}"
    for name in ("QueueLeaf", "AddSequencedLeaves", "GetLeavesByRange", "GetInclusionProofByHash", "InitLog")
] + [f"/{ADMIN_SERVICE}/{name}" for name in ("CreateTree", "UpdateTree", "ListTrees")]


@pytest.fixture
def storage() -> str:
    """One database is enough here: none of it comes so far."""
    return "sqlite"


def send(client: Client, method: str, data: bytes) -> bytes:
    call = client.channel.unary_unary(method, request_serializer=bytes, response_deserializer=bytes)
    answer: bytes = call(data, timeout=SECONDS)
    return answer


@pytest.mark.parametrize("method", METHODS)
def test_bytes_that_are_no_message_are_refused(client: Client, method: str) -> None:
    for data in (b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x12\x05abc", b"\x08" + b"\xff" * 11):
        with refused(Code.INVALID_ARGUMENT, "this is no trillian."):
            send(client, method, data)
    client.make()  # and the server goes on


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=st.sampled_from(METHODS), data=st.binary(max_size=60))
def test_no_bytes_are_an_internal_error(client: Client, method: str, data: bytes) -> None:
    code = Code.OK
    try:
        send(client, method, data)
    except grpc.RpcError as error:
        code = error.code()
    assert code not in (Code.INTERNAL, Code.UNKNOWN, Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED)


def test_a_message_beyond_the_limit_is_refused_and_the_connection_lives(client: Client) -> None:
    tree = client.make()
    with refused(Code.RESOURCE_EXHAUSTED):
        send(client, METHODS[0], bytes(MAX_MESSAGE + 1))
    assert client.queue(tree, b"a").status.code == 0


def test_unknown_methods_and_services_are_unimplemented(client: Client) -> None:
    for method in (f"/{LOG_SERVICE}/QueueLeaves", "/trillian.TrillianMap/GetLeaf", "/x/y"):
        with refused(Code.UNIMPLEMENTED):
            send(client, method, b"")


def test_a_client_that_goes_away_leaves_a_server_that_answers(client: Client) -> None:
    tree = client.make()
    request = QueueLeafRequest(log_id=tree, leaf=LogLeaf(leaf_value=b"gone"))
    call = client.channel.unary_unary(
        METHODS[0], request_serializer=QueueLeafRequest.SerializeToString, response_deserializer=bytes
    )
    for _ in range(50):
        call.future(request, timeout=SECONDS).cancel()
    # It is in the tree or it is not; both are what the next one with it is told.
    assert client.queue(tree, b"gone").status.code in (0, 6)
    assert client.queue(tree, b"gone").status.code == 6
    assert client.root(tree).size == 1


def test_garbage_on_the_port_disturbs_nobody(client: Client, tmp_path: Path) -> None:
    host, _, port = client.address.rpartition(":")
    for data in (b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100, b""):
        with socket.create_connection((host, int(port)), timeout=SECONDS) as connection:
            connection.sendall(data)
    assert client.root(client.make()).size == 0


def test_the_same_leaf_from_many_threads_is_new_for_one(client: Client) -> None:
    tree, codes = client.make(), []

    def queue() -> None:
        codes.append(client.queue(tree, b"same").status.code)

    threads = [threading.Thread(target=queue) for _ in range(24)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(codes) == [0] + [6] * 23
    assert client.root(tree).size == 1


def test_too_many_users_to_charge_are_refused(client: Client) -> None:
    tree = client.make()
    request = QueueLeafRequest(log_id=tree, leaf=LogLeaf(leaf_value=b"a"))
    request.charge_to.user.extend(str(number) for number in range(17))
    with refused(Code.INVALID_ARGUMENT, "charge_to"):
        client.log.QueueLeaf(request)
    del request.charge_to.user[:]
    request.charge_to.user.append("u" * 201)
    with refused(Code.INVALID_ARGUMENT, "charge_to"):
        client.log.QueueLeaf(request)
