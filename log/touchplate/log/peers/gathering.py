"""From a decided block to a published checkpoint: sign, ask the other peers, store what a quorum says.

One thread signs and stores; one thread per peer asks that peer, over HTTP, while our newest head lacks its
line. A peer that does not answer costs only itself.
"""

import json
from collections.abc import Callable
from logging import getLogger
from pathlib import Path
from threading import Condition, Event, Thread

from touchplate.base.addresses import AddressRules
from touchplate.base.errors import FetchError, StorageError
from touchplate.base.http import HTTPClient, HTTPLimits
from touchplate.log.errors import CheckpointError, LogError, RequestError
from touchplate.log.http.heads import HEADS_PATH
from touchplate.log.peers.heads import ForkError, Heads, Members, PeerKeys, Published
from touchplate.log.ports import Tree
from touchplate.verify.errors import VerifyError
from touchplate.verify.forks import keep_report

MAX_HEADS_BYTES = 256 * 1024
"""Bytes of an answer: 64 heads of two lines have forty thousand."""

ASK_SECONDS = 0.05
"""Between two questions to a peer that answers. A question waits at that peer until it has signed something
new, so this delays nothing but the next of two heads in quick succession: under load one question fetches
several."""

WAIT_SECONDS = 2
"""How long a question waits there: the longest that a peer that stops is held up."""

SETTLE_SECONDS = 0.5
"""A head that a quorum has cosigned is published at once; the lines that come later are added after this,
unless a newer head is published first. Each time is a transaction of the database."""

MAX_ASK_SECONDS = 1.0
"""Between two questions to a peer that answers and is behind, after a few of them."""

MAX_SILENT_SECONDS = 5.0
"""The same for one that does not answer."""

CALL_SECONDS = 10.0

RENEW_SECONDS = 3600.0
"""Without a new head, the newest is said again after this. Readers may ask how old a checkpoint is
(`max_checkpoint_age`, a day in most trust files) by the times of its cosignatures, and a log that nobody
writes to is not a dead one. A peer may answer with what it said an hour ago, so a checkpoint is two hours old
at most."""

RETRY_SECONDS = 1.0
"""Before a head that could not be signed is tried again: a full disk takes longer, and the head is wanted as
soon as there is room."""

logger = getLogger(__name__)

Fetch = Callable[[int], bytes]
"""The answer of one peer at `HEADS_PATH` about heads of at least so many entries. Raises FetchError."""


def format_heads(notes: list[bytes]) -> bytes:
    """The answer at `HEADS_PATH`."""
    return json.dumps({"heads": [note.decode() for note in notes]}).encode()


def parse_heads(body: bytes) -> list[bytes]:
    """The notes in an answer, unchecked. Raises RequestError."""
    try:
        heads = json.loads(body)["heads"]
        return [str(note).encode() for note in list(heads)]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RequestError(f"this is no list of signed heads: {error}") from error


def http_fetch(url: str) -> Fetch:
    """Asks the peer whose log is at `url`. Its operator was named in our configuration, so any address
    goes."""
    client = HTTPClient(
        AddressRules.naming(url),
        HTTPLimits(connect=CALL_SECONDS, read=CALL_SECONDS, total=CALL_SECONDS, redirects=0),
    )

    def fetch(start: int) -> bytes:
        response = client.get(
            f"{url}{HEADS_PATH}?from={start}&wait={WAIT_SECONDS}", max_bytes=MAX_HEADS_BYTES
        )
        if response.status != 200:
            raise RequestError(f"{url}{HEADS_PATH} answers with status {response.status}")
        return response.body

    return fetch


