"""Who asks for rebuilds while the fleet is killed: keeps the queue supplied, and knows what it asked for."""

import hashlib
import threading
import time
from collections.abc import Iterator

from tests.builder.queue.queuehost import ADMIN, Host
from tests.builder.rebuildparts import PACKAGE
from tests.torture.process import SeriesError

from touchplate.base.http import AddressRules, HTTPClient
from touchplate.builder.attestation.evidence import EvidenceServer
from touchplate.builder.errors import EvidenceError
from touchplate.builder.queue.client import QueueClient, ServerError
from touchplate.builder.queue.jobs import CLOSED, MAX_LISTED, Job

SUPPLY = 10
"""Jobs that are open while the series runs: more than all slots, so that no lease that has to run out first
holds it up."""

BAD_EACH = 9
"""Of so many jobs one is of a definition that is none: it ends as `failed`, at once and in one attempt."""

PAUSE_SECONDS = 0.1
END_SECONDS = 240.0
"""How long the last jobs may take."""


class Customer:
    """Adds jobs in a thread of its own. In doubt whether one was added, it looks before it asks again."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self.promised: dict[str, str] = {}
        """sha256 of a definition that was added → the state in which its job must end."""
        self._client = HTTPClient(AddressRules(anything=True))
        self._queue = QueueClient(f"{host.url}/builder/jobs", self._client, ADMIN)
        self._evidence = EvidenceServer(f"{host.url}/builder/evidence", self._client, ADMIN)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._error: Exception | None = None

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Ask for no more. Raises what it met that was no outage."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Let go of everything."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._client.__exit__(None, None, None)

    def wait_for_all(self) -> None:
        """Until every job is closed. Raises SeriesError when that takes too long."""
        deadline = time.monotonic() + END_SECONDS
        while found := [job for job in self._jobs() if job.state not in CLOSED]:
            if time.monotonic() > deadline:
                raise SeriesError(f"still open after {END_SECONDS:g} s: {found[:5]}")
            time.sleep(PAUSE_SECONDS)

    def _run(self) -> None:
        try:
            for data in self._definitions():
                if self._stopping.is_set():
                    return
                self._add(data)
        except Exception as error:
            self._error = error

    def _definitions(self) -> Iterator[bytes]:
        number = 0
        while True:
            number += 1
            if number % BAD_EACH:
                yield self._host.make_definition(f"job{number}")
            else:
                yield b'{"no definition": %d}\n' % number

    def _add(self, data: bytes) -> None:
        """This one, once, when there is room for it."""
        sha256 = hashlib.sha256(data).hexdigest()
        in_doubt = False
        while not self._stopping.is_set() or in_doubt:
            try:
                jobs = self._queue.list(limit=MAX_LISTED)
                if in_doubt and any(job.definition == sha256 for job in jobs):
                    break
                if sum(job.state not in CLOSED for job in jobs) >= SUPPLY:
                    time.sleep(PAUSE_SECONDS)
                    continue
                self._evidence.store(sha256, data)
                in_doubt = True
                self._queue.add(PACKAGE, sha256, 0)
                break
            except (ServerError, EvidenceError):
                time.sleep(PAUSE_SECONDS)
        else:
            return
        self.promised[sha256] = "failed" if data.startswith(b'{"no') else "done"

    def _jobs(self) -> list[Job]:
        try:
            return self._queue.list(limit=MAX_LISTED)
        except ServerError as error:
            raise SeriesError(f"the queue does not answer at the end: {error}") from error
