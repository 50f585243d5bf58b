"""Bearer tokens (RFC 6750): whose the one in a request is.

What is kept of a token is its SHA-256, and that is what is looked up: how long it takes tells nothing of any
token, neither its length nor how much of a guess was right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Generic, TypeVar

Caller = TypeVar("Caller")


class BearerTokens(Generic[Caller]):
    """Callers by their tokens."""

    def __init__(self, tokens: Iterable[tuple[Caller, str]]) -> None:
        """Pairs of caller and token. Raises ValueError when two callers have the same one, or one an empty
        one: to leave it out could leave no token at all, and so, for some, no need of any."""
        self._callers: dict[bytes, Caller] = {}
        for caller, token in tokens:
            if not token:
                raise ValueError("an empty token")
            if self._callers.setdefault(_digest(token), caller) is not caller:
                raise ValueError("two callers have the same token")

    def __bool__(self) -> bool:
        """Whether there is any token."""
        return bool(self._callers)

    def find(self, authorization: str | None) -> Caller | None:
        """The caller with this Authorization header; None when the token is nobody's, or there is none."""
        token = parse_bearer(authorization or "")
        return None if token is None else self._callers.get(_digest(token))


def parse_bearer(authorization: str) -> str | None:
    """The token in an Authorization header (RFC 6750 2.1); None for another scheme."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
