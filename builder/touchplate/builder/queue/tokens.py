"""Bearer tokens of workers and administrators (RFC 6750), each with a name and scopes."""

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