class Gathering:
    """Publishes the checkpoints of one peer. `decided` from the application; `start` and `stop` around it."""

    def __init__(
        self, tree: Tree, heads: Heads, fetch_from: Callable[[PeerKeys], Fetch], folder: Path
    ) -> None:
        """`fetch_from` makes the way to one other peer. `folder`: where evidence of a fork is kept."""
        self._tree = tree
        self._heads = heads
        self._fetch_from = fetch_from
        self._folder = folder
        self._stopping = Event()
        self._queue: list[tuple[int, bytes, Members]] = []  # decided heads, not signed yet; under _queued
        self._queued = Condition()
        self._stored: tuple[int, int, int] = (-1, 0, 0)  # place of the newest published one
        self._threads: list[Thread] = []
        self._asking: dict[PeerKeys, Thread] = {}  # under _queued
        self.failure: LogError | None = None
        """Why this peer signs no more; None while it does."""

    def start(self) -> None:
        """Sign what is decided, and go on."""
        self._threads = [Thread(target=self._sign_all, name="peers-sign", daemon=True)]
        self._threads.append(Thread(target=self._publish_all, name="peers-publish", daemon=True))
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End all threads. Safe to call twice."""
        self._stopping.set()
        for condition in (self._queued, self._heads.changed):
            with condition:
                condition.notify_all()
        for thread in self._threads:
            thread.join(CALL_SECONDS)
        with self._queued:
            asking, self._asking = list(self._asking.values()), {}  # nobody starts one any more
        for thread in asking:
            thread.join(CALL_SECONDS)
        self._threads = []

    def decided(self, size: int, root: bytes, members: Members) -> None:
        """A block is durable, the tree now has this head, and these are the peers. Returns at once."""
        with self._queued:
            if not self._queue or self._queue[-1] != (size, root, members):
                self._queue.append((size, root, members))
            self._queued.notify()

    def _sign_all(self) -> None:
        last: tuple[int, bytes] | None = None
        followed: Members | None = None
        while not self._stopping.is_set():
            with self._queued:
                came = self._queued.wait_for(lambda: self._queue or self._stopping.is_set(), RENEW_SECONDS)
                batch, self._queue = self._queue, []
            if not came and self.failure is None:
                self._try(self._heads.renew, "the newest head")
            left = None
            for size, root, members in batch:
                if members != followed:
                    followed = members
                    self._heads.follow(members)
                    self._ask_all(members)
                    last = None  # whether this peer signs may have changed
                if (size, root) == last or self.failure is not None:
                    continue  # an empty block: the head is signed already
                last = (size, root)
                left = None if self._sign(size, root) else (size, root, members)
            if left is not None:
                # A log that is idle from now on would lack this peer's line for as long.
                last = None
                self._stopping.wait(RETRY_SECONDS)
                with self._queued:
                    self._queue.insert(0, left)

    def _ask_all(self, members: Members) -> None:
        """Begin to ask those who are new; who left is asked no more, see `_ask`."""
        for peer in members.others:
            with self._queued:
                if peer not in self._asking and not self._stopping.is_set():
                    name = f"peers-ask-{peer.name}"
                    thread = Thread(target=self._ask, args=(peer,), name=name, daemon=True)
                    self._asking[peer] = thread
                    thread.start()

    def _sign(self, size: int, root: bytes) -> bool:
        """Sign a head, or find that it is not to be signed. False when neither could be done now."""
        return self._try(lambda: self._heads.sign(size, root), f"the head of {size} entries")

    def _try(self, sign: Callable[[], None], what: str) -> bool:
        try:
            sign()
        except CheckpointError as error:
            if error.reason == "behind":  # it catches up, up to where it had been
                logger.info("a head is not signed: %s", error)
                return True
            self.failure = error
            logger.critical("this peer signs no more: %s", error)
        except (LogError, StorageError, VerifyError) as error:  # the last: tiles that were damaged
            logger.error("%s could not be signed: %s", what, error)
            return False
        return True

    def _publish_all(self) -> None:
        while not self._stopping.is_set():
            with self._heads.changed:
                self._heads.changed.wait_for(lambda: self._stopping.is_set() or self._newer() is not None)
                # More lines under what is published already: most likely the next head comes first.
                self._heads.changed.wait_for(
                    lambda: self._stopping.is_set() or self._is_larger(), SETTLE_SECONDS
                )
            found = self._newer()
            if found is None:
                continue
            try:
                self._tree.store_checkpoint(found.size, found.note)
            except LogError as error:
                logger.warning("the checkpoint of %d entries could not be stored: %s", found.size, error)
                self._stopping.wait(1.0)
                continue
            self._stored = found.place

    def _is_larger(self) -> bool:
        found = self._newer()
        return found is not None and found.size > self._stored[0]

    def _newer(self) -> Published | None:
        """What a quorum says and is not stored yet: a larger head, the same said anew, or more lines."""
        found = self._heads.published()
        return found if found is not None and found.place > self._stored else None

    def _ask(self, peer: PeerKeys) -> None:
        """Ask one peer as long as it is one."""
        pause, name = ASK_SECONDS, peer.name
        try:
            fetch = self._fetch_from(peer)
        except Exception:  # administrators chose its URL: whatever it is, only this peer is not asked
            logger.exception("the peer %s cannot be asked", name)
            return
        while not self._stopping.is_set():
            with self._heads.changed:
                self._heads.changed.wait_for(lambda: self._stopping.is_set() or self._is_due(peer))
            if self._stopping.is_set() or self._is_over(peer):
                return
            news = self._take_all(name, fetch)
            longest = MAX_SILENT_SECONDS if news is None else MAX_ASK_SECONDS
            pause = ASK_SECONDS if news else min(2 * pause, longest)
            self._stopping.wait(pause)

    def _is_over(self, peer: PeerKeys) -> bool:
        # Looked at and taken out in one step: else a peer that comes back just now would be asked by nobody.
        with self._queued:
            over = not self._heads.is_asked(peer)
            if over:
                self._asking.pop(peer, None)
            return over

    def _is_due(self, peer: PeerKeys) -> bool:
        return not self._heads.is_asked(peer) or self._heads.lacks(peer.name)

    def _take_all(self, name: str, fetch: Fetch) -> bool | None:
        """Ask once. Whether the peer said something new; None when nothing usable came."""
        try:
            notes = parse_heads(fetch(self._heads.wanted(name)))
            news = [self._heads.take(name, note) for note in notes]  # all of them, not only one
            return any(news)
        except ForkError as error:
            self._keep_evidence(error)
        except (FetchError, LogError) as error:
            logger.info("the peer %s does not tell its heads: %s", name, error)
        except VerifyError as error:
            logger.warning("a head of the peer %s is not taken: %s", name, error)
        return None

    def _keep_evidence(self, error: ForkError) -> None:
        try:
            kept = keep_report(self._folder, error.report)
        except OSError as failed:
            # What the peer did is the news; that the disk is full may not hide it.
            logger.critical("FORK: %s; the report could not be kept: %s", error, failed.strerror)
            return
        logger.critical("FORK: %s; the report is in %s", error, kept)
