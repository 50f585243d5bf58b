"""Those who write to a log under load, over HTTP, until it is gone, and note what they were told."""

import contextlib
import http.client
import itertools
import json
import random
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from urllib.parse import urlsplit

from tests.log.face import batch
from tests.log.support import RECORDER, record_envelope
from tests.torture.kills.promises import Acknowledged
from tests.torture.oracle import LOST

from touchplate.verify.entry import make_entry, pack_entry

WRITERS = 4
BATCHES = (1, 1, 1, 3, 20)
"""Entries in one request: mostly one, with `add`; more with `add-batch`."""

REPEATED = 0.1
"""Share of requests that send what was acknowledged before."""

SECONDS = 20.0
"""For one answer: many times what one takes on a busy machine."""

BUSY = (429, 503)
BUSY_SECONDS = 0.02


class Supply:
    """The entries of one log: new ones, those that got no answer, and some that did."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._open: deque[bytes] = deque()
        self._known: list[bytes] = []
        self._lock = threading.Lock()

    def take(self, count: int, chooser: random.Random) -> list[bytes]:
        """Envelopes to send."""
        with self._lock:
            if self._known and chooser.random() < REPEATED:
                return chooser.choices(self._known, k=count)
            again = [self._open.popleft() for _ in range(min(count, len(self._open)))]
        return again + [record_envelope(next(self._numbers)) for _ in range(count - len(again))]

    def give_back(self, envelopes: Sequence[bytes]) -> None:
        """No answer came: their writers will ask again."""
        with self._lock:
            self._open.extend(envelopes)

    def done(self, envelopes: Sequence[bytes]) -> None:
        """They were acknowledged."""
        with self._lock:
            self._known.extend(envelopes[:1])


class Writer:
    """One client on a connection of its own."""

    def __init__(self, url: str, supply: Supply, told: Acknowledged) -> None:
        address = urlsplit(url)
        self._connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=SECONDS)
        self._supply = supply
        self._told = told

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def send(self, chooser: random.Random) -> bool:
        """One request. False when the log is gone."""
        envelopes = self._supply.take(chooser.choice(BATCHES), chooser)
        try:
            status, body = self._post(envelopes)
        except (OSError, http.client.HTTPException):
            self._supply.give_back(envelopes)
            self._connection.close()
            threading.Event().wait(BUSY_SECONDS)
            return False
        if status != 200:
            self._supply.give_back(envelopes)
            self._refused(status, body)
            return True
        for envelope, index in zip(envelopes, _indexes(body), strict=True):
            if index is None:
                self._supply.give_back([envelope])
            else:
                self._told.told(packed(envelope), index)
        self._supply.done(envelopes)
        return True

    def _post(self, envelopes: list[bytes]) -> tuple[int, bytes]:
        if len(envelopes) == 1:
            self._connection.request("POST", "/log/add", envelopes[0])
        else:
            self._connection.request("POST", "/log/add-batch", batch(*envelopes))
        response = self._connection.getresponse()
        return response.status, response.read()

    def _refused(self, status: int, body: bytes) -> None:
        if status not in BUSY:
            self._told.note(LOST, f"an entry got {status} {body[:200]!r}, and nothing was in its way")
        threading.Event().wait(BUSY_SECONDS)


def packed(envelope: bytes) -> bytes:
    """As the log stores it."""
    return pack_entry(make_entry(envelope, RECORDER.key.spki))


def _indexes(body: bytes) -> list[int | None]:
    """One for each entry of a request; None for one that the log was too busy for."""
    if body.isdigit():
        return [int(body)]
    results = json.loads(body)["results"]
    return [int(one["index"]) if "index" in one else None for one in results]


@contextlib.contextmanager
def writing(
    url: str, supply: Supply, told: Acknowledged, is_over: Callable[[], bool], seed: float
) -> Iterator[None]:
    """Writers at work until the block ends or the log is gone (`is_over`)."""
    stopping = threading.Event()

    def work(number: int) -> None:
        chooser, writer = random.Random(f"{seed} {number}"), Writer(url, supply, told)
        with contextlib.closing(writer):
            while not stopping.is_set() and (writer.send(chooser) or not is_over()):
                pass

    threads = [threading.Thread(target=work, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
