"""Reading requests and writing answers in plain ASGI, and errors as problem+json (RFC 9457)."""

from asyncio import timeout
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from logging import getLogger
from secrets import token_hex
from typing import Any

from touchplate.base.errors import TouchplateError
from touchplate.base.problem import MEDIA_TYPE, format_problem
from touchplate.log.errors import STATUS, BusyError, OverloadedError, RequestError
from touchplate.log.ports import Sequenced

logger = getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

BODY_SECONDS = 30
"""How long a client may take to send one body: 8 MiB at 300 KB/s. A slower one only holds memory."""

NOT_MODIFIED = 304

IMMUTABLE = "public, max-age=31536000, immutable"
"""Cache-Control of full tiles and bundles, which never change (tlog-tiles)."""

SHORT = "public, max-age=3600"
"""Cache-Control of unfinished tiles and bundles: their bytes never change either, but they stop being asked
for."""

FRESH = "no-cache"
"""Cache-Control of the checkpoint: may be kept, must be asked for again."""


@dataclass(frozen=True)
class Answer:
    """One complete HTTP answer."""

    body: bytes
    status: int = 200
    content_type: str = "text/plain; charset=utf-8"
    headers: Mapping[str, str] = field(default_factory=dict)


def problem_of(error: Exception) -> Answer:
    """The answer to a request that ended in `error`. What nobody foresaw is 500 with an id to find it by."""
    status = STATUS.status(error).http
    if isinstance(error, TouchplateError):
        reason, detail = error.reason, str(error)
    else:
        reason = "internal"
    if status == 500:
        number = token_hex(8)
        logger.error("request failed, id %s", number, exc_info=error)
        detail = f"the log failed to answer; its operator finds the cause under id {number}"
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, BusyError):
        headers["Retry-After"] = str(error.retry_after)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return Answer(format_problem(status, reason, detail), status, MEDIA_TYPE, headers)


def added(result: Sequenced) -> Answer:
    """The answer to `add`: the decimal index, and in a header whether the entry was there before."""
    headers = {"Touchplate-Duplicate": "true"} if result.duplicate else {}
    return Answer(str(result.index).encode(), headers=headers)


def method_not_allowed(allowed: str) -> Answer:
    """405 for a path that knows other methods."""
    body = format_problem(405, "method-not-allowed", f"this path answers {allowed} only")
    return Answer(body, 405, MEDIA_TYPE, {"Allow": allowed})


async def send_answer(send: Send, answer: Answer, *, head: bool = False) -> None:
    """Write `answer`; with `head` only its headers (RFC 9110 9.3.2)."""
    headers = []
    if answer.status != NOT_MODIFIED:
        headers = [
            (b"content-type", answer.content_type.encode()),
            (b"content-length", str(len(answer.body)).encode()),
        ]
    headers += [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if head else answer.body})


def header(scope: Scope, name: bytes) -> str | None:
    """The value of the request header `name` (lower case); the last one when it stands twice."""
    value = None
    for key, found in scope["headers"]:
        if key == name:
            value = found.decode("latin-1")
    return value


def tagged(answer: Answer) -> Answer:
    """The same answer with an entity tag (RFC 9110 8.8.3): weak, since encoded and plain form share it."""
    tag = f'W/"{sha256(answer.body).hexdigest()[:32]}"'
    return replace(answer, headers={**answer.headers, "ETag": tag})


def unless_known(scope: Scope, answer: Answer) -> Answer:
    """304 without a body in the place of an answer that the client says it has (RFC 9110 13.1.2)."""
    asked, tag = header(scope, b"if-none-match"), answer.headers.get("ETag")
    if asked is None or tag is None or answer.status != 200:
        return answer
    known = {part.strip().removeprefix("W/") for part in asked.split(",")}
    if not known & {tag.removeprefix("W/"), "*"}:
        return answer
    kept = {name: value for name, value in answer.headers.items() if name != "Content-Encoding"}
    return Answer(b"", NOT_MODIFIED, answer.content_type, kept)


def takes_gzip(scope: Scope) -> bool:
    """Whether the client says that it reads gzip (RFC 9110 12.5.3)."""
    for part in (header(scope, b"accept-encoding") or "").split(","):
        coding, _, weight = part.replace(" ", "").partition(";")
        if coding.lower() == "gzip":
            return weight.lower() not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return False


class BodyRoom:
    """The memory that bodies take together, from their first byte until they are answered. One event loop
    uses it.

    What counts are the bytes that came, not the requests: who connects and says little takes little.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._taken = 0

    @asynccontextmanager
    async def body(self, scope: Scope, receive: Receive, limit: int) -> AsyncIterator[bytes]:
        """The whole body, as `read_body`; its room is free again after the block. Raises OverloadedError when
        there is none for what comes."""
        own = 0

        def take(count: int) -> None:
            nonlocal own
            if self._taken + count > self._max_bytes:
                raise OverloadedError(f"bodies of {self._taken} bytes are being read; send it again later")
            self._taken += count
            own += count

        try:
            yield await read_body(scope, receive, limit, take)
        finally:
            self._taken -= own


async def read_body(
    scope: Scope, receive: Receive, limit: int, take: Callable[[int], None] = lambda _: None
) -> bytes:
    """The whole body, at most `limit` bytes. `take` is told the length of each piece, and may raise.

    Raises RequestError (too-large, too-slow, client-gone).
    """
    announced = header(scope, b"content-length")
    if announced is not None and announced.isdecimal() and int(announced[:20]) > limit:
        raise _too_large(limit)
    parts, length = [], 0
    try:
        async with timeout(BODY_SECONDS):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise RequestError(
                        "the client went away before its body was complete", reason="client-gone"
                    )
                part = message.get("body", b"")
                length += len(part)
                if length > limit:
                    raise _too_large(limit)
                take(len(part))
                parts.append(part)
                if not message.get("more_body", False):
                    return b"".join(parts)
    except TimeoutError:
        raise RequestError(f"the body took longer than {BODY_SECONDS} s", reason="too-slow") from None


def _too_large(limit: int) -> RequestError:
    return RequestError(f"the body is larger than {limit} bytes", reason="too-large")
