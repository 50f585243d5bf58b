"""Tokens of upstream registries: asked for with the scope `pull`, kept until they end.

Source: distribution, "Token Authentication Specification". Credentials go to the realm that the registry
names only over https, or to the own host of a registry that has no TLS itself; a token goes to the registry
only.
"""

from __future__ import annotations

import base64
import json
import re
import threading
import time
import urllib.parse
from collections import OrderedDict
from collections.abc import Callable

from touchplate.api.errors import UpstreamError
from touchplate.base.errors import FetchError
from touchplate.base.http import HTTPClient

DEFAULT_SECONDS = 60.0
"""Life of a token that names none, and the shortest that is believed (the specification's number)."""

LONGEST_SECONDS = 3600.0
"""The longest that a token is used, whatever it says: a registry may change its mind."""

MARGIN_SECONDS = 10.0
"""A token is not used in its last seconds: it could end on the way."""

MAX_TOKENS = 1_000
"""Tokens kept, one per repository, a few KiB each; the oldest go first."""

MAX_TOKEN_BYTES = 64 * 1024
"""Bytes of a token service's answer; real ones have 2 to 8 KiB."""

# From the beginning of a word only: else a header of letters alone is searched once more for each of them.
_PARAMETER = re.compile(r'(?<![a-z])([a-z]+)="([^"]*)"')


class Tokens:
    """The `Authorization` headers for one upstream. Safe to use from several threads."""

    def __init__(
        self,
        name: str,
        url: str,
        client: HTTPClient,
        credentials: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`credentials`: `user:password`, or None to ask without."""
        self._name = name
        parts = urllib.parse.urlsplit(url)
        self._plain_host = parts.hostname if parts.scheme == "http" else None
        self._client = client
        self._basic = (
            None if credentials is None else "Basic " + base64.b64encode(credentials.encode()).decode()
        )
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, tuple[str, float]] = OrderedDict()  # under self._lock

    def header(self, path: str) -> dict[str, str]:
        """What is known to be needed for this repository."""
        with self._lock:
            value, until = self._kept.get(path, ("", 0.0))
        return {"Authorization": value} if value and self._clock() < until else {}

    def answer(self, path: str, challenge: str) -> dict[str, str]:
        """Headers that answer the `WWW-Authenticate` of a 401; empty when there is nothing to answer it
        with. Raises UpstreamError."""
        if challenge.lower().startswith("basic"):
            if self._basic is not None:
                self._keep(path, self._basic, DEFAULT_SECONDS * 60)
            return self.header(path)
        start = challenge.lower().find("bearer ")
        if start < 0:
            return {}
        given = dict(_PARAMETER.findall(challenge[start:]))
        token, seconds = self._ask(path, given.get("realm", ""), given.get("service"))
        self._keep(path, f"Bearer {token}", seconds - MARGIN_SECONDS)
        return self.header(path)

    def forget(self, path: str) -> None:
        """Drop what was kept for a repository: the registry does not take it any more."""
        with self._lock:
            self._kept.pop(path, None)

    def _ask(self, path: str, realm: str, service: str | None) -> tuple[str, float]:
        # Our own scope, never the one that the challenge names: nothing here ever pushes.
        query = {"scope": f"repository:{path}:pull", **({"service": service} if service else {})}
        try:
            parts = urllib.parse.urlsplit(realm)
        except ValueError as error:
            raise UpstreamError(
                f"upstream {self._name!r} names no token service: {error}", reason="upstream-token"
            ) from error
        url = f"{realm}{'&' if parts.query else '?'}{urllib.parse.urlencode(query)}"
        is_safe = parts.scheme == "https" or parts.hostname == self._plain_host is not None
        headers = {"Authorization": self._basic} if self._basic and is_safe else {}
        try:
            response = self._client.get(url, max_bytes=MAX_TOKEN_BYTES, headers=headers)
        except FetchError as error:
            raise UpstreamError(
                f"upstream {self._name!r} asks for a token that cannot be had: {error}",
                reason=f"upstream-{error.reason}",
            ) from error
        if response.status != 200:
            raise UpstreamError(
                f"upstream {self._name!r} gives no token for {path[:200]!r}: status {response.status}",
                reason="upstream-token",
            )
        return self._parse(response.body)

    def _parse(self, body: bytes) -> tuple[str, float]:
        try:
            answer = json.loads(body)
            token = answer.get("token") or answer["access_token"]
            seconds = float(answer.get("expires_in") or DEFAULT_SECONDS)
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            token, seconds = None, 0.0
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise UpstreamError(
                f"upstream {self._name!r}: its token service answers no token", reason="upstream-token"
            )
        return token, min(max(DEFAULT_SECONDS, seconds), LONGEST_SECONDS)

    def _keep(self, path: str, value: str, seconds: float) -> None:
        with self._lock:
            self._kept[path] = (value, self._clock() + seconds)
            self._kept.move_to_end(path)
            while len(self._kept) > MAX_TOKENS:
                self._kept.popitem(last=False)
