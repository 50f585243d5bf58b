"""Errors as registries write them (OCI distribution specification 1.1, "Error Codes"): clients print code and
message; `detail` holds the reason for programs and the page that explains it."""

from __future__ import annotations

import json

from fastapi import Response

from touchplate.api.errors import (
    STATUS,
    BadNameError,
    BusyError,
    MethodError,
    NotFoundError,
    RangeError,
    RefusedError,
    UnknownUpstreamError,
)
from touchplate.api.http.problem import describe
from touchplate.base.status import StatusTable
from touchplate.verify.output import printable

WARNING_CHARACTERS = 400
"""Characters of a warning; clients take 4,096 bytes of all together."""

_CODES: tuple[tuple[type[Exception], str], ...] = (
    (RefusedError, "DENIED"),
    (UnknownUpstreamError, "NAME_UNKNOWN"),
    (MethodError, "UNSUPPORTED"),
    (RangeError, "SIZE_INVALID"),
    (BusyError, "TOOMANYREQUESTS"),
)
_BAD_NAMES = {"bad-digest": "DIGEST_INVALID", "bad-tag": "MANIFEST_INVALID"}


def registry_error(
    error: Exception, path: str, *, public_url: str = "", table: StatusTable = STATUS
) -> Response:
    """The answer to a request for `path` that ran into `error`."""
    told = describe(error, public_url=public_url, table=table)
    detail = {"reason": told.reason}
    if told.explanation:
        detail["explanation"] = told.explanation
    body = {"errors": [{"code": _code(error, path), "message": told.detail, "detail": detail}]}
    headers = dict(told.headers)
    if told.status == 403:
        headers["Warning"] = format_warning(told.detail)
    return Response(json.dumps(body, ensure_ascii=False), told.status, headers, "application/json")


def format_warning(text: str) -> str:
    """A `Warning` header (RFC 7234 section 5.5), which clients show to people."""
    # A header with control characters is not sent at all, and the answer neither.
    line = printable(" ".join(text.split())).encode("ascii", "replace").decode()
    line = line.replace("\\", "/").replace('"', "'")
    return f'299 - "{line[:WARNING_CHARACTERS]}"'


def _code(error: Exception, path: str) -> str:
    if isinstance(error, BadNameError):
        return _BAD_NAMES.get(error.reason, "NAME_INVALID")
    if isinstance(error, NotFoundError) and not isinstance(error, UnknownUpstreamError):
        return _unknown(path)
    return next((code for kind, code in _CODES if isinstance(error, kind)), "UNKNOWN")


def _unknown(path: str) -> str:
    if "/manifests/" in path:
        return "MANIFEST_UNKNOWN"
    return "BLOB_UNKNOWN" if "/blobs/" in path else "NAME_UNKNOWN"
