"""Those outside: a client that pulls, stores and appends, and an observer who remembers every checkpoint.

Both note what they were told in `Promises`. A connection that breaks is no answer, so nothing was promised.
"""

import contextlib
import http.client
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tests.simkeys import solo_policy
from tests.torture.oracle import INCONSISTENT, Finding, Promises

from touchplate.verify.client import LogClient
from touchplate.verify.errors import TransportError, VerifyError

SECONDS = 30.0
POLL_SECONDS = 0.02
"""Between two looks of the observer: several per batch of a scenario, and nearly no load."""

TOKEN = "a-token-of-tests"


class Customer:
    """Asks one node. `refused`: answers other than the one hoped for, as (what, status, reason)."""

    def __init__(self, url: str, promises: Promises) -> None:
        self._url = url
        self._promises = promises
        self.refused: list[tuple[str, int, str]] = []

    def pull(self, path: str, expected: bytes) -> bool:
        """A file through the Maven adapter."""
        answer = self._ask("GET", f"/maven/central/{path}")
        if answer is None or answer[0] != 200:
            return self._refuse(path, answer)
        if answer[1] != expected:
            self._promises.broken.append(Finding(INCONSISTENT, f"{path} was served with other bytes"))
        self._promises.served[path] = answer[1]
        return True

    def store(self, sha256: str, data: bytes) -> bool:
        """Evidence, stored and read back."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = self._ask("PUT", f"/builder/evidence/{sha256}", data, headers)
        if answer is None or answer[0] not in (201, 204):
            return self._refuse("evidence", answer)
        self._promises.evidence[sha256] = data
        return self.read(sha256)

    def read(self, sha256: str) -> bool:
        """Evidence that was stored."""
        answer = self._ask("GET", f"/builder/evidence/{sha256}")
        if answer is None:
            return False
        if answer != (200, self._promises.evidence[sha256]):
            self._promises.broken.append(Finding("lost", f"evidence {sha256} is not served: {answer[0]}"))
        return True

    def append(self, envelope: bytes) -> bool:
        """One envelope through the log's own face."""
        answer = self._ask("POST", "/log/add", envelope)
        if answer is None or answer[0] != 200:
            return self._refuse("add", answer)
        self._promises.answered(envelope, int(answer[1]))
        return True

    def _refuse(self, what: str, answer: tuple[int, bytes] | None) -> bool:
        if answer is not None:
            try:
                reason = str(json.loads(answer[1])["reason"])
            except (ValueError, KeyError, TypeError):
                reason = repr(answer[1][:200])
            self.refused.append((what, answer[0], reason))
        return False

    def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes] | None:
        address = urlsplit(self._url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=SECONDS)
        try:
            connection.request(method, path, body, headers or {})
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


class Observer:
    """Reads checkpoints all the time, from a thread; `state` is where its client remembers across runs."""

    def __init__(self, url: str, state: Path, promises: Promises) -> None:
        self._client = LogClient(f"{url}/log", solo_policy(), state)
        self._promises = promises
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer")

    def look(self) -> None:
        """Once: what contradicts the past is noted as broken."""
        try:
            self._promises.checkpoints.add(self._client.checkpoint().note.encode())
        except TransportError as error:
            if error.reason == "stale":
                self._promises.broken.append(Finding(INCONSISTENT, f"observer: {error}"))
        except VerifyError as error:
            self._promises.broken.append(Finding(INCONSISTENT, f"observer: {error.reason}: {error}"))

    def _run(self) -> None:
        while not self._stopping.wait(POLL_SECONDS):
            self.look()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Look until the block ends."""
        self._thread.start()
        try:
            yield
        finally:
            self._stopping.set()
            self._thread.join()
