"""Asking for the rebuild that could lift a refusal: puts a job into the queue, and tells the client of it.

    gate says no ─► may this client ask? ─► told a moment ago? ─► a thread: definition, queue ─► a note
                                                                     └─ slow, full, down: another note

The gate has decided by then, and its answer goes out whatever happens here: late by `WAIT_SECONDS` at most,
and not at all once the queue was found to be slow or down.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import ipaddress
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from touchplate.api.errors import APIError, RefusedError
from touchplate.api.rebuilds import RebuildMode, WantedRebuild
from touchplate.base.bearer import BearerTokens
from touchplate.base.durable import DigestFolder
from touchplate.base.errors import StorageError
from touchplate.builder.definitions.index import DefinitionIndex
from touchplate.builder.ecosystems.registry import find_ecosystem
from touchplate.builder.errors import DefinitionError
from touchplate.builder.queue.jobs import (
    ANONYMOUS,
    OPEN,
    BadJobError,
    Job,
    QueueFullError,
    TooManyRequestsError,
)
from touchplate.builder.queue.store import Queue
from touchplate.builder.queue.tokens import Caller
from touchplate.verify.purl import PackageURL

THREADS = 2
"""Requests for rebuilds that are put to the queue at the same time: it takes one after the other anyway."""

MAX_WAITING = 32
"""Requests that are under way or wait for a thread; further ones are told to try again."""

WAIT_SECONDS = 2.0
"""How long a refusal waits for the number of its job."""

REST_SECONDS = 30.0
"""How long nobody asks a queue that failed, or was slower than that."""

TIRED_SECONDS = 60.0
"""How long a client that had enough is not let to the queue again: a build tool repeats itself."""

TOLD_SECONDS = 15.0
"""How long the note about one refusal is used again: Maven asks for a file and its checksums in one go."""

MAX_REMEMBERED = 1_000
"""Notes and tired clients that are kept, a few hundred bytes each; the oldest go first."""

RESTING = "no rebuild was asked for: the queue does not answer just now"
BUSY = "no rebuild was asked for: too many others are being asked for; try again"
LATE = "the queue has not said yet whether it takes the rebuild"
TOKENLESS = "with a token of the queue, the request would ask for a rebuild"
UNDEFINED = "no rebuild was asked for: it needs a definition, and this node has none"


@dataclass(frozen=True)
class Source:
    """What the queue takes jobs with: who may ask, and by which definitions is built."""

    queue: Queue
    tokens: BearerTokens[Caller]
    definitions: DefinitionIndex | None
    evidence: DigestFolder
    """Where workers find the definitions."""


class RebuildDesk:
    """Takes requests for rebuilds from refused clients. Safe from any thread and event loop."""

    def __init__(
        self,
        source: Source,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._clock = clock
        self._monotonic = monotonic
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="rebuilds")
        self._lock = threading.Lock()  # for all below
        self._flights: dict[tuple[str, str], Future[str]] = {}
        self._told: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._tired: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._rests_until = -REST_SECONDS

    def stop(self) -> None:
        """Those that wait for a thread are dropped, those under way finished."""
        self._pool.shutdown(cancel_futures=True)

    async def attend(self, error: RefusedError, authorization: str | None, address: str | None) -> None:
        """Write into `error.note` what became of the rebuild that it wants. Raises nothing."""
        wanted = error.rebuild
        if wanted is None:
            return
        client = self._client(wanted.mode, authorization, address)
        if client is None:
            error.note = TOKENLESS
            return
        begun = self._begin(wanted, client, error.explain)
        if isinstance(begun, str):
            error.note = begun
            return
        # Not awaited itself: neither its errors nor the end of this request are the other's business.
        done, _ = await asyncio.wait({asyncio.wrap_future(begun)}, timeout=WAIT_SECONDS)
        if not done:
            self._rest()
        is_told = begun.done() and not begun.cancelled()
        error.note = begun.result() if is_told else LATE

    def _begin(self, wanted: WantedRebuild, client: str, unit: str) -> Future[str] | str:
        """The answer to come, or the note when there is nothing to wait for. `unit`: what was refused."""
        with self._lock:
            now = self._monotonic()
            for kept, key in ((self._told, unit), (self._tired, client)):
                note, until = kept.get(key, ("", now))
                if now < until:
                    return note
            if now < self._rests_until:
                return RESTING
            flight = self._flights.get((client, unit))
            if flight is not None:
                return flight
            if len(self._flights) >= MAX_WAITING:
                return BUSY
            try:
                flight = self._pool.submit(self._ask, wanted, client, unit)
            except RuntimeError:  # the node stops
                return RESTING
            self._flights[(client, unit)] = flight
        flight.add_done_callback(lambda _: self._land(client, unit))
        return flight

    def _land(self, client: str, unit: str) -> None:
        with self._lock:
            self._flights.pop((client, unit), None)

    def _ask(self, wanted: WantedRebuild, client: str, unit: str) -> str:
        """The note. Whatever goes wrong is one, too: the answer of the gate has no part in it."""
        try:
            asked = self._choose(wanted.candidates())
            if asked is None:
                return self._keep(self._told, unit, UNDEFINED, TOLD_SECONDS)
            job, is_new = self._source.queue.add(*asked, int(self._clock()), client=client)
            return self._keep(self._told, unit, describe_job(job, is_new=is_new), TOLD_SECONDS)
        except (QueueFullError, TooManyRequestsError) as error:
            return self._keep(self._tired, client, f"no rebuild was asked for: {error}", TIRED_SECONDS)
        except (APIError, BadJobError, DefinitionError) as error:
            return f"no rebuild was asked for: {error.reason}"
        except Exception as error:
            # What a database says is for this node's log lines, not for clients.
            is_known = isinstance(error, StorageError)
            logging.getLogger("touchplate.node").error(
                "no rebuild could be asked for: %s", error, exc_info=None if is_known else error
            )
            self._rest()
            return RESTING

    def _choose(self, candidates: Sequence[PackageURL]) -> tuple[str, str] | None:
        """Package and definition of the job: the first candidate with a definition here, else the first whose
        definition can be inferred."""
        folder = self._source.definitions
        for package in candidates if folder is not None else ():
            definition = folder.find(str(package)) if folder is not None else None
            if definition is not None:
                if not self._source.evidence.has(definition.sha256):
                    self._source.evidence.put(definition.data, expected=definition.sha256)
                return str(definition.package), definition.sha256
        for package in candidates:
            if find_ecosystem(package.ecosystem).can_infer(package):
                return str(package), ""
        return None

    def _keep(self, kept: OrderedDict[str, tuple[str, float]], key: str, note: str, seconds: float) -> str:
        with self._lock:
            kept[key] = (note, self._monotonic() + seconds)
            kept.move_to_end(key)
            while len(kept) > MAX_REMEMBERED:
                kept.popitem(last=False)
        return note

    def _rest(self) -> None:
        with self._lock:
            self._rests_until = self._monotonic() + REST_SECONDS

    def _client(self, mode: RebuildMode, authorization: str | None, address: str | None) -> str | None:
        """The name under which the queue counts whoever asks; None when the rule wants a token and there is
        none that may ask."""
        caller = self._source.tokens.find(_as_bearer(authorization))
        if caller is not None and {"ask", "admin"} & caller.scopes:
            return f"token {caller.name}"
        return f"{ANONYMOUS}{network_of(address)}" if mode == "any" else None


def describe_job(job: Job, *, is_new: bool) -> str:
    """A note about the job that a request asked for, or found."""
    if job.state in OPEN:
        asked = "is asked for" if is_new else "was asked for already"
        return f"a rebuild {asked}: job {job.number} (touchplate jobs show {job.number})"
    if job.state == "done":
        return f"a rebuild was made already: job {job.number}, {job.result}"
    return f"job {job.number} {job.state} less than a day ago (touchplate jobs show {job.number})"


def network_of(address: str | None) -> str:
    """Whom an address belongs to: itself, of IPv6 the /64 that one customer has; `unknown` for none."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return "unknown"
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(found), 64), strict=False))
    return str(found)


def _as_bearer(authorization: str | None) -> str | None:
    """The header as bearer tokens have it: of Basic (RFC 7617), which is what build tools send, the password
    is the token."""
    scheme, _, given = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return authorization
    try:
        _, _, password = base64.b64decode(given.strip(), validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return f"Bearer {password}"
