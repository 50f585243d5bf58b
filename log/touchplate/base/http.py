"""A bounded HTTP client: every answer has a size, a time and a host that the caller agreed to.

It speaks HTTP/1.1 with kept connections, resolves a name once and connects to that very address (so an
address rule cannot be got round by a second, different DNS answer), follows redirects on the same host only
(unless it is made for upstreams that send elsewhere, see `foreign_redirects`), and takes proxies and
certificate authorities from the environment, which it reports. Bodies are passed on as they are: a coded body
(gzip) is refused, since what is stored and hashed here must be what was published.
"""

from __future__ import annotations

import contextlib
import http.client
import math
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import BinaryIO

from touchplate.base.addresses import AddressRules
from touchplate.base.connections import (
    Connection,
    Deadline,
    Origin,
    TimedSocket,
    Timeouts,
    open_socket,
    parse_origin,
    parse_proxy,
    proxy_for,
    tunnel,
    wrap_tls,
)
from touchplate.base.environment import Environment, read_environment
from touchplate.base.errors import (
    ConfigError,
    FetchError,
    RedirectRefusedError,
    UnreachableError,
    quote,
    quote_url,
)
from touchplate.base.messages import (
    REDIRECTS,
    SAFE_METHODS,
    CutSink,
    Request,
    Response,
    Sink,
    read_body,
    read_head,
    redirect_target,
    translate,
)

__all__ = ["AddressRules", "HTTPClient", "HTTPLimits", "Response"]

# Bytes of the answer to a PUT or POST, unless the caller says otherwise: an index, a problem, a short JSON.
MAX_ANSWER_BYTES = 1024 * 1024
USER_AGENT = "touchplate"
_GOOD = (200, 206)  # statuses whose body is what was asked for
_CREDENTIALS = frozenset({"authorization", "cookie"})


@dataclass(frozen=True)
class HTTPLimits:
    """Limits of a client. Times in seconds."""

    connect: float = 10.0  # TCP and TLS each; a far host answers within one
    read: float = 30.0  # without a single byte
    total: float = 600.0  # one exchange from request to last byte: 40 MB at 70 kB/s
    head: float = math.inf  # until the head of a 200 or 206 is there, and for every other answer as a whole
    redirects: int = 3
    idle_connections: int = 8  # kept per host, as browsers and Maven do
    idle_seconds: float = 15.0  # usual servers close after 15 to 75


