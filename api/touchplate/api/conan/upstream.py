"""One upstream remote over HTTP: its JSON answers and its files, with a token where it asks for one."""

from __future__ import annotations

import base64
import threading
import urllib.parse

from touchplate.api.errors import NotFoundError, UpstreamError
from touchplate.api.ports import Fetched, Sink
from touchplate.api.pull import NegativeCache
from touchplate.api.values import most_values
from touchplate.base.errors import FetchError
from touchplate.base.http import HTTPClient, Response
from touchplate.verify.errors import VerifyError
from touchplate.verify.jcs import JSON, parse_json

MAX_ANSWER_BYTES = 16 * 1024**2
"""Bytes of one JSON answer: a search for everything at the largest remote has 2 MB, all packages of a recipe
with their settings 5."""

MAX_ANSWER_VALUES = 250_000
"""Values of one answer: 10,000 packages with their settings have 100,000."""

MAX_TOKEN_BYTES = 64 * 1024
"""Bytes of a token."""

ABSENT_SECONDS = 30.0
"""How long a 404 is believed: short, since people upload and then install."""


class RemoteClient:
    """Asks the remote at `url`, also as the `Fetcher` of its files. Blocking; any thread may call it."""

    def __init__(
        self,
        name: str,
        url: str,
        client: HTTPClient,
        credentials: str | None = None,
        *,
        slow: HTTPClient | None = None,
        negative: NegativeCache | None = None,
    ) -> None:
        """`credentials`: `user:password`, sent to the remote's own host only, when it asks for them. `slow`:
        as `client`, for files, with the time that large ones take."""
        self._name = name
        self._url = url.rstrip("/")
        self._client = client
        self._slow = slow or client
        self._basic = base64.b64encode(credentials.encode()).decode() if credentials else None
        self._negative = negative or NegativeCache(ABSENT_SECONDS)
        self._lock = threading.Lock()
        self._token: str | None = None  # under self._lock
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Break off what is being fetched at its next piece."""
        self._stopping.set()

    def answer(self, path: str, query: str = "") -> dict[str, JSON]:
        """The JSON object at `path`. Raises NotFoundError, also for a while after a 404, and
        UpstreamError."""
        key = f"{path}?{query}" if query else path
        if key in self._negative:
            raise NotFoundError(f"upstream {self._name!r} has no {path[:200]!r} (asked a moment ago)")
        response = self._ask(path, query, None, MAX_ANSWER_BYTES)
        if response.status in (404, 410):
            self._negative.add(key)
            raise NotFoundError(f"upstream {self._name!r} has no {path[:200]!r}")
        if response.status != 200:
            raise self._failed(path, response.status)
        if most_values(response.body) > MAX_ANSWER_VALUES:
            raise self.useless(path, f"more than {MAX_ANSWER_VALUES} members and items")
        try:
            value = parse_json(response.body, max_bytes=MAX_ANSWER_BYTES)
        except VerifyError as error:
            raise self.useless(path, f"no JSON: {error}") from error
        if not isinstance(value, dict):
            raise self.useless(path, "no JSON object")
        return value

    def fetch(self, path: str, sink: Sink, max_bytes: int) -> Fetched:
        """See `Fetcher.fetch`."""
        return Fetched(self._ask(path, "", sink, max_bytes).status)

    def useless(self, path: str, what: str) -> UpstreamError:
        """The error for an answer that cannot be used."""
        return UpstreamError(
            f"upstream {self._name!r} answers {path[:200]!r} with {what}", reason="upstream-nonsense"
        )

    def _failed(self, path: str, status: int) -> UpstreamError:
        return UpstreamError(
            f"upstream {self._name!r} answered {status} for {path[:200]!r}; try again later",
            reason="upstream-status",
        )

    def _ask(self, path: str, query: str, sink: Sink | None, max_bytes: int) -> Response:
        """One request, with a token when the remote asks for one (conan: 401, for files also 403)."""
        response = self._send(path, query, sink, max_bytes, self._bearer())
        if response.status in (401, 403) and self._basic is not None:
            response = self._send(path, query, sink, max_bytes, self._log_in())
        return response

    def _send(
        self, path: str, query: str, sink: Sink | None, max_bytes: int, headers: dict[str, str]
    ) -> Response:
        url = f"{self._url}/{urllib.parse.quote(path, safe='/-._~+')}{'?' if query else ''}{query}"

        def take(piece: bytes) -> None:
            if self._stopping.is_set():
                raise UpstreamError("broke off fetching: this node is stopping", reason="stopping")
            if sink is not None:
                sink.write(piece)

        try:
            if sink is None:
                return self._client.get(url, max_bytes=max_bytes, headers=headers)
            return self._slow.stream(url, take, max_bytes=max_bytes, headers=headers)
        except FetchError as error:
            raise UpstreamError(
                f"upstream {self._name!r} gave no usable answer for {path[:200]!r}: {error}",
                reason=f"upstream-{error.reason}",
            ) from error

    def _bearer(self) -> dict[str, str]:
        with self._lock:
            return {"Authorization": f"Bearer {self._token}"} if self._token else {}

    def _log_in(self) -> dict[str, str]:
        path = "v2/users/authenticate"
        response = self._send(path, "", None, MAX_TOKEN_BYTES, {"Authorization": f"Basic {self._basic}"})
        token = response.body.decode("ascii", "replace").strip()
        if response.status != 200 or not token.isascii() or not token.isprintable() or " " in token:
            raise UpstreamError(
                f"upstream {self._name!r} does not take this node's credentials: status {response.status}",
                reason="upstream-token",
            )
        with self._lock:
            self._token = token
        return self._bearer()
