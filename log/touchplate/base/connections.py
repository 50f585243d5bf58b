"""Connections of the HTTP client: to one resolved address, by a proxy where the environment says so, with
deadlines.

Below `http.client`, which parses messages but would resolve names by itself, knows no time limit for a whole
exchange, and reads the environment nowhere.
"""

from __future__ import annotations

import base64
import http.client
import io
import ipaddress
import math
import socket
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from touchplate.base.addresses import Endpoint, IPAddress, is_local_name
from touchplate.base.environment import Environment, Setting
from touchplate.base.errors import (
    BadResponseError,
    BadURLError,
    ConfigError,
    FetchTimeoutError,
    UnreachableError,
    quote,
    quote_url,
)


@dataclass(frozen=True)
class Origin:
    """Scheme, host (lower case, without brackets) and port: what one connection can be used for."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> str:
        """Host and port as the Host header has them (RFC 9110 section 7.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = {"http": 80, "https": 443}[self.scheme]
        return host if self.port == usual else f"{host}:{self.port}"


@dataclass(frozen=True)
class Proxy:
    """An HTTP proxy of the environment. `authorization` is a secret; `variable` says where it was found."""

    host: str
    port: int
    variable: str
    authorization: str | None

    def __repr__(self) -> str:
        return f"Proxy({self.host}:{self.port} from {self.variable})"


@dataclass(frozen=True)
class Timeouts:
    """Seconds: for making a connection, for one read, for the whole exchange; `head`: for all of it but the
    body of a good answer."""

    connect: float
    read: float
    total: float
    head: float = math.inf


class Deadline:
    """The time limit of one exchange: `limit` gives what the next blocking call may take."""

    def __init__(self, timeouts: Timeouts) -> None:
        self.timeouts = timeouts
        self._started = time.monotonic()
        self._seconds = min(timeouts.total, timeouts.head)

    def allow_body(self) -> None:
        """The head of a good answer is there: from now on only the total counts."""
        self._seconds = self.timeouts.total

    def limit(self, seconds: float) -> float:
        """The smaller of `seconds` and what is left of the total; FetchTimeoutError when nothing is left."""
        left = self._started + self._seconds - time.monotonic()
        if left <= 0:
            raise self._over()
        return min(seconds, left)

    def passed(self, given: float, seconds: float, what: str) -> FetchTimeoutError:
        """The error for a call that used up the time `given` of the `seconds` that it should have had."""
        return FetchTimeoutError(f"{what} for {seconds:g} s") if given == seconds else self._over()

    def _over(self) -> FetchTimeoutError:
        what = "in all" if self._seconds == self.timeouts.total else "before a good answer began"
        return FetchTimeoutError(f"the exchange took longer than {self._seconds:g} s {what}")


class _TimedReader(io.RawIOBase):
    """The reading side of a socket; each read gets the time that the current deadline leaves."""

    def __init__(self, owner: TimedSocket) -> None:
        self._owner = owner
        # SocketIO keeps the socket open until it is closed itself, as http.client expects of makefile().
        self._inner = owner.raw.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        deadline = self._owner.deadline
        given = deadline.limit(deadline.timeouts.read)
        self._owner.raw.settimeout(given)
        try:
            return self._inner.readinto(buffer)
        except TimeoutError:
            raise deadline.passed(given, deadline.timeouts.read, "nothing came") from None

    def close(self) -> None:
        if not self.closed:
            self._inner.close()
        super().close()


class TimedSocket:
    """What http.client needs of a socket, with the deadline of the exchange that uses it at the moment."""

    def __init__(self, raw: socket.socket, deadline: Deadline) -> None:
        self.raw = raw
        self.deadline = deadline

    def sendall(self, data: bytes) -> None:
        """Send all bytes within one read time-out (it counts for the whole call, not for each packet)."""
        given = self.deadline.limit(self.deadline.timeouts.read)
        self.raw.settimeout(given)
        try:
            self.raw.sendall(data)
        except TimeoutError:
            raise self.deadline.passed(
                given, self.deadline.timeouts.read, "the request was not taken"
            ) from None

    def makefile(self, mode: str) -> io.BufferedReader:
        """A buffered reader that keeps the deadline."""
        assert mode == "rb"
        return io.BufferedReader(_TimedReader(self))

    def close(self) -> None:
        """Close the socket once its readers are closed too."""
        self.raw.close()


class Connection(http.client.HTTPConnection):
    """A connection that is made before it is used; http.client never opens one by itself."""

    def __init__(self, origin: Origin, timed: TimedSocket, proxy: Proxy | None) -> None:
        super().__init__(origin.host, origin.port)
        self.auto_open = 0
        self.origin = origin
        self.proxy = proxy
        self.timed = timed
        self.idle_since = 0.0
        self.used = False
        timed_as_socket: Any = timed
        self.sock = timed_as_socket

    @property
    def is_stale(self) -> bool:
        """Whether the server closed the idle connection, or sent something that nobody asked for."""
        raw = self.timed.raw
        raw.settimeout(0)
        try:
            # Nothing may come on an idle connection, so whatever is read ends its use. (TLS reads its session
            # tickets by itself here, and still finds no data.)
            raw.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        return True


def open_socket(endpoints: Sequence[Endpoint], deadline: Deadline) -> socket.socket:
    """Connect to the first endpoint that answers. Raises UnreachableError, FetchTimeoutError."""
    problem: OSError | None = None
    for endpoint in endpoints:
        raw = socket.socket(endpoint.family, socket.SOCK_STREAM)
        try:
            raw.settimeout(deadline.limit(deadline.timeouts.connect))
            raw.connect((str(endpoint.address), endpoint.port))
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raw.close()
            problem = error
        except BaseException:
            raw.close()
            raise
        else:
            return raw
    first = endpoints[0]
    if isinstance(problem, TimeoutError):
        raise FetchTimeoutError(f"no connection to {first.address} port {first.port} in time")
    detail = problem.strerror or problem if problem is not None else "no address"
    raise UnreachableError(f"cannot connect to {first.address} port {first.port}: {detail}")


def wrap_tls(raw: socket.socket, host: str, context: ssl.SSLContext, deadline: Deadline) -> socket.socket:
    """TLS for `host` on an open socket. Raises UnreachableError (also for a bad certificate),
    FetchTimeoutError.
    """
    try:
        raw.settimeout(deadline.limit(deadline.timeouts.connect))
        return context.wrap_socket(raw, server_hostname=host)
    except ssl.SSLCertVerificationError as error:
        raw.close()
        message = f"the certificate of {quote(host)} is not trusted: {error.verify_message}"
        raise UnreachableError(message, reason="untrusted-certificate") from None
    except TimeoutError:
        raw.close()
        raise FetchTimeoutError(f"no TLS with {quote(host)} in time") from None
    except OSError as error:
        raw.close()
        raise UnreachableError(f"no TLS with {quote(host)}: {error.strerror or error}") from None


def tunnel(raw: socket.socket, origin: Origin, proxy: Proxy, deadline: Deadline) -> None:
    """Ask the proxy for a tunnel to the origin (RFC 9110 section 9.3.6). Raises FetchErrors."""
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    lines = [f"CONNECT {host}:{origin.port} HTTP/1.1", f"Host: {host}:{origin.port}"]
    if proxy.authorization:
        lines.append(f"Proxy-Authorization: {proxy.authorization}")
    timed = TimedSocket(raw, deadline)
    timed_as_socket: Any = timed
    try:
        timed.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("ascii"))
        response = http.client.HTTPResponse(timed_as_socket, method="CONNECT")
        try:
            response.begin()
            status = response.status
        finally:
            response.close()
    except (OSError, http.client.HTTPException) as error:
        raise UnreachableError(f"{proxy!r} gives no tunnel: {error or type(error).__name__}") from None
    if status != http.client.OK:
        raise BadResponseError(f"{proxy!r} refuses a tunnel to {quote(origin.host)}: status {status}")


