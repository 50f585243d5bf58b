"""Who gets in, may do what, how often: tokens, certificates, quotas; and what everybody may ask."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.e2e.demo_world import free_port
from tests.log.trillian.certificates import Authority
from tests.log.trillian.support import LOCAL, SECONDS, Client, connected, refused, running

from touchplate.base.config import Secret
from touchplate.base.errors import ConfigError
from touchplate.log.service import LogService
from touchplate.log.trillian.calls import ADMIN_SERVICE, LOG_SERVICE
from touchplate.log.trillian.config import QuotaConfig, TokenConfig, TrillianConfig
from touchplate.log.trillian.log_service import MAX_SEQUENCED
from touchplate.proto.trillian.trillian_admin_api_pb2 import ListTreesRequest
from touchplate.proto.trillian.trillian_log_api_pb2 import (
    AddSequencedLeavesRequest,
    GetLatestSignedLogRootRequest,
    GetLeavesByRangeRequest,
    LogLeaf,
    QueueLeafRequest,
)

Code = grpc.StatusCode
TOKENS = {"read": "r" * 16, "write": "w" * 16, "admin": "a" * 16}


def secret(folder: Path, name: str, text: str) -> Secret:
    path = folder / name
    path.write_text(text)
    path.chmod(0o600)
    return Secret.parse(f"file:{path}", folder)


def with_tokens(folder: Path) -> TrillianConfig:
    tokens = tuple(
        TokenConfig(f"the {may}er", secret(folder, may, token), may)  # type: ignore[arg-type]
        for may, token in TOKENS.items()
    )
    return replace(LOCAL, tokens=tokens)


def test_a_token_may_what_it_may_and_no_more(tmp_path: Path) -> None:
    with running(tmp_path, with_tokens(tmp_path)) as service:
        with connected(service, token=TOKENS["admin"]) as client:
            tree = client.make()
        with connected(service, token=TOKENS["write"]) as client:
            assert client.queue(tree, b"a").status.code == 0
            assert client.root(tree).size == 1
            with refused(Code.PERMISSION_DENIED, "the writeer", "not admin"):
                client.make()
        with connected(service, token=TOKENS["read"]) as client:
            assert client.root(tree).size == 1
            client.admin.ListTrees(ListTreesRequest())
            with refused(Code.PERMISSION_DENIED, "not write"):
                client.queue(tree, b"b")
        for token in (None, "", "r" * 15, "r" * 17, "x" * 5000):
            with connected(service, token=token) as client, refused(Code.UNAUTHENTICATED):
                client.root(tree)
        with connected(service) as client:
            call: Any = client.channel.unary_unary(f"/{LOG_SERVICE}/GetLatestSignedLogRoot")
            for header in (f"Basic {TOKENS['read']}", TOKENS["read"], "Bearer", "Bearer "):
                with refused(Code.UNAUTHENTICATED):
                    call(b"", metadata=[("authorization", header)], timeout=SECONDS)
        with connected(service, token=TOKENS["read"]) as client:
            assert client.root(tree).size == 1


@contextmanager
def secured(service: LogService, root: Path, pair: tuple[Path, Path] | None = None) -> Iterator[Client]:
    assert service.trillian is not None
    port = service.trillian.address[1]
    credentials = grpc.ssl_channel_credentials(
        root.read_bytes(),
        private_key=None if pair is None else pair[1].read_bytes(),
        certificate_chain=None if pair is None else pair[0].read_bytes(),
    )
    with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
        yield Client(channel, f"localhost:{port}")


def with_tls(folder: Path, authority: Authority) -> TrillianConfig:
    cert, key = authority.issue("server")
    return TrillianConfig(listen="localhost:0", tls_cert=cert, tls_key=Secret.parse(f"file:{key}", folder))


def test_with_tls_only_clients_that_speak_it_and_know_the_authority_get_through(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    with running(tmp_path, with_tls(tmp_path, ours)) as service:
        with secured(service, ours.path) as client:
            assert client.queue(client.make(), b"a").status.code == 0
        with secured(service, theirs.path) as client, refused(Code.UNAVAILABLE):
            client.make()
        with connected(service) as client, refused(Code.UNAVAILABLE):
            client.make()


def test_with_a_client_authority_only_its_clients_get_through_and_are_charged(tmp_path: Path) -> None:
    ours, clients = Authority(tmp_path, "ours"), Authority(tmp_path, "clients")
    quota = QuotaConfig(user_write=1)
    config = replace(with_tls(tmp_path, ours), client_ca=clients.path, quota=quota)
    with running(tmp_path, config) as service:
        with secured(service, ours.path, clients.issue("alice")) as client:
            tree = client.make()
            with refused(Code.RESOURCE_EXHAUSTED, "user 'alice'"):
                for number in range(200):
                    client.queue(tree, b"%d" % number)
        with secured(service, ours.path, clients.issue("bob")) as client:
            assert client.queue(tree, b"bob's").status.code == 0
        with secured(service, ours.path, ours.issue("stranger")) as client, refused(Code.UNAVAILABLE):
            client.root(tree)
        with secured(service, ours.path) as client, refused(Code.UNAVAILABLE):
            client.root(tree)


def test_quota_is_charged_to_the_named_user_and_a_range_costs_its_leaves(tmp_path: Path) -> None:
    config = replace(LOCAL, quota=QuotaConfig(user_write=1, tree_read=100))
    with running(tmp_path, config) as service, connected(service) as client:
        tree = client.make()
        request = QueueLeafRequest(log_id=tree, leaf=LogLeaf(leaf_value=b"a"))
        request.charge_to.user.append("alice")
        with refused(Code.RESOURCE_EXHAUSTED, "user 'alice'"):
            for _ in range(200):
                client.log.QueueLeaf(request)
        del request.charge_to.user[:]
        client.log.QueueLeaf(request)
        with refused(Code.RESOURCE_EXHAUSTED, f"tree {tree}"):
            for _ in range(50):
                client.log.GetLeavesByRange(GetLeavesByRangeRequest(log_id=tree, count=1000))
        client.root(client.make())  # another tree's is full


def test_one_message_of_too_many_leaves_does_not_use_up_the_quota_of_all(tmp_path: Path) -> None:
    config = replace(LOCAL, quota=QuotaConfig(all_write=MAX_SEQUENCED))
    with running(tmp_path, config) as service, connected(service) as client:
        request = AddSequencedLeavesRequest(log_id=1, leaves=[LogLeaf()] * (20 * MAX_SEQUENCED))
        with refused(Code.INVALID_ARGUMENT, "leaves"):
            client.log.AddSequencedLeaves(request)
        client.make()


def test_health_and_reflection_are_answered_for_everybody(tmp_path: Path) -> None:
    with running(tmp_path, with_tokens(tmp_path)) as service, connected(service) as client:
        health = health_pb2_grpc.HealthStub(client.channel)
        for name in ("", LOG_SERVICE, ADMIN_SERVICE):
            answer = health.Check(health_pb2.HealthCheckRequest(service=name), timeout=SECONDS)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(client.channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        (answer,) = reflection.ServerReflectionInfo(iter([asked]), timeout=SECONDS)
        names = {one.name for one in answer.list_services_response.service}
        assert {LOG_SERVICE, ADMIN_SERVICE, "grpc.health.v1.Health"} <= names
        asked = reflection_pb2.ServerReflectionRequest(file_containing_symbol=LOG_SERVICE)
        (answer,) = reflection.ServerReflectionInfo(iter([asked]), timeout=SECONDS)
        assert answer.file_descriptor_response.file_descriptor_proto


def test_prometheus_is_told_of_calls_and_leaves(tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    with running(tmp_path, metrics=address) as service, connected(service) as client:
        tree = client.make()
        for value in (b"a", b"b", b"a"):
            client.queue(tree, value)
        with refused(Code.NOT_FOUND):
            client.log.GetLatestSignedLogRoot(GetLatestSignedLogRootRequest(log_id=5))
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=SECONDS) as response:
            lines = set(response.read().decode().splitlines())
    for line in (
        'touchplate_trillian_calls_total{code="OK",method="QueueLeaf"} 3.0',
        'touchplate_trillian_calls_total{code="NOT_FOUND",method="GetLatestSignedLogRoot"} 1.0',
        'touchplate_trillian_leaves_total{status="OK"} 2.0',
        'touchplate_trillian_leaves_total{status="ALREADY_EXISTS"} 1.0',
        'touchplate_trillian_call_seconds_count{method="QueueLeaf"} 3.0',
        "touchplate_trillian_open_trees 1.0",
    ):
        assert line in lines


def test_a_port_that_is_taken_is_told_at_the_start(tmp_path: Path) -> None:
    with running(tmp_path / "a") as service:
        assert service.trillian is not None
        taken = replace(LOCAL, listen=f"127.0.0.1:{service.trillian.address[1]}")
        with pytest.raises(ConfigError, match="cannot listen"), running(tmp_path / "b", taken):
            pass


def test_short_tokens_and_missing_certificates_are_told_when_it_opens(tmp_path: Path) -> None:
    weak = replace(LOCAL, tokens=(TokenConfig("x", secret(tmp_path, "weak", "short")),))
    with pytest.raises(ConfigError, match="at least 16"), running(tmp_path / "a", weak):
        pass
    one = secret(tmp_path, "one", "t" * 16)
    twice = replace(LOCAL, tokens=(TokenConfig("x", one), TokenConfig("y", one, "admin")))
    with pytest.raises(ConfigError, match="'x' and 'y' have the same token"), running(tmp_path / "t", twice):
        pass
    cert, key = Authority(tmp_path, "ours").issue("server")
    gone = TrillianConfig(tls_cert=tmp_path / "gone", tls_key=Secret.parse(f"file:{key}", tmp_path))
    with pytest.raises(ConfigError, match="gone"), running(tmp_path / "b", gone):
        pass
    swapped = replace(LOCAL, tls_cert=key, tls_key=Secret.parse(f"file:{cert}", tmp_path))
    with pytest.raises(ConfigError), running(tmp_path / "c", swapped):
        pass


TLS = {"tls_cert": Path("c"), "tls_key": Secret.parse("env:KEY", Path())}
TOKEN = TokenConfig("x", Secret.parse("env:TOKEN", Path()))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (TrillianConfig(), None),
        (TrillianConfig(listen="[::1]:8090"), None),
        (TrillianConfig(listen="localhost:8090"), None),
        (TrillianConfig(listen="0.0.0.0:8090"), "nothing is encrypted"),
        (TrillianConfig(listen="log.example.org:8090", tokens=(TOKEN,)), "nothing is encrypted"),
        (TrillianConfig(listen="[::]:8090", **TLS), "anybody could write"),  # type: ignore[arg-type]
        (TrillianConfig(listen="[::]:8090", tokens=(TOKEN,), **TLS), None),  # type: ignore[arg-type]
        (TrillianConfig(listen="[::]:8090", client_ca=Path("ca"), **TLS), None),  # type: ignore[arg-type]
        (TrillianConfig(listen="0.0.0.0:8090", insecure=True), None),
        (TrillianConfig(listen="8090"), "host:port"),
        (TrillianConfig(listen="127.0.0.1:65536"), "host:port"),
        (TrillianConfig(tls_cert=Path("c")), "belong together"),
        (TrillianConfig(client_ca=Path("c")), "client_ca"),
        (TrillianConfig(open_trees=0), "open_trees"),
    ],
    ids=str,
)
def test_it_listens_elsewhere_only_encrypted_and_guarded_or_when_told_so(
    config: TrillianConfig, words: str | None
) -> None:
    found = config.check()
    assert (found == []) if words is None else (words in found[0])


def test_quotas_are_not_negative_and_tokens_have_users() -> None:
    assert QuotaConfig(user_read=-1).check() == ["user_read: must be 0 or more"]
    assert TokenConfig("", TOKEN.secret).check() != []