class HTTPClient:
    """Fetches over HTTP within limits. Blocking; any number of threads may share one client."""

    def __init__(
        self,
        rules: AddressRules | None = None,
        limits: HTTPLimits | None = None,
        *,
        environment: Environment | None = None,
        foreign_redirects: bool = False,
    ) -> None:
        """`foreign_redirects`: follow redirects to other hosts too. The address rules hold for them as well,
        credentials are left behind, and https never becomes http."""
        self.rules = rules if rules is not None else AddressRules()
        self.limits = limits if limits is not None else HTTPLimits()
        self._timeouts = Timeouts(self.limits.connect, self.limits.read, self.limits.total, self.limits.head)
        self._environment = environment if environment is not None else read_environment()
        self._foreign_redirects = foreign_redirects
        self._lock = threading.Lock()
        self._idle: dict[Origin, list[Connection]] = {}  # under _lock
        self._tls: ssl.SSLContext | None = None  # under _lock
        self._closed = False  # under _lock

    def get(self, url: str, *, max_bytes: int, headers: Mapping[str, str] | None = None) -> Response:
        """GET with the whole body in memory. Any status is an answer; errors are FetchErrors (see there)."""
        return self.request("GET", url, headers=headers, max_bytes=max_bytes)

    def head(self, url: str, *, headers: Mapping[str, str] | None = None) -> Response:
        """HEAD: status and headers."""
        return self.request("HEAD", url, headers=headers, max_bytes=0)

    def put(
        self,
        url: str,
        body: bytes | BinaryIO,
        *,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Response:
        """PUT bytes or a seekable file, from its current position."""
        return self.request("PUT", url, body=body, headers=headers, max_bytes=max_bytes)

    def post(
        self,
        url: str,
        body: bytes | BinaryIO,
        *,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> Response:
        """POST bytes or a seekable file, from its current position. Never sent twice."""
        return self.request("POST", url, body=body, headers=headers, max_bytes=max_bytes)

    def request(
        self,
        method: str,
        url: str,
        *,
        max_bytes: int,
        body: bytes | BinaryIO | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """One exchange with the body in memory; more than `max_bytes` is a ResponseTooLargeError."""
        chunks: list[bytes] = []
        request = Request(method, url, dict(headers or {}), body, max_bytes)
        response = self._exchange(request, lambda _: chunks.append)
        return replace(response, body=b"".join(chunks))

    def stream(
        self,
        url: str,
        sink: Sink,
        *,
        max_bytes: int,
        headers: Mapping[str, str] | None = None,
        started: Callable[[Response], object] | None = None,
        body: bytes | None = None,
    ) -> Response:
        """GET, or POST of `body`, with the body of a 200 or 206 passed to `sink` piece by piece; `started`
        sees status and headers first.

        The body of any other status is in the response, cut at 64 KiB. After an error the pieces that the
        sink got are worth nothing. What `sink` or `started` raise comes through.
        """
        refused = CutSink()

        def choose(response: Response) -> Sink:
            if response.status not in _GOOD:
                return refused.take
            if started is not None:
                started(response)
            return sink

        method = "GET" if body is None else "POST"
        response = self._exchange(Request(method, url, dict(headers or {}), body, max_bytes), choose)
        return replace(response, body=refused.body)

    def describe(self) -> list[str]:
        """What was taken from the environment, one line each, without passwords; empty when nothing was."""
        lines = []
        for scheme in ("http", "https"):
            if setting := self._environment.proxy(scheme):
                proxy = parse_proxy(setting)
                lines.append(f"{scheme} by the proxy {proxy.host}:{proxy.port} ({proxy.variable})")
        if lines and self._environment.no_proxy:
            lines.append(f"without proxy: {', '.join(self._environment.no_proxy)} (no_proxy)")
        for what, found in (("file", self._environment.ca_file), ("folder", self._environment.ca_folder)):
            if found is not None:
                lines.append(f"certificate authorities from the {what} {found.value} ({found.variable})")
        return lines

    def close(self) -> None:
        """Close idle connections; those in use are closed when their exchange ends."""
        with self._lock:
            self._closed = True
            idle = [connection for kept in self._idle.values() for connection in kept]
            self._idle.clear()
        for connection in idle:
            connection.close()

    def __enter__(self) -> HTTPClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _exchange(self, request: Request, choose: Callable[[Response], Sink]) -> Response:
        """Send, follow redirects, and pass the final body to the sink that `choose` picks for it."""
        deadline = Deadline(self._timeouts)
        origin, target = parse_origin(request.url)
        for _ in range(self.limits.redirects + 1):
            with self._answer(request, origin, target, deadline) as (head, raw):
                if head.status not in REDIRECTS:
                    if head.status in _GOOD:
                        deadline.allow_body()
                    read_body(raw, request, choose(head))
                    return head
            location = redirect_target(request, head)
            request = replace(request, url=location)
            new_origin, target = parse_origin(location)
            if new_origin != origin:
                if not self._foreign_redirects or (origin.scheme, new_origin.scheme) == ("https", "http"):
                    raise RedirectRefusedError(
                        f"{quote(origin.authority)} redirects to another host, {quote(new_origin.authority)}"
                    )
                request = replace(request, headers=_without_credentials(request.headers))
                origin = new_origin
        raise RedirectRefusedError(f"{quote_url(request.url)}: more than {self.limits.redirects} redirects")

    @contextlib.contextmanager
    def _answer(
        self, request: Request, origin: Origin, target: str, deadline: Deadline
    ) -> Iterator[tuple[Response, http.client.HTTPResponse]]:
        """One answer, its body still to be read. The connection is kept when the body was read whole."""
        connection, raw = self._send(request, origin, target, deadline)
        reusable = False
        try:
            yield read_head(raw, request.url), raw
            reusable = raw.isclosed() and not raw.will_close
        finally:
            raw.close()
            if reusable:
                self._keep(connection)
            else:
                connection.close()

    def _send(
        self, request: Request, origin: Origin, target: str, deadline: Deadline
    ) -> tuple[Connection, http.client.HTTPResponse]:
        """Send the request on a kept or new connection and read the head of the answer."""
        while True:
            connection = self._take(origin, deadline) or self._connect(origin, deadline)
            again = connection.used and request.method in SAFE_METHODS
            connection.used = True
            try:
                self._write(connection, request, target)
                return connection, connection.getresponse()
            except (ConnectionError, ssl.SSLError) as error:
                connection.close()
                if not again:
                    raise UnreachableError(
                        f"{quote_url(request.url)}: the connection broke: {error}"
                    ) from None
                # The server closed a kept connection at the moment of use: once more on another one.
            except FetchError:
                connection.close()
                raise
            except (http.client.HTTPException, OSError) as error:
                connection.close()
                raise translate(error, request.url) from None
            except BaseException:
                connection.close()
                raise

    def _write(self, connection: Connection, request: Request, target: str) -> None:
        origin, proxy = connection.origin, connection.proxy
        if proxy is not None and origin.scheme == "http":
            target = f"http://{origin.authority}{target}"
        connection.putrequest(request.method, target, skip_host=True, skip_accept_encoding=True)
        fixed = {"host": origin.authority, "user-agent": USER_AGENT, "accept-encoding": "identity"}
        if proxy is not None and origin.scheme == "http" and proxy.authorization:
            fixed["proxy-authorization"] = proxy.authorization
        given = {name.lower(): value for name, value in request.headers.items()}
        if request.body is not None:
            fixed["content-length"] = str(request.length)
        for name, value in {**fixed, **given, **{k: fixed[k] for k in ("host", "accept-encoding")}}.items():
            try:
                connection.putheader(name, value)
            except ValueError:  # its text repeats the value, which may be a secret
                raise FetchError(
                    f"{quote_url(request.url)}: the header {quote(name)} has a character in it that no header"
                    " can have"
                ) from None
        connection.endheaders()
        for chunk in request.pieces():
            connection.send(chunk)

    def _take(self, origin: Origin, deadline: Deadline) -> Connection | None:
        """A kept connection that is still good."""
        while True:
            with self._lock:
                kept = self._idle.get(origin)
                if not kept:
                    return None
                connection = kept.pop()
            if (
                time.monotonic() - connection.idle_since < self.limits.idle_seconds
                and not connection.is_stale
            ):
                connection.timed.deadline = deadline
                return connection
            connection.close()

    def _keep(self, connection: Connection) -> None:
        connection.idle_since = time.monotonic()
        with self._lock:
            kept = self._idle.setdefault(connection.origin, [])
            if not self._closed and len(kept) < self.limits.idle_connections:
                kept.append(connection)
                return
        connection.close()

    def _connect(self, origin: Origin, deadline: Deadline) -> Connection:
        proxy = proxy_for(origin, self._environment)
        context = self._tls_context() if origin.scheme == "https" else None
        if proxy is None:
            raw = open_socket(self.rules.resolve(origin.host, origin.port), deadline)
        else:
            self.rules.check_literal(origin.host)
            # The proxy is the machine owner's choice, so its own address is not judged.
            raw = open_socket(AddressRules(anything=True).resolve(proxy.host, proxy.port), deadline)
        try:
            if context is not None:
                if proxy is not None:
                    tunnel(raw, origin, proxy, deadline)
                raw = wrap_tls(raw, origin.host, context, deadline)
            return Connection(origin, TimedSocket(raw, deadline), proxy)
        except BaseException:
            raw.close()
            raise

    def _tls_context(self) -> ssl.SSLContext:
        """Made at the first https request: loading the system's authorities takes a tenth of a second."""
        with self._lock:
            if self._tls is None:
                self._tls = make_tls_context(self._environment)
            return self._tls


def make_tls_context(environment: Environment) -> ssl.SSLContext:
    """Whom this machine trusts to vouch for a server, by the variables of `environment`.

    Raises ConfigError with the variable when its file cannot be loaded.
    """
    file, folder = environment.ca_file, environment.ca_folder
    try:
        return ssl.create_default_context(
            cafile=file.value if file else None, capath=folder.value if folder else None
        )
    except OSError as error:
        where = file.variable if file else "certificate authorities"
        shown = quote(file.value) if file else "the system's"
        mistake = f"cannot load certificate authorities from {shown}: {error.strerror or error}"
        raise ConfigError(where, (mistake,)) from None


def _without_credentials(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers that another host may see (RFC 9110 section 15.4)."""
    return {name: value for name, value in headers.items() if name.lower() not in _CREDENTIALS}