def proxy_for(origin: Origin, environment: Environment) -> Proxy | None:
    """The proxy by which the environment wants this origin reached; None for a direct connection.

    This machine itself is never asked for by a proxy. Raises ConfigError for a proxy that is not plain HTTP.
    """
    setting = environment.proxy(origin.scheme)
    if setting is None or is_local_name(origin.host) or _is_exempt(origin, environment.no_proxy):
        return None
    return parse_proxy(setting)


def parse_proxy(setting: Setting) -> Proxy:
    """Read a proxy variable: `http://[user:password@]host[:port]`, the scheme may be left out."""
    text = setting.value if "://" in setting.value else f"http://{setting.value}"
    mistake = "must name an HTTP proxy as http://HOST:PORT"
    try:
        parts = urlsplit(text)
        port = parts.port or 80
    except ValueError:
        raise ConfigError(setting.variable, (mistake,)) from None
    if parts.scheme != "http" or not parts.hostname:
        raise ConfigError(setting.variable, (mistake,))
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        authorization = "Basic " + base64.b64encode(pair).decode("ascii")
    return Proxy(parts.hostname, port, setting.variable, authorization)


def parse_origin(url: str) -> tuple[Origin, str]:
    """Split a URL into its origin and the request target. Raises BadURLError.

    Only http and https; no user name or password; no fragment; ASCII without spaces and control characters.
    """
    if not url.isascii() or any(character <= " " or character == "\x7f" for character in url):
        raise BadURLError(f"{_shown(url)} has characters that must be percent-encoded in a URL")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        why = f": {error}" if "@" not in url else ""  # it repeats a part
        raise BadURLError(f"{_shown(url)} is not a URL{why}") from None
    if parts.scheme not in {"http", "https"}:
        raise BadURLError(f"{_shown(url)} is not an http or https URL")
    if "@" in parts.netloc:
        raise BadURLError("a URL with a user name or password in it is refused; give credentials by a header")
    if not parts.hostname or port == 0:
        raise BadURLError(f"{_shown(url)} names no host")
    if "#" in url:
        raise BadURLError(f"{_shown(url)} has a fragment, which no server gets to see")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    default = 443 if parts.scheme == "https" else 80
    return Origin(parts.scheme, parts.hostname, port or default), target


def _shown(url: str) -> str:
    """Nothing of an address with an @: what stands before it may be a password, and one with a slash, a space
    or a # in it is not even found where a password belongs."""
    return quote_url(url) if "@" not in url else "an address with an @ in it, not repeated here,"


def _is_exempt(origin: Origin, exemptions: tuple[str, ...]) -> bool:
    """Whether no_proxy names the origin: `*`, a name and its subdomains, an address, or a network."""
    address: IPAddress | None
    try:
        address = ipaddress.ip_address(origin.host)
    except ValueError:
        address = None
    for text in exemptions:
        if text == "*" or text == f"{origin.host}:{origin.port}":
            return True
        if address is None:
            name = text.removeprefix("*").removeprefix(".")
            if name and (origin.host == name or origin.host.endswith(f".{name}")):
                return True
            continue
        try:
            network = ipaddress.ip_network(text.strip("[]"), strict=False)
        except ValueError:
            continue
        if address.version == network.version and address in network:
            return True
    return False
