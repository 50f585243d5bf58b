"""The table `[log.trillian]` of a node's configuration."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from touchplate.base.config import Duration, Secret
from touchplate.base.errors import ConfigError
from touchplate.log.tokens import MIN_TOKEN, is_token

MAX_PORT = 65_535
SOONEST_REMOVAL = 3600
"""Seconds in which a tree that was deleted by mistake can be undeleted at least."""


@dataclass(frozen=True)
class TokenConfig:
    """One bearer token. Who may write may read, who may administer may both."""

    user: str
    """Whose quota its calls are charged to."""
    secret: Secret
    may: Literal["read", "write", "admin"] = "read"

    def check(self) -> list[str]:
        """A name is needed."""
        return [] if self.user else ["user: is empty; write whose token it is"]


@dataclass(frozen=True)
class QuotaConfig:
    """Calls per second; a range and AddSequencedLeaves count their leaves. 0: no limit. What is left over of
    ten seconds may come at once."""

    user_read: int = 0
    user_write: int = 0
    tree_read: int = 0
    tree_write: int = 0
    all_read: int = 0
    all_write: int = 0

    def check(self) -> list[str]:
        """No negative rate."""
        return [f"{name}: must be 0 or more" for name, value in vars(self).items() if value < 0]


@dataclass(frozen=True)
class TrillianConfig:
    """Where Trillian's interface listens, and for whom."""

    listen: str = "127.0.0.1:8090"
    tls_cert: Path | None = None
    """PEM of the server's certificate and its chain."""
    tls_key: Secret | None = None
    client_ca: Path | None = None
    """PEM of the authorities whose clients are let in; without one, clients need no certificate."""
    tokens: tuple[TokenConfig, ...] = ()
    """Who may do what. None: everybody who gets through may do everything."""
    insecure: bool = False
    """Listen on other addresses than loopback although anybody there could read, write or delete."""
    quota: QuotaConfig = field(default_factory=QuotaConfig)
    open_trees: int = 64
    """Trees in use at the same time: each has a thread and the edge of its tree in memory."""
    remove_after: Duration = field(default=Duration(0))
    """Deleted trees are removed for good so long after their deletion; 0: never."""

    def check(self) -> list[str]:
        """Mistakes that a single field does not show."""
        found = []
        if parse_listen(self.listen) is None:
            found.append(f"listen: {self.listen!r} is no address; write host:port, such as 127.0.0.1:8090")
        if (self.tls_cert is None) != (self.tls_key is None):
            found.append("tls_cert: and tls_key belong together; write both or neither")
        if self.client_ca is not None and self.tls_cert is None:
            found.append("client_ca: needs tls_cert and tls_key")
        if self.open_trees < 1:
            found.append(f"open_trees: must be at least 1, not {self.open_trees}")
        if 0 < self.remove_after < SOONEST_REMOVAL:
            found.append('remove_after: write at least "1h", or leave it out: what is removed is gone')
        if parse_listen(self.listen) is not None and not self.insecure:
            found += self._check_openness()
        return found

    def _check_openness(self) -> list[str]:
        host = self.address[0]
        if is_loopback(host):
            return []
        if self.tls_cert is None:
            return [
                f"listen: {self.listen!r} can be reached from elsewhere, and nothing is encrypted: give"
                " tls_cert and tls_key, or write insecure = true"
            ]
        if not self.tokens and self.client_ca is None:
            return [
                f"listen: {self.listen!r} can be reached from elsewhere, and anybody could write: give tokens"
                " or client_ca, or write insecure = true"
            ]
        return []

    @property
    def address(self) -> tuple[str, int]:
        """Host (an IPv6 one without brackets) and port; 0 chooses a free one."""
        return parse_listen(self.listen) or ("127.0.0.1", 0)


def parse_listen(text: str) -> tuple[str, int] | None:
    """Host and port of `host:port`, or None."""
    host, _, port = text.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()) or int(port) > MAX_PORT:
        return None
    return host.strip("[]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(config: TokenConfig) -> str:
    """The token. Raises ConfigError when it cannot be read, or could be guessed."""
    token = config.secret.resolve()
    if not is_token(token):
        mistake = f"the token of {config.user!r}: at least {MIN_TOKEN} printable ASCII characters are needed"
        raise ConfigError("log.trillian.tokens", (mistake,))
    return token


@dataclass(frozen=True)
class TLS:
    """PEM texts. `client_ca`: who signs clients' certificates, which are then demanded."""

    cert: bytes
    key: bytes
    client_ca: bytes | None


def read_tls(config: TrillianConfig) -> TLS | None:
    """Certificate and key, if there are any. Raises ConfigError when they cannot be read."""
    if config.tls_cert is None or config.tls_key is None:
        return None
    ca = config.client_ca
    try:
        return TLS(
            config.tls_cert.read_bytes(),
            config.tls_key.resolve().encode(),
            None if ca is None else ca.read_bytes(),
        )
    except OSError as error:
        raise ConfigError("log.trillian", (f"{error.filename}: {error.strerror}",)) from error


def check_files(config: TrillianConfig) -> None:
    """Read what the table points at. Raises ConfigError."""
    for token in config.tokens:
        read_token(token)
    read_tls(config)
