"""Which addresses may be connected to."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from touchplate.base.addresses import AddressRules, is_local_name
from touchplate.base.errors import AddressRefusedError, ConfigError, UnreachableError

PUBLIC = ["9.9.9.9", "2620:fe::fe", "64:ff9b::909:909", "::ffff:9.9.9.9"]
NOT_PUBLIC = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
    "224.0.0.1", "255.255.255.255", "240.0.0.1", "::", "::1", "fe80::1", "fc00::1", "fd12::1",
    "ff02::1", "2001:db8::1", "::ffff:127.0.0.1",
    "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::",
    "fec0::1", "::7f00:1", "64:ff9b:1::7f00:1", "2001:0:7f00:1::",
]  # fmt: skip


@pytest.mark.parametrize("text", PUBLIC)
def test_allows_public_addresses(text: str) -> None:
    assert AddressRules().allows(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", NOT_PUBLIC)
def test_refuses_addresses_that_are_not_public_in_every_disguise(text: str) -> None:
    assert not AddressRules().allows(ipaddress.ip_address(text))


def test_allows_named_networks_hosts_or_everything() -> None:
    address = ipaddress.ip_address("10.1.2.3")
    assert AddressRules.parse(["10.0.0.0/8"]).allows(address)
    assert not AddressRules.parse(["10.2.0.0/16", "::/0"]).allows(address)
    assert AddressRules.parse(hosts=["Mirror.example.org"]).allows(address, "mirror.example.org")
    assert not AddressRules.parse(hosts=["mirror.example.org"]).allows(address, "other.example.org")
    assert AddressRules(anything=True).allows(address)


def test_names_every_network_that_is_none() -> None:
    with pytest.raises(ConfigError) as caught:
        AddressRules.parse(["10.0.0.1/8", "localhost", "::1/128"])
    assert len(caught.value.mistakes) == 2


def test_resolves_to_allowed_addresses_only() -> None:
    (endpoint,) = AddressRules.parse(["127.0.0.0/8"]).resolve("127.0.0.1", 80)
    assert (str(endpoint.address), endpoint.port) == ("127.0.0.1", 80)
    with pytest.raises(AddressRefusedError, match=r"127\.0\.0\.1"):
        AddressRules().resolve("127.0.0.1", 80)


def test_leaves_out_the_addresses_that_are_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    kind = (socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
    answer = [(*kind, (address, 80)) for address in ("10.0.0.1", "9.9.9.9", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answer)
    (endpoint,) = AddressRules().resolve("name.test", 80)
    assert str(endpoint.address) == "9.9.9.9"


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 300])
def test_a_name_without_address_is_unreachable(host: str) -> None:
    with pytest.raises(UnreachableError, match="cannot resolve"):
        AddressRules().resolve(host, 80)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "a.localhost", "10.0.0.1", "::1"])
def test_judges_before_a_proxy_what_can_be_judged_by_its_text(host: str) -> None:
    with pytest.raises(AddressRefusedError):
        AddressRules().check_literal(host)
    AddressRules.parse(hosts=[host]).check_literal(host)


def test_leaves_names_to_the_proxy() -> None:
    AddressRules().check_literal("example.org")
    AddressRules().check_literal("9.9.9.9")


def test_knows_the_names_of_this_machine() -> None:
    assert all(is_local_name(host) for host in ("localhost", "LOCALHOST.", "x.localhost", "127.9.9.9", "::1"))
    assert not any(is_local_name(host) for host in ("example.org", "localhost.example.org", "10.0.0.1"))


def test_hosts_of_urls_that_were_named_may_have_any_address() -> None:
    urls = ("http://Repo.example.org:8081/a", "not a url")
    rules = AddressRules.naming(*urls, hosts=["other.example.org", ""])
    inside = ipaddress.ip_address("10.1.2.3")
    assert rules.allows(inside, "repo.example.org")
    assert rules.allows(inside, "other.example.org")
    # Nor is an address without any name one of them.
    assert not rules.allows(inside, "another.example.org")
    assert not rules.allows(inside)


@pytest.mark.parametrize("host", ["localhost", "registry.localhost", "Registry.LocalHost."])
def test_a_name_of_this_machine_leads_nowhere_else(host: str) -> None:
    """Credentials go there without TLS, and not each resolver knows that `.localhost` is this machine."""
    rules = AddressRules(hosts=frozenset({host.lower()}))
    assert rules.allows(ipaddress.ip_address("127.0.0.1"), host)
    assert rules.allows(ipaddress.ip_address("::1"), host)
    for other in ("192.0.2.1", "8.8.8.8", "10.0.0.1", "2001:db8::1", "::ffff:8.8.8.8"):
        assert not rules.allows(ipaddress.ip_address(other), host)
        assert not AddressRules(anything=True).allows(ipaddress.ip_address(other), host)
