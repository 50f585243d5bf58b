"""A log read and written over HTTP, with the standard library only.

Import this module on use only (`sources.open_source` does): it brings urllib.

Http and https, no redirect to another host, bounded sizes and times, proxies as urllib takes them from the
environment (never for a loopback address).
"""

import re
import time
import zlib
from email.message import Message
from functools import partial
from http.client import HTTPException, HTTPMessage, HTTPResponse
from io import BufferedReader, RawIOBase
from ipaddress import ip_address
from socket import socket
from ssl import SSLContext
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import (
    AbstractHTTPHandler,
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

from touchplate.verify.encoding import parse_decimal
from touchplate.verify.errors import MalformedError, NotFoundError, TransportError, VerifyError, shown
from touchplate.verify.jcs import JSON, parse_json
from touchplate.verify.sources import AnswerError

IDLE_SECONDS = 30.0
"""Seconds without a byte from the log, after which it counts as unreachable."""

TOTAL_SECONDS = 300.0
"""Seconds for one whole answer, its head included: 17 MiB over a slow line, but no trickle without end."""

MAX_PROBLEM_BYTES = 16 * 1024
"""Bytes of an error's body that are looked at."""

_CHUNK = 64 * 1024
_GZIP = 31  # zlib's window size for the gzip form
_REASON = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_MAX_REASON = 60
_BUSY = (429, 503)


class HTTPSource:
    """A log at a URL prefix; see `LogSource`."""

    def __init__(
        self,
        url: str,
        *,
        idle_seconds: float = IDLE_SECONDS,
        total_seconds: float = TOTAL_SECONDS,
        tls: SSLContext | None = None,
    ) -> None:
        """`tls`: whom to trust for https; None: as OpenSSL is told on this machine (`SSL_CERT_FILE`).

        Raises TransportError (`bad-url`) for anything but a plain http(s) prefix.
        """
        self._prefix = check_log_url(url)
        self._idle = idle_seconds
        self._opener = _opener(self._prefix, idle_seconds, total_seconds, tls)

    def __str__(self) -> str:
        return self._prefix

    def read(self, path: str, max_bytes: int) -> bytes:
        """The body of a GET; see LogSource."""
        return self._answer(Request(self._url(path)), max_bytes)  # noqa: S310

    def post(self, path: str, body: bytes, headers: dict[str, str], max_bytes: int) -> bytes:
        """The body of the answer to a POST; see LogSource."""
        request = Request(self._url(path), data=body, headers=headers, method="POST")  # noqa: S310
        return self._answer(request, max_bytes)

    def _url(self, path: str) -> str:
        return f"{self._prefix}/{path}"

    def _answer(self, request: Request, max_bytes: int) -> bytes:
        url = request.full_url
        request.add_header("User-Agent", "touchplate")
        try:
            with self._opener.open(request, timeout=self._idle) as response:
                return self._body(response, max_bytes)
        except HTTPError as error:
            try:
                raise self._refusal(error) from error
            finally:
                error.close()
        except VerifyError:
            raise
        except URLError as error:
            raise TransportError(f"{shown(url)} cannot be reached: {_told(error.reason)}") from error
        except (OSError, HTTPException, ValueError) as error:
            raise TransportError(f"{shown(url)} cannot be read: {shown(str(error))}") from error

    def _body(self, response: HTTPResponse, max_bytes: int) -> bytes:
        """Whole body, at most `max_bytes`."""
        chunks, total = [], 0
        while chunk := response.read1(_CHUNK):
            chunks.append(chunk)
            total += len(chunk)
            if total > max_bytes:
                raise TransportError(
                    f"{shown(response.url)} is larger than {max_bytes} bytes", reason="too-large"
                )
        # read1 ends silently when the connection does: what is left of Content-Length tells.
        if response.length:
            raise TransportError(
                f"{shown(response.url)} ended {response.length} bytes early", reason="cut-off"
            )
        return _decoded(b"".join(chunks), response.headers.get("Content-Encoding"), max_bytes)

    def _refusal(self, error: HTTPError) -> TransportError:
        """The error of an answer that is no success: the log's own reason and detail, when it sent them."""
        try:
            body = error.read(MAX_PROBLEM_BYTES)
        except (OSError, HTTPException, ValueError, TransportError):  # cut off: the status says enough
            body = b""
        reason, detail = _parse_problem(body)
        message = f"{shown(error.url)} answered {error.code}"
        if detail:
            message += f": {shown(detail)}"
        if error.code == 404:
            return NotFoundError(message, reason=reason)
        retry_after = _retry_after(error.headers)
        if reason is None and error.code in _BUSY:
            reason = "busy"
        elif 300 <= error.code < 400:  # a loop, or a scheme that urllib itself refuses
            reason = "redirect"
        return AnswerError(message, error.code, retry_after=retry_after, reason=reason)


class _SameHostRedirects(HTTPRedirectHandler):
    """Follows a redirect of a GET within scheme, host and port; refuses every other."""

    max_redirections = 3

    def http_error_302(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage
    ) -> HTTPResponse | None:
        """Of urllib; closes the connection when the new address cannot be taken apart."""
        try:
            return super().http_error_302(req, fp, code, msg, headers)
        except ValueError:
            fp.close()
            raise

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> Request | None:
        old, new = urlsplit(req.full_url), urlsplit(urljoin(req.full_url, newurl))
        if (old.scheme, old.netloc) != (new.scheme, new.netloc) or req.get_method() != "GET":
            fp.close()
            raise TransportError(
                f"{shown(req.full_url)} redirects to {shown(newurl)}: if you trust that, give it as URL",
                reason="redirect",
            )
        # Unread: urllib would read all of it first, and it may have no end.
        fp.close()
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class _TimedReader(RawIOBase):
    """The bytes of a connection until a deadline: no single wait is longer than what is left.

    Below everything that `http.client` reads: a trickle of status lines, headers, chunk sizes or trailers has
    no end that a limit on the body would see.
    """

    def __init__(self, connection: socket, raw: RawIOBase, idle: float, total: float) -> None:
        self._connection = connection
        self._raw = raw
        self._idle = idle
        self._total = total
        self._deadline = time.monotonic() + total

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TransportError(f"the answer took longer than {self._total:.0f} s", reason="too-slow")
        self._connection.settimeout(min(self._idle, left))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(HTTPResponse):
    """An answer that is read through a `_TimedReader`."""

    def __init__(
        self, sock: socket, *args: Any, idle_seconds: float, total_seconds: float, **kwargs: Any
    ) -> None:
        super().__init__(sock, *args, **kwargs)
        raw: Any = self.fp.detach()
        self.fp = BufferedReader(_TimedReader(sock, raw, idle_seconds, total_seconds))


class _Timed(AbstractHTTPHandler):
    """Mixed into urllib's handlers: their connections answer with `_TimedResponse`."""

    def __init__(self, idle: float, total: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._response = partial(_TimedResponse, idle_seconds=idle, total_seconds=total)

    def do_open(self, http_class: Any, req: Request, **arguments: Any) -> HTTPResponse:
        def connection(*args: Any, **kwargs: Any) -> Any:
            made = http_class(*args, **kwargs)
            made.response_class = self._response
            return made

        return super().do_open(connection, req, **arguments)


class _HTTPHandler(_Timed, HTTPHandler):
    pass


class _HTTPSHandler(_Timed, HTTPSHandler):
    pass


def _opener(prefix: str, idle: float, total: float, tls: SSLContext | None) -> OpenerDirector:
    """An opener for http and https only: no file, ftp or data URLs, no cookies, no passwords."""
    opener = OpenerDirector()
    host = urlsplit(prefix).hostname or ""
    for handler in (
        ProxyHandler({}) if _is_loopback(host) else ProxyHandler(),
        _HTTPHandler(idle, total),
        _HTTPSHandler(idle, total, context=tls),
        HTTPDefaultErrorHandler(),
        HTTPErrorProcessor(),
        _SameHostRedirects(),
    ):
        opener.add_handler(handler)
    return opener


def check_log_url(url: str) -> str:
    """`url` without slashes at its end, if a log can have it. Raises TransportError (`bad-url`)."""
    try:
        parts = urlsplit(url)
        plain = parts.hostname and parts.username is None and not {"?", "#"} & set(url)
        _ = parts.port
    except ValueError:
        plain = None
    if not plain or parts.scheme not in ("http", "https") or any(char <= " " for char in url):
        # Without what stands before an @: it may be a password.
        given = shown(url.rpartition("@")[2])
        raise TransportError(
            f"{given} is not the URL of a log: http(s)://HOST[:PORT][/PATH], no query, no password",
            reason="bad-url",
        )
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _decoded(data: bytes, encoding: str | None, max_bytes: int) -> bytes:
    """tlog-tiles lets a log send gzip unasked; the limit holds for what comes out."""
    if encoding in (None, "identity"):
        return data
    if encoding != "gzip":
        raise TransportError(
            f"content encoding {shown(encoding)} is not understood", reason="content-encoding"
        )
    inflater = zlib.decompressobj(_GZIP)
    try:
        plain = inflater.decompress(data, max_bytes + 1)
    except zlib.error as error:
        raise TransportError(f"the answer is not gzip: {error}", reason="content-encoding") from error
    if len(plain) > max_bytes:
        raise TransportError(f"the answer is larger than {max_bytes} bytes when unpacked", reason="too-large")
    if not inflater.eof or inflater.unused_data:
        raise TransportError(
            "the gzip form of the answer does not end where the answer ends", reason="cut-off"
        )
    return plain


def _parse_problem(body: bytes) -> tuple[str | None, str | None]:
    """(reason, detail) of a problem+json body, or None for what is not there. Never raises."""
    try:
        problem: JSON = parse_json(body, max_bytes=MAX_PROBLEM_BYTES)
    except MalformedError:
        return None, None
    if not isinstance(problem, dict):
        return None, None
    reason, detail = problem.get("reason"), problem.get("detail")
    if not isinstance(reason, str) or len(reason) > _MAX_REASON or not _REASON.fullmatch(reason):
        reason = None
    return reason, detail if isinstance(detail, str) else None


def _told(reason: object) -> str:
    """The system's words without its number; whatever else it is, as it is."""
    words = reason.strerror if isinstance(reason, OSError) else None
    return words.lower() if words else shown(str(reason))


def _retry_after(headers: Message) -> int | None:
    try:
        return parse_decimal(headers.get("Retry-After", ""), "Retry-After", 24 * 3600)
    except MalformedError:
        return None
