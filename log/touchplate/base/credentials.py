"""Credentials for an upstream: a user with a password (RFC 7617), or a bearer token (RFC 6750)."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from touchplate.base.addresses import is_local_name

_BEARER = re.compile(r"[A-Za-z0-9._~+/-]+=*", re.ASCII)  # RFC 6750 2.1, b64token


@dataclass(frozen=True)
class Credentials:
    """What an upstream is told. Neither `repr` nor any error shows it."""

    authorization: str = field(repr=False)
    """The Authorization header's value."""
    pair: str | None = field(repr=False)
    """`user:password`; None for a bearer token."""

    @classmethod
    def parse(cls, text: str) -> Credentials:
        """`user:password`, or a bearer token, which has no colon. Raises ValueError, which repeats nothing of
        it."""
        user, colon, _ = text.partition(":")
        if not colon:
            if not _BEARER.fullmatch(text):
                raise ValueError("these credentials are neither user:password nor a bearer token")
            return cls(f"Bearer {text}", None)
        if not user or not text.isprintable():
            raise ValueError("these credentials have no user before the colon, or a control character")
        return cls("Basic " + base64.b64encode(text.encode()).decode("ascii"), text)


def may_carry_credentials(url: str) -> bool:
    """Whether nobody between can read what is sent to `url`: https, or this machine itself."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_local_name(parts.hostname or ""))
