"""The table `[log.trillian_store]` of a node's configuration: where the Trillian is that keeps the log."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from touchplate.base.config import Duration, Secret
from touchplate.base.errors import ConfigError
from touchplate.log.trillian.config import is_loopback, parse_listen

DATABASE_NAME = "trillian.sqlite"
"""What follows from the entries in Trillian, in the log's folder. Another name than the database of a log
that holds its entries itself: neither can be taken for the other."""

MAX_IN_FLIGHT = 1024
"""Calls at the same time at most: Trillian's own limit per connection is of that order."""

MAX_SECONDS = 300
"""The longest wait for integration that makes sense: nobody holds a request open for longer."""


@dataclass(frozen=True)
class TrillianStoreConfig:
    """A Trillian log server, and how it is spoken to."""

    address: str
    """host:port of its gRPC interface."""
    tree_id: int = 0
    """The tree that holds this log; 0: one is made at the first start, and remembered."""
    tls_ca: Path | None = None
    """PEM of the authorities that may have signed the server's certificate. Without it, nothing is
    encrypted."""
    tls_cert: Path | None = None
    """PEM of a certificate of this log's own, for servers that demand one."""
    tls_key: Secret | None = None
    token: Secret | None = None
    """A bearer token, sent with each call: Trillian itself asks for none, what stands in front of it may."""
    insecure: bool = False
    """Speak to another machine although nothing is encrypted: whoever is in between can lose entries, not
    forge them."""
    in_flight: int = 64
    """Entries queued at the same time. Trillian decides the order among them; with 1 it is the order of
    arrival."""
    timeout: Duration = field(default=Duration(20))
    """How long entries may wait for Trillian's signer before their submitters are told to come again."""

    def check(self) -> list[str]:
        """Mistakes that a single field does not show."""
        found = []
        place = parse_listen(self.address)
        if place is None:
            found.append(f"address: {self.address!r} is none; write host:port, such as 127.0.0.1:8090")
        if self.tree_id < 0:
            found.append(f"tree_id: must be a tree's number, or 0 to have one made, not {self.tree_id}")
        if (self.tls_cert is None) != (self.tls_key is None):
            found.append("tls_cert: and tls_key belong together; write both or neither")
        if self.tls_cert is not None and self.tls_ca is None:
            found.append("tls_cert: needs tls_ca, which says whose server is believed")
        if not 1 <= self.in_flight <= MAX_IN_FLIGHT:
            found.append(f"in_flight: must be 1 to {MAX_IN_FLIGHT}, not {self.in_flight}")
        if not 1 <= self.timeout <= MAX_SECONDS:
            found.append(f'timeout: write "1s" to "{MAX_SECONDS}s"')
        if place is not None and self.tls_ca is None and not is_loopback(place[0]):
            found += self._check_openness()
        return found

    def _check_openness(self) -> list[str]:
        if self.token is not None:
            return ["token: would be sent to another machine in the clear; give tls_ca"]
        if self.insecure:
            return []
        return [
            f"address: {self.address!r} is on another machine, and nothing is encrypted: give tls_ca, or"
            " write insecure = true"
        ]


@dataclass(frozen=True)
class Credentials:
    """What is read from the files that the table names. PEM texts; `token` without its scheme."""

    ca: bytes | None
    cert: bytes | None
    key: bytes | None
    token: str | None


def read_credentials(config: TrillianStoreConfig) -> Credentials:
    """Read what the table points at. Raises ConfigError."""
    try:
        return Credentials(
            ca=None if config.tls_ca is None else config.tls_ca.read_bytes(),
            cert=None if config.tls_cert is None else config.tls_cert.read_bytes(),
            key=None if config.tls_key is None else config.tls_key.resolve().encode(),
            token=None if config.token is None else _token(config.token.resolve()),
        )
    except OSError as error:
        raise ConfigError("log.trillian_store", (f"{error.filename}: {error.strerror}",)) from error


def _token(text: str) -> str:
    if not text.isascii() or any(not 32 < ord(one) < 127 for one in text):
        raise ConfigError("log.trillian_store", ("token: holds other than printable ASCII characters",))
    return text
