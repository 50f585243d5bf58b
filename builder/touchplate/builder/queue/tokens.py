"""Bearer tokens of workers and administrators (RFC 6750), each with a name and scopes."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Scope = Literal["work", "admin"]
"""`work`: lease jobs and report on them, and store evidence. `admin`: add and cancel jobs. Both read."""

MIN_TOKEN_CHARS = 16
"""Shortest token that is taken: 16 characters of any random alphabet cannot be tried out over a network."""


@dataclass(frozen=True)
class Caller:
    """Whose token it is, and what it may do."""

    name: str
    scopes: frozenset[Scope]


class Tokens:
    """The tokens of one queue. What is kept of each is its SHA-256."""

    def __init__(self, tokens: Sequence[tuple[Caller, str]]) -> None:
        self._known = [(hashlib.sha256(secret.encode()).digest(), caller) for caller, secret in tokens]

    def find(self, authorization: str | None) -> Caller | None:
        """The caller with this Authorization header; None when the token is nobody's."""
        scheme, _, given = (authorization or "").partition(" ")
        digest = hashlib.sha256(given.strip().encode("utf-8", "surrogateescape")).digest()
        found = None
        # All are compared, in constant time each: how long it takes tells nothing of any token.
        for known, caller in self._known:
            if hmac.compare_digest(known, digest):
                found = caller
        return found if scheme.lower() == "bearer" else None
