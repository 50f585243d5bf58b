"""Errors as `application/problem+json` (RFC 9457): one short line as detail, since Maven prints it inside
its own."""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass

from fastapi import Response

from touchplate.api.errors import STATUS, BusyError, MethodError, RangeError, RefusedError
from touchplate.base.errors import StorageError
from touchplate.base.problem import MEDIA_TYPE, format_problem
from touchplate.base.status import StatusTable
from touchplate.verify.output import printable

DETAIL_CHARACTERS = 400
"""Characters of a detail. Maven prints it inside one line of its own."""


@dataclass(frozen=True)
class Problem:
    """What a client is told about an error. `explanation`: the URL of the page that explains a refusal, or
    empty."""

    status: int
    reason: str
    detail: str
    explanation: str
    headers: dict[str, str]


def describe(error: Exception, *, public_url: str = "", table: StatusTable = STATUS) -> Problem:
    """The answer to a request that ran into `error`. One that nobody foresaw is a 500 with an id, and
    logged."""
    status = table.status(error).http
    reason = str(getattr(error, "reason", "internal"))
    detail = str(error)
    if status >= 500 and not hasattr(error, "reason"):
        incident = secrets.token_hex(4)
        logging.getLogger("touchplate.api").error("internal error %s", incident, exc_info=error)
        reason, detail = "internal", f"internal error {incident}; the log of the server says more"
    elif status >= 500 and isinstance(error, StorageError):
        # Its text names folders of this machine, and its operator must hear of it.
        logging.getLogger("touchplate.api").error("%s", error)
        detail = "this node cannot read or write its files just now; its own log says more"
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, BusyError) or status == 503:
        headers["Retry-After"] = str(getattr(error, "retry_after", 1))
    if isinstance(error, MethodError):
        headers["Allow"] = "GET, HEAD"
    if isinstance(error, RangeError):
        headers["Content-Range"] = f"bytes */{error.size}"
    explain = error.explain if isinstance(error, RefusedError) else ""
    return Problem(status, reason, _one_line(detail), public_url + explain if explain else "", headers)


def problem(error: Exception, *, public_url: str = "", table: StatusTable = STATUS) -> Response:
    """The same as a problem document."""
    told = describe(error, public_url=public_url, table=table)
    body = format_problem(told.status, told.reason, told.detail, explanation=told.explanation)
    return Response(body, told.status, told.headers, MEDIA_TYPE)


def _one_line(text: str) -> str:
    # Clients print it as it is, and parts of it may come from whoever published the file.
    line = printable(" ".join(text.split()))
    return line if len(line) <= DETAIL_CHARACTERS else f"{line[: DETAIL_CHARACTERS - 1]}…"
