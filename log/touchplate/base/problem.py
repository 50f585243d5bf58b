"""Errors as `application/problem+json` (RFC 9457), with the same members on every face over HTTP."""

from __future__ import annotations

import json

MEDIA_TYPE = "application/problem+json"

TYPES = "https://touchplate.dev/problems"
"""Prefix of the reasons' names (RFC 9457 3.1.1); nothing is fetched from there."""


def format_problem(status: int, reason: str, detail: str, *, explanation: str = "") -> bytes:
    """The document: `status` is the HTTP status, `reason` the stable kebab-case word that clients act on,
    `detail` a line for people, `explanation` the URL of a page that says more, if there is one."""
    body: dict[str, object] = {
        "type": f"{TYPES}/{reason}",
        "title": reason.replace("-", " "),
        "status": status,
        "reason": reason,
    }
    if explanation:
        body["explanation"] = explanation
    body["detail"] = detail
    # Clients print it as it is, and some of them no escapes.
    return json.dumps(body, ensure_ascii=False).encode("utf-8", "backslashreplace")
