"""Requests and answers of the HTTP client, and reading a body that must be whole and within its limit."""

from __future__ import annotations

import http.client
import io
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import urljoin

from touchplate.base.errors import (
    BadResponseError,
    BadURLError,
    FetchError,
    FetchTimeoutError,
    RedirectRefusedError,
    ResponseTooLargeError,
    TruncatedResponseError,
    quote,
    quote_url,
)

# Bytes read from a connection or a file at once.
CHUNK_BYTES = 64 * 1024
# Bytes of a body that nobody asked for (an error page) which are kept for the message.
MAX_ERROR_BODY = 64 * 1024
SAFE_METHODS = frozenset({"GET", "HEAD"})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_BODILESS_STATUSES = frozenset({204, 304})

Sink = Callable[[bytes], object]


@dataclass(frozen=True)
class Response:
    """An answer. `url` is the one that answered in the end; header names are lower case, repeated ones joined
    by ", "; `body` is empty when it went to a sink.
    """

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True)
class Request:
    """One request; `max_bytes` limits the body of its answer. A body that is a file is sent from its
    position.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | BinaryIO | None
    max_bytes: int

    @property
    def length(self) -> int:
        """Bytes of the body."""
        if self.body is None or isinstance(self.body, bytes):
            return len(self.body or b"")
        here = self.body.tell()
        end = self.body.seek(0, os.SEEK_END)
        self.body.seek(here, io.SEEK_SET)
        return end - here

    def pieces(self) -> Iterator[bytes]:
        """The body, piece by piece."""
        if isinstance(self.body, bytes):
            yield self.body
        elif self.body is not None:
            while chunk := self.body.read(CHUNK_BYTES):
                yield chunk


class CutSink:
    """Keeps the first 64 KiB of a body."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._left = MAX_ERROR_BODY

    def take(self, chunk: bytes) -> None:
        """Keep what still fits."""
        if self._left:
            self._chunks.append(chunk[: self._left])
            self._left -= len(self._chunks[-1])

    @property
    def body(self) -> bytes:
        """What was kept."""
        return b"".join(self._chunks)


def read_head(raw: http.client.HTTPResponse, url: str) -> Response:
    """Status and headers of an answer whose body is still to be read. Raises BadResponseError."""
    _check_framing(raw, url)
    headers: dict[str, str] = {}
    for name, value in raw.getheaders():
        lower = name.lower()
        headers[lower] = f"{headers[lower]}, {value}" if lower in headers else value
    return Response(url, raw.status, headers)


def _check_framing(raw: http.client.HTTPResponse, url: str) -> None:
    """Refuse an answer whose end two readers could see at different places (RFC 9112 section 6.3).

    http.client takes the first of several lengths, reads numbers as Python writes them, and passes over
    codings that it does not know.
    """
    if raw.status < http.client.OK:
        # The final answer is still to come, and would be taken for that of the next request.
        raise BadResponseError(f"{quote_url(url)}: status {raw.status}, which nobody asked for, as an answer")
    lengths = {value.strip() for value in raw.headers.get_all("Content-Length", [])}
    codings = [value.strip().lower() for value in raw.headers.get_all("Transfer-Encoding", [])]
    if len(lengths) > 1 or not all(value.isascii() and value.isdecimal() for value in lengths):
        raise BadResponseError(f"{quote_url(url)}: Content-Length is {quote(', '.join(sorted(lengths)))}")
    if codings not in ([], ["chunked"]) or (codings and lengths):
        raise BadResponseError(
            f"{quote_url(url)}: Transfer-Encoding is {quote(', '.join(codings))}"
            + (" beside a Content-Length" if lengths else "")
        )


def read_body(raw: http.client.HTTPResponse, request: Request, sink: Sink) -> None:
    """Pass the body to `sink`, exactly as long as it was announced. Raises FetchErrors, and what the sink
    raises.
    """
    if request.method == "HEAD" or raw.status in _BODILESS_STATUSES:
        _read_piece(raw, request.url)
        raw.close()
        return
    coding = ", ".join(raw.headers.get_all("Content-Encoding", [])).strip().lower()
    if coding not in ("identity", ""):
        raise BadResponseError(
            f"{quote_url(request.url)}: body coded as {quote(coding)}, though not asked for"
        )
    # Taken now: http.client counts `length` down while it reads.
    announced = raw.length
    if announced is None and not raw.chunked:
        # Closing ends such a body, and so does a broken connection: a cut file would look whole.
        raise BadResponseError(f"{quote_url(request.url)}: the body has neither a length nor chunks")
    if announced is not None and announced > request.max_bytes:
        raise _too_large(request)
    received = 0
    while chunk := _read_piece(raw, request.url):
        received += len(chunk)
        if received > request.max_bytes:
            raise _too_large(request)
        sink(chunk)
    if announced is not None:
        if received < announced:
            raise TruncatedResponseError(
                f"{quote_url(request.url)}: the body ended after {received} of {announced} bytes"
            )
        # Of a body with a length, http.client does not notice by itself that all of it was read.
        raw.close()


def redirect_target(request: Request, head: Response) -> str:
    """The absolute URL that a redirect leads to. Raises RedirectRefusedError, BadResponseError,
    BadURLError.
    """
    if request.method not in SAFE_METHODS:
        raise RedirectRefusedError(
            f"{quote_url(request.url)} redirects a {request.method}; use the final address"
        )
    location = head.headers.get("location")
    if not location:
        raise BadResponseError(f"{quote_url(request.url)}: status {head.status} without a Location")
    try:
        return urljoin(request.url, location.partition("#")[0])
    except ValueError as error:
        raise BadURLError(f"{quote_url(request.url)} redirects to {quote_url(location)}: {error}") from None


def translate(error: Exception, url: str) -> FetchError:
    """The FetchError that says what an error of http.client or of a socket means."""
    if isinstance(error, FetchError):
        return error
    if isinstance(error, http.client.IncompleteRead):
        return TruncatedResponseError(f"{quote_url(url)}: the body ended early")
    if isinstance(error, TimeoutError):
        return FetchTimeoutError(f"{quote_url(url)}: {error}")
    if isinstance(error, OSError):
        return TruncatedResponseError(f"{quote_url(url)}: the connection broke: {error.strerror or error}")
    return BadResponseError(f"{quote_url(url)}: not understood: {type(error).__name__}: {quote(str(error))}")


def _read_piece(raw: http.client.HTTPResponse, url: str) -> bytes:
    try:
        return raw.read1(CHUNK_BYTES)
    except (http.client.HTTPException, OSError, ValueError) as error:
        # ValueError is what http.client raises for a chunk size that is no number.
        raise translate(error, url) from None


def _too_large(request: Request) -> ResponseTooLargeError:
    return ResponseTooLargeError(f"{quote_url(request.url)}: more than the {request.max_bytes} bytes allowed")
