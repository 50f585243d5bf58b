"""A peer's signed heads, for the other peers, in plain ASGI: `GET <prefix>/peers/heads?from=N&wait=S`.

Every other peer asks after every block, so this is as hot as what `hot` answers.
"""

from collections.abc import Awaitable, Callable
from urllib.parse import parse_qsl

from touchplate.log.errors import RequestError
from touchplate.log.http.answers import (
    FRESH,
    Answer,
    Receive,
    Scope,
    Send,
    method_not_allowed,
    problem_of,
    send_answer,
)
from touchplate.log.http.hot import HotFace
from touchplate.log.reading import LogReader
from touchplate.log.writing import LogWriter
from touchplate.verify.encoding import parse_decimal
from touchplate.verify.errors import MalformedError

HEADS_PATH = "/peers/heads"
"""Below a log's prefix."""

MAX_WAIT_SECONDS = 5
"""The longest that a question waits for the next head: below every usual time limit of clients and
proxies."""

MAX_QUERY_BYTES = 200
"""Bytes of a question's parameters: two numbers of twenty digits and their names."""

Heads = Callable[[int, float], Awaitable[bytes]]
"""The answer (peers format 10) about heads of at least so many entries; waits for one, at most so many
seconds."""


class HeadsFace(HotFace):
    """The hot face of a log that peers hold together."""

    def __init__(self, reader: LogReader, writer: LogWriter, prefix: str, heads: Heads) -> None:
        """`prefix`: see HotFace."""
        super().__init__(reader, writer, prefix)
        self._heads_path = prefix + HEADS_PATH
        self._heads = heads

    def handles(self, scope: Scope) -> bool:
        """See HotFace."""
        return super().handles(scope) or (
            scope["type"] == "http" and scope.get("path", "") == self._heads_path
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See HotFace."""
        if scope["path"] != self._heads_path:
            await super().__call__(scope, receive, send)
            return
        try:
            if scope["method"] in ("GET", "HEAD"):
                body = await self._heads(*_parse_question(scope.get("query_string", b"")))
                answer = Answer(body, content_type="application/json", headers={"Cache-Control": FRESH})
            else:
                answer = method_not_allowed("GET, HEAD")
        except Exception as error:
            answer = problem_of(error)
        await send_answer(send, answer, head=scope["method"] == "HEAD")


def _parse_question(query: bytes) -> tuple[int, float]:
    """(from, wait); others are ignored. Raises RequestError."""
    if len(query) > MAX_QUERY_BYTES:  # not cut: a number would be another one
        raise RequestError(f"a question about heads has at most {MAX_QUERY_BYTES} bytes")
    try:
        given = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True))
        start = parse_decimal(given.get("from", "0"), "from")
        return start, float(min(parse_decimal(given.get("wait", "0"), "wait"), MAX_WAIT_SECONDS))
    except (MalformedError, ValueError) as error:
        raise RequestError(f"this is no question about heads: {error}") from error
