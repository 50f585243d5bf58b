"""Sending a stored file: whole by the server's own file sending where it can, ranges by our own reading.

Own code, because the framework's answers a range of `500-0` with 400 and knows no ETag but size and time.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from fastapi import Request, Response

from touchplate.api.errors import RangeError

CHUNK_BYTES = 1024 * 1024
"""Bytes per read and send. With the usual 64 KiB a large file costs twice the CPU."""

_RANGE = re.compile(r"bytes=(?:(\d{1,18})-(\d{1,18})?|-(\d{1,18}))\Z")


@dataclass(frozen=True)
class Span:
    """The bytes `start` to `end - 1` of a file."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Number of bytes."""
        return self.end - self.start


def parse_range(header: str | None, size: int) -> Span | None:
    """The single range that was asked for, or None for the whole file (RFC 9110 14.2: what we do not take is
    ignored). Raises RangeError for a range outside the file."""
    header = (header or "").strip()
    match = _RANGE.match(header)
    if match is None:
        return None
    first, last, suffix = match.groups()
    if suffix is not None:
        span = Span(max(0, size - int(suffix)), size)
    else:
        span = Span(int(first), size if last is None else min(size, int(last) + 1))
        if last is not None and int(last) < int(first):
            raise RangeError(f"range {header[:80]!r} ends before it begins", size=size)
    if span.start >= size or span.length <= 0:
        raise RangeError(f"range {header[:80]!r} lies outside the file of {size} bytes", size=size)
    return span


def file_response(request: Request, path: Path, size: int, headers: Mapping[str, str]) -> Response:
    """The answer to GET or HEAD of an immutable file whose `headers` hold its ETag. Raises RangeError."""
    etag = headers["ETag"]
    whole = {"Accept-Ranges": "bytes", **headers}
    if etag in _tags(request.headers.get("if-none-match")):
        return Response(status_code=304, headers=dict(headers))
    span = None
    if request.headers.get("if-range", etag) == etag:
        span = parse_range(request.headers.get("range"), size)
    if span is None:
        return StoredFile(path, Span(0, size), 200, {**whole, "Content-Length": str(size)}, is_whole=True)
    partial = {
        **whole,
        "Content-Length": str(span.length),
        "Content-Range": f"bytes {span.start}-{span.end - 1}/{size}",
    }
    return StoredFile(path, span, 206, partial, is_whole=False)


class StoredFile(Response):
    """A file, or a part of it, as an answer. HEAD sends the same headers and no body."""

    def __init__(
        self, path: Path, span: Span, status: int, headers: Mapping[str, str], *, is_whole: bool
    ) -> None:
        self._path = path
        self._span = span
        self._is_whole = is_whole
        super().__init__(None, status, dict(headers))

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """ASGI. `http.response.pathsend` lets the server send the file without reading it here."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        elif self._is_whole and "http.response.pathsend" in scope.get("extensions", {}):
            await send({"type": "http.response.pathsend", "path": str(self._path)})
        else:
            await self._send_pieces(send)

    async def _send_pieces(self, send: Any) -> None:
        file = await asyncio.to_thread(self._open)
        try:
            left = self._span.length
            while left:
                piece = await asyncio.to_thread(file.read, min(CHUNK_BYTES, left))
                if not piece:
                    # The connection is cut: fewer bytes than announced must never look like the whole file.
                    raise OSError(f"{self._path.name} is shorter than it was")
                left -= len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": left > 0})
            if not self._span.length:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            file.close()

    def _open(self) -> BinaryIO:
        file = self._path.open("rb")
        file.seek(self._span.start)
        return file


def _tags(header: str | None) -> set[str]:
    return {tag.strip().removeprefix("W/") for tag in header.split(",")} if header else set()
