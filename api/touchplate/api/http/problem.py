"""Errors as `application/problem+json` (RFC 9457): one short line as detail, since Maven prints it inside
its own."""

from __future__ import annotations

import json
import logging
import secrets

from fastapi import Response

from touchplate.api.errors import STATUS, BusyError, MethodError, RangeError, RefusedError
from touchplate.base.errors import StorageError
from touchplate.base.status import StatusTable

MEDIA_TYPE = "application/problem+json"

DETAIL_CHARACTERS = 400
"""Characters of a detail. Maven prints it inside one line of its own."""

_TITLES = {
    400: "bad request",
    403: "refused",
    404: "not found",
    405: "method not allowed",
    416: "range not satisfiable",
    502: "upstream failed",
    503: "try again later",
    504: "upstream timed out",
}


def problem(error: Exception, *, public_url: str = "", table: StatusTable = STATUS) -> Response:
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
    body: dict[str, object] = {
        "type": f"https://touchplate.dev/problems/{reason}",
        "title": _TITLES.get(status, "failed"),
        "status": status,
        "reason": reason,
    }
    headers = {"Cache-Control": "no-store"}
    if isinstance(error, RefusedError) and error.explain:
        body["explanation"] = public_url + error.explain
    if isinstance(error, BusyError) or status == 503:
        headers["Retry-After"] = str(getattr(error, "retry_after", 1))
    if isinstance(error, MethodError):
        headers["Allow"] = "GET, HEAD"
    if isinstance(error, RangeError):
        headers["Content-Range"] = f"bytes */{error.size}"
    body["detail"] = _one_line(detail)
    return Response(json.dumps(body, ensure_ascii=False), status, headers, MEDIA_TYPE)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= DETAIL_CHARACTERS else f"{line[: DETAIL_CHARACTERS - 1]}…"
