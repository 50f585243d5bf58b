"""Tokens of upstream registries: asked for with the scope `pull`, kept until they end.

Source: distribution, "Token Authentication Specification". Credentials go to the realm that the registry
names only over https, or to the own host of a registry that has no TLS itself; a token goes to the registry
only. Which hosts may be such a realm can be narrowed down.
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

from touchplate.base.credentials import may_carry_credentials
from touchplate.base.errors import FetchError, TokenError, quote
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
        *,
        realms: frozenset[str] | None = None,
    ) -> None:
        """`credentials`: `user:password`, or None to ask without. `realms`: hosts that may give tokens beside
        the registry's own, by https or on loopback; None for any, of which those that are not reached by
        https get no credentials."""
        self._name = name
        parts = urllib.parse.urlsplit(url)
        self._realms = None if realms is None else realms | {parts.hostname or ""}
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
        with. Raises TokenError."""
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
        parts = self._check_realm(realm)
        url = f"{realm}{'&' if parts.query else '?'}{urllib.parse.urlencode(query)}"
        is_own = parts.hostname == self._plain_host is not None
        is_safe = parts.scheme == "https" or is_own or self._realms is not None  # checked above
        headers = {"Authorization": self._basic} if self._basic and is_safe else {}
        try:
            response = self._client.get(url, max_bytes=MAX_TOKEN_BYTES, headers=headers)
        except FetchError as error:
            raise TokenError(
                f"upstream {self._name!r} asks for a token that cannot be had: {error}", reason=error.reason
            ) from error
        if response.status != 200:
            raise TokenError(
                f"upstream {self._name!r} gives no token for {path[:200]!r}: status {response.status}",
                status=response.status,
            )
        return self._parse(response.body)

    def _check_realm(self, realm: str) -> urllib.parse.SplitResult:
        try:
            parts = urllib.parse.urlsplit(realm)
        except ValueError as error:
            raise TokenError(f"upstream {self._name!r} names no token service: {error}") from error
        if self._realms is not None:
            host = parts.hostname or ""
            if host not in self._realms:
                raise TokenError(
                    f"upstream {self._name!r} sends for a token to another host, {quote(host)}, which nobody "
                    "has allowed",
                    reason="token-realm",
                )
            if not may_carry_credentials(realm):
                raise TokenError(
                    f"upstream {self._name!r} sends for a token to {quote(host)} without https",
                    reason="token-realm",
                )
        return parts

    def _parse(self, body: bytes) -> tuple[str, float]:
        try:
            answer = json.loads(body)
            token = answer.get("token") or answer["access_token"]
            seconds = float(answer.get("expires_in") or DEFAULT_SECONDS)
        except (ValueError, AttributeError, KeyError, TypeError, OverflowError, RecursionError):
            token, seconds = None, 0.0
        if not isinstance(token, str) or not token.isascii() or not token.isprintable():
            raise TokenError(f"upstream {self._name!r}: its token service answers no token")
        return token, min(max(DEFAULT_SECONDS, seconds), LONGEST_SECONDS)

    def _keep(self, path: str, value: str, seconds: float) -> None:
        with self._lock:
            self._kept[path] = (value, self._clock() + seconds)
            self._kept.move_to_end(path)
            while len(self._kept) > MAX_TOKENS:
                self._kept.popitem(last=False)
