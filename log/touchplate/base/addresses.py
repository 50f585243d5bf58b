"""Which addresses a program may connect to on behalf of others, decided on the resolved address itself."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from touchplate.base.errors import AddressRefusedError, ConfigError, UnreachableError, quote

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# RFC 6052: IPv6 addresses in these networks carry an IPv4 address in their last 32 bits.
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


@dataclass(frozen=True)
class Endpoint:
    """One resolved address to connect to: what `socket.connect` takes, nothing left to be resolved again."""

    family: socket.AddressFamily
    address: IPAddress
    port: int


@dataclass(frozen=True)
class AddressRules:
    """Which addresses may be connected to. By default only public ones.

    `networks` are allowed beside them; `hosts` (lower case, as they stand in URLs) may have any address: they
    are the ones that the operator has named himself. `anything` switches the rule off.
    """

    networks: tuple[IPNetwork, ...] = ()
    hosts: frozenset[str] = frozenset()
    anything: bool = False

    @classmethod
    def parse(cls, networks: Iterable[str] = (), hosts: Iterable[str] = ()) -> AddressRules:
        """Rules from text such as "127.0.0.0/8"; ConfigError naming each network that is none."""
        parsed, mistakes = [], []
        for text in networks:
            try:
                parsed.append(ipaddress.ip_network(text))
            except ValueError:
                mistakes.append(
                    f'{quote(text)} is not a network; write one such as "10.0.0.0/8" or "::1/128"'
                )
        if mistakes:
            raise ConfigError("address rules", tuple(mistakes))
        return cls(tuple(parsed), frozenset(host.lower() for host in hosts))

    @classmethod
    def naming(cls, *urls: str, hosts: Iterable[str] = ()) -> AddressRules:
        """Public addresses, and any address of the hosts of `urls` and of `hosts`: somebody who may has named
        them, in a configuration or on a command line."""
        named = [urlsplit(url).hostname or "" for url in urls]
        return cls.parse(hosts=[host for host in (*named, *hosts) if host])

    def allows(self, address: IPAddress, host: str = "") -> bool:
        """Whether `address`, to which `host` resolved, may be connected to."""
        if is_local_name(host) and not _unwrapped(address).is_loopback:
            return False  # such a name is asked and told passwords without TLS, whatever a name server says
        if self.anything or host.lower() in self.hosts:
            return True
        plain = _unwrapped(address)
        if any(plain.version == network.version and plain in network for network in self.networks):
            return True
        site_local = isinstance(plain, ipaddress.IPv6Address) and plain.is_site_local  # RFC 3879
        return plain.is_global and not (plain.is_multicast or plain.is_reserved or site_local)

    def resolve(self, host: str, port: int) -> list[Endpoint]:
        """The allowed addresses of `host`, in the resolver's order.

        Raises AddressRefusedError when there are addresses but none is allowed, UnreachableError when there
        are none.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        except (OSError, UnicodeError) as error:
            raise UnreachableError(f"cannot resolve {quote(host)}: {error}") from None
        endpoints = [
            Endpoint(family, ipaddress.ip_address(str(sockaddr[0]).partition("%")[0]), port)
            for family, _, _, _, sockaddr in found
        ]
        allowed = [endpoint for endpoint in endpoints if self.allows(endpoint.address, host)]
        if not allowed:
            shown = ", ".join(sorted({str(endpoint.address) for endpoint in endpoints}))
            raise AddressRefusedError(
                f"{quote(host)} has only addresses that are not public ({shown}); allow the host or its "
                "network in the configuration if this is meant"
            )
        return allowed

    def check_literal(self, host: str) -> None:
        """Refuse what can be judged without resolving: an address as host, or a name for this machine.

        Used when a proxy will resolve the name: what that proxy reaches is then the proxy's own rule.
        Raises AddressRefusedError.
        """
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            if not is_local_name(host):
                return
            address = ipaddress.IPv4Address("127.0.0.1")
        if not self.allows(address, host):
            raise AddressRefusedError(f"{quote(host)} is not a public address; allow it in the configuration")


def is_local_name(host: str) -> bool:
    """Whether a host is this machine by its name or its address (RFC 6761 section 6.3)."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _unwrapped(address: IPAddress) -> IPAddress:
    """The IPv4 address that an IPv6 address stands for, if it does: else the rule could be got round."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address.sixtofour is not None:
            return address.sixtofour
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address
