"""Errors as Conan clients print them: plain text, one line.

Status codes as far as clients understand them (conan 2.34: 400, 401, 403, 404, 500). A refusal is 400 for
anonymous clients, since some take a 403 without a token for "log in", and 403 for those that sent one. Never
404: clients go on to their next remote then.
"""

from __future__ import annotations

from fastapi import Response

from touchplate.api.errors import STATUS, RefusedError
from touchplate.api.http.problem import describe
from touchplate.base.status import StatusTable


def remote_error(
    error: Exception, *, is_anonymous: bool, public_url: str = "", table: StatusTable = STATUS
) -> Response:
    """The answer to a request that ran into `error`."""
    told = describe(error, public_url=public_url, table=table)
    status, text = told.status, f"touchplate: {told.detail}"
    if isinstance(error, RefusedError):
        status = 400 if is_anonymous else 403
        text = f"touchplate refuses {told.detail}"
        if told.explanation:
            text += f" (why: {told.explanation})"
    return Response(text, status, told.headers, "text/plain; charset=utf-8")
